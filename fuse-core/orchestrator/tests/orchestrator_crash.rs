//! kill -9 of a whole orchestrator under load, again and again on the same store, while its VMs live on behind an agent
//! in another process: the store opens, every acknowledged answer stays true, and no VM and no snapshot leaks.
//!
//! `FUSE_CRASH_CYCLES` sets the number of cycles for each store (default 50; `make soak` uses 1,000).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod agent;
mod backends;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use agent::{Agent, Flavour, TOKEN};
use backends::{Postgres, Sled};
use fuse_orchestrator::{
    Config, ControlPlane, Error, HostRegistration,
    model::{
        Capacity, Environment, EnvironmentFilter, EnvironmentId, EnvironmentState, HostId, ProvisionRequest,
        Snapshot, SnapshotId, SnapshotRequest, SnapshotState, TaskId,
    },
    provider::stub::StubHost,
    secrets::KeyRing,
    store::{Kind, SharedStore, verify},
};

const CLIENTS: u64 = 6;

fn cycles() -> u64 {
    std::env::var("FUSE_CRASH_CYCLES")
        .map_or(50, |cycles| cycles.parse().expect("FUSE_CRASH_CYCLES is a number"))
}

fn host() -> HostId {
    HostId::new("remote").unwrap()
}

/// Opens a control plane that looks at its host often.
async fn open(place: &str, keys: &str) -> ControlPlane {
    let mut config = Config {
        reconcile_period: Some(Duration::from_millis(100)),
        lease: Duration::from_millis(500),
        ..Config::default()
    };
    config.limits.sighting_gap = Duration::from_millis(50);
    config.limits.orphan_grace = Duration::from_secs(5);
    // How long a snapshot whose answer was lost may be on its way.
    config.timeouts.snapshot = Duration::from_secs(5);
    // A boot may be interrupted in every cycle.
    config.boot_tries = u32::MAX;
    config.second_look = Duration::from_secs(1);
    let keys = Arc::new(KeyRing::load_or_create(Path::new(keys)).unwrap());
    let store = backends::open(place).await;
    ControlPlane::builder().config(config).store(store).secrets(keys).open().await.unwrap()
}

async fn register(fuse: &ControlPlane, url: &str) {
    let registration = HostRegistration {
        url: url.to_owned(),
        token: Some(TOKEN.into()),
        capacity: Capacity { vm_count: 100_000, ..Capacity::default() },
        ..HostRegistration::default()
    };
    fuse.register_host(&host(), registration).await.unwrap();
}

/// The process that is killed. It runs only when the tests below start it.
#[test]
fn child_process() {
    let Ok(place) = std::env::var("FUSE_CRASH_CHILD") else { return };
    let variable = |name: &str| std::env::var(name).unwrap();
    let (keys, url, cycle) =
        (variable("FUSE_CRASH_KEYS"), variable("FUSE_CRASH_URL"), variable("FUSE_CRASH_CYCLE"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let fuse = open(&place, &keys).await;
        if fuse.host(&host()).is_err() {
            register(&fuse, &url).await;
        }
        let clients =
            (0..CLIENTS).map(|client| tokio::spawn(work(fuse.clone(), format!("{cycle}-{client}"), client)));
        for client in clients.collect::<Vec<_>>() {
            client.await.unwrap();
        }
    });
}

/// Provisions, uses and destroys, and says each answer as soon as it has it.
async fn work(fuse: ControlPlane, name: String, client: u64) {
    for number in 0_u64.. {
        let mut request = ProvisionRequest::new(TaskId::new(format!("{name}-{number}")).unwrap());
        request.startup_script = "echo up > /up".into();
        let accepted = fuse.provision(request).await.unwrap();
        let id = &accepted.id;
        eprintln!("ack accepted {id} {}", accepted.vm);
        if number % 3 == client % 3 && fuse.destroy(id).await.is_ok() {
            // Destroyed while it boots.
            eprintln!("ack destroyed {id} {}", accepted.vm);
            continue;
        }
        if fuse.wait_running(id, Duration::from_secs(30)).await.is_err() {
            continue;
        }
        eprintln!("ack running {id} {}", accepted.vm);
        if number.is_multiple_of(2)
            && let Ok(snapshot) = fuse.create_snapshot(id, SnapshotRequest::default()).await
        {
            eprintln!("ack snapshot {} {}", snapshot.id, snapshot.vm);
            if !number.is_multiple_of(4) {
                continue;
            }
            // From here on it may be gone without an answer.
            eprintln!("ack deleting {} {}", snapshot.id, snapshot.vm);
            if fuse.delete_snapshot(&snapshot.id).await.is_ok() {
                eprintln!("ack deleted {} {}", snapshot.id, snapshot.vm);
            }
        }
        if !number.is_multiple_of(5) && fuse.destroy(id).await.is_ok() {
            eprintln!("ack destroyed {id} {}", accepted.vm);
        }
    }
}

