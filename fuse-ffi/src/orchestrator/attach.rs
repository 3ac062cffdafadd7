//! Terminals.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{c_char, c_void};
use core::sync::atomic::{AtomicU32, Ordering};

use fuse_orchestrator::model::EnvironmentId;
use fuse_orchestrator::provider::{AttachInput, AttachOutput, AttachRequest};
use serde::Deserialize;
use tokio::runtime::Handle as Tokio;
use tokio::sync::mpsc::{Receiver, Sender, error::TrySendError};
use tokio::task::JoinHandle;

use super::call::{body, fuse_orchestrator_t, give, name, parse, refuse_inside};
use super::events::end;
use crate::crossing::{self, Place};
use crate::finalizer::{Lent, fuse_finalizer_t};
use crate::firewall;
use crate::graveyard::{self, Shell};
use crate::handle::{Failed, Handle, KIND_ATTACH, KIND_CLOSED, Refusal, get};
use crate::status::*;

/// A terminal in an environment. Close it with fuse_attach_close. Any thread may write to it.
// Spelled so that cbindgen takes it for opaque, as C must.
#[cfg_attr(all(), repr(C))]
pub struct fuse_attach_t {
    kind: AtomicU32,
    open: Option<Open>,
}

struct Open {
    input: Sender<AttachInput>,
    runtime: Tokio,
    task: JoinHandle<()>,
}

// SAFETY: the kind is the first field.
unsafe impl Handle for fuse_attach_t {
    const KIND: u32 = KIND_ATTACH;
}

impl Shell for fuse_attach_t {}

/// Gets what a terminal shows, on a thread of the library: FUSE_OK with bytes; FUSE_END with the program's exit code, after
/// which nothing follows; FUSE_ERR_UNAVAILABLE when the connection broke off, the same. The bytes live until it returns.
/// While it runs, the program in the guest is held back. The rules of fuse_completion_fn hold.
pub type fuse_attach_fn = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        status: fuse_status_t,
        bytes: *const u8,
        length: usize,
        exit_code: i32,
    ),
>;

type Show = unsafe extern "C-unwind" fn(*mut c_void, fuse_status_t, *const u8, usize, i32);

/// What a terminal is asked for with.
#[derive(Deserialize)]
#[serde(default)]
struct Terminal {
    cmd: Vec<String>,
    rows: u16,
    cols: u16,
}

impl Default for Terminal {
    fn default() -> Self {
        Self { cmd: Vec::new(), rows: 24, cols: 80 }
    }
}

