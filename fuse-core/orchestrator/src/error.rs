//! The errors of the control plane: one closed enum, and the code that each has on the wire.

use std::{fmt, time::Duration};

use crate::{
    model::{EnvironmentId, EnvironmentState, HostId, IdError, SnapshotId, SnapshotState, TaskId},
    provider::{ProviderError, ProviderErrorKind},
    scheduler::PlacementError,
    secrets::SecretError,
    store::StoreError,
};

/// The result of a call to the control plane.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Kinds of records, as errors name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// An environment. Errors say "vm", which clients look for.
    Environment,
    /// A host.
    Host,
    /// A snapshot.
    Snapshot,
    /// An API key.
    ApiKey,
    /// A dead letter.
    DeadLetter,
}

impl fmt::Display for RecordKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Environment => "vm",
            Self::Host => "host",
            Self::Snapshot => "snapshot",
            Self::ApiKey => "api key",
            Self::DeadLetter => "dead letter",
        })
    }
}

/// Things that have a size limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// The files of a request together.
    Files,
    /// One uploaded file.
    Upload,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "the files of the request",
            Self::Upload => "the uploaded file",
        })
    }
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field, with dots.
    pub field: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl Problem {
    /// A problem with `field`.
    #[must_use]
    pub fn new(field: impl Into<String>, text: impl Into<String>) -> Self {
        Self { field: field.into(), text: text.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.field, self.text)
    }
}

/// A change of state that the state machine has no arrow for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{id} is {from} and cannot become {to}")]
pub struct IllegalTransition<S: fmt::Display + fmt::Debug> {
    /// The record.
    pub id: String,
    /// The state that it is in.
    pub from: S,
    /// The state that was asked for.
    pub to: S,
}

/// The codes on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// There is no such record.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// The request breaks a rule.
    InvalidArgument,
    /// The caller is not known or may not.
    Unauthorized,
    /// Not now: no capacity, host away, store away.
    Unavailable,
    /// The provider cannot do it.
    Unimplemented,
    /// Too many bytes.
    PayloadTooLarge,
    /// Something else failed.
    Internal,
    /// There is no such route, or not with this method.
    RouteNotFound,
    /// The caller's address may not.
    Forbidden,
    /// The caller asks too often; the answer says when to ask again.
    RateLimited,
}

impl ErrorCode {
    /// The code as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::InvalidArgument => "invalid_argument",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::Unimplemented => "unimplemented",
            Self::PayloadTooLarge => "payload_too_large",
            Self::Internal => "internal",
            Self::RouteNotFound => "route_not_found",
            Self::Forbidden => "forbidden",
            Self::RateLimited => "rate_limited",
        }
    }
}

