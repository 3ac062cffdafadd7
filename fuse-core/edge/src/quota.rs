//! Ending exactly one call of one module, from any context.
//!
//! Each call under a quota has a token, a number that is never used twice. When a quota runs out, the timer
//! names the token and moves the engine's epoch; the running code then asks whether the token that was
//! named is its own. An expiry that comes late finds another token, and nothing happens.

use alloc::sync::Arc;
use core::fmt;
use core::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use crate::engine::EngineTable;

/// Names one call under a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaToken(u64);

impl QuotaToken {
    /// The token of a call without a quota: it is never killed.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) const fn new(generation: u64) -> Self {
        Self(generation)
    }

    /// The token as a number, to carry through a timer.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The token of a number that [`to_u64`](Self::to_u64) gave. Any other number names no call.
    #[must_use]
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }
}

/// What a runtime and its quota timer share.
pub(crate) struct QuotaCell {
    /// The token of the last call whose quota ran out.
    killed: AtomicU64,
    /// Which engine the running call belongs to.
    engine: AtomicUsize,
    pub(crate) engines: EngineTable,
}

impl QuotaCell {
    pub(crate) fn new(engines: EngineTable) -> Arc<Self> {
        Arc::new(Self { killed: AtomicU64::new(0), engine: AtomicUsize::new(0), engines })
    }

    /// Before a call is armed: where an expiry must go.
    #[inline]
    pub(crate) fn enter(&self, engine: usize) {
        self.engine.store(engine, Ordering::Relaxed);
    }

    /// Whether the quota of this call ran out.
    #[inline]
    pub(crate) fn is_killed(&self, token: QuotaToken) -> bool {
        self.killed.load(Ordering::Relaxed) == token.0 && token != QuotaToken::NONE
    }

    /// The same, after an epoch was seen to move: what was stored before the move is seen.
    pub(crate) fn is_killed_after_epoch(&self, token: QuotaToken) -> bool {
        fence(Ordering::Acquire);
        self.is_killed(token)
    }
}

/// Tells the runtime that a quota ran out. Cheap to clone; may be used from any thread, signal handler or
/// interrupt handler: it touches atomics only.
#[derive(Clone)]
pub struct QuotaExpiry {
    cell: Arc<QuotaCell>,
}

impl QuotaExpiry {
    pub(crate) fn new(cell: Arc<QuotaCell>) -> Self {
        Self { cell }
    }

    /// Ends the call that `token` names, if it still runs. Calling it again is harmless, and mends a first
    /// call that came too early to be seen.
    #[inline]
    pub fn expire(&self, token: QuotaToken) {
        if token == QuotaToken::NONE {
            return;
        }
        self.cell.killed.store(token.0, Ordering::Relaxed);
        // The token must be there before the epoch moves; the other half is in `is_killed_after_epoch`.
        fence(Ordering::Release);
        if let Some(engine) = self.cell.engines.get(self.cell.engine.load(Ordering::Relaxed)) {
            engine.increment_epoch();
        }
    }
}

impl fmt::Debug for QuotaExpiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuotaExpiry").field("killed", &self.cell.killed).finish_non_exhaustive()
    }
}