/// What was acknowledged: of each thing, the words in the order in which they came.
#[derive(Debug, Default)]
struct Acked {
    environments: BTreeMap<EnvironmentId, (String, BTreeSet<String>)>,
    snapshots: BTreeMap<SnapshotId, Kept>,
    total: u64,
}

/// What is known about a snapshot that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    There,
    Perhaps,
    Gone,
}

impl Acked {
    fn take(&mut self, line: &str) {
        let words: Vec<_> = line.split(' ').collect();
        let ["ack", what, id, vm] = words[..] else { return println!("child: {line}") };
        self.total += 1;
        match what {
            "snapshot" => drop(self.snapshots.insert(id.parse().unwrap(), Kept::There)),
            "deleting" => drop(self.snapshots.insert(id.parse().unwrap(), Kept::Perhaps)),
            "deleted" => drop(self.snapshots.insert(id.parse().unwrap(), Kept::Gone)),
            _ => {
                let entry = self.environments.entry(id.parse().unwrap()).or_default();
                vm.clone_into(&mut entry.0);
                entry.1.insert(what.to_owned());
            }
        }
    }
}

struct Victim {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Victim {
    fn start(place: &str, keys: &str, url: &str, cycle: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process", "--nocapture"])
            .env("FUSE_CRASH_CHILD", place)
            .env("FUSE_CRASH_KEYS", keys)
            .env("FUSE_CRASH_URL", url)
            .env("FUSE_CRASH_CYCLE", cycle.to_string())
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (out, lines) = mpsc::channel();
        std::thread::spawn(move || {
            // A line that the kill cut short says nothing.
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let _ = out.send(String::from_utf8_lossy(&line).into_owned());
            }
        });
        Self { child, lines }
    }

    fn wait(&self, acked: &mut Acked) {
        let until = Instant::now() + Duration::from_secs(120);
        let before = acked.total;
        while acked.total == before {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).expect("the child acknowledges something");
            acked.take(&line);
        }
    }

    fn kill(mut self, acked: &mut Acked) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let mut lines: Vec<_> = self.lines.iter().collect();
        // The last one may be cut.
        let last = lines.pop();
        lines.iter().for_each(|line| acked.take(line));
        if let Some(last) = last.filter(|last| last.split(' ').nth(3).is_some_and(|vm| vm.len() > 20)) {
            acked.take(&last);
        }
    }
}

/// Every acknowledged answer is in the store, which is whole.
async fn check(store: &SharedStore, acked: &Acked, cycle: u64) {
    verify(&**store).await.unwrap_or_else(|error| panic!("cycle {cycle}: {error}"));
    for (id, (vm, words)) in &acked.environments {
        let found = store.get(Kind::Environment, id.as_str()).await.unwrap();
        let found = found.unwrap_or_else(|| panic!("cycle {cycle}: {id} was {words:?} and is not there"));
        let environment: Environment = serde_json::from_slice(&found.body).unwrap();
        // The last line of a cycle may be cut in its last word.
        assert!(environment.vm.as_str().starts_with(vm.as_str()), "cycle {cycle}: {id}");
        let state = environment.state;
        let fits = match () {
            () if words.contains("destroyed") => state == EnvironmentState::Destroyed,
            () if words.contains("running") => state != EnvironmentState::Provisioning,
            () => true,
        };
        assert!(fits, "cycle {cycle}: {id} was {words:?} and is {state} ({})", environment.reason);
        let failed = state == EnvironmentState::Failed;
        assert!(!failed, "cycle {cycle}: {id} failed: {}", environment.reason);
    }
    for (id, kept) in &acked.snapshots {
        let found = store.get(Kind::Snapshot, id.as_str()).await.unwrap();
        match found {
            None => assert!(*kept != Kept::There, "cycle {cycle}: snapshot {id} is not there"),
            Some(found) => {
                let snapshot: Snapshot = serde_json::from_slice(&found.body).unwrap();
                assert!(
                    *kept != Kept::Gone,
                    "cycle {cycle}: snapshot {id} was deleted and is {}",
                    snapshot.state
                );
            }
        }
    }
}

