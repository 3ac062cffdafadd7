//! How an orchestrator is put together.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{
    Config, ControlPlane, Guard, HostRegistration, Inner, ReconcileWatcher, SecretKeeper, events::EventHub,
    fleet::Fleet, locks::Locks, reconcile::SHORTEST_PERIOD, record, tasks::Tasks, waits::Waits,
};
use crate::{
    Error, Result,
    model::{Clock, HostId, OwnerId, SystemClock},
    provider::{Connector, stub::StubConnector},
    secrets::KeyRing,
    store::{Batch, Expect, Kind, Lease, MemoryStore, SharedStore},
};

const LEASE: &str = "control-plane";
const IDENTITY: &str = "identity";

/// Who we are, as the store remembers it.
#[derive(Serialize, Deserialize)]
struct Identity {
    owner: OwnerId,
}

/// Puts an orchestrator together.
#[derive(Debug)]
#[must_use = "a builder does nothing until it opens"]
pub struct Builder {
    config: Config,
    store: Option<SharedStore>,
    clock: Arc<dyn Clock>,
    secrets: Option<Arc<dyn SecretKeeper>>,
    connectors: BTreeMap<String, Arc<dyn Connector>>,
    default_host: Option<HostRegistration>,
    watcher: Option<Arc<dyn ReconcileWatcher>>,
}

impl Default for Builder {
    fn default() -> Self {
        let stub: Arc<dyn Connector> = Arc::new(StubConnector::new());
        let mut connectors =
            BTreeMap::from([("stub".to_owned(), Arc::clone(&stub)), ("fc".to_owned(), stub)]);
        #[cfg(feature = "remote")]
        for scheme in ["http", "https"] {
            let remote = crate::provider::remote::RemoteConnector::default();
            connectors.insert(scheme.to_owned(), Arc::new(remote));
        }
        Self {
            config: Config::default(),
            store: None,
            clock: Arc::new(SystemClock::new()),
            secrets: None,
            connectors,
            default_host: None,
            watcher: None,
        }
    }
}

impl Builder {
    /// Uses this configuration.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Keeps the state there. Without it the state is in memory and ends with the program.
    pub fn store(mut self, store: SharedStore) -> Self {
        self.store = Some(store);
        self
    }

    /// Takes the time from there.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Makes credentials and keeps secrets with this. Without it a key is made that ends with the program, which
    /// only a store in memory can do with.
    pub fn secrets(mut self, secrets: Arc<dyn SecretKeeper>) -> Self {
        self.secrets = Some(secrets);
        self
    }

    /// Drives hosts whose URL has this scheme with this connector.
    pub fn connector(mut self, scheme: &str, connector: Arc<dyn Connector>) -> Self {
        self.connectors.insert(scheme.to_owned(), connector);
        self
    }

    /// Tells `watcher` of every look at a host.
    pub fn watch_reconcile(mut self, watcher: Arc<dyn ReconcileWatcher>) -> Self {
        self.watcher = Some(watcher);
        self
    }

    /// Registers this host under the name `default`, unless it is registered already.
    pub fn default_host(mut self, registration: HostRegistration) -> Self {
        self.default_host = Some(registration);
        self
    }

