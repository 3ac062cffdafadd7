//! A host that is watched: what is destroyed must have been meant to be.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use fuse_orchestrator::{
    model::{
        Environment, EnvironmentId, EnvironmentState, Event, EventKind, GuestEndpoint, OwnerId, ReasonCode,
        Teardown, VmName, VmPrefix,
    },
    provider::{
        AgentStart, AttachRequest, AttachSession, Connector, CreateRequest, ExecOutput, ExecRequest,
        FileUpload, ForkVmRequest, HostAddress, HostFacts, LogSource, Provider, ProviderResult,
        SnapshotFacts, SnapshotVmRequest, VmFacts, stub::StubHost,
    },
    store::{Kind, MemoryStore, Store},
};

/// What was seen over all hosts.
#[derive(Debug, Default)]
pub struct Watch {
    pub violations: Vec<String>,
    /// How many listings each host has answered.
    pub lists: BTreeMap<String, u32>,
    /// For each VM: how many listings had it, and the number of the last one that had it or before which it was made.
    pub seen: BTreeMap<VmName, (u32, u32)>,
    /// The environment that each VM was made for.
    pub made_for: BTreeMap<VmName, EnvironmentId>,
    pub host_of: BTreeMap<VmName, String>,
}

pub type SharedWatch = Arc<Mutex<Watch>>;

#[derive(Debug)]
pub struct WatchedHost {
    pub name: String,
    pub stub: StubHost,
    pub store: Arc<MemoryStore>,
    pub watch: SharedWatch,
}

impl WatchedHost {
    /// The durable record of the environment that a VM was made for.
    async fn record_of(&self, vm: &VmName) -> Option<Environment> {
        let known = self.watch.lock().unwrap().made_for.get(vm).cloned();
        if let Some(id) = known {
            let record = self.store.get(Kind::Environment, id.as_str()).await.unwrap()?;
            return Some(serde_json::from_slice(&record.body).unwrap());
        }
        // The request that makes it never came here: a boot that is begun again removes first.
        let mut after = None;
        loop {
            let page = self.store.list(Kind::Environment, after.as_deref(), 1_000).await.unwrap();
            for record in page.records {
                let environment: Environment = serde_json::from_slice(&record.body).unwrap();
                if environment.vm == *vm {
                    return Some(environment);
                }
            }
            after = page.next;
            after.as_ref()?;
        }
    }

    fn note_made(&self, request: &CreateRequest) {
        let (vm, id) = (request.name.clone(), request.environment_id.clone());
        let mut watch = self.watch.lock().unwrap();
        let number = watch.lists.get(&self.name).copied().unwrap_or(0);
        watch.seen.entry(vm.clone()).or_insert((0, number));
        watch.host_of.insert(vm.clone(), self.name.clone());
        watch.made_for.insert(vm, id);
    }

    /// What the durable records say about a VM: whether it may be destroyed.
    async fn may_destroy(&self, vm: &VmName) -> Result<(), String> {
        if self.store.get(Kind::Teardown, vm.as_str()).await.unwrap().is_some() {
            return Ok(());
        }
        if let Some(environment) = self.record_of(vm).await.filter(|environment| environment.vm == *vm) {
            let again = environment.state == EnvironmentState::Provisioning && environment.boots > 1;
            let meant =
                matches!(environment.state, EnvironmentState::Destroying) || environment.state.is_ended();
            if again || meant {
                return Ok(());
            }
            return Err(format!("{vm} was destroyed while its environment is {}", environment.state));
        }
        Err(format!("{vm} was destroyed and no record says why"))
    }
}

impl Watch {
    /// Looks at an event at the moment at which it becomes durable.
    pub fn look_at(&mut self, event: &Event) {
        let missing = event.reason.as_ref().is_some_and(|reason| reason.code == ReasonCode::VmMissing);
        if event.event != EventKind::VmDestroying || !missing {
            return;
        }
        let vm = VmName::new(event.details.get("vm").unwrap()).unwrap();
        let last = self.seen.get(&vm).map_or(0, |seen| seen.1);
        let lists = self.host_of.get(&vm).and_then(|host| self.lists.get(host)).copied().unwrap_or(0);
        if lists < last + 2 {
            self.violations
                .push(format!("{vm} was declared missing after {} listings without it", lists - last));
        }
    }
}

#[async_trait]
impl Provider for WatchedHost {
    fn backend(&self) -> &str {
        "stub"
    }

