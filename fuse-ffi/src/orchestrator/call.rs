//! How a call on an orchestrator is made: waited for, or told later.

use alloc::ffi::CString;
use alloc::string::{String, ToString};
use core::ffi::{c_char, c_void};
use core::future::Future;
use core::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuse_host_agent::DefaultProvider;
use fuse_orchestrator::wire::ErrorBody;
use fuse_orchestrator::{Error, ErrorCode, Orchestrator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Runtime;

use crate::crossing::{self, Place};
use crate::firewall;
use crate::graveyard::Shell;
use crate::handle::{Failed, Handle, KIND_CLOSED, KIND_ORCHESTRATOR, Refusal, get};
use crate::status::*;
use crate::text::{ERROR_BYTES, Text};

/// A control plane for microVM sandboxes, in this process or behind the REST API. It may be used from any thread, from
/// many at once.
///
/// Requests and answers are JSON texts: the bodies and queries of the REST API. `out` (may be NULL) of a call receives
/// the answer, or NULL where there is none; when the call failed, it receives the error body of the REST API. Free both
/// with fuse_string_free. fuse_last_error gives the message of the last failure on any thread.
///
/// Calls wait until they are done. Each has an `_async` form, which tells a completion callback instead; inside callbacks
/// of the library only those may be called, the others are FUSE_ERR_WRONG_STATE there. Those that give a handle, or close
/// the orchestrator, have none: a program that must not wait for them makes them on a thread of its own.
// Spelled so that cbindgen takes it for opaque, as C must.
#[cfg_attr(all(), repr(C))]
pub struct fuse_orchestrator_t {
    kind: AtomicU32,
    poisoned: AtomicU32,
    error: Mutex<Text<ERROR_BYTES>>,
    plane: Mutex<Option<Arc<Plane>>>,
}

/// The orchestrator and what its calls run on.
pub(crate) struct Plane {
    /// What ran its environments when it was opened; none behind the REST API.
    pub(super) provider: Option<DefaultProvider>,
    // Dropped before the runtime that its tasks run on.
    pub(super) fuse: Orchestrator,
    pub(super) runtime: Arc<Runtime>,
}

// SAFETY: the kind is the first field.
unsafe impl Handle for fuse_orchestrator_t {
    const KIND: u32 = KIND_ORCHESTRATOR;
}

impl Shell for fuse_orchestrator_t {}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole after every statement that changes it.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fuse_orchestrator_t {
    pub(super) fn new(plane: Plane) -> Self {
        Self {
            kind: AtomicU32::new(KIND_ORCHESTRATOR),
            poisoned: AtomicU32::new(0),
            error: Mutex::new(Text::new()),
            plane: Mutex::new(Some(Arc::new(plane))),
        }
    }

    pub(super) fn plane(&self) -> Result<Arc<Plane>, Failed> {
        if self.poisoned.load(Ordering::Relaxed) != 0 {
            return Err(Refusal::Poisoned.into());
        }
        lock(&self.plane).clone().ok_or(Failed::Refusal(Refusal::Handle))
    }

    /// Takes the plane out, so that no call finds it any more.
    pub(super) fn close(&self) -> Option<Arc<Plane>> {
        self.kind.store(KIND_CLOSED, Ordering::Relaxed);
        lock(&self.plane).take()
    }

    pub(super) fn fail(&self, failed: &Failed) -> fuse_status_t {
        lock(&self.error).set(failed);
        failed.status()
    }
}

/// The text of the last failure.
pub(crate) fn error_text(orchestrator: &fuse_orchestrator_t) -> String {
    String::from_utf8_lossy(lock(&orchestrator.error).as_bytes()).into_owned()
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Plane(error.into())
    }
}

/// The status that an error of the control plane is.
pub(crate) fn status_of(error: &Error) -> fuse_status_t {
    match error.code() {
        ErrorCode::NotFound | ErrorCode::RouteNotFound => FUSE_ERR_NOT_FOUND,
        ErrorCode::Conflict => FUSE_ERR_CONFLICT,
        ErrorCode::InvalidArgument => FUSE_ERR_INVALID_ARG,
        ErrorCode::Unauthorized | ErrorCode::Forbidden => FUSE_ERR_UNAUTHORIZED,
        ErrorCode::Unavailable | ErrorCode::RateLimited => FUSE_ERR_UNAVAILABLE,
        ErrorCode::Unimplemented => FUSE_ERR_UNIMPLEMENTED,
        ErrorCode::PayloadTooLarge => FUSE_ERR_TOO_LARGE,
        ErrorCode::Internal => FUSE_ERR_FAILED,
    }
}