fn environments(fuse: &ControlPlane) -> Vec<Arc<Environment>> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = fuse.list(&EnvironmentFilter::default(), Some(200), cursor.as_deref()).unwrap();
        all.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return all;
        }
    }
}

fn snapshots(fuse: &ControlPlane) -> Vec<Arc<Snapshot>> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = fuse.snapshots(&Default::default(), Some(200), cursor.as_deref()).unwrap();
        all.extend(page.items);
        cursor = page.next_cursor;
        if cursor.is_none() {
            return all;
        }
    }
}

/// A last control plane finishes what was half done; then intent and fact agree, and everything can be removed.
async fn come_to_rest(place: &str, keys: &str, stub: &StubHost) {
    let fuse = open(place, keys).await;
    let until = Instant::now() + Duration::from_secs(180);
    loop {
        let half = environments(&fuse).iter().filter(|it| it.state != EnvironmentState::Running).count();
        let open = snapshots(&fuse)
            .iter()
            .filter(|it| !matches!(it.state, SnapshotState::Ready | SnapshotState::Error))
            .count();
        let meant: BTreeSet<_> = environments(&fuse).iter().map(|it| it.vm.clone()).collect();
        let there: BTreeSet<_> = stub.vms().into_iter().collect();
        if half == 0 && open == 0 && fuse.teardowns().is_empty() && meant == there {
            break;
        }
        assert!(
            Instant::now() < until,
            "{half} half done, {open} snapshots, {:?}; VMs that nobody means: {:?}; missing: {:?}",
            fuse.teardowns(),
            there.difference(&meant).collect::<Vec<_>>(),
            meant.difference(&there).collect::<Vec<_>>(),
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for environment in environments(&fuse) {
        assert_eq!(fuse.exec_shell(&environment.id, "cat /up").await.unwrap().stdout, b"up\n");
        fuse.destroy(&environment.id).await.unwrap();
    }
    // A child is deleted before its parent.
    while !snapshots(&fuse).is_empty() {
        for snapshot in snapshots(&fuse) {
            match fuse.delete_snapshot(&snapshot.id).await {
                Ok(()) | Err(Error::HasChildren { .. }) => {}
                Err(error) => panic!("{}: {error}", snapshot.id),
            }
        }
    }
    // The VM of an interrupted boot is removed twice.
    while !fuse.teardowns().is_empty() {
        assert!(Instant::now() < until, "{:?}", fuse.teardowns());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!((stub.vms().len(), stub.snapshot_count()), (0, 0), "something leaked");
    assert_eq!(fuse.host(&host()).unwrap().allocated, Capacity::default());
    fuse.close().await.unwrap();
}

/// A number below `below` that looks random and is the same in every run.
fn mix(cycle: u64, below: u64) -> u64 {
    let mut x = cycle.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    x ^= x >> 29;
    x.wrapping_mul(0xBF58_476D_1CE4_E5B9) % below
}

async fn survives(place: &str, keys: &Path) {
    let agent = Agent::start(Flavour::Ours).await;
    let keys = keys.to_str().unwrap();
    let mut acked = Acked::default();
    for cycle in 0..cycles() {
        let victim = Victim::start(place, keys, &agent.url(), cycle);
        if cycle % 10 != 9 {
            victim.wait(&mut acked);
        }
        std::thread::sleep(Duration::from_millis(mix(cycle, 250)));
        victim.kill(&mut acked);
        let store = backends::open(place).await;
        check(&store, &acked, cycle).await;
        store.close().await.unwrap();
    }
    come_to_rest(place, keys, &agent.stub).await;
    let (made, told) = (acked.environments.len(), acked.total);
    println!(
        "{} kills, {told} acknowledged answers about {made} environments, none lost, none leaked",
        cycles()
    );
    assert!(told > cycles());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_on_sled_survives_kill_9() {
    let backend = Sled::new();
    let dir = tempfile::tempdir().unwrap();
    survives(&format!("sled:{}", backend.path().display()), &dir.path().join("key")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_orchestrator_on_postgres_survives_kill_9() {
    let Some(backend) = Postgres::new() else { return };
    let dir = tempfile::tempdir().unwrap();
    survives(&backend.url, &dir.path().join("key")).await;
}