    async fn probe(&self) -> ProviderResult<HostFacts> {
        self.stub.probe().await
    }

    async fn create(&self, request: &CreateRequest) -> ProviderResult<VmFacts> {
        if self.stub.ever().contains(&request.name) && self.stub.vm(&request.name).is_none() {
            // A boot that is begun again makes the same VM; nothing else may.
            let record = self.record_of(&request.name).await;
            let again =
                record.is_some_and(|environment| environment.vm == request.name && environment.boots > 1);
            if !again {
                self.watch
                    .lock()
                    .unwrap()
                    .violations
                    .push(format!("the name {} was used twice", request.name));
            }
        }
        self.note_made(request);
        self.stub.create(request).await
    }

    async fn list(&self, owner: &OwnerId, prefix: &VmPrefix) -> ProviderResult<Vec<VmFacts>> {
        let listed = self.stub.list(owner, prefix).await?;
        let mut watch = self.watch.lock().unwrap();
        let lists = watch.lists.entry(self.name.clone()).or_default();
        *lists += 1;
        let number = *lists;
        for vm in &listed {
            let seen = watch.seen.entry(vm.name.clone()).or_default();
            *seen = (seen.0 + 1, number);
        }
        Ok(listed)
    }

    async fn get(&self, vm: &VmName) -> ProviderResult<VmFacts> {
        self.stub.get(vm).await
    }

    async fn destroy(&self, vm: &VmName) -> ProviderResult<()> {
        if let Err(why) = self.may_destroy(vm).await {
            self.watch.lock().unwrap().violations.push(why);
        }
        if let Some(record) = self.store.get(Kind::Teardown, vm.as_str()).await.unwrap() {
            let teardown: Teardown = serde_json::from_slice(&record.body).unwrap();
            let mut watch = self.watch.lock().unwrap();
            let seen = watch.seen.get(vm).map_or(0, |seen| seen.0);
            if teardown.cause == fuse_orchestrator::model::TeardownCause::Orphan && seen < 2 {
                watch.violations.push(format!("the orphan {vm} was destroyed after {seen} sightings"));
            }
        }
        self.stub.destroy(vm).await
    }

    async fn upload(&self, vm: &VmName, file: &FileUpload) -> ProviderResult<()> {
        self.stub.upload(vm, file).await
    }

    async fn exec(&self, vm: &VmName, request: &ExecRequest) -> ProviderResult<ExecOutput> {
        self.stub.exec(vm, request).await
    }

    async fn start_agent(&self, vm: &VmName, start: &AgentStart) -> ProviderResult<Vec<GuestEndpoint>> {
        self.stub.start_agent(vm, start).await
    }

    async fn attach(&self, vm: &VmName, request: &AttachRequest) -> ProviderResult<AttachSession> {
        self.stub.attach(vm, request).await
    }

    async fn logs(&self, vm: &VmName, source: LogSource, limit: usize) -> ProviderResult<Vec<u8>> {
        self.stub.logs(vm, source, limit).await
    }

    async fn snapshot(&self, vm: &VmName, request: &SnapshotVmRequest) -> ProviderResult<SnapshotFacts> {
        self.stub.snapshot(vm, request).await
    }

    async fn snapshots(&self, vm: &VmName) -> ProviderResult<Vec<SnapshotFacts>> {
        self.stub.snapshots(vm).await
    }

    async fn restore(&self, vm: &VmName, artifact: &str) -> ProviderResult<()> {
        self.stub.restore(vm, artifact).await
    }

    async fn fork(&self, request: &ForkVmRequest) -> ProviderResult<VmFacts> {
        self.note_made(&request.create);
        self.stub.fork(request).await
    }

    async fn delete_snapshot(&self, vm: &VmName, artifact: &str) -> ProviderResult<()> {
        self.stub.delete_snapshot(vm, artifact).await
    }
}

/// Connects to the hosts of a simulation.
#[derive(Debug)]
pub struct SimConnector {
    pub hosts: BTreeMap<String, Arc<WatchedHost>>,
}

impl Connector for SimConnector {
    fn connect(&self, host: &HostAddress) -> ProviderResult<Arc<dyn Provider>> {
        let name = host.url.trim_start_matches("sim://");
        Ok(Arc::clone(self.hosts.get(name).unwrap()) as Arc<dyn Provider>)
    }
}
