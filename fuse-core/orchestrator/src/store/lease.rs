//! Leases: who may act, and proof that nobody else does.

/// Shortest and longest time that a lease can be asked for, in milliseconds (100 ms to one day).
pub const LEASE_TTL_MS: std::ops::RangeInclusive<u64> = 100..=86_400_000;

/// A lease that somebody was given.
///
/// Expiry decides when somebody else *may* take over; the token decides whose commits count. A holder that was
/// paused past its expiry and wakes up cannot do damage: once another holder has taken over, every commit that
/// shows the old token is refused. No clock takes part in that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Name of the lease: 1 to [`MAX_ID`](super::MAX_ID) bytes.
    pub name: String,
    /// Who holds it.
    pub holder: String,
    /// The fencing token: larger than every token that was given before it, for any lease of this store.
    pub token: u64,
    /// When it expires, in milliseconds since the Unix epoch by the store's clock (the database server's for
    /// Postgres).
    pub expires_ms: u64,
}

/// The proof that a commit shows: applied only while `token` is the newest of that lease and the lease was not
/// released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// Name of the lease.
    pub lease: String,
    /// The token that was given with it.
    pub token: u64,
}

impl Lease {
    /// The proof to attach to a commit.
    #[must_use]
    pub fn fence(&self) -> Fence {
        Fence { lease: self.name.clone(), token: self.token }
    }
}

/// A lease as it is stored. The row stays when the lease is released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseRow {
    pub(crate) holder: String,
    pub(crate) token: u64,
    pub(crate) expires_ms: u64,
    pub(crate) released: bool,
}
