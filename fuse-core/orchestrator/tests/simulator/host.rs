//! A host that is watched: what is destroyed must have been meant to be.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use fuse_orchestrator::{
    model::{Environment, EnvironmentState, GuestEndpoint, OwnerId, Teardown, VmName, VmPrefix},
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
    /// For each host and VM: how many answered listings in a row lacked it, and how many ever had it.
    pub listings: BTreeMap<(String, VmName), (u32, u32)>,
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
    /// What the durable records say about a VM: whether it may be destroyed.
    async fn may_destroy(&self, vm: &VmName) -> Result<(), String> {
        if self.store.get(Kind::Teardown, vm.as_str()).await.unwrap().is_some() {
            return Ok(());
        }
        let page = self.store.list(Kind::Environment, None, 1_000).await.unwrap();
        for record in page.records {
            let environment: Environment = serde_json::from_slice(&record.body).unwrap();
            if environment.vm != *vm {
                continue;
            }
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
            let found = self.store.list(Kind::Environment, None, 1_000).await.unwrap().records;
            let again = found.iter().any(|record| {
                let environment: Environment = serde_json::from_slice(&record.body).unwrap();
                environment.vm == request.name && environment.boots > 1
            });
            if !again {
                self.watch
                    .lock()
                    .unwrap()
                    .violations
                    .push(format!("the name {} was used twice", request.name));
            }
        }
        self.stub.create(request).await
    }

    async fn list(&self, owner: &OwnerId, prefix: &VmPrefix) -> ProviderResult<Vec<VmFacts>> {
        let listed = self.stub.list(owner, prefix).await?;
        let mut watch = self.watch.lock().unwrap();
        let here = |(host, _): &(String, VmName)| *host == self.name;
        for (_, seen) in watch.listings.iter_mut().filter(|(key, _)| here(key)) {
            seen.0 += 1;
        }
        for vm in &listed {
            let seen = watch.listings.entry((self.name.clone(), vm.name.clone())).or_default();
            *seen = (0, seen.1 + 1);
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
            let seen = watch.listings.get(&(self.name.clone(), vm.clone())).map_or(0, |seen| seen.1);
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