    /// Opens the orchestrator: takes the lease of the store, reads the state, and begins to look at the hosts.
    ///
    /// # Errors
    /// [`Error::Store`], also when another orchestrator acts on this store; [`Error::Secret`] for a durable store
    /// without a durable key; [`Error::Invalid`] for a configuration that makes no sense.
    pub async fn open(self) -> Result<ControlPlane> {
        let durable = self.store.is_some();
        let mut config = checked(self.config)?;
        // A memory that forgets, under a name that stays: what runs under that name is ours.
        config.readopt |= !durable && config.owner.is_some();
        let store = self.store.unwrap_or_else(|| Arc::new(MemoryStore::new()));
        let secrets = match self.secrets {
            Some(secrets) => secrets,
            None if durable => {
                let why = "the state is durable, and no key was given to keep its secrets".to_owned();
                return Err(Error::Secret { doing: "open the state", why });
            }
            None => Arc::new(KeyRing::generate()?),
        };
        let lease = take_lease(&store, &config).await?;
        let owner = identity(&store, &config, &lease, &*secrets).await?;
        let last = store.position().await?.last_event;
        let inner = Arc::new(Inner {
            owner,
            clock: self.clock,
            secrets,
            connectors: self.connectors,
            fleet: Mutex::new(Fleet::new(config.policy)),
            hub: Arc::new(EventHub::new(Arc::clone(&store), last)),
            store,
            config,
            lease: Mutex::new(lease),
            locks: Locks::default(),
            waits: Waits::default(),
            closed: Mutex::default(),
            tasks: Tasks::new(),
            watcher: self.watcher,
        });
        let orchestrator =
            ControlPlane { inner: Arc::clone(&inner), _guard: Arc::new(Guard(Arc::clone(&inner))) };
        inner.load().await?;
        inner.watch_lease();
        inner.watch_house();
        let known: Vec<HostId> = inner.fleet().hosts.keys().cloned().collect();
        known.iter().for_each(|id| inner.watch_host(id));
        if let Some(registration) = self.default_host {
            let id = HostId::new("default")?;
            if !known.contains(&id) {
                orchestrator.register_host(&id, registration).await?;
            }
        }
        Ok(orchestrator)
    }
}

fn checked(config: Config) -> Result<Config> {
    if config.reconcile_period.is_some_and(|period| period < SHORTEST_PERIOD) {
        let text = format!("is shorter than {} ms", SHORTEST_PERIOD.as_millis());
        return Err(Error::invalid("reconcile_period", text));
    }
    Ok(config)
}

/// Takes the lease; waits for one that a process before us left behind.
async fn take_lease(store: &SharedStore, config: &Config) -> Result<Lease> {
    let mut tries = 0;
    loop {
        match store.acquire_lease(LEASE, &config.instance, config.lease).await {
            Err(error) if error.is_retryable() && tries < 3 => {
                tries += 1;
                tokio::time::sleep(config.lease.min(Duration::from_secs(60)) / 2).await;
            }
            result => return Ok(result?),
        }
    }
}

/// Who we are: as configured, else as the store remembers, else somebody new.
async fn identity(
    store: &SharedStore,
    config: &Config,
    lease: &Lease,
    secrets: &dyn SecretKeeper,
) -> Result<OwnerId> {
    if let Some(owner) = &config.owner {
        return Ok(owner.clone());
    }
    if let Some(found) = store.get(Kind::Setting, IDENTITY).await? {
        let identity: Identity = record::decode("setting", IDENTITY, &found.body)?;
        return Ok(identity.owner);
    }
    let mut bytes = [0; 16];
    secrets.random(&mut bytes)?;
    let owner = OwnerId::new(format!("{:032x}", u128::from_be_bytes(bytes)))?;
    let body = record::encode("setting", IDENTITY, &Identity { owner: owner.clone() })?;
    let batch = Batch::new().put(Kind::Setting, IDENTITY, Expect::Absent, body).fenced_by(lease);
    store.commit(batch).await?;
    Ok(owner)
}

impl ControlPlane {
    /// An orchestrator to be put together.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An orchestrator whose state ends with the program, with one stub host of the standard size. For trying out
    /// and for tests.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub async fn in_memory() -> Result<Self> {
        let stub = HostRegistration { url: "stub://default".to_owned(), ..HostRegistration::default() };
        Self::builder().default_host(stub).open().await
    }

    /// The name of the lease on the store that whoever acts holds.
    pub const LEASE: &str = LEASE;

    /// Who we are to hosts: the tag of our VMs.
    #[must_use]
    pub fn owner(&self) -> &OwnerId {
        &self.inner.owner
    }

    /// Ends the background work, gives the lease back and closes the store. Work under way stops where it stands; the
    /// next orchestrator on this store finishes it.
    ///
    /// # Errors
    /// [`Error::Store`] when the store cannot be closed cleanly; what was acknowledged is durable all the same.
    pub async fn close(&self) -> Result<()> {
        self.halt().await;
        let lease = self.inner.lease();
        let released = self.inner.store.release_lease(&lease).await;
        self.inner.store.close().await?;
        Ok(released?)
    }

    /// Stops everything where it stands, as the end of the process would, without telling the store.
    pub async fn halt(&self) {
        self.inner.close_because("it was closed".to_owned());
        self.inner.tasks.abort();
        self.inner.tasks.ended().await;
    }
}
