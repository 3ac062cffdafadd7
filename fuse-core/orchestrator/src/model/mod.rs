//! The records of the control plane and the vocabulary of their states.
//!
//! Every record is plain data that serialises to JSON. A record that has a state also has a [`Reason`] for it,
//! and the state changes only through a method that refuses what the state machine does not allow.

mod agent;
mod deadletter;
mod environment;
mod event;
mod host;
mod id;
mod lifecycle;
mod pin;
mod reason;
mod request;
mod resources;
pub(crate) mod service;
mod snapshot;
mod teardown;
mod time;

pub use agent::{AgentSpec, Expose, GuestEndpoint, GuestFile, Healthcheck, HealthcheckProbe};
pub use deadletter::{DeadLetter, DeadLetterKind};
pub use environment::{
    Environment, EnvironmentFilter, EnvironmentState, Health, HealthState, Observed, Phase, PhaseTimings,
};
pub use event::{Event, EventKind, Subject};
pub use host::{Host, HostDrain, HostLiveness, HostState, Liveness};
pub use id::{
    ApiKeyId, EnvironmentId, HostId, IdError, IdempotencyKey, OwnerId, SnapshotId, TaskId, VmName, VmPrefix,
};
pub use pin::CertificatePin;
pub use reason::{Reason, ReasonCode};
pub use request::{EnvironmentSpec, ForkRequest, MAX_FILES_BYTES, ProvisionRequest, Seed, SnapshotRequest};
pub use resources::{Arch, Capacity, Resources};
pub use snapshot::{Snapshot, SnapshotFilter, SnapshotMode, SnapshotState};
pub use teardown::{Attempts, Teardown, TeardownCause};
pub use time::{Clock, SystemClock, Timestamp};

pub(crate) use request::{Manifest, check_labels};
