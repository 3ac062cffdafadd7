//! One simulation: the fleet, the clients, the faults, and the checks.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use fuse_orchestrator::{
    Config, ControlPlane, Delivery, Error, HostRegistration, Removal,
    model::{
        Capacity, Clock, Environment, EnvironmentFilter, EnvironmentId, EnvironmentState, Event, ForkRequest,
        Host, HostId, Observed, ProvisionRequest, SnapshotId, SnapshotRequest, SnapshotState, Subject,
        TaskId, Timestamp, VmName,
    },
    provider::{
        ProviderErrorKind, Verb,
        stub::{Effect, Fault, StubHost},
    },
    store::{EventQuery, Kind, MemoryStore, Store},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    host::{SharedWatch, SimConnector, WatchedHost},
    keeper::SimKeeper,
    rng::Rng,
    store::{Crash, SimStore},
};

/// How large a simulation is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    pub hosts: u64,
    pub environments: u64,
    pub steps: u64,
}

/// Virtual time, shifted as the wall clock of this process is.
#[derive(Debug)]
struct SimClock {
    start: Instant,
    wall: Timestamp,
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        self.wall.after(self.start.elapsed())
    }
}

/// The part of a record that says whether it stands for a VM.
#[derive(serde::Deserialize)]
struct Stands {
    vm: VmName,
    state: EnvironmentState,
}

/// What clients were promised.
#[derive(Debug, Default)]
struct Promises {
    accepted: BTreeMap<VmName, EnvironmentId>,
    destroyed: BTreeSet<VmName>,
}

pub struct World {
    size: Size,
    rng: Rng,
    trace: Option<Vec<String>>,
    store: Arc<MemoryStore>,
    connection: Arc<SimStore>,
    fuse: ControlPlane,
    hosts: Vec<Arc<WatchedHost>>,
    watch: SharedWatch,
    clients: JoinSet<()>,
    promises: Arc<Mutex<Promises>>,
    tasks: u64,
    checked: u64,
    states: BTreeMap<EnvironmentId, EnvironmentState>,
    start: Instant,
}

const START: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

fn config() -> Config {
    let mut config = Config {
        reconcile_period: Some(Duration::from_secs(30)),
        owner: Some("simulated".parse().unwrap()),
        ..Config::default()
    };
    config.limits.drain_limit = Duration::from_secs(180);
    config.limits.lost_after = Duration::from_secs(120);
    config
}

impl World {
    pub async fn new(seed: u64, size: Size, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let start = Instant::now();
        let leases = move || (START.after(start.elapsed())).as_micros() / 1_000;
        let store = Arc::new(MemoryStore::with_clock(Arc::new(leases)));
        let watch = SharedWatch::default();
        let hosts: Vec<_> = (0..size.hosts)
            .map(|number| {
                let name = format!("h{number:02}");
                let capacity = Capacity {
                    cpus: 6 + rng.below(2 * size.environments / size.hosts) as u32,
                    ram_mb: 8_192 + 1_024 * rng.below(100) as u32,
                    storage_gb: 500,
                    vm_count: 5 + rng.below(2 * size.environments / size.hosts) as u32,
                };
                let stub = StubHost::new(&name, capacity);
                let (store, watch) = (Arc::clone(&store), Arc::clone(&watch));
                Arc::new(WatchedHost { name, stub, store, watch })
            })
            .collect();
        let connection = SimStore::new(Arc::clone(&store), Arc::clone(&watch), rng.next());
        connection.calm();
        let fuse = open(&connection, &hosts, rng.next(), START).await;
        for host in &hosts {
            register(&fuse, &host.name).await.unwrap();
        }
        let connection = SimStore::new(Arc::clone(&store), Arc::clone(&watch), rng.next());
        fuse.halt().await;
        let fuse = open(&connection, &hosts, rng.next(), START).await;
        let trace = trace.then(Vec::new);
        Self {
            size,
            rng,
            trace,
            store,
            connection,
            fuse,
            hosts,
            watch,
            clients: JoinSet::new(),
            promises: Arc::default(),
            tasks: 0,
            checked: 0,
            states: BTreeMap::new(),
            start,
        }
    }

    fn note(&mut self, what: impl FnOnce() -> String) {
        let at = self.start.elapsed();
        if let Some(trace) = &mut self.trace {
            let line = format!("{:>10.3} {}", at.as_secs_f64(), what());
            println!("{line}");
            trace.push(line);
        }
    }

