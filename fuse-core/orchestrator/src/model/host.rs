//! Hosts: machines that run VMs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Arch, Capacity, CertificatePin, HostId, Reason, Timestamp};

/// What the operator wants of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum HostState {
    /// Takes new environments.
    #[default]
    Active,
    /// Takes none; those that it has go on.
    Cordoned,
}

impl HostState {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Cordoned => "cordoned",
        }
    }
}

impl std::fmt::Display for HostState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Liveness {
    /// It answers.
    #[default]
    Ready,
    /// It did not answer lately. Takes no new environments; those that it has are in an unknown state.
    Unreachable,
    /// It has not answered for long. Its environments wait for it, or for the operator who removes it.
    Lost,
}

impl Liveness {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unreachable => "unreachable",
            Self::Lost => "lost",
        }
    }
}

impl std::fmt::Display for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a host answers, since when, and why that is believed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostLiveness {
    /// The state.
    pub state: Liveness,
    /// Since when it holds.
    pub since: Timestamp,
    /// Why.
    pub reason: Reason,
}

/// The order to empty a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostDrain {
    /// When it was given.
    pub since: Timestamp,
    /// Seconds that the drain of one environment may take until it is destroyed all the same.
    pub limit_seconds: u64,
    /// How many environments the host had then.
    pub environments: usize,
    /// When the host was empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Its name.
    pub id: HostId,
    /// Where its agent is reached; the scheme says which kind of provider drives it.
    pub url: String,
    /// Its region. Empty: none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// What runs its VMs, such as `firecracker`, `qemu` or `stub`.
    pub backend: String,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its architecture.
    #[serde(default)]
    pub arch: Arch,
    /// The certificate that its agent must show; none: one that the system's authorities vouch for.
    #[serde(rename = "certificate_sha256", default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificatePin>,
    /// What the operator wants of it.
    pub state: HostState,
    /// The order to empty it, until it is taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain: Option<HostDrain>,
    /// Whether it answers.
    pub liveness: HostLiveness,
    /// What it has.
    pub capacity: Capacity,
    /// What is taken. Computed from the environments, never stored on its own, so that it cannot drift.
    #[serde(default)]
    pub allocated: Capacity,
    /// When it last answered.
    pub last_seen: Timestamp,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// What the operator should know about the registration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

impl Host {
    /// Whether new environments may go there, capacity aside.
    #[must_use]
    pub fn is_schedulable(&self) -> bool {
        self.state == HostState::Active && self.liveness.state == Liveness::Ready
    }
}
