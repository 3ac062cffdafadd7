//! What every handle has: a mark of its kind, whether a call runs on it, and the text of its last error.

#[cfg(feature = "full")]
use alloc::boxed::Box;
use alloc::string::String;
use core::cell::UnsafeCell;
use core::ffi::{c_char, c_void};
use core::fmt;
use core::sync::atomic::{AtomicU32, Ordering};

use crate::crossing;
use crate::firewall::{self, Panicked};
use crate::status::*;
use crate::text::{ERROR_BYTES, Text};

/// Why a call was turned away before it did anything.
#[derive(Debug)]
pub(crate) enum Refusal {
    Null {
        what: &'static str,
    },
    StructSize {
        name: &'static str,
        size: u32,
        first: usize,
    },
    StructTail {
        name: &'static str,
        known: usize,
    },
    TooLong {
        what: &'static str,
        limit: usize,
    },
    NotUtf8 {
        what: &'static str,
    },
    TooSmall {
        have: usize,
        need: usize,
    },
    Handle,
    Busy,
    Poisoned,
    Value {
        what: &'static str,
    },
    Event {
        event: u32,
    },
    #[cfg(feature = "full")]
    Inside,
}

impl Refusal {
    pub(crate) const fn status(&self) -> fuse_status_t {
        match self {
            Self::TooSmall { .. } => FUSE_ERR_BUFFER_TOO_SMALL,
            Self::Busy => FUSE_ERR_WRONG_STATE,
            #[cfg(feature = "full")]
            Self::Inside => FUSE_ERR_WRONG_STATE,
            Self::Poisoned => FUSE_ERR_POISONED,
            _ => FUSE_ERR_INVALID_ARG,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null { what } => write!(f, "{what} is NULL"),
            Self::StructSize { name, size, first } => write!(
                f,
                "struct_size of {name} is {size}: set it to sizeof({name}), which is at least {first}, with its _INIT macro"
            ),
            Self::StructTail { name, known } => write!(
                f,
                "{name} uses fields after its first {known} bytes, which this library does not know; a newer libfuse is needed"
            ),
            Self::TooLong { what, limit } => write!(f, "{what} is longer than {limit} bytes"),
            Self::NotUtf8 { what } => write!(f, "{what} is not UTF-8"),
            Self::TooSmall { have, need } => write!(f, "the buffer holds {have} bytes, {need} are needed"),
            Self::Handle => f.write_str("the handle is closed, or of another kind"),
            Self::Busy => f.write_str(
                "a call runs on this handle: a callback must not call its own runtime, except to post events",
            ),
            Self::Poisoned => f.write_str("an earlier call failed inside the library; close this handle"),
            Self::Value { what } => f.write_str(what),
            Self::Event { event } => write!(f, "event id {event} does not exist; ids are 0 to 31"),
            #[cfg(feature = "full")]
            Self::Inside => f.write_str(
                "a callback must not wait on a thread of the library; use the `_async` form of the call",
            ),
        }
    }
}

/// Why a call failed.
pub(crate) enum Failed {
    Refusal(Refusal),
    Edge(fuse_edge::Error),
    #[cfg(feature = "full")]
    Plane(Box<fuse_orchestrator::Error>),
    #[cfg_attr(not(feature = "full"), allow(dead_code))]
    Other {
        status: fuse_status_t,
        what: String,
    },
}