    /// Runs to the end, and returns the whole log of events.
    pub async fn run(mut self) -> Result<Vec<String>, String> {
        for _ in 0..self.size.steps {
            self.step().await;
            self.breathe().await;
            self.check().await?;
        }
        self.calm_down().await?;
        let log = self.log().await;
        self.fuse.halt().await;
        Ok(log)
    }

    /// Lets time pass; the orchestrator is started again when it has crashed.
    async fn breathe(&mut self) {
        let span = if self.rng.one_in(6) { 60_000 } else { 4_000 };
        let wait = Duration::from_millis(self.rng.below(span * 20 / self.size.environments.max(20)));
        let crashed = {
            let connection = Arc::clone(&self.connection);
            tokio::select! {
                biased;
                () = connection.crashed.notified() => true,
                () = tokio::time::sleep(wait) => false,
            }
        };
        if crashed {
            self.restart().await;
        }
    }

    async fn restart(&mut self) {
        self.note(|| "the orchestrator crashed".to_owned());
        self.fuse.halt().await;
        let away = Duration::from_millis(self.rng.below(90_000));
        tokio::time::sleep(away).await;
        // The wall clock was set meanwhile, by up to an hour either way.
        let shift = Duration::from_secs(self.rng.below(3_600));
        let wall = START.after(self.start.elapsed());
        let wall = match self.rng.below(4) {
            0 => wall.after(shift),
            1 => wall.before(shift),
            _ => wall,
        };
        self.connection = SimStore::new(Arc::clone(&self.store), Arc::clone(&self.watch), self.rng.next());
        self.fuse = open(&self.connection, &self.hosts, self.rng.next(), wall).await;
        self.note(|| format!("the orchestrator started under the wall clock {wall}"));
    }

    async fn step(&mut self) {
        match self.rng.below(40) {
            // Several at once, so that they compete for the same room.
            0..3 => (0..2 + self.rng.below(4)).for_each(|_| self.provision()),
            3..12 => self.provision(),
            12..18 => self.destroy(),
            18..20 => self.drain(),
            20..22 => self.fork(),
            22..24 => self.snapshot(),
            24..26 => self.use_snapshot(),
            26 => self.rotate(),
            27..34 => self.fault(),
            34 => self.host_trouble(),
            35 => self.lose_vm(),
            36 => self.operator(),
            _ => self.plan_crash(),
        }
    }

    fn provision(&mut self) {
        let counts = self.fuse.counts();
        let live = counts.iter().filter(|(state, _)| !state.is_ended()).map(|(_, count)| *count as u64);
        if live.sum::<u64>() >= self.size.environments {
            return;
        }
        // Names are used again, so that a task meets its predecessor.
        let number = self.rng.below(self.size.environments * 3 / 2);
        let mut request = ProvisionRequest::new(TaskId::new(format!("t{number}")).unwrap());
        request.spec.resources.cpus = self.rng.below(4) as u32;
        request.spec.resources.ram_mb = 256 * self.rng.below(8) as u32;
        if self.rng.one_in(8) {
            request.spec.max_runtime_seconds = 120 + self.rng.below(600);
        }
        if self.rng.one_in(8) {
            request.spec.idle_timeout_seconds = 60;
        }
        if self.rng.one_in(4) {
            request.startup_script = format!("sleep {}", self.rng.below(40));
        }
        self.tasks += 1;
        self.note(|| format!("provision {}", request.task_id));
        let (fuse, promises) = (self.fuse.clone(), Arc::clone(&self.promises));
        self.clients.spawn(async move {
            if let Ok(accepted) = fuse.provision(request).await {
                promises.lock().unwrap().accepted.insert(accepted.vm.clone(), accepted.id.clone());
            }
        });
    }

    fn some_environment(&mut self) -> Option<Arc<Environment>> {
        let all = environments(&self.fuse, None);
        self.rng.pick(&all).cloned()
    }

    fn destroy(&mut self) {
        let Some(environment) = self.some_environment() else { return };
        self.note(|| format!("destroy {}", environment.id));
        let (fuse, promises) = (self.fuse.clone(), Arc::clone(&self.promises));
        let id = environment.id.clone();
        self.clients.spawn(async move {
            // The task may have a new environment by the time that the call goes out.
            let vm = fuse.get(&id).map(|environment| environment.vm.clone());
            if fuse.destroy(&id).await.is_ok()
                && let Ok(vm) = vm
            {
                promises.lock().unwrap().destroyed.insert(vm);
            }
        });
    }

