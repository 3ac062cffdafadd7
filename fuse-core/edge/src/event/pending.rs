//! Where posts wait for the runtime. The atomics come from the parent, so that a model checker can put its own in
//! their place.

use super::sync::{Arc, AtomicU32, AtomicU64, Ordering};
use super::{EVENT_COUNT, EventId, EventMask};

/// The word that posts land in, shared by a runtime and its posters.
#[derive(Debug)]
pub(crate) struct Pending {
    word: AtomicU32,
    /// When each event was last posted with a time, in µs; 0 = without one.
    posted_at: [AtomicU64; EVENT_COUNT as usize],
}

impl Pending {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { word: AtomicU32::new(0), posted_at: core::array::from_fn(|_| AtomicU64::new(0)) })
    }

    #[inline]
    pub(crate) fn post(&self, event: EventId) {
        self.word.fetch_or(EventMask::from(event).bits(), Ordering::Release);
    }

    #[inline]
    pub(crate) fn post_at(&self, event: EventId, timestamp_us: u64) {
        self.posted_at[event.get() as usize].store(timestamp_us, Ordering::Relaxed);
        self.post(event);
    }

    /// Takes all events that were posted since the last call.
    #[inline]
    pub(crate) fn take(&self) -> EventMask {
        // A swap only when there is something: an idle tick must not take the line from the posters.
        if self.word.load(Ordering::Relaxed) == 0 {
            return EventMask::NONE;
        }
        EventMask::from_bits(self.word.swap(0, Ordering::Acquire))
    }

    /// What was posted since the last [`take`](Self::take), left where it is.
    pub(crate) fn peek(&self) -> EventMask {
        EventMask::from_bits(self.word.load(Ordering::Relaxed))
    }

    /// The time that the last post of `event` carried, once.
    pub(crate) fn take_time(&self, event: EventId) -> Option<u64> {
        let slot = &self.posted_at[event.get() as usize];
        if slot.load(Ordering::Relaxed) == 0 {
            return None;
        }
        match slot.swap(0, Ordering::Relaxed) {
            0 => None,
            at => Some(at),
        }
    }
}
