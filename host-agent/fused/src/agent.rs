//! What all connections share.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use fuse_guest_protocol::{
    Token, Verb,
    verb::{AgentInfo, Health},
};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    health::Board,
    log::Logs,
    options::Options,
    program::{freezer::Freezer, workload::Workload},
    tokens::Tokens,
};

/// The guest agent.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) options: Options,
    pub(crate) tokens: Tokens,
    pub(crate) logs: Logs,
    pub(crate) workload: Workload,
    pub(crate) health: Board,
    pub(crate) freezer: Freezer,
    vm_id: Mutex<String>,
    gateway: Mutex<Gateway>,
    generation: AtomicU64,
}

/// The gateway of the workload.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gateway {
    pub(crate) url: String,
    pub(crate) token: Option<Token>,
}

impl Agent {
    pub(crate) fn new(options: Options) -> Arc<Self> {
        let token = options.gateway_token_file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        let gateway =
            Gateway { url: options.gateway.clone(), token: token.and_then(|text| Token::new(&text).ok()) };
        Arc::new(Self {
            tokens: Tokens::new(options.token_file.clone(), options.insecure),
            logs: Logs::default(),
            workload: Workload::default(),
            health: Board::default(),
            freezer: Freezer::open(options.machine),
            vm_id: Mutex::new(options.vm_id.clone()),
            gateway: Mutex::new(gateway),
            generation: AtomicU64::new(0),
            options,
        })
    }

    pub(crate) fn vm_id(&self) -> String {
        self.vm_id.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_vm_id(&self, vm_id: &str) {
        vm_id.clone_into(&mut self.vm_id.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(crate) fn gateway(&self) -> Gateway {
        self.gateway.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_gateway(&self, gateway: Gateway) {
        *self.gateway.lock().unwrap_or_else(PoisonError::into_inner) = gateway;
    }

    /// Counts a renewal; the new count.
    pub(crate) fn renewed(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn has_tls(&self) -> bool {
        let there = |path: &Path| fs::metadata(path).is_ok_and(|file| file.len() > 0);
        there(&self.options.tls_cert) && there(&self.options.tls_key)
    }

    pub(crate) fn info(&self) -> AgentInfo {
        AgentInfo {
            agent: "fused".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            vm_id: self.vm_id(),
            boot_id: fs::read_to_string("/proc/sys/kernel/random/boot_id")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            verbs: Verb::ALL.iter().map(ToString::to_string).collect(),
            manifest_bytes: fs::metadata(&self.options.manifest).map_or(0, |file| file.len()),
            secret_count: self.secret_count(),
            gateway: self.gateway().url,
            tls: self.has_tls(),
            uptime_ms: uptime_ms(),
            generation: self.generation.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn health(&self) -> Health {
        let (healthcheck, reason) = self.health.now();
        Health { status: "ok".to_owned(), vm_id: self.vm_id(), healthcheck, reason }
    }

    fn secret_count(&self) -> u64 {
        let text = fs::read(&self.options.secrets).unwrap_or_default();
        serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(&text)
            .map_or(0, |secrets| secrets.len() as u64)
    }
}

/// Milliseconds since the boot, without the time that the machine was stopped.
fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}