/// The error body of the REST API for a failure.
pub(super) fn body(failed: &Failed) -> String {
    match failed {
        Failed::Plane(error) => ErrorBody::from(&**error).to_json(),
        failed => {
            let code = match failed.status() {
                FUSE_ERR_INVALID_ARG | FUSE_ERR_WRONG_STATE => ErrorCode::InvalidArgument,
                _ => ErrorCode::Internal,
            };
            ErrorBody::new(code, failed.to_string()).to_json()
        }
    }
}

/// A request of the caller's; null and nothing are an empty one.
///
/// # Safety
/// `json` is null or text.
pub(super) unsafe fn parse<T: DeserializeOwned>(
    json: *const c_char,
    what: &'static str,
) -> Result<T, Failed> {
    // SAFETY: the caller's.
    let text = if json.is_null() { "" } else { unsafe { long_text(json, what) }? };
    let text = if text.trim().is_empty() { "{}" } else { text };
    serde_json::from_str(text).map_err(|e| Failed::Other {
        status: FUSE_ERR_INVALID_ARG,
        what: alloc::format!("{what} is not the JSON that it must be: {e}"),
    })
}

/// Text without the limit of names.
///
/// # Safety
/// `text` ends with a zero.
unsafe fn long_text<'a>(text: *const c_char, what: &'static str) -> Result<&'a str, Refusal> {
    // SAFETY: the caller's.
    unsafe { core::ffi::CStr::from_ptr(text) }.to_str().map_err(|_| Refusal::NotUtf8 { what })
}

/// A name of the model, such as that of an environment.
///
/// # Safety
/// `text` is null or text.
pub(super) unsafe fn name<T>(text: *const c_char, what: &'static str) -> Result<T, Failed>
where
    T: core::str::FromStr,
    T::Err: core::fmt::Display,
{
    // SAFETY: the caller's.
    let text = unsafe { crossing::string(text, what) }?;
    text.parse().map_err(|e: T::Err| Failed::Other {
        status: FUSE_ERR_INVALID_ARG,
        what: alloc::format!("{what} {text:?}: {e}"),
    })
}

/// An answer as JSON.
pub(super) fn json<T: Serialize>(answer: &T) -> Result<String, Error> {
    serde_json::to_string(answer)
        .map_err(|e| Error::BadAnswer { what: "the answer".to_string(), why: e.to_string() })
}

/// Gives a text to the caller. One with a zero in it is cut there, as C would read it.
pub(super) fn give(out: &Place<*mut c_char>, text: String) {
    let mut bytes = text.into_bytes();
    bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
    if !out.is_null()
        && let Ok(text) = CString::new(bytes)
    {
        out.put(text.into_raw());
    }
}

/// Whether this thread is one of the library's own, on which nothing may wait.
pub(super) fn refuse_inside() -> Result<(), Failed> {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => Err(Refusal::Inside.into()),
        Err(_) => Ok(()),
    }
}

/// Makes a call and waits for its answer. An empty answer is none.
///
/// # Safety
/// `handle` is null or an orchestrator that is open, or was closed not long ago; `out` is null or can be written.
pub(super) unsafe fn now<F>(
    handle: *const fuse_orchestrator_t,
    out: *mut *mut c_char,
    prepare: impl FnOnce(Orchestrator) -> Result<F, Failed>,
) -> fuse_status_t
where
    F: Future<Output = Result<String, Error>> + Send + 'static,
{
    let work = |plane: &Plane| {
        refuse_inside()?;
        let call = prepare(plane.fuse.clone())?;
        Ok(plane.runtime.block_on(call)?)
    };
    // SAFETY: the caller's.
    unsafe { with(handle, out, work) }
}

