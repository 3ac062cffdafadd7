//! Posting events, from other threads of JavaScript too.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use fuse_runtime::edge;
use napi_derive::napi;

use crate::fault::{OrThrow, Result, invalid};

/// Posters by number: a worker thread opens one by the number that it was sent.
fn open_posters() -> &'static Mutex<HashMap<u32, edge::EventPoster>> {
    static POSTERS: OnceLock<Mutex<HashMap<u32, edge::EventPoster>>> = OnceLock::new();
    POSTERS.get_or_init(Mutex::default)
}

/// A runtime's poster under a number; gone with the runtime.
pub(crate) struct Published {
    pub(crate) number: u32,
}

impl Published {
    pub(crate) fn new(poster: edge::EventPoster) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        open_posters().lock().unwrap_or_else(PoisonError::into_inner).insert(number, poster);
        Self { number }
    }
}

impl Drop for Published {
    fn drop(&mut self) {
        open_posters().lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// Posts events into one runtime, from any thread of JavaScript.
#[napi(js_name = "NativePoster")]
pub struct Poster {
    poster: edge::EventPoster,
}

#[napi]
impl Poster {
    /// The poster of the runtime with this number.
    #[napi(constructor)]
    pub fn new(number: u32) -> napi::Result<Self> {
        let posters = open_posters().lock().unwrap_or_else(PoisonError::into_inner);
        let poster = posters.get(&number).cloned();
        poster.map(|poster| Self { poster }).ok_or_else(|| {
            napi::Error::from_reason("the runtime of this poster is closed, or of another process")
        })
    }

    /// Posts an event.
    #[napi]
    pub fn post(&self, event: f64) -> Result<()> {
        self.poster.post(event_id(event)?);
        Ok(())
    }

    /// Posts an event with the time of its cause, in microseconds of the runtime's clock.
    #[napi]
    pub fn post_at(&self, event: f64, timestamp_us: i64) -> Result<()> {
        self.poster.post_at(event_id(event)?, timestamp_us.cast_unsigned());
        Ok(())
    }
}

/// The event of a number.
pub(crate) fn event_id(number: f64) -> Result<edge::EventId> {
    if number.fract() != 0.0 || !(0.0..=f64::from(u32::MAX)).contains(&number) {
        return Err(invalid(format!("event id {number} does not exist; ids are 0 to 31")));
    }
    // In range and whole.
    edge::EventId::new(number as u32).or_throw()
}