impl Failed {
    pub(crate) fn status(&self) -> fuse_status_t {
        match self {
            Self::Refusal(refusal) => refusal.status(),
            // The numbers of the classes are the numbers of the statuses.
            Self::Edge(error) => error.kind() as fuse_status_t,
            #[cfg(feature = "full")]
            Self::Plane(error) => crate::orchestrator::status_of(error),
            Self::Other { status, .. } => *status,
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refusal(refusal) => refusal.fmt(f),
            Self::Edge(error) => error.fmt(f),
            #[cfg(feature = "full")]
            Self::Plane(error) => error.fmt(f),
            Self::Other { what, .. } => f.write_str(what),
        }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl From<fuse_edge::Error> for Failed {
    fn from(error: fuse_edge::Error) -> Self {
        Self::Edge(error)
    }
}

pub(crate) const KIND_RUNTIME: u32 = 0x4655_5201;
pub(crate) const KIND_POSTER: u32 = 0x4655_5202;
pub(crate) const KIND_APP: u32 = 0x4655_5203;
#[cfg(feature = "full")]
pub(crate) const KIND_ORCHESTRATOR: u32 = 0x4655_5204;
#[cfg(feature = "full")]
pub(crate) const KIND_STREAM: u32 = 0x4655_5205;
#[cfg(feature = "full")]
pub(crate) const KIND_ATTACH: u32 = 0x4655_5206;
/// A handle that was closed.
pub(crate) const KIND_CLOSED: u32 = 0x4655_52ff;

const IDLE: u32 = 0;
const BUSY: u32 = 1;
const POISONED: u32 = 2;

/// The first fields of a handle that belongs to one thread at a time.
#[repr(C)]
pub(crate) struct Head {
    kind: AtomicU32,
    state: AtomicU32,
    /// Read and written by the thread that the handle belongs to.
    error: UnsafeCell<Text<ERROR_BYTES>>,
}

impl Head {
    pub(crate) const fn new(kind: u32) -> Self {
        Self { kind: AtomicU32::new(kind), state: AtomicU32::new(IDLE), error: UnsafeCell::new(Text::new()) }
    }

    fn set_error(&self, what: &dyn fmt::Display) {
        // SAFETY: the handle belongs to this thread, and `Text::set` calls nothing that comes back here: `Display` of
        // the errors of this crate and of `fuse_edge` is plain formatting.
        unsafe { (*self.error.get()).set(what) };
    }

    /// Keeps why a call failed, and gives its status.
    #[cold]
    pub(crate) fn fail(&self, failed: &Failed) -> fuse_status_t {
        self.set_error(failed);
        failed.status()
    }

    #[cold]
    fn poison(&self, panicked: &Panicked) -> fuse_status_t {
        self.state.store(POISONED, Ordering::Relaxed);
        self.set_error(&format_args!("libfuse failed inside this call: {}; close this handle", panicked.0));
        FUSE_ERR_INTERNAL
    }

    /// Marks that a call runs, where none does. The caller gives it back with [`leave`](Self::leave).
    pub(crate) fn enter(&self) -> Result<(), Refusal> {
        match self.state.load(Ordering::Relaxed) {
            IDLE => {
                self.state.store(BUSY, Ordering::Relaxed);
                Ok(())
            }
            BUSY => Err(Refusal::Busy),
            _ => Err(Refusal::Poisoned),
        }
    }

    /// The call is over.
    pub(crate) fn leave(&self) {
        self.state.store(IDLE, Ordering::Relaxed);
    }

    /// Marks the handle as closed. No call must run on it.
    pub(crate) fn close(&self) -> Result<(), Refusal> {
        if self.state.load(Ordering::Relaxed) == BUSY {
            return Err(Refusal::Busy);
        }
        self.kind.store(KIND_CLOSED, Ordering::Relaxed);
        Ok(())
    }
}

/// A handle with a [`Head`].
///
/// # Safety
/// `repr(C)`, and the head, or else an `AtomicU32` with the kind, is the first field.
pub(crate) unsafe trait Handle {
    const KIND: u32;
}

/// The handle behind a pointer, if it is one of this kind.
///
/// # Safety
/// `handle` is null, or points to a handle of any kind that is open, or was closed not long ago.
#[inline]
pub(crate) unsafe fn get<'a, T: Handle>(handle: *const T) -> Result<&'a T, Refusal> {
    if handle.is_null() {
        return Err(Refusal::Null { what: "the handle" });
    }
    if !handle.is_aligned() {
        return Err(Refusal::Handle);
    }
    // SAFETY: whatever the kind, a handle begins with its kind. The shells of closed ones are kept for a while.
    let kind = unsafe { &*handle.cast::<AtomicU32>() };
    if kind.load(Ordering::Relaxed) != T::KIND {
        return Err(Refusal::Handle);
    }
    // SAFETY: it is of this kind, and open.
    Ok(unsafe { &*handle })
}

/// A handle that belongs to one thread at a time, with what calls work on.
///
/// # Safety
/// `head` gives the first field; `inner` gives what nothing else refers to while no call runs.
pub(crate) unsafe trait Exclusive: Handle {
    type Inner;
    fn head(&self) -> &Head;
    fn inner(&self) -> *mut Self::Inner;
}

/// Runs a call on a handle: no other call runs on it meanwhile, a failure leaves its text, a panic its poison.
///
/// # Safety
/// As [`get`]; no other thread uses the handle.
#[inline]
pub(crate) unsafe fn call<T: Exclusive>(
    handle: *mut T,
    work: impl FnOnce(&mut T::Inner) -> Result<fuse_status_t, Failed>,
) -> fuse_status_t {
    // SAFETY: the caller's.
    let handle = match unsafe { get(handle) } {
        Ok(handle) => handle,
        Err(refusal) => return refusal.status(),
    };
    let head = handle.head();
    if let Err(refusal) = head.enter() {
        return head.fail(&refusal.into());
    }
    // SAFETY: the state was IDLE, so no other call has it; it is BUSY until `work` is done, also for calls that a
    // callback makes.
    let result = firewall::catch(|| work(unsafe { &mut *handle.inner() }));
    match result {
        Ok(Ok(status)) => {
            head.leave();
            status
        }
        Ok(Err(failed)) => {
            head.leave();
            head.fail(&failed)
        }
        Err(panicked) => head.poison(&panicked),
    }
}

/// Runs something that has no handle, and writes why it failed.
pub(crate) fn free_call(
    error: crate::text::ErrorBuffer,
    work: impl FnOnce() -> Result<(), Failed>,
) -> fuse_status_t {
    #[cfg(feature = "flight")]
    if !crate::flight::has_memory() {
        error.write(&"there is no memory yet: call fuse_arena_give first");
        return FUSE_ERR_OUT_OF_MEMORY;
    }
    match firewall::catch(work) {
        Ok(Ok(())) => FUSE_OK,
        Ok(Err(failed)) => {
            error.write(&failed);
            failed.status()
        }
        Err(panicked) => {
            error.write(&format_args!("libfuse failed inside this call: {}", panicked.0));
            FUSE_ERR_INTERNAL
        }
    }
}

/// Copies the text of the last failure on a handle, with a zero at its end: what was tried, on what, why it failed
/// and what to do. Works for each kind of handle that a failure is kept in (runtime, application, orchestrator), also
/// from inside a callback, and also when the handle is poisoned. The text is empty when nothing has failed; a later
/// failure replaces it, a success does not.
///
/// `length` (may be NULL) receives the bytes needed, the zero among them: at most 1025.
///
/// FUSE_ERR_BUFFER_TOO_SMALL when `capacity` is less; nothing is copied then. FUSE_ERR_INVALID_ARG for a handle that is
/// closed or has no text.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: as the handle.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_last_error(
    handle: *const c_void,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> fuse_status_t {
    if handle.is_null() || !handle.cast::<Head>().is_aligned() {
        return FUSE_ERR_INVALID_ARG;
    }
    // SAFETY: whatever the kind, a handle begins with its kind.
    let kind = unsafe { &*handle.cast::<AtomicU32>() }.load(Ordering::Relaxed);
    let copy = |text: &[u8]| {
        // SAFETY: the caller's buffer.
        match unsafe { crossing::copy_out(text, buffer.cast(), capacity, length, true) } {
            Ok(()) => FUSE_OK,
            Err(refusal) => refusal.status(),
        }
    };
    match kind {
        // SAFETY: these begin with a head; the handle belongs to this thread.
        KIND_RUNTIME | KIND_APP => copy(unsafe { &*(*handle.cast::<Head>()).error.get() }.as_bytes()),
        #[cfg(feature = "full")]
        KIND_ORCHESTRATOR => {
            // SAFETY: it is one, and open.
            copy(crate::orchestrator::error_text(unsafe { &*handle.cast() }).as_bytes())
        }
        _ => FUSE_ERR_INVALID_ARG,
    }
}
