//! What a scenario runs in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use fuse_orchestrator::{
    Config, ControlPlane, HostRegistration, Orchestrator,
    model::{Capacity, HostId, OwnerId},
    provider::stub::{StubConnector, StubHost},
    scheduler::Policy,
    secrets::{ApiKey, KeyRing},
    store::{MemoryStore, SharedStore},
};
use serde_json::Value;

use super::Reach;

pub struct World {
    /// What the scenario calls.
    pub fuse: Orchestrator,
    /// What is behind it, for what only the process that acts can do.
    pub plane: ControlPlane,
    reach: Reach,
    pub stub: Arc<StubConnector>,
    store: SharedStore,
    keys: Arc<KeyRing>,
    config: Config,
    /// Names that the scenario gave to what has a random name.
    pub names: BTreeMap<String, String>,
    pub api_keys: BTreeMap<String, ApiKey>,
}

impl World {
    pub async fn open(config: &Value, hosts: &Value, reach: Reach) -> Result<Self, String> {
        let stub = Arc::new(StubConnector::new());
        let keys = Arc::new(KeyRing::generate().unwrap());
        let store: SharedStore = Arc::new(MemoryStore::new());
        let config = read_config(config)?;
        let plane = build(&config, &store, &keys, &stub).await?;
        let fuse = reach(&plane);
        let world = Self {
            fuse,
            plane,
            reach,
            stub,
            store,
            keys,
            config,
            names: BTreeMap::new(),
            api_keys: BTreeMap::new(),
        };
        for (name, host) in hosts.as_object().into_iter().flatten() {
            world.register(name, host).await?;
        }
        Ok(world)
    }

    /// Ends the process where it stands and starts another on the same store.
    pub async fn restart(&mut self) -> Result<(), String> {
        self.plane.halt().await;
        self.plane = build(&self.config, &self.store, &self.keys, &self.stub).await?;
        self.fuse = (self.reach)(&self.plane);
        Ok(())
    }

    pub async fn register(&self, name: &str, host: &Value) -> Result<(), String> {
        self.try_register(name, host).await?.map_err(|error| error.to_string())
    }

    pub async fn try_register(
        &self,
        name: &str,
        host: &Value,
    ) -> Result<Result<(), fuse_orchestrator::Error>, String> {
        let read = |value: &Value| serde_json::from_value(value.clone()).map_err(|error| error.to_string());
        let capacity: Capacity =
            if host["has"].is_null() { StubHost::standard_capacity() } else { read(&host["has"])? };
        if !self.names.contains_key(&format!("host {name}")) && host["again"].is_null() {
            self.stub.add(StubHost::new(name, capacity));
        }
        let mut registration = HostRegistration {
            url: host["url"].as_str().map_or(format!("stub://{name}"), str::to_owned),
            region: host["region"].as_str().unwrap_or_default().to_owned(),
            ..HostRegistration::default()
        };
        if !host["labels"].is_null() {
            registration.labels =
                serde_json::from_value(host["labels"].clone()).map_err(|e| e.to_string())?;
        }
        if !host["declared"].is_null() {
            registration.capacity = read(&host["declared"])?;
        }
        if let Some(arch) = host["arch"].as_str() {
            registration.arch = Some(arch.parse()?);
        }
        let id = HostId::new(name).map_err(|error| error.to_string())?;
        Ok(self.fuse.register_host(&id, registration).await.map(drop))
    }
}

async fn build(
    config: &Config,
    store: &SharedStore,
    keys: &Arc<KeyRing>,
    stub: &Arc<StubConnector>,
) -> Result<ControlPlane, String> {
    ControlPlane::builder()
        .config(config.clone())
        .store(Arc::clone(store))
        .secrets(Arc::clone(keys) as _)
        .connector("stub", Arc::clone(stub) as _)
        .open()
        .await
        .map_err(|error| error.to_string())
}

fn read_config(value: &Value) -> Result<Config, String> {
    let mut config =
        Config { reconcile_period: None, owner: Some(OwnerId::new("us").unwrap()), ..Config::default() };
    for (key, value) in value.as_object().into_iter().flatten() {
        let seconds = || value.as_f64().map(Duration::from_secs_f64).ok_or(format!("{key} is not a number"));
        match key.as_str() {
            "policy" if value == "binpack" => config.policy = Policy::Binpack,
            "policy" if value == "spread" => config.policy = Policy::Spread,
            "orphan_grace_seconds" => config.limits.orphan_grace = seconds()?,
            "drain_limit_seconds" => config.limits.drain_limit = seconds()?,
            "max_runtime_seconds" => config.limits.max_runtime = seconds()?,
            "lost_after_seconds" => config.limits.lost_after = seconds()?,
            "keep_ended_seconds" => config.keep_ended = seconds()?,
            "reconcile_seconds" => config.reconcile_period = Some(seconds()?),
            _ => return Err(format!("the configuration {key}: {value} is not known")),
        }
    }
    Ok(config)
}
