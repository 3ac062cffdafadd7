//! The agent itself: hello, health, info, logs, token.

use serde::{Deserialize, Serialize};

use crate::Token;

/// Proves that this is the VM's host.
///
/// On a channel that only the host can reach (virtio-serial, vsock from the host) and as long as the guest has no token,
/// the first hello with a token sets it. On TCP the guest must have one.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Hello {
    /// The token.
    pub token: Option<Token>,
}

/// Asks for [`Health`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthRequest {}

/// Asks for [`AgentInfo`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InfoRequest {}

/// What the agent is and has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentInfo {
    /// The agent's name, such as `fused`.
    pub agent: String,
    /// Its version.
    pub version: String,
    /// The VM that it believes to be; empty until it was told.
    pub vm_id: String,
    /// The kernel's number of this boot. A restored guest keeps it; a guest that booted anew has another.
    pub boot_id: String,
    /// The verbs that it knows, by name.
    pub verbs: Vec<String>,
    /// Bytes of the manifest `/fuse/manifest.json`; 0 when there is none.
    pub manifest_bytes: u64,
    /// Secrets in `/fuse/secrets.json`.
    pub secret_count: u64,
    /// The gateway that the workload was given; empty when none.
    pub gateway: String,
    /// Whether the TCP port speaks TLS.
    pub tls: bool,
    /// Milliseconds since the guest booted, without the time that it was stopped.
    pub uptime_ms: u64,
    /// How often the guest was renewed after a restore.
    pub generation: u64,
}

/// What the health check says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// There is no health check.
    #[default]
    None,
    /// Not yet known: within the start period, or before the first answer.
    Starting,
    /// The last check passed.
    Passing,
    /// As many checks failed in a row as the check allows.
    Failing,
}

/// Whether the agent lives, and what the health check says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// `ok`.
    pub status: String,
    /// The VM that the agent believes to be.
    pub vm_id: String,
    /// What the health check says.
    pub healthcheck: HealthState,
    /// What the last check that failed said; empty when none did.
    pub reason: String,
}

/// A log of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// What the startup script wrote.
    Startup,
    /// What the workload wrote.
    Workload,
    /// What the agent itself has to say.
    Agent,
    /// The kernel's messages.
    Kernel,
}

/// Reads a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// Which.
    pub source: LogSource,
    /// The last so many bytes. The guest keeps at most 256 KiB of each.
    #[serde(default = "Logs::default_bytes")]
    pub max_bytes: u64,
    /// Whether to go on with what is written from now, until the stream is given up.
    #[serde(default)]
    pub follow: bool,
}

impl Logs {
    /// The last 64 KiB of `source`.
    #[must_use]
    pub fn of(source: LogSource) -> Self {
        Self { source, max_bytes: Self::default_bytes(), follow: false }
    }

    fn default_bytes() -> u64 {
        64 * 1024
    }
}

/// Replaces the token of the host's channel. Connections that said hello with the old one are closed, but for the one
/// that asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SetToken {
    /// The new token.
    pub token: Token,
}
