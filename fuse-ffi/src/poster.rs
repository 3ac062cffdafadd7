//! Posting events from anywhere.

use alloc::boxed::Box;
use core::sync::atomic::{AtomicU32, Ordering};

use fuse_edge::{EventId, EventPoster};

use crate::crossing::Place;
use crate::firewall;
use crate::graveyard::{self, Shell};
use crate::handle::{Handle, KIND_CLOSED, KIND_POSTER, get};
use crate::runtime::fuse_runtime_t;
use crate::status::*;

/// Posts events into one runtime, from any thread, signal handler or interrupt handler, also while the runtime
/// steps, and after it was closed (nothing happens then). It has to be closed as well.
// Spelled so that cbindgen takes it for opaque, as C must.
#[cfg_attr(all(), repr(C))]
pub struct fuse_poster_t {
    kind: AtomicU32,
    poster: Option<EventPoster>,
}

// SAFETY: the kind is the first field.
unsafe impl Handle for fuse_poster_t {
    const KIND: u32 = KIND_POSTER;
}

impl Shell for fuse_poster_t {}

/// How many events there are; their ids are 0 to 31.
pub const FUSE_EVENT_COUNT: u32 = 32;

/// The event of this number, without the text of an error, which would allocate.
#[inline]
pub(crate) fn event_id(id: u32) -> Option<EventId> {
    if id < FUSE_EVENT_COUNT { EventId::new(id).ok() } else { None }
}

/// Makes a handle that posts events into `runtime`. Close it with fuse_poster_close.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_poster(
    runtime: *mut fuse_runtime_t,
    out: *mut *mut fuse_poster_t,
) -> fuse_status_t {
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe {
        crate::handle::call(runtime, |inner| {
            let out = Place::new(out, "out")?;
            let poster = Some(inner.rt()?.poster());
            out.put(Box::into_raw(Box::new(fuse_poster_t { kind: AtomicU32::new(KIND_POSTER), poster })));
            Ok(FUSE_OK)
        })
    }
}

/// Posts an event (0 to 31): every loaded module that subscribes to it latches it. Two posts before a subscriber's next
/// step are one activation. One atomic operation.
///
/// ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_poster_post(poster: *const fuse_poster_t, event: u32) -> fuse_status_t {
    // SAFETY: the caller's.
    match (unsafe { get(poster) }, event_id(event)) {
        (Ok(fuse_poster_t { poster: Some(poster), .. }), Some(event)) => {
            poster.post(event);
            FUSE_OK
        }
        _ => FUSE_ERR_INVALID_ARG,
    }
}

/// Posts an event with the time of its cause, in microseconds of the platform's clock, so that the latency in the
/// subscribers' statistics counts from there. Two atomic operations.
///
/// ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_poster_post_at(
    poster: *const fuse_poster_t,
    event: u32,
    timestamp_us: u64,
) -> fuse_status_t {
    // SAFETY: the caller's.
    match (unsafe { get(poster) }, event_id(event)) {
        (Ok(fuse_poster_t { poster: Some(poster), .. }), Some(event)) => {
            poster.post_at(event, timestamp_us);
            FUSE_OK
        }
        _ => FUSE_ERR_INVALID_ARG,
    }
}

/// Closes a poster. No other thread and no interrupt may use it any more. NULL is allowed and does nothing.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_poster_close(poster: *mut fuse_poster_t) -> fuse_status_t {
    if poster.is_null() {
        return FUSE_OK;
    }
    // SAFETY: the caller's.
    if unsafe { get(poster) }.is_err() {
        return FUSE_ERR_INVALID_ARG;
    }
    let close = || {
        // SAFETY: it came from `Box::into_raw`, is open, and is closed by nobody else.
        let mut shell = unsafe { Box::from_raw(poster) };
        shell.kind.store(KIND_CLOSED, Ordering::Relaxed);
        shell.poster = None;
        graveyard::bury(shell);
    };
    firewall::catch(close).map_or(FUSE_ERR_INTERNAL, |()| FUSE_OK)
}