    fn drain(&mut self) {
        let Some(environment) = self.some_environment() else { return };
        self.note(|| format!("drain {}", environment.id));
        let fuse = self.fuse.clone();
        self.clients.spawn(async move {
            let _ = fuse.drain(&environment.id).await;
        });
    }

    fn fork(&mut self) {
        let Some(environment) = self.some_environment() else { return };
        self.note(|| format!("fork {}", environment.id));
        let (fuse, promises) = (self.fuse.clone(), Arc::clone(&self.promises));
        self.clients.spawn(async move {
            if let Ok(forked) = fuse.fork(&environment.id, ForkRequest::default()).await {
                promises.lock().unwrap().accepted.insert(forked.vm.clone(), forked.id.clone());
            }
        });
    }

    fn snapshot(&mut self) {
        let Some(environment) = self.some_environment() else { return };
        let retention_seconds = if self.rng.one_in(2) { 60 } else { 0 };
        self.note(|| format!("snapshot {}", environment.id));
        let fuse = self.fuse.clone();
        self.clients.spawn(async move {
            let request = SnapshotRequest { retention_seconds, ..SnapshotRequest::default() };
            let _ = fuse.create_snapshot(&environment.id, request).await;
        });
    }

    fn use_snapshot(&mut self) {
        let all: Vec<SnapshotId> = self
            .fuse
            .snapshots(&Default::default(), Some(200), None)
            .map(|page| page.items.iter().map(|snapshot| snapshot.id.clone()).collect())
            .unwrap_or_default();
        let Some(id) = self.rng.pick(&all).cloned() else { return };
        let restore = self.rng.one_in(2);
        self.note(|| format!("{} {id}", if restore { "restore" } else { "delete" }));
        let fuse = self.fuse.clone();
        self.clients.spawn(async move {
            let _ = if restore { fuse.restore_snapshot(&id).await } else { fuse.delete_snapshot(&id).await };
        });
    }

    fn rotate(&mut self) {
        let Some(environment) = self.some_environment() else { return };
        let fuse = self.fuse.clone();
        self.clients.spawn(async move {
            let _ = fuse.rotate_token(&environment.id).await;
        });
    }

    fn fault(&mut self) {
        let verbs = [
            Verb::Create,
            Verb::Create,
            Verb::List,
            Verb::List,
            Verb::Destroy,
            Verb::Destroy,
            Verb::Upload,
            Verb::StartAgent,
            Verb::Exec,
            Verb::Snapshot,
            Verb::DeleteSnapshot,
            Verb::Fork,
            Verb::Restore,
        ];
        let verb = *self.rng.pick(&verbs).unwrap();
        let kinds = [
            ProviderErrorKind::Failed,
            ProviderErrorKind::Busy,
            ProviderErrorKind::Unreachable,
            ProviderErrorKind::TimedOut,
        ];
        let kind = *self.rng.pick(&kinds).unwrap();
        let lost =
            if self.rng.one_in(2) { ProviderErrorKind::Unreachable } else { ProviderErrorKind::TimedOut };
        let late = Duration::from_millis(self.rng.below(40_000));
        let effect = match self.rng.below(10) {
            8 | 9 => Effect::SlowAnswer(Duration::from_millis(self.rng.below(9_000))),
            0 | 1 => Effect::Delay(Duration::from_millis(self.rng.below(70_000))),
            2 | 3 => Effect::Fail(kind, "simulated".into()),
            4 => Effect::FailAfter(lost, "answer lost".into()),
            5 if verb != Verb::Snapshot => Effect::FailThenHappen(lost, late),
            6 => Effect::Hang,
            _ => Effect::Twice,
        };
        let times = 1 + self.rng.below(3) as u32;
        let number = self.rng.below(self.hosts.len() as u64) as usize;
        let host = Arc::clone(&self.hosts[number]);
        self.note(|| format!("fault on {}: {verb} {effect:?} x{times}", host.name));
        host.stub.inject(Fault { times, ..Fault::once(verb, effect) });
    }

    fn host_trouble(&mut self) {
        let number = self.rng.below(self.hosts.len() as u64) as usize;
        let host = Arc::clone(&self.hosts[number]);
        match self.rng.below(5) {
            0 => {
                self.note(|| format!("{} reboots", host.name));
                host.stub.reboot();
            }
            1 | 2 => {
                self.note(|| format!("{} is cut off", host.name));
                host.stub.set_down(true);
            }
            _ => {
                self.note(|| format!("{} answers again", host.name));
                host.stub.set_down(false);
            }
        }
    }