/// Makes a call on whatever thread this is. An empty answer is none.
///
/// # Safety
/// As [`now`].
pub(super) unsafe fn with(
    handle: *const fuse_orchestrator_t,
    out: *mut *mut c_char,
    work: impl FnOnce(&Plane) -> Result<String, Failed>,
) -> fuse_status_t {
    // SAFETY: the caller's.
    let (handle, out) = unsafe { (get(handle), Place::optional(out)) };
    out.put(core::ptr::null_mut());
    let handle = match handle {
        Ok(handle) => handle,
        Err(refusal) => return refusal.status(),
    };
    let failed = match firewall::catch(|| work(&*handle.plane()?)) {
        Ok(Ok(answer)) => {
            if !answer.is_empty() {
                give(&out, answer);
            }
            return FUSE_OK;
        }
        Ok(Err(failed)) => failed,
        Err(panicked) => {
            handle.poisoned.store(1, Ordering::Relaxed);
            Failed::Other { status: FUSE_ERR_INTERNAL, what: panicked.0 }
        }
    };
    give(&out, body(&failed));
    handle.fail(&failed)
}

/// Learns how an `_async` call ended: FUSE_OK with the answer, or a failure with the error body of the REST API. Called
/// once for each call that was accepted, on a thread of the library, also when the orchestrator is closed before the
/// call is done (FUSE_ERR_UNAVAILABLE). `text` (`length` bytes and a zero) lives until it returns. It must not wait,
/// call functions of the library that do, or unwind.
pub type fuse_completion_fn = Option<
    unsafe extern "C-unwind" fn(user: *mut c_void, status: fuse_status_t, text: *const c_char, length: usize),
>;

type Done = unsafe extern "C-unwind" fn(*mut c_void, fuse_status_t, *const c_char, usize);

/// Tells how a call ended: exactly once.
struct Completion {
    done: Option<Done>,
    user: *mut c_void,
}

// SAFETY: the header says that completions are told on a thread of the library.
unsafe impl Send for Completion {}

impl Completion {
    fn tell(&mut self, status: fuse_status_t, text: String) {
        if let Some(done) = self.done.take() {
            // SAFETY: the host's function, with its pointer.
            unsafe { tell(done, self.user, status, text) };
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if self.done.is_some() {
            let (status, what) = match std::thread::panicking() {
                true => (FUSE_ERR_INTERNAL, "libfuse failed inside this call"),
                false => (FUSE_ERR_UNAVAILABLE, "the orchestrator was closed before the call was done"),
            };
            self.tell(status, body(&Failed::Other { status, what: what.into() }));
        }
    }
}

/// Calls a callback with a text.
///
/// # Safety
/// `callback` takes `user`.
pub(super) unsafe fn tell(callback: Done, user: *mut c_void, status: fuse_status_t, text: String) {
    let length = text.len();
    let mut bytes = text.into_bytes();
    bytes.push(0);
    // SAFETY: the caller's; the text is there until it returns.
    unsafe { callback(user, status, bytes.as_ptr().cast(), length) };
}

/// Begins a call and tells `done` when it is done.
///
/// # Safety
/// As [`now`]; `done` takes `user`.
pub(super) unsafe fn later<F>(
    handle: *const fuse_orchestrator_t,
    done: fuse_completion_fn,
    user: *mut c_void,
    prepare: impl FnOnce(Orchestrator) -> Result<F, Failed>,
) -> fuse_status_t
where
    F: Future<Output = Result<String, Error>> + Send + 'static,
{
    // SAFETY: the caller's.
    let handle = match unsafe { get(handle) } {
        Ok(handle) => handle,
        Err(refusal) => return refusal.status(),
    };
    let work = || {
        let plane = handle.plane()?;
        let done = done.ok_or(Refusal::Null { what: "done" })?;
        let call = prepare(plane.fuse.clone())?;
        let mut completion = Completion { done: Some(done), user };
        plane.runtime.spawn(async move {
            let result = call.await.map_err(Failed::from);
            match result {
                Ok(answer) => completion.tell(FUSE_OK, answer),
                Err(failed) => completion.tell(failed.status(), body(&failed)),
            }
        });
        Ok(())
    };
    match firewall::catch(work) {
        Ok(Ok(())) => FUSE_OK,
        Ok(Err(failed)) => handle.fail(&failed),
        Err(panicked) => {
            handle.poisoned.store(1, Ordering::Relaxed);
            handle.fail(&Failed::Other { status: FUSE_ERR_INTERNAL, what: panicked.0 })
        }
    }
}

/// Frees a text that the library gave. NULL is allowed and does nothing.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_string_free(text: *mut c_char) -> fuse_status_t {
    if text.is_null() {
        return FUSE_OK;
    }
    // SAFETY: the library gave it with `give`, and nobody uses it any more.
    let free = || drop(unsafe { CString::from_raw(text) });
    firewall::catch(free).map_or(FUSE_ERR_INTERNAL, |()| FUSE_OK)
}
