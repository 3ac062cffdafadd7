//! What can go wrong in a store.
use super::{Kind, MAX_PAGE};

/// A refusal or a failure of a [`Store`](super::Store).
///
/// Every message says what was tried, on what, why it failed and what to do. The enum is closed:
/// a caller that matches on it is told by the compiler when a store learns a new way to fail.
/// No variant carries a record's body, so a printed error never shows a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A record is not at the revision that the commit expected. Nothing of the commit was applied.
    #[error(
        "commit refused: {kind} `{id}` was expected {expected} but is {found}; \
         somebody else changed it, so read it again and decide again"
    )]
    Conflict {
        /// Kind of the record.
        kind: Kind,
        /// Id of the record.
        id: String,
        /// What the commit expected.
        expected: Found,
        /// What the store holds.
        found: Found,
    },
    /// The fencing token of a commit, a renewal or a release is no longer the lease's newest one.
    #[error(
        "{doing} refused: token {token} of lease `{lease}` is stale ({current}); \
         another holder may have taken over, so stop acting and acquire the lease again"
    )]
    StaleFence {
        /// What was tried: `commit`, `renew` or `release`.
        doing: &'static str,
        /// Name of the lease.
        lease: String,
        /// The token that was shown.
        token: u64,
        /// State of the lease, in words.
        current: String,
    },
    /// Somebody else holds the lease and it has not expired.
    #[error(
        "acquire refused: lease `{lease}` is held by `{holder}` for another {remaining_ms} ms; \
         wait for it to expire or to be released"
    )]
    LeaseHeld {
        /// Name of the lease.
        lease: String,
        /// Who holds it.
        holder: String,
        /// Milliseconds until it expires, 1 or more.
        remaining_ms: u64,
    },
    /// The caller asked for something outside the documented limits. Nothing was done.
    #[error("{doing} refused: {why}")]
    Invalid {
        /// What was tried.
        doing: &'static str,
        /// What is wrong with it, and the limit.
        why: String,
    },
    /// The stored bytes are not what was written: a checksum, a count or an order is wrong.
    #[error("{on} is damaged: {what}; {advice}")]
    Corrupt {
        /// Which store, file or record.
        on: String,
        /// What does not match.
        what: String,
        /// What to do.
        advice: &'static str,
    },
    /// The medium is full. Nothing of the commit was acknowledged, and after a full disk the store must be
    /// opened again.
    #[error("commit to {on} failed: {why}; free space there, then open the store again")]
    Full {
        /// Which store.
        on: String,
        /// The system's words.
        why: String,
    },
    /// Another process has this store open, and this kind of store serves one process.
    #[error("cannot open {on}: {why}; stop the other process, or use Postgres to share the state")]
    Locked {
        /// Which store.
        on: String,
        /// The system's words.
        why: String,
    },
    /// The store cannot be reached or refuses to work. Nothing was applied.
    #[error("{doing} failed on {on}: {why}; {advice}")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// Which store.
        on: String,
        /// Why it failed.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// The connection broke while the store was acknowledging, and asking again did not help: the commit is
    /// either wholly applied or not at all, and this caller cannot tell which.
    #[error(
        "the outcome of a {doing} on {on} is unknown: {why}; \
         read the records again before deciding what to do"
    )]
    OutcomeUnknown {
        /// What was tried.
        doing: &'static str,
        /// Which store.
        on: String,
        /// Why it failed.
        why: String,
    },
    /// The store was written by an incompatible version, or is not a Fuse store at all.
    #[error("cannot use {on}: {why}; {advice}")]
    Incompatible {
        /// Which store.
        on: String,
        /// What was found and what was expected.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// An import into this store was begun and not finished.
    #[error("{doing} refused: {on} holds an unfinished import; empty the store and import again")]
    Importing {
        /// What was tried.
        doing: &'static str,
        /// Which store.
        on: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing the call: the store was unreachable,
    /// or somebody else held the lease. A conflict is not retryable as it stands: the caller reads first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::LeaseHeld { .. })
    }

    /// Whether this is a [`StoreError::Conflict`].
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    pub(crate) fn invalid(doing: &'static str, why: impl Into<String>) -> Self {
        Self::Invalid { doing, why: why.into() }
    }

    pub(crate) fn page_limit(limit: usize) -> Self {
        Self::invalid(
            "list",
            format!("a page of {limit} was asked for, and a page has 1 to {MAX_PAGE} entries"),
        )
    }
}

/// The state of a record, as an error names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is no such record.
    Absent,
    /// There is one, at any revision.
    Present,
    /// It is at this revision.
    Revision(u64),
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Present => f.write_str("present"),
            Self::Revision(revision) => write!(f, "at revision {revision}"),
        }
    }
}
