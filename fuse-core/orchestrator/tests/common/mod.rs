//! What several tests run in: a control plane over a store in memory and stub hosts.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test uses a part of it"
)]

use std::{sync::Arc, time::Duration};

use fuse_orchestrator::{
    Config, ControlPlane, HostRegistration,
    model::{EnvironmentId, EnvironmentState, HostId, ProvisionRequest, Reason, TaskId},
    provider::stub::{StubConnector, StubHost},
    secrets::KeyRing,
    store::{MemoryStore, SharedStore},
};

pub const SOON: Duration = Duration::from_secs(20);

pub struct World {
    pub fuse: ControlPlane,
    pub stub: Arc<StubConnector>,
    pub config: Config,
    store: SharedStore,
    keys: Arc<KeyRing>,
}

impl World {
    /// One host called `h1`, looked at only when the test says so.
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(adjust: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { reconcile_period: None, ..Config::default() };
        config.limits.sighting_gap = Duration::ZERO;
        config.limits.orphan_grace = Duration::ZERO;
        adjust(&mut config);
        let stub = Arc::new(StubConnector::new());
        let store: SharedStore = Arc::new(MemoryStore::new());
        let keys = Arc::new(KeyRing::generate().unwrap());
        let fuse = open(&config, &store, &keys, &stub).await;
        let world = Self { fuse, stub, config, store, keys };
        world.register("h1").await;
        world
    }

    /// Ends the process where it stands and starts another on the same store.
    pub async fn restart(&mut self) {
        self.fuse.halt().await;
        self.fuse = open(&self.config, &self.store, &self.keys, &self.stub).await;
    }

    pub async fn register(&self, name: &str) {
        let registration = HostRegistration { url: format!("stub://{name}"), ..HostRegistration::default() };
        self.fuse.register_host(&host(name), registration).await.unwrap();
    }

    pub fn h1(&self) -> StubHost {
        self.stub.host("h1")
    }

    pub async fn running(&self, task: &str) -> EnvironmentId {
        let accepted = self.fuse.provision(request(task)).await.unwrap();
        assert_eq!(accepted.state, EnvironmentState::Provisioning);
        self.fuse.wait_running(&accepted.id, SOON).await.unwrap();
        accepted.id.clone()
    }

    pub fn reason(&self, id: &EnvironmentId) -> Reason {
        self.fuse.get(id).unwrap().reason.clone()
    }

    pub fn taken(&self) -> u32 {
        self.fuse.host(&host("h1")).unwrap().allocated.vm_count
    }
}

async fn open(
    config: &Config,
    store: &SharedStore,
    keys: &Arc<KeyRing>,
    stub: &Arc<StubConnector>,
) -> ControlPlane {
    ControlPlane::builder()
        .config(config.clone())
        .store(Arc::clone(store))
        .secrets(Arc::clone(keys) as _)
        .connector("stub", Arc::clone(stub) as _)
        .open()
        .await
        .unwrap()
}

pub fn host(name: &str) -> HostId {
    HostId::new(name).unwrap()
}

pub fn request(task: &str) -> ProvisionRequest {
    let mut request = ProvisionRequest::new(TaskId::new(task).unwrap());
    request.spec.resources.cpus = 1;
    request.spec.resources.ram_mb = 512;
    request
}

/// Waits until it is so.
pub async fn eventually(mut done: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen");
}