/// Opens a terminal in a running environment. While it is open the environment counts as used.
///
/// `request` (may be NULL): an object with cmd (a list of texts; left out: a login shell), rows and cols (24 and 80).
/// `finalizer` (may be NULL) is called with `user` once, when the terminal ends or is closed, or when this call fails.
/// `out_error` (may be NULL) receives the error body when this call failed.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_attach(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    request: *const c_char,
    output: fuse_attach_fn,
    user: *mut c_void,
    finalizer: fuse_finalizer_t,
    out: *mut *mut fuse_attach_t,
    out_error: *mut *mut c_char,
) -> fuse_status_t {
    let lent = Lent::new(user, finalizer);
    // SAFETY: the caller's, as for every pointer of this file.
    let (handle, out_error) = unsafe { (get(orchestrator), Place::optional(out_error)) };
    out_error.put(core::ptr::null_mut());
    let handle = match handle {
        Ok(handle) => handle,
        Err(refusal) => return refusal.status(),
    };
    let work = || {
        refuse_inside()?;
        // SAFETY: the caller's.
        let (out, id, asked) = unsafe {
            let id: EnvironmentId = name(id, "id")?;
            (Place::new(out, "out")?, id, parse::<Terminal>(request, "request")?)
        };
        let output = output.ok_or(Refusal::Null { what: "output" })?;
        let plane = handle.plane()?;
        let asked = AttachRequest { argv: asked.cmd, rows: asked.rows.max(1), cols: asked.cols.max(1) };
        let session = plane.runtime.block_on(plane.fuse.attach(&id, asked))?;
        let task = plane.runtime.spawn(show(session.output, output, lent));
        let open = Open { input: session.input, runtime: plane.runtime.handle().clone(), task };
        let attach = fuse_attach_t { kind: AtomicU32::new(KIND_ATTACH), open: Some(open) };
        out.put(Box::into_raw(Box::new(attach)));
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

async fn show(mut from_guest: Receiver<AttachOutput>, output: Show, lent: Lent) {
    let say = move |status, bytes: &[u8], exit_code| {
        // SAFETY: the host's function, with its pointer; the bytes are there until it returns.
        unsafe { output(lent.user(), status, bytes.as_ptr(), bytes.len(), exit_code) };
    };
    while let Some(item) = from_guest.recv().await {
        match item {
            AttachOutput::Stdout(bytes) => say(FUSE_OK, &bytes, 0),
            AttachOutput::Exit(code) => return say(FUSE_END, &[], code),
        }
    }
    say(FUSE_ERR_UNAVAILABLE, &[], 0);
}

/// # Safety
/// `attach` is null or a terminal that is open, or was closed not long ago.
unsafe fn send(
    attach: *const fuse_attach_t,
    input: impl FnOnce() -> Result<AttachInput, Refusal>,
) -> fuse_status_t {
    let work = || {
        // SAFETY: the caller's.
        let Some(open) = &unsafe { get(attach) }?.open else { return Err(Refusal::Handle) };
        let input = input()?;
        // On a thread of the library nothing may wait: there it is sent when there is room.
        let sent = match refuse_inside() {
            Ok(()) => open.input.blocking_send(input).map_err(|_| FUSE_END),
            Err(_) => open.input.try_send(input).map_err(|e| match e {
                TrySendError::Full(_) => FUSE_ERR_UNAVAILABLE,
                TrySendError::Closed(_) => FUSE_END,
            }),
        };
        Ok(sent.err().unwrap_or(FUSE_OK))
    };
    match firewall::catch(work) {
        Ok(Ok(status)) => status,
        Ok(Err(refusal)) => refusal.status(),
        Err(_) => FUSE_ERR_INTERNAL,
    }
}

/// Types bytes, at most 1 MiB at once. They are copied. Waits while the guest does not read.
///
/// FUSE_END when the program has ended; FUSE_ERR_UNAVAILABLE inside a callback of the library, when it would have to wait.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_attach_write(
    attach: *mut fuse_attach_t,
    bytes: *const u8,
    length: usize,
) -> fuse_status_t {
    const MOST: usize = 1024 * 1024;
    if length > MOST {
        return FUSE_ERR_TOO_LARGE;
    }
    // SAFETY: the caller's.
    unsafe { send(attach, || Ok(AttachInput::Stdin(crossing::bytes(bytes, length, "bytes")?.to_vec()))) }
}

/// Tells a new size of the terminal, 1 to 65535 rows and columns.
///
/// As fuse_attach_write.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_attach_resize(
    attach: *mut fuse_attach_t,
    rows: u32,
    cols: u32,
) -> fuse_status_t {
    let size = |number| u16::try_from(number).ok().filter(|size| *size > 0);
    // SAFETY: the caller's.
    unsafe {
        send(attach, || match (size(rows), size(cols)) {
            (Some(rows), Some(cols)) => Ok(AttachInput::Resize { rows, cols }),
            _ => Err(Refusal::Value { what: "rows and cols are 1 to 65535" }),
        })
    }
}

/// Closes a terminal: the program in the guest loses it. When it returns, the callback runs no more and its finalizer was
/// called; called from inside the callback itself, that is the callback's last run. NULL is allowed and does nothing.
///
/// ISR-safe: no; allocates: no; blocks: until the callback returns; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_attach_close(attach: *mut fuse_attach_t) -> fuse_status_t {
    if attach.is_null() {
        return FUSE_OK;
    }
    // SAFETY: the caller's.
    if let Err(refusal) = unsafe { get(attach) } {
        return refusal.status();
    }
    let close = || {
        // SAFETY: it came from `Box::into_raw`, is open, and is closed by nobody else.
        let mut shell = unsafe { Box::from_raw(attach) };
        shell.kind.store(KIND_CLOSED, Ordering::Relaxed);
        let open = shell.open.take();
        graveyard::bury(shell);
        if let Some(Open { input, runtime, task }) = open {
            drop(input);
            end(&runtime, task);
        }
    };
    firewall::catch(close).map_or(FUSE_ERR_INTERNAL, |()| FUSE_OK)
}
