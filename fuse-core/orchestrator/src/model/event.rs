//! Events: what happened, in order, durable with the change that they tell of.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ApiKeyId, EnvironmentId, EnvironmentState, HostId, Reason, SnapshotId, Timestamp, VmName};

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:tt,)*) => {
        /// The closed list of things that can happen.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub enum EventKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind,)*
            /// Something that this version does not know: a newer one wrote it.
            #[serde(rename = "unknown", other)]
            Unknown,
        }

        impl EventKind {
            /// The name on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $name,)* Self::Unknown => "unknown" }
            }
        }
    };
}

kinds! {
    /// An environment was accepted.
    VmProvisioning = "vm.provisioning",
    /// A host was chosen and its capacity reserved.
    VmScheduled = "vm.scheduled",
    /// An environment runs.
    VmRunning = "vm.running",
    /// A boot failed.
    VmProvisionFailed = "vm.provision_failed",
    /// A boot was begun again after a restart.
    VmRecovered = "vm.recovered",
    /// A drain began.
    VmDraining = "vm.draining",
    /// The drain command ended well.
    VmDrained = "vm.drained",
    /// The drain command failed.
    VmDrainFailed = "vm.drain_failed",
    /// There was no drain command to run.
    VmDrainSkipped = "vm.drain_skipped",
    /// An environment is to go.
    VmDestroying = "vm.destroying",
    /// An environment is gone.
    VmRemoved = "vm.removed",
    /// A VM could not be removed; it is tried again.
    VmRemoveFailed = "vm.remove_failed",
    /// An environment got new credentials.
    VmTokenRotated = "vm.token_rotated",
    /// An environment was forked.
    VmForked = "vm.forked",
    /// The verdict of a health check changed.
    VmHealthChanged = "vm.health_changed",
    /// A VM of ours that no record knows is to be removed.
    VmOrphanFound = "vm.orphan_found",
    /// Such a VM was removed.
    VmOrphanRemoved = "vm.orphan_removed",
    /// A VM cannot be removed and became a dead letter.
    VmOrphanDeadLettered = "vm.orphan_dead_lettered",
    /// Secrets went into a guest.
    SecretsDeployed = "secrets.deployed",
    /// A snapshot was asked for.
    SnapshotCreating = "snapshot.creating",
    /// A snapshot is ready.
    SnapshotCreated = "snapshot.created",
    /// A snapshot could not be made or used.
    SnapshotFailed = "snapshot.failed",
    /// An environment was set back to a snapshot.
    SnapshotRestored = "snapshot.restored",
    /// A snapshot is to go.
    SnapshotDeleting = "snapshot.deleting",
    /// A snapshot is gone.
    SnapshotDeleted = "snapshot.deleted",
    /// A snapshot is gone because its retention ran out.
    SnapshotGcDeleted = "snapshot.gc_deleted",
    /// A host was registered, or registered again.
    HostRegistered = "host.registered",
    /// A host takes no new environments.
    HostCordoned = "host.cordoned",
    /// A host takes new environments again.
    HostUncordoned = "host.uncordoned",
    /// A host is being emptied.
    HostDraining = "host.draining",
    /// A host that was to be emptied has no environment any more.
    HostDrained = "host.drained",
    /// A host was removed.
    HostRemoved = "host.removed",
    /// A host answers (again).
    HostReady = "host.ready",
    /// A host does not answer.
    HostUnreachable = "host.unreachable",
    /// A host has not answered for long.
    HostLost = "host.lost",
    /// A dead letter was retried by an operator.
    DeadLetterRetried = "dead_letter.retried",
    /// A dead letter was dismissed by an operator.
    DeadLetterDismissed = "dead_letter.dismissed",
    /// An API key was made.
    ApiKeyCreated = "api_key.created",
    /// An API key was revoked.
    ApiKeyRevoked = "api_key.revoked",
    /// A caller had no credentials, or wrong ones.
    AuthFailed = "auth.failed",
    /// A caller's address is not in the list of allowed networks.
    IpRejected = "ip.rejected",
}

impl std::fmt::Display for EventKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an event is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Subject {
    /// An environment.
    Environment(EnvironmentId),
    /// A VM that no environment stands for.
    Vm(VmName),
    /// A host.
    Host(HostId),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// An API key.
    ApiKey(ApiKeyId),
    /// A dead letter, by its key.
    DeadLetter(String),
    /// Whoever calls from an address, or from a /64 network of addresses.
    Address(String),
}

impl Subject {
    /// The name of the subject's kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Environment(_) => "environment",
            Self::Vm(_) => "vm",
            Self::Host(_) => "host",
            Self::Snapshot(_) => "snapshot",
            Self::ApiKey(_) => "api_key",
            Self::DeadLetter(_) => "dead_letter",
            Self::Address(_) => "address",
        }
    }

    /// The name of the subject.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Environment(id) => id.as_str(),
            Self::Vm(id) => id.as_str(),
            Self::Host(id) => id.as_str(),
            Self::Snapshot(id) => id.as_str(),
            Self::ApiKey(id) => id.as_str(),
            Self::DeadLetter(id) | Self::Address(id) => id,
        }
    }
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its place in the order of all events: 1, 2, 3, …
    #[serde(default)]
    pub sequence: u64,
    /// When it happened.
    pub time: Timestamp,
    /// What happened.
    pub event: EventKind,
    /// What it happened to.
    pub subject: Subject,
    /// The state that the environment is in from now on, when the event is a change of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<EnvironmentState>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// More, by name. Never a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl Event {
    /// An event without state, reason and details. Its sequence number comes with the commit.
    #[must_use]
    pub const fn new(time: Timestamp, event: EventKind, subject: Subject) -> Self {
        Self { sequence: 0, time, event, subject, state: None, reason: None, details: BTreeMap::new() }
    }

    /// The same with a state.
    #[must_use]
    pub const fn with_state(mut self, state: EnvironmentState) -> Self {
        self.state = Some(state);
        self
    }

    /// The same with a reason.
    #[must_use]
    pub fn with_reason(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// The same with one more detail.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.details.insert(name.to_owned(), value.to_string());
        self
    }

    /// The event's id on the wire: its sequence number as 32 hexadecimal digits.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{:032x}", self.sequence)
    }
}
