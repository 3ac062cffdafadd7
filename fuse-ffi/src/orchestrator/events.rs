//! Streams: events, and logs that go on.

use alloc::boxed::Box;
use alloc::string::String;
use core::ffi::{c_char, c_void};
use core::future::Future;
use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;

use fuse_orchestrator::model::EnvironmentId;
use fuse_orchestrator::{Delivery, Error, Subscription, wire};
use tokio::runtime::Handle as Tokio;
use tokio::task::JoinHandle;

use super::call::{
    Plane, body, fuse_completion_fn, fuse_orchestrator_t, give, json, later, name, now, parse, refuse_inside,
    tell,
};
use super::guests::log_source;
use crate::crossing::Place;
use crate::finalizer::{Lent, fuse_finalizer_t};
use crate::firewall;
use crate::graveyard::{self, Shell};
use crate::handle::{Failed, Handle, KIND_CLOSED, KIND_STREAM, Refusal, get};
use crate::status::*;

/// How long a stream that failed waits until it asks again.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// A stream under way: events, or a log. Close it with fuse_stream_close.
// Spelled so that cbindgen takes it for opaque, as C must.
#[cfg_attr(all(), repr(C))]
pub struct fuse_stream_t {
    kind: AtomicU32,
    task: Option<(Tokio, JoinHandle<()>)>,
}

// SAFETY: the kind is the first field.
unsafe impl Handle for fuse_stream_t {
    const KIND: u32 = KIND_STREAM;
}

impl Shell for fuse_stream_t {}

/// A callback with what it is lent.
pub(super) struct Listener {
    callback: unsafe extern "C-unwind" fn(*mut c_void, fuse_status_t, *const c_char, usize),
    lent: Lent,
}

impl Listener {
    pub(super) fn tell(&self, status: fuse_status_t, text: String) {
        // SAFETY: the host's function, with its pointer.
        unsafe { tell(self.callback, self.lent.user(), status, text) };
    }

    fn fail(&self, error: Error) {
        let failed = Failed::from(error);
        self.tell(failed.status(), body(&failed));
    }
}

/// Begins a stream on an orchestrator.
///
/// # Safety
/// `orchestrator` and `out_error` as for every call; `out` is null or can be written; `callback` takes `user`.
unsafe fn stream<F: Future<Output = ()> + Send + 'static>(
    orchestrator: *const fuse_orchestrator_t,
    callback: fuse_completion_fn,
    lent: Lent,
    out: *mut *mut fuse_stream_t,
    out_error: *mut *mut c_char,
    begin: impl FnOnce(&Plane, Listener) -> Result<F, Failed>,
) -> fuse_status_t {
    // SAFETY: the caller's.
    let (handle, out_error) = unsafe { (get(orchestrator), Place::optional(out_error)) };
    out_error.put(core::ptr::null_mut());
    let handle = match handle {
        Ok(handle) => handle,
        Err(refusal) => return refusal.status(),
    };
    let work = || {
        // SAFETY: the caller's.
        let out = unsafe { Place::new(out, "out") }?;
        let callback = callback.ok_or(Refusal::Null { what: "callback" })?;
        let plane = handle.plane()?;
        let task = plane.runtime.spawn(begin(&plane, Listener { callback, lent })?);
        let task = Some((plane.runtime.handle().clone(), task));
        out.put(Box::into_raw(Box::new(fuse_stream_t { kind: AtomicU32::new(KIND_STREAM), task })));
        Ok(())
    };
    let failed = match firewall::catch(work) {
        Ok(Ok(())) => return FUSE_OK,
        Ok(Err(failed)) => failed,
        Err(panicked) => Failed::Other { status: FUSE_ERR_INTERNAL, what: panicked.0 },
    };
    give(&out_error, body(&failed));
    handle.fail(&failed)
}

/// Follows events: each is told to `callback` with FUSE_OK and the JSON of a frame of GET /v1/events, in order, on a thread
/// of the library. A failure is told with its status and the stream goes on; FUSE_END is the end: the control plane is
/// gone.
///
/// `query` (may be NULL): an object with the query of GET /v1/events, all texts: after (a number; left out: from now on),
/// subject_kind, subject_id. `finalizer` (may be NULL) is called with `user` once, when the stream ends, or when this call
/// fails. `out_error` (may be NULL) receives the error body when this call failed. The rules of fuse_completion_fn hold.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_events(
    orchestrator: *mut fuse_orchestrator_t,
    query: *const c_char,
    callback: fuse_completion_fn,
    user: *mut c_void,
    finalizer: fuse_finalizer_t,
    out: *mut *mut fuse_stream_t,
    out_error: *mut *mut c_char,
) -> fuse_status_t {
    let lent = Lent::new(user, finalizer);
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe {
        stream(orchestrator, callback, lent, out, out_error, |plane, listener| {
            refuse_inside()?;
            let query: wire::EventQuery = parse(query, "query")?;
            let (after, subject) = query.parts()?;
            let after = match after {
                Some(after) => after,
                None => plane.runtime.block_on(plane.fuse.newest_event())?,
            };
            let events = match subject {
                Some(subject) => plane.fuse.events_about(subject, after),
                None => plane.fuse.events(after),
            };
            Ok(follow(events, listener))
        })
    }
}