    fn lose_vm(&mut self) {
        let number = self.rng.below(self.hosts.len() as u64) as usize;
        let host = Arc::clone(&self.hosts[number]);
        let vms = host.stub.vms();
        match self.rng.pick(&vms).cloned() {
            Some(vm) if !self.rng.one_in(3) => {
                self.note(|| format!("{vm} dies on {}", host.name));
                host.stub.vanish(&vm);
            }
            _ => {
                let vm = VmName::new(format!("fuse-stray-{:x}", self.rng.next())).unwrap();
                self.note(|| format!("the stray {vm} appears on {}", host.name));
                host.stub.plant(&vm, &"simulated".parse().unwrap());
            }
        }
    }

    fn operator(&mut self) {
        let number = self.rng.below(self.hosts.len() as u64) as usize;
        let name = self.hosts[number].name.clone();
        let id = HostId::new(&name).unwrap();
        let choice = self.rng.below(5);
        self.note(|| format!("operator {choice} on {name}"));
        let fuse = self.fuse.clone();
        self.clients.spawn(async move {
            let _ = match choice {
                0 => fuse.cordon(&id).await,
                1 => fuse.uncordon(&id).await,
                2 => register(&fuse, &name).await.map(drop),
                3 => fuse.drain_host(&id, Some(Duration::from_secs(60))).await.map(drop),
                _ => match fuse.remove_host(&id, Removal::Empty).await {
                    Ok(()) => register(&fuse, &name).await.map(drop),
                    error => error,
                },
            };
        });
    }

    fn plan_crash(&mut self) {
        let commits = self.rng.below(12);
        let kind = if self.rng.one_in(2) { Crash::Before } else { Crash::After };
        self.note(|| format!("a crash in {commits} commits, {kind:?}"));
        self.connection.crash_at(commits, kind);
    }

    // ---- what must hold at every moment

    async fn check(&mut self) -> Result<(), String> {
        if let Some(violation) = self.watch.lock().unwrap().violations.first() {
            return Err(violation.clone());
        }
        self.check_events().await?;
        self.check_vms().await?;
        if self.connection.is_dead() {
            return Ok(());
        }
        self.check_capacity()?;
        self.check_observed()?;
        self.check_promises()
    }

    /// The events have numbers without gaps and tell of legal transitions only.
    async fn check_events(&mut self) -> Result<(), String> {
        loop {
            let page = self.store.events(EventQuery::all(self.checked, 1_000)).await.unwrap();
            if page.events.is_empty() {
                return Ok(());
            }
            for stored in page.events {
                if stored.seq != self.checked + 1 {
                    return Err(format!("event {} follows event {}", stored.seq, self.checked));
                }
                self.checked = stored.seq;
                let event: Event = serde_json::from_slice(&stored.body).unwrap();
                self.check_event(&event)?;
            }
        }
    }

    fn check_event(&mut self, event: &Event) -> Result<(), String> {
        self.note(|| format!("  event {} {} {:?}", event.event, event.subject.id(), event.reason));
        let (Subject::Environment(id), Some(next)) = (&event.subject, event.state) else {
            return Ok(());
        };
        let first = event.event == fuse_orchestrator::model::EventKind::VmProvisioning;
        let before = self.states.get(id).copied();
        let legal = match before {
            None => first,
            Some(before) if first => before.is_ended(),
            Some(before) => before == next || before.may_become(next),
        };
        if !legal {
            return Err(format!("{id} went from {before:?} to {next}"));
        }
        self.states.insert(id.clone(), next);
        Ok(())
    }

    /// Every VM that we made has a durable record: an environment that is not ended, or a teardown.
    async fn check_vms(&self) -> Result<(), String> {
        for host in &self.hosts {
            for vm in host.stub.vms() {
                let made_for = self.watch.lock().unwrap().made_for.get(&vm).cloned();
                let Some(id) = made_for else { continue };
                let environment = self.store.get(Kind::Environment, id.as_str()).await.unwrap();
                let stands = environment.is_some_and(|record| {
                    let stands: Stands = serde_json::from_slice(&record.body).unwrap();
                    stands.vm == vm && !stands.state.is_ended()
                });
                if !stands && self.store.get(Kind::Teardown, vm.as_str()).await.unwrap().is_none() {
                    return Err(format!("{vm} runs on {} and no record stands for it", host.name));
                }
            }
        }
        Ok(())
    }

