//! What a host did not do.

use std::fmt;

/// The verbs of a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs, reason = "each is the verb of the trait of the same name")]
pub enum Verb {
    Probe,
    Create,
    List,
    Get,
    Destroy,
    Upload,
    Exec,
    StartAgent,
    Attach,
    Logs,
    Snapshot,
    Snapshots,
    Restore,
    Fork,
    DeleteSnapshot,
    FetchSnapshot,
}

impl Verb {
    /// Every verb.
    pub const ALL: [Self; 16] = [
        Self::Probe,
        Self::Create,
        Self::List,
        Self::Get,
        Self::Destroy,
        Self::Upload,
        Self::Exec,
        Self::StartAgent,
        Self::Attach,
        Self::Logs,
        Self::Snapshot,
        Self::Snapshots,
        Self::Restore,
        Self::Fork,
        Self::DeleteSnapshot,
        Self::FetchSnapshot,
    ];

    /// The verb as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Create => "create",
            Self::List => "list",
            Self::Get => "get",
            Self::Destroy => "destroy",
            Self::Upload => "upload",
            Self::Exec => "exec",
            Self::StartAgent => "start_agent",
            Self::Attach => "attach",
            Self::Logs => "logs",
            Self::Snapshot => "snapshot",
            Self::Snapshots => "snapshots",
            Self::Restore => "restore",
            Self::Fork => "fork",
            Self::DeleteSnapshot => "delete_snapshot",
            Self::FetchSnapshot => "fetch_snapshot",
        }
    }

    /// The verb that `name` names.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.as_str() == name)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a verb failed. The enum is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProviderErrorKind {
    /// The host answered: there is no such VM or snapshot.
    NotFound,
    /// The host answered: the name is taken.
    AlreadyExists,
    /// This provider cannot do it at all.
    Unsupported,
    /// The host answered: the request breaks one of its rules.
    Refused,
    /// The host does not take the token.
    Unauthorized,
    /// The host answered: not now.
    Busy,
    /// There was no answer. Whether the verb happened is unknown.
    Unreachable,
    /// There was no answer in time. Whether the verb happened is unknown.
    TimedOut,
    /// The host answered: it failed.
    Failed,
}

impl ProviderErrorKind {
    /// Whether the host answered at all.
    #[must_use]
    pub const fn is_answer(self) -> bool {
        !matches!(self, Self::Unreachable | Self::TimedOut)
    }
}

/// A verb that failed: what was tried, on what, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{verb} {target} on {host} failed: {message}")]
pub struct ProviderError {
    /// Why, for programs.
    pub kind: ProviderErrorKind,
    /// The verb.
    pub verb: Verb,
    /// The host, as its provider names it.
    pub host: String,
    /// The VM or snapshot; empty for verbs of the host.
    pub target: String,
    /// Why, for people. Never a secret.
    pub message: String,
}

impl ProviderError {
    /// An error of `verb` on `target`.
    #[must_use]
    pub fn new(
        kind: ProviderErrorKind,
        verb: Verb,
        host: impl fmt::Display,
        target: impl fmt::Display,
        message: impl Into<String>,
    ) -> Self {
        Self { kind, verb, host: host.to_string(), target: target.to_string(), message: message.into() }
    }
}