async fn follow(mut events: Subscription, listener: Listener) {
    loop {
        match events.next().await {
            Ok(Some(delivery)) => match json(&frame(delivery, events.position())) {
                Ok(text) => listener.tell(FUSE_OK, text),
                Err(error) => listener.fail(error),
            },
            Ok(None) => return listener.tell(FUSE_END, String::new()),
            Err(error) => {
                listener.fail(error);
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }
}

fn frame(delivery: Delivery, position: u64) -> wire::Frame {
    match delivery {
        Delivery::Event(event) => wire::Frame::Event(wire::Event::from(&*event)),
        Delivery::Lost { count } => wire::Frame::Lost(wire::Lost::new(count, position)),
    }
}

/// Reads the end of a log of an environment, and then what is written from now on: each piece is told to `callback` with
/// FUSE_OK and the text, on a thread of the library; FUSE_END when the environment has ended and everything was told; a
/// failure ends it too.
///
/// `source`: "console", "startup" or "agent"; NULL: "console". Otherwise as fuse_orchestrator_events.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_follow_logs(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    source: *const c_char,
    callback: fuse_completion_fn,
    user: *mut c_void,
    finalizer: fuse_finalizer_t,
    out: *mut *mut fuse_stream_t,
    out_error: *mut *mut c_char,
) -> fuse_status_t {
    let lent = Lent::new(user, finalizer);
    // SAFETY: the caller's.
    unsafe {
        stream(orchestrator, callback, lent, out, out_error, |plane, listener| {
            refuse_inside()?;
            let (id, source): (EnvironmentId, _) = (name(id, "id")?, log_source(source)?);
            let mut log = plane.runtime.block_on(plane.fuse.follow_logs(&id, source))?;
            Ok(async move {
                loop {
                    match log.next().await {
                        Ok(Some(text)) => listener.tell(FUSE_OK, text),
                        Ok(None) => return listener.tell(FUSE_END, String::new()),
                        Err(error) => return listener.fail(error),
                    }
                }
            })
        })
    }
}

/// The number of the newest event; 0 when there is none.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_newest_event(
    orchestrator: *mut fuse_orchestrator_t,
    out_sequence: *mut u64,
) -> fuse_status_t {
    let (sender, receiver) = std::sync::mpsc::channel();
    // SAFETY: the caller's.
    unsafe {
        let status = now(orchestrator, core::ptr::null_mut(), |fuse| {
            Place::new(out_sequence, "out_sequence")?;
            Ok(async move {
                let newest = fuse.newest_event().await?;
                // The receiver is there: this call waits.
                let _ = sender.send(newest);
                Ok(String::new())
            })
        });
        if let Ok(newest) = receiver.try_recv() {
            Place::optional(out_sequence).put(newest);
        }
        status
    }
}

/// fuse_orchestrator_newest_event that does not wait: `done` is told the number, in decimal digits.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_newest_event_async(
    orchestrator: *mut fuse_orchestrator_t,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        later(orchestrator, done, user, |fuse| {
            Ok(async move { fuse.newest_event().await.map(|newest| newest.to_string()) })
        })
    }
}

/// Ends a stream. When it returns, its callback runs no more and its finalizer was called; called from inside the
/// callback itself, that is the callback's last run, and the finalizer is called after it. NULL is allowed and does
/// nothing.
///
/// ISR-safe: no; allocates: no; blocks: until the callback returns; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_stream_close(stream: *mut fuse_stream_t) -> fuse_status_t {
    if stream.is_null() {
        return FUSE_OK;
    }
    // SAFETY: the caller's.
    if let Err(refusal) = unsafe { get(stream) } {
        return refusal.status();
    }
    let close = || {
        // SAFETY: it came from `Box::into_raw`, is open, and is closed by nobody else.
        let mut shell = unsafe { Box::from_raw(stream) };
        shell.kind.store(KIND_CLOSED, Ordering::Relaxed);
        let task = shell.task.take();
        graveyard::bury(shell);
        if let Some((runtime, task)) = task {
            end(&runtime, task);
        }
    };
    firewall::catch(close).map_or(FUSE_ERR_INTERNAL, |()| FUSE_OK)
}

/// Ends a task, and waits until it has, except on a thread of the library.
pub(super) fn end(runtime: &Tokio, task: JoinHandle<()>) {
    task.abort();
    if refuse_inside().is_ok() {
        // It ended by itself, was cancelled, or is gone with its runtime.
        let _ = runtime.block_on(task);
    }
}