    /// What is taken of each host is what its records take, and never more than it has.
    fn check_capacity(&self) -> Result<(), String> {
        let sums = sums(&self.fuse);
        for host in hosts(&self.fuse) {
            let sum = sums.get(&host.id).copied().unwrap_or_default();
            let taken = host.allocated;
            // Placements whose commit is on its way are taken already.
            let covers =
                taken.cpus >= sum.cpus && taken.ram_mb >= sum.ram_mb && taken.vm_count >= sum.vm_count;
            if !covers {
                return Err(format!("{} has {taken} taken, and its records take {sum}", host.id));
            }
            let most = host.capacity;
            if taken.cpus > most.cpus || taken.ram_mb > most.ram_mb || taken.vm_count > most.vm_count {
                return Err(format!("{} has {taken} taken and is {most} large", host.id));
            }
        }
        Ok(())
    }

    /// A VM that is there was there since it was made: only a listing from before could show it missing, and such a listing
    /// does not count.
    fn check_observed(&self) -> Result<(), String> {
        let missing = environments(&self.fuse, None).into_iter().filter(|it| {
            it.observed == Observed::Missing && it.state == EnvironmentState::Running && it.boots == 1
        });
        for environment in missing {
            let host = self.hosts.iter().find(|host| host.name == environment.host_id.as_str());
            if host.is_some_and(|host| host.stub.vms().contains(&environment.vm)) {
                return Err(format!("{} is there and is shown as missing", environment.vm));
            }
        }
        Ok(())
    }

    /// No environment that was accepted is lost: its record, or that of a successor, is there.
    fn check_promises(&self) -> Result<(), String> {
        let promises = self.promises.lock().unwrap();
        for (vm, id) in &promises.accepted {
            let Ok(environment) = self.fuse.get(id) else {
                return Err(format!("{id} was accepted and has no record"));
            };
            let is_it = environment.vm == *vm;
            if is_it && promises.destroyed.contains(vm) && environment.state != EnvironmentState::Destroyed {
                return Err(format!("{id} was destroyed and is {}", environment.state));
            }
        }
        Ok(())
    }

    // ---- the end

    /// Ends all trouble, lets everything come to rest, and checks that it did.
    async fn calm_down(&mut self) -> Result<(), String> {
        self.note(|| "calm".to_owned());
        self.connection.calm();
        if self.connection.is_dead() {
            self.restart().await;
            self.connection.calm();
        }
        for host in &self.hosts {
            host.stub.clear_faults();
            host.stub.set_down(false);
        }
        for host in &self.hosts {
            let id = HostId::new(&host.name).unwrap();
            if self.fuse.host(&id).is_err() {
                register(&self.fuse, &host.name).await.map_err(|error| error.to_string())?;
            }
        }
        // Longer than any timeout, backoff, grace and drain together.
        let deadline = Instant::now() + Duration::from_secs(3 * 3_600);
        loop {
            tokio::time::sleep(Duration::from_secs(60)).await;
            while self.clients.try_join_next().is_some() {}
            self.check().await?;
            let open = self.open_ends();
            if open.is_empty() {
                break;
            }
            if Instant::now() > deadline {
                return Err(format!("it does not come to rest: {}", open.join("; ")));
            }
        }
        self.check_rest().await
    }

    /// What is not finished yet.
    fn open_ends(&self) -> Vec<String> {
        let mut open = Vec::new();
        if !self.clients.is_empty() {
            open.push(format!("{} calls have not ended", self.clients.len()));
        }
        for environment in environments(&self.fuse, None) {
            if environment.state != EnvironmentState::Running {
                open.push(format!("{} is {} ({})", environment.id, environment.state, environment.reason));
            } else if environment.observed != Observed::Present {
                open.push(format!("{} is {:?}", environment.id, environment.observed));
            }
        }
        open.extend(self.fuse.teardowns().iter().map(|teardown| format!("teardown of {}", teardown.vm)));
        let snapshots = self.fuse.snapshots(&Default::default(), Some(200), None).unwrap().items;
        for snapshot in snapshots {
            if !matches!(snapshot.state, SnapshotState::Ready | SnapshotState::Error) {
                open.push(format!("{} is {}", snapshot.id, snapshot.state));
            }
        }
        let should: usize = environments(&self.fuse, None).len();
        let are: usize = self.hosts.iter().map(|host| host.stub.vms().len()).sum();
        if should != are {
            open.push(format!("{should} environments and {are} VMs"));
        }
        open
    }

