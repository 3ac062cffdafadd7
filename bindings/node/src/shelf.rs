//! Where what was opened on another thread waits until JavaScript takes it by its number.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Things by number; no number is used twice in 2^32.
pub(crate) struct Shelf<T> {
    things: Mutex<BTreeMap<u32, T>>,
    next: AtomicU32,
}

impl<T> Shelf<T> {
    pub(crate) const fn new() -> Self {
        Self { things: Mutex::new(BTreeMap::new()), next: AtomicU32::new(1) }
    }

    fn things(&self) -> MutexGuard<'_, BTreeMap<u32, T>> {
        self.things.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a thing, and gives its number.
    pub(crate) fn put(&self, thing: T) -> u32 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.things().insert(number, thing);
        number
    }

    /// Takes the thing of a number.
    pub(crate) fn take(&self, number: u32, what: &str) -> napi::Result<T> {
        let thing = self.things().remove(&number);
        thing.ok_or_else(|| napi::Error::from_reason(format!("no {what} was opened under this number")))
    }
}
