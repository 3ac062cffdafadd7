//! Policies and applications, as text and as bytes.

use fuse_runtime::edge::{self, AppConfig};
use napi::bindgen_prelude::{Buffer, Uint8ArraySlice};
use napi_derive::napi;

use crate::fault::{OrThrow, Result};

/// A policy as plain numbers.
#[napi(object)]
pub struct NativePolicy {
    /// Mask.
    pub capabilities: u32,
    /// Pages of 64 KiB.
    pub memory_pages_max: u32,
    /// Bytes.
    pub stack_size: u32,
    /// Bytes.
    pub heap_size: u32,
    /// Microseconds.
    pub cpu_quota_us: u32,
    /// Microseconds.
    pub step_interval_us: u32,
    /// Mask.
    pub activation: u32,
    /// Mask.
    pub event_subscribe: u32,
    /// Instructions, in decimal: JavaScript's numbers do not hold all.
    pub fuel_quota: String,
    /// Lower first.
    pub priority: u8,
    /// The 32-byte form.
    pub bytes: Buffer,
}

impl From<&edge::Policy> for NativePolicy {
    fn from(p: &edge::Policy) -> Self {
        Self {
            capabilities: p.capabilities.bits(),
            memory_pages_max: p.memory_pages_max,
            stack_size: p.stack_size,
            heap_size: p.heap_size,
            cpu_quota_us: p.cpu_quota_us,
            step_interval_us: p.step_interval_us,
            activation: p.activation.bits(),
            event_subscribe: p.event_subscribe.bits(),
            fuel_quota: p.fuel_quota.to_string(),
            priority: p.priority,
            bytes: p.to_bytes().to_vec().into(),
        }
    }
}

/// Reads a policy from JSON.
#[napi]
pub fn native_policy_from_json(text: String) -> Result<NativePolicy> {
    edge::Policy::from_json(&text).or_throw().map(|p| NativePolicy::from(&p))
}

/// Reads a policy from its 32 bytes.
#[napi]
pub fn native_policy_from_bytes(data: Uint8ArraySlice<'_>) -> Result<NativePolicy> {
    edge::Policy::from_bytes(&data).or_throw().map(|p| NativePolicy::from(&p))
}

/// An application with its modules.
#[napi(js_name = "NativeAppConfig")]
pub struct Config {
    pub(crate) app: AppConfig,
}

/// One module of an application.
#[napi(object)]
pub struct NativeModuleDecl {
    /// Its name.
    pub name: String,
    /// Where its artifact is.
    pub binary: String,
    /// What it may do.
    pub policy: NativePolicy,
    /// The artifact, when it is carried.
    pub artifact: Option<Buffer>,
}

/// What concerns the whole runtime.
#[napi(object)]
pub struct NativeApplication {
    /// Its name.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Most modules.
    pub max_modules: u32,
    /// Bytes; 0 = unlimited.
    pub memory_pool_bytes: i64,
    /// Bytes.
    pub log_pool_bytes: i64,
    /// `wall`, `fuel` or `both`.
    pub metering: String,
    /// Mask of what policies may ask for.
    pub capabilities: u32,
    /// Names of events.
    pub event_names: Vec<String>,
    /// Their ids, in the same order.
    pub event_ids: Vec<u32>,
}

#[napi]
impl Config {
    /// Reads `app_config.json`.
    #[napi]
    pub fn from_json(text: String) -> Result<Config> {
        AppConfig::from_json(&text).or_throw().map(|app| Self { app })
    }

    /// Reads a packed application.
    #[napi]
    pub fn from_binary(data: Uint8ArraySlice<'_>) -> Result<Config> {
        AppConfig::from_binary(&data).or_throw().map(|app| Self { app })
    }

    /// The application of a runtime without a configuration.
    #[napi]
    pub fn defaults() -> Config {
        Self { app: AppConfig::default() }
    }

    /// Packs it.
    #[napi]
    pub fn to_binary(&self) -> Result<Buffer> {
        self.app.to_binary().or_throw().map(Into::into)
    }

    /// The same, carrying an artifact of the module of this index.
    #[napi]
    pub fn with_artifact(&self, index: u32, artifact: Uint8ArraySlice<'_>) -> Config {
        let mut app = self.app.clone();
        if let Some(module) = app.modules.get_mut(index as usize) {
            module.artifact = Some(artifact.to_vec());
        }
        Self { app }
    }

    /// Whether another one says the same.
    #[napi]
    pub fn equals(&self, other: &Config) -> bool {
        self.app == other.app
    }

    /// What concerns the runtime.
    #[napi(getter)]
    pub fn application(&self) -> NativeApplication {
        let a = &self.app.application;
        NativeApplication {
            name: a.name.clone(),
            description: a.description.clone(),
            max_modules: a.max_modules,
            memory_pool_bytes: a.memory_pool_bytes.cast_signed(),
            log_pool_bytes: a.log_pool_bytes.cast_signed(),
            metering: a.metering.name().to_owned(),
            capabilities: a.capabilities().bits(),
            event_names: a.events.iter().map(|(name, _)| name.clone()).collect(),
            event_ids: a.events.iter().map(|(_, id)| id.get()).collect(),
        }
    }

    /// The modules.
    #[napi(getter)]
    pub fn modules(&self) -> Vec<NativeModuleDecl> {
        let shown = |m: &edge::ModuleDecl| NativeModuleDecl {
            name: m.name.clone(),
            binary: m.binary.clone(),
            policy: NativePolicy::from(&m.policy),
            artifact: m.artifact.clone().map(Into::into),
        };
        self.app.modules.iter().map(shown).collect()
    }
}