    /// At rest, intent and fact agree to the last VM.
    async fn check_rest(&self) -> Result<(), String> {
        let mut meant: BTreeMap<String, BTreeSet<VmName>> = BTreeMap::new();
        for environment in environments(&self.fuse, None) {
            meant.entry(environment.host_id.to_string()).or_default().insert(environment.vm.clone());
        }
        for host in &self.hosts {
            let there: BTreeSet<_> = host.stub.vms().into_iter().collect();
            let meant = meant.remove(&host.name).unwrap_or_default();
            if there != meant {
                return Err(format!("{} has {there:?} and should have {meant:?}", host.name));
            }
        }
        let sums = sums(&self.fuse);
        for host in hosts(&self.fuse) {
            let sum = sums.get(&host.id).copied().unwrap_or_default();
            if host.allocated != sum {
                return Err(format!("{} has {} taken, and its records take {sum}", host.id, host.allocated));
            }
        }
        self.check_memory().await
    }

    /// The memory is what the store has.
    async fn check_memory(&self) -> Result<(), String> {
        let mut after = None;
        loop {
            let page = self.store.list(Kind::Environment, after.as_deref(), 1_000).await.unwrap();
            for record in page.records {
                let stored: Environment = serde_json::from_slice(&record.body).unwrap();
                let known = self.fuse.get(&stored.id).map_err(|error| error.to_string())?;
                if (&stored.vm, stored.state, &stored.reason) != (&known.vm, known.state, &known.reason) {
                    return Err(format!(
                        "{} is {} in the store and {} in memory",
                        stored.id, stored.state, known.state
                    ));
                }
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// The log as a subscriber sees it who reads from the beginning.
    async fn log(&self) -> Vec<String> {
        let mut subscription = self.fuse.events(0);
        let mut log = Vec::new();
        let mut trimmed = 0;
        while let Some(delivery) = subscription.try_next().await.unwrap() {
            match delivery {
                Delivery::Event(event) => {
                    log.push(format!("{} {} {}", event.sequence, event.time, event.event))
                }
                // What is older than the log keeps is counted, and stands before everything else.
                Delivery::Lost { count } => {
                    assert!(log.is_empty(), "events are missing in the middle of the log");
                    trimmed += count;
                }
            }
        }
        assert_eq!(log.len() as u64 + trimmed, self.checked, "a replay shows or counts every event");
        log
    }
}

async fn open(
    connection: &Arc<SimStore>,
    hosts: &[Arc<WatchedHost>],
    seed: u64,
    wall: Timestamp,
) -> ControlPlane {
    let clock = SimClock { start: Instant::now(), wall };
    let hosts = hosts.iter().map(|host| (host.name.clone(), Arc::clone(host))).collect();
    ControlPlane::builder()
        .config(config())
        .store(connection.store())
        .clock(Arc::new(clock))
        .secrets(Arc::new(SimKeeper::new(seed)))
        .connector("sim", Arc::new(SimConnector { hosts }))
        .open()
        .await
        .unwrap()
}

async fn register(fuse: &ControlPlane, name: &str) -> Result<Host, Error> {
    let registration = HostRegistration { url: format!("sim://{name}"), ..HostRegistration::default() };
    fuse.register_host(&HostId::new(name)?, registration).await
}

fn environments(fuse: &ControlPlane, state: Option<EnvironmentState>) -> Vec<Arc<Environment>> {
    let filter = EnvironmentFilter { state, ..EnvironmentFilter::default() };
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = fuse.list(&filter, Some(200), cursor.as_deref()).unwrap();
        all.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return all;
        }
    }
}

fn hosts(fuse: &ControlPlane) -> Vec<Host> {
    fuse.hosts(Some(200), None).unwrap().items
}

/// What the records take of each host.
fn sums(fuse: &ControlPlane) -> BTreeMap<HostId, Capacity> {
    let mut sums: BTreeMap<HostId, Capacity> = BTreeMap::new();
    for environment in environments(fuse, None) {
        let sum = sums.entry(environment.host_id.clone()).or_default();
        *sum = sum.with(environment.spec.resources);
    }
    for teardown in fuse.teardowns() {
        if let Some(need) = teardown.holds {
            let sum = sums.entry(teardown.host_id.clone()).or_default();
            *sum = sum.with(need);
        }
    }
    sums
}
