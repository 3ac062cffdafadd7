//! The 32 events and the handle that posts them from anywhere.

use alloc::format;
use core::fmt;

use crate::error::{Error, Result};

mod pending;
pub(crate) use pending::Pending;
use sync::Arc;

mod sync {
    pub(super) use alloc::sync::Arc;
    pub(super) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
}

/// How many events there are; ids are `0..EVENT_COUNT`.
pub const EVENT_COUNT: u32 = 32;

/// The id of one event, 0 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(u8);

impl EventId {
    /// The event with this number.
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) for a number above 31.
    pub fn new(id: u32) -> Result<Self> {
        match u8::try_from(id) {
            Ok(id) if u32::from(id) < EVENT_COUNT => Ok(Self(id)),
            _ => Err(Error::invalid(format!("event id {id} does not exist; ids are 0 to 31"))),
        }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0 as u32
    }

    pub(crate) const fn bit(self) -> u32 {
        1 << self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of events, one bit for each id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct EventMask(u32);

impl EventMask {
    /// No event.
    pub const NONE: Self = Self(0);

    /// The set with these bits.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// One bit for each event in the set.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether the event is in the set.
    #[must_use]
    pub const fn contains(self, event: EventId) -> bool {
        self.0 & event.bit() != 0
    }

    /// The events in the set, lowest id first.
    pub fn iter(self) -> impl Iterator<Item = EventId> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let id = rest.trailing_zeros();
            rest &= rest.wrapping_sub(1);
            // `trailing_zeros` of a non-zero word is below 32.
            (id < EVENT_COUNT).then_some(EventId(id as u8))
        })
    }
}

impl From<EventId> for EventMask {
    fn from(id: EventId) -> Self {
        Self(id.bit())
    }
}

/// Posts events into one runtime. Cheap to clone; may be used from any thread, from a signal handler and
/// from an interrupt handler, also while the runtime steps, loads or is dropped.
///
/// ```
/// use fuse_edge::{EventId, ManualPlatform, Runtime, RuntimeConfig};
/// let runtime = Runtime::new(RuntimeConfig::default(), ManualPlatform::new())?;
/// let poster = runtime.poster();
/// let frame_ready = EventId::new(3)?;
/// std::thread::spawn(move || poster.post(frame_ready)).join().ok();
/// # Ok::<(), fuse_edge::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct EventPoster {
    pending: Arc<Pending>,
}

impl EventPoster {
    pub(crate) fn new(pending: Arc<Pending>) -> Self {
        Self { pending }
    }

    /// Posts an event: one atomic operation, whatever the number of modules. Two posts before a subscriber's
    /// next step are one activation.
    #[inline]
    pub fn post(&self, event: EventId) {
        self.pending.post(event);
    }

    /// Posts an event with the time of its cause in microseconds of the platform's clock, so that the
    /// event-to-step latency of the subscribers' statistics counts from there. Two atomic operations.
    #[inline]
    pub fn post_at(&self, event: EventId, timestamp_us: u64) {
        self.pending.post_at(event, timestamp_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn ids_end_at_31() {
        assert!(EventId::new(31).is_ok());
        assert!(EventId::new(32).is_err());
        assert!(EventId::new(256).is_err());
    }

    #[test]
    fn mask_iterates_in_order() {
        let ids: Vec<u32> = EventMask::from_bits(0x8000_0011).iter().map(EventId::get).collect();
        assert_eq!(ids, [0, 4, 31]);
        assert_eq!(EventMask::NONE.iter().count(), 0);
        assert_eq!(EventMask::from_bits(u32::MAX).iter().count(), 32);
    }

    #[test]
    fn two_posts_are_one_and_taking_empties() {
        let pending = Pending::new();
        let poster = EventPoster::new(pending.clone());
        let three = EventId::new(3).unwrap();
        poster.post(three);
        poster.post_at(three, 77);
        assert_eq!(pending.take(), EventMask::from(three));
        assert_eq!(pending.take_time(three), Some(77));
        assert_eq!(pending.take_time(three), None);
        assert_eq!(pending.take(), EventMask::NONE);
    }
}
