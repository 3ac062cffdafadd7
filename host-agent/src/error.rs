//! What did not work: what was tried, on what, and why.

use std::fmt;

/// The result of a verb.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why something failed. The enum is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// There is no such VM, snapshot, image.
    NotFound,
    /// The name is taken.
    Exists,
    /// The request breaks a rule.
    Invalid,
    /// More bytes than the limit.
    TooLarge,
    /// This driver or this guest cannot do it at all.
    Unsupported,
    /// Not in this state, or not now.
    Busy,
    /// Bytes on disk are not those that were written.
    Corrupt,
    /// The guest did not answer, or answered that it failed.
    Guest,
    /// The VMM did not answer, or answered that it failed.
    Vmm,
    /// This machine does not let us: a file, a process, the network.
    System,
}

impl ErrorKind {
    /// The kind as a word, as logs and metrics show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Exists => "exists",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Busy => "busy",
            Self::Corrupt => "corrupt",
            Self::Guest => "guest",
            Self::Vmm => "vmm",
            Self::System => "system",
        }
    }
}

/// A verb that failed. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot {doing} {target}: {why}")]
pub struct Error {
    /// Why, for programs.
    pub kind: ErrorKind,
    /// What was tried, such as `boot`.
    pub doing: &'static str,
    /// On what: a VM, a snapshot, a file.
    pub target: String,
    /// Why, for people, and what to do about it where that is known.
    pub why: String,
}

impl Error {
    /// An error of `doing` something to `target`.
    #[must_use]
    pub fn new(
        kind: ErrorKind,
        doing: &'static str,
        target: impl fmt::Display,
        why: impl fmt::Display,
    ) -> Self {
        Self { kind, doing, target: target.to_string(), why: why.to_string() }
    }

    /// An error of this machine.
    #[must_use]
    pub fn system(doing: &'static str, target: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::System, doing, target, why)
    }

    /// A request that breaks a rule.
    #[must_use]
    pub fn invalid(doing: &'static str, target: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Invalid, doing, target, why)
    }
}