/// What went wrong. The enum is closed: a caller that matches on it is told by the compiler when there is more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such record.
    #[error("{kind} {id} not found")]
    NotFound {
        /// What was looked for.
        kind: RecordKind,
        /// Its name.
        id: String,
    },
    /// The task has a live environment.
    #[error("task {task_id} already has environment {environment_id}, which is {state}; destroy it first")]
    TaskTaken {
        /// The task.
        task_id: TaskId,
        /// The environment that works on it.
        environment_id: EnvironmentId,
        /// Where that stands.
        state: EnvironmentState,
    },
    /// The idempotency key was used for another request.
    #[error(
        "idempotency key {key:?} was used for a different request, which made {environment_id}; use a new key"
    )]
    KeyReused {
        /// The key.
        key: String,
        /// What the first request made.
        environment_id: EnvironmentId,
    },
    /// The state machine of environments has no such arrow.
    #[error("vm {0}")]
    EnvironmentTransition(#[from] IllegalTransition<EnvironmentState>),
    /// The state machine of snapshots has no such arrow.
    #[error("snapshot {0}")]
    SnapshotTransition(#[from] IllegalTransition<SnapshotState>),
    /// The operation needs a running environment.
    #[error("cannot {operation} vm {id}: it is {state}, and must be running")]
    NotRunning {
        /// What was asked for.
        operation: &'static str,
        /// The environment.
        id: EnvironmentId,
        /// Where it stands.
        state: EnvironmentState,
    },
    /// The operation needs a ready snapshot.
    #[error("cannot {operation} snapshot {id}: it is {state}, and must be ready")]
    SnapshotNotReady {
        /// What was asked for.
        operation: &'static str,
        /// The snapshot.
        id: SnapshotId,
        /// Where it stands.
        state: SnapshotState,
    },
    /// The snapshot belongs to another environment.
    #[error("snapshot {id} is of vm {owner}, not of vm {asked}")]
    ForeignSnapshot {
        /// The snapshot.
        id: SnapshotId,
        /// Whose it is.
        owner: EnvironmentId,
        /// Whom it was asked for.
        asked: EnvironmentId,
    },
    /// Other snapshots stand on it.
    #[error("snapshot {id} has {children} child snapshots; delete them first")]
    HasChildren {
        /// The snapshot.
        id: SnapshotId,
        /// How many name it as their parent.
        children: usize,
    },
    /// An environment boots from it.
    #[error("snapshot {id} is in use by vm {by}, which boots from it; wait for that")]
    SnapshotInUse {
        /// The snapshot.
        id: SnapshotId,
        /// Who boots from it.
        by: EnvironmentId,
    },
    /// The host still has environments.
    #[error(
        "host {id} still has {environments} environments; drain or destroy them first, or remove it by force"
    )]
    HostInUse {
        /// The host.
        id: HostId,
        /// How many point to it, teardowns included.
        environments: usize,
    },
    /// The request breaks rules: all of them are listed.
    #[error("{}", join(.0))]
    Invalid(Vec<Problem>),
    /// Too many bytes.
    #[error("{what} have {bytes} bytes; the limit is {limit} bytes")]
    TooLarge {
        /// Of what.
        what: Limit,
        /// How many.
        bytes: usize,
        /// How many there may be.
        limit: usize,
    },
    /// No host can take it.
    #[error(transparent)]
    Placement(#[from] PlacementError),
    /// A host did not do what it was asked.
    #[error(transparent)]
    Provider(#[from] ProviderError),
    /// The boot of an environment failed.
    #[error("vm {id} failed to start: {why}")]
    BootFailed {
        /// The environment.
        id: EnvironmentId,
        /// Why, without secrets.
        why: String,
        /// Whether the startup script ran out of time, which is the caller's to mend.
        script_timeout: bool,
    },
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record in the store cannot be read.
    #[error("record {kind} {id} in the store cannot be read: {why}")]
    BadRecord {
        /// Its kind.
        kind: &'static str,
        /// Its name.
        id: String,
        /// Why not.
        why: String,
    },
    /// Keys, credentials or encrypted values failed.
    #[error(transparent)]
    Secrets(#[from] SecretError),
    /// Secrets are needed and cannot be had.
    #[error("cannot {doing}: {why}")]
    Secret {
        /// What was tried.
        doing: &'static str,
        /// Why it failed; never a secret.
        why: String,
    },
    /// It took too long. It may still happen.
    #[error("{what} did not end within {} s", .after.as_secs_f32())]
    Timeout {
        /// What was waited for.
        what: String,
        /// How long.
        after: Duration,
    },
    /// The orchestrator was closed, or lost its lease to another one.
    #[error("this orchestrator does not act any more: {why}")]
    Closed {
        /// Why.
        why: String,
    },
    /// A control plane in this process was to have a provider that is not there.
    #[error("the provider {asked} was asked for, and there is none: {why}")]
    NoProvider {
        /// What was asked for.
        asked: &'static str,
        /// What is missing, and what to do.
        why: String,
    },
    /// A control plane in this process was to have another provider than its state says.
    #[error("the provider {asked} was asked for, and the host default is {url}: {why}")]
    OtherProvider {
        /// What was asked for.
        asked: &'static str,
        /// The URL of the host.
        url: String,
        /// Why it stays that, and what to do.
        why: &'static str,
    },
    /// A server gave no answer, so that it is not known whether the call happened.
    #[error("cannot {doing}: no answer from {server}: {why}; {advice}")]
    NoAnswer {
        /// What was tried.
        doing: String,
        /// The server.
        server: String,
        /// Why.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// A server gave an answer that is not what a Fuse server says.
    #[error(
        "the {what} that the server sent cannot be read: {why}; it may be another version, or no Fuse server"
    )]
    BadAnswer {
        /// What was to be read.
        what: String,
        /// Why it cannot be.
        why: String,
    },
    /// A server answered with an error that has no type here.
    #[error(transparent)]
    Remote(#[from] Box<RemoteError>),
}

/// An error that a server told of, with what it said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({status} {code}{})", request_suffix(.request_id))]
pub struct RemoteError {
    /// The HTTP status.
    pub status: u16,
    /// The code, as the server spells it; empty when the answer was not one of a Fuse server.
    pub code: String,
    /// Why, for people.
    pub message: String,
    /// The name of the request, to find it in the logs of the server; empty when there is none.
    pub request_id: String,
}

fn request_suffix(id: &str) -> String {
    if id.is_empty() { String::new() } else { format!(", request {id}") }
}

fn join(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl Error {
    pub(crate) fn not_found(kind: RecordKind, id: impl fmt::Display) -> Self {
        Self::NotFound { kind, id: id.to_string() }
    }

    pub(crate) fn invalid(field: &str, text: impl Into<String>) -> Self {
        Self::Invalid(vec![Problem::new(field, text)])
    }

    /// The code on the wire.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } => ErrorCode::NotFound,
            Self::TaskTaken { .. }
            | Self::KeyReused { .. }
            | Self::EnvironmentTransition(_)
            | Self::SnapshotTransition(_)
            | Self::NotRunning { .. }
            | Self::SnapshotNotReady { .. }
            | Self::ForeignSnapshot { .. }
            | Self::HasChildren { .. }
            | Self::SnapshotInUse { .. }
            | Self::HostInUse { .. }
            | Self::OtherProvider { .. } => ErrorCode::Conflict,
            Self::Invalid(_) => ErrorCode::InvalidArgument,
            Self::TooLarge { .. } => ErrorCode::PayloadTooLarge,
            Self::Placement(PlacementError::UnknownHost { .. }) => ErrorCode::NotFound,
            Self::Placement(_) | Self::Closed { .. } | Self::NoProvider { .. } => ErrorCode::Unavailable,
            Self::Store(
                StoreError::Unavailable { .. }
                | StoreError::Full { .. }
                | StoreError::Locked { .. }
                | StoreError::LeaseHeld { .. },
            ) => ErrorCode::Unavailable,
            Self::Store(StoreError::Conflict { .. }) => ErrorCode::Conflict,
            Self::BootFailed { script_timeout: true, .. } => ErrorCode::InvalidArgument,
            Self::Provider(error) => match error.kind {
                ProviderErrorKind::Unsupported => ErrorCode::Unimplemented,
                ProviderErrorKind::NotFound => ErrorCode::NotFound,
                ProviderErrorKind::Unreachable | ProviderErrorKind::Busy => ErrorCode::Unavailable,
                ProviderErrorKind::Refused => ErrorCode::InvalidArgument,
                ProviderErrorKind::Unauthorized => ErrorCode::Unauthorized,
                ProviderErrorKind::AlreadyExists => ErrorCode::Conflict,
                ProviderErrorKind::TimedOut | ProviderErrorKind::Failed => ErrorCode::Internal,
            },
            Self::Remote(remote) => ErrorCode::of(&remote.code, remote.status),
            Self::NoAnswer { .. } => ErrorCode::Unavailable,
            Self::BadAnswer { .. }
            | Self::BootFailed { .. }
            | Self::Store(_)
            | Self::BadRecord { .. }
            | Self::Secrets(_)
            | Self::Secret { .. }
            | Self::Timeout { .. } => ErrorCode::Internal,
        }
    }
}

impl From<IdError> for Error {
    fn from(error: IdError) -> Self {
        Self::invalid(error.what, format!("{:?} is not valid: {}", error.name, error.rule))
    }
}
