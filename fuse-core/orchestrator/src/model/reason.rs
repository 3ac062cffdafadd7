//! Why a record is in the state it is in.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The closed list of causes of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ReasonCode {
    /// A caller asked for it.
    Requested,
    /// The VM booted and its agent runs.
    Booted,
    /// The boot failed: the host, an upload, the startup script or the agent.
    BootFailed,
    /// The boot did not end within its limit.
    BootTimeout,
    /// Recovery found it half done after a restart and finished it.
    Recovered,
    /// A restart interrupted it and it could not be finished.
    Interrupted,
    /// A caller asked for a drain.
    DrainRequested,
    /// The drain command failed; the environment stays draining.
    DrainFailed,
    /// Draining took longer than its limit.
    DrainTimeout,
    /// A caller asked for its destruction.
    DestroyRequested,
    /// It ran for its maximum run time.
    Expired,
    /// Nobody used it for its idle time.
    Idle,
    /// Its host says, repeatedly, that the VM is not there.
    VmMissing,
    /// Its host was removed by force.
    HostRemoved,
    /// Its host is being emptied.
    HostDrained,
    /// The VM is gone and the capacity is free.
    Removed,
    /// The provider refused or failed.
    ProviderFailed,
    /// Retention ran out.
    RetentionEnded,
    /// A host answered.
    Answered,
    /// A host did not answer.
    NoAnswer,
    /// A cause that this version does not know: a newer one wrote it.
    #[serde(other)]
    Unknown,
}

impl ReasonCode {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Booted => "booted",
            Self::BootFailed => "boot_failed",
            Self::BootTimeout => "boot_timeout",
            Self::Recovered => "recovered",
            Self::Interrupted => "interrupted",
            Self::DrainRequested => "drain_requested",
            Self::DrainFailed => "drain_failed",
            Self::DrainTimeout => "drain_timeout",
            Self::DestroyRequested => "destroy_requested",
            Self::Expired => "expired",
            Self::Idle => "idle",
            Self::VmMissing => "vm_missing",
            Self::HostRemoved => "host_removed",
            Self::HostDrained => "host_drained",
            Self::Removed => "removed",
            Self::ProviderFailed => "provider_failed",
            Self::RetentionEnded => "retention_ended",
            Self::Answered => "answered",
            Self::NoAnswer => "no_answer",
            Self::Unknown => "unknown",
        }
    }

    /// Whether something went wrong.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(
            self,
            Self::BootFailed
                | Self::BootTimeout
                | Self::Interrupted
                | Self::DrainFailed
                | Self::DrainTimeout
                | Self::VmMissing
                | Self::HostRemoved
                | Self::ProviderFailed
        )
    }
}

/// Why a record is in its state: a code for programs, a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reason {
    /// The cause.
    pub code: ReasonCode,
    /// What happened, in words, without secrets. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

impl Reason {
    /// A reason with words. Text beyond 2,000 characters is cut.
    #[must_use]
    pub fn new(code: ReasonCode, text: impl Into<String>) -> Self {
        let mut text: String = text.into();
        if let Some((end, _)) = text.char_indices().nth(2_000) {
            text.truncate(end);
        }
        Self { code, text }
    }
}

impl From<ReasonCode> for Reason {
    fn from(code: ReasonCode) -> Self {
        Self { code, text: String::new() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code.as_str())?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}
