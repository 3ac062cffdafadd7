//! Opening and closing a control plane.

use alloc::boxed::Box;
use core::ffi::c_char;
use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use fuse_orchestrator::{Error, Orchestrator};
use secrecy::SecretString;
use tokio::runtime::Runtime;

use super::call::{Plane, fuse_orchestrator_t, refuse_inside};
use crate::crossing::{self, Place};
use crate::firewall;
use crate::graveyard;
use crate::handle::{Failed, free_call, get};
use crate::status::*;
use crate::text::ErrorBuffer;

/// How long a close waits for calls that run.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

fn open(
    out: &Place<*mut fuse_orchestrator_t>,
    opening: impl Future<Output = Result<Orchestrator, Error>>,
) -> Result<(), Failed> {
    refuse_inside()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("fuse")
        .enable_all()
        .build()
        .map_err(|e| Failed::Other {
            status: FUSE_ERR_UNAVAILABLE,
            what: alloc::format!("there are no threads for the orchestrator: {e}"),
        })?;
    let fuse = runtime.block_on(opening)?;
    out.put(orchestrator_for_c(fuse, Arc::new(runtime)));
    Ok(())
}

/// Gives C an orchestrator that a Rust program opened, with parts of its own. Calls from C run on `runtime`; where that is
/// one of a single thread, nothing happens between them. C closes it with [`fuse_orchestrator_close`], which ends the
/// runtime too when nobody else has it.
#[must_use]
pub fn orchestrator_for_c(fuse: Orchestrator, runtime: Arc<Runtime>) -> *mut fuse_orchestrator_t {
    Box::into_raw(Box::new(fuse_orchestrator_t::new(Plane { fuse, runtime })))
}

/// Opens a control plane whose state ends with the program, with one stub host: for trying out and for tests. Close it
/// with fuse_orchestrator_close.
///
/// `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes. Full build only.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_in_memory(
    out: *mut *mut fuse_orchestrator_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            open(&Place::new(out, "out")?, Orchestrator::in_memory())
        })
    }
}

/// Opens a control plane whose state is in a directory, which is made when it is not there. Hosts are this machine, where
/// a driver for virtual machines works, else the stub. Close it with fuse_orchestrator_close.
///
/// `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
///
/// FUSE_ERR_UNAVAILABLE when another process has the directory open, or it cannot be written. Full build only.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_open(
    directory: *const c_char,
    out: *mut *mut fuse_orchestrator_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            let directory = crossing::string(directory, "directory")?.to_owned();
            open(&Place::new(out, "out")?, Orchestrator::open(directory))
        })
    }
}

/// Connects to a control plane behind the REST API, such as "https://fuse.example.org:8080", with a bearer token: the
/// master token or an API key; NULL: without one. Every function does the same as with one in this process. Close it with
/// fuse_orchestrator_close; the server goes on.
///
/// `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
///
/// FUSE_ERR_INVALID_ARG for a URL that is none; FUSE_ERR_UNAVAILABLE when nothing answers; FUSE_ERR_UNAUTHORIZED. Full
/// build only.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_connect(
    url: *const c_char,
    token: *const c_char,
    out: *mut *mut fuse_orchestrator_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            let url = crossing::string(url, "url")?;
            let token = match token.is_null() {
                true => None,
                false => Some(SecretString::from(crossing::string(token, "token")?)),
            };
            open(&Place::new(out, "out")?, Orchestrator::connect(url, token))
        })
    }
}

/// Closes an orchestrator: the work of a control plane in this process ends in order, one behind the REST API goes on.
/// Calls that run on other threads end; completions of calls that are not done are told FUSE_ERR_UNAVAILABLE; streams
/// end. It takes at most about 10 s. NULL is allowed and does nothing.
///
/// FUSE_ERR_WRONG_STATE inside a callback of the library; it then stays open. Another failure is that of the last write:
/// the handle is closed all the same.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_close(orchestrator: *mut fuse_orchestrator_t) -> fuse_status_t {
    if orchestrator.is_null() {
        return FUSE_OK;
    }
    if let Err(failed) = refuse_inside() {
        return failed.status();
    }
    // SAFETY: the caller's.
    let handle = match unsafe { get(orchestrator) } {
        Ok(handle) => handle,
        Err(refusal) => return refusal.status(),
    };
    let close = || {
        let plane = handle.close();
        let closed = plane.as_ref().map_or(Ok(()), |plane| plane.runtime.block_on(plane.fuse.close()));
        // SAFETY: it came from `Box::into_raw`, and was open until now.
        graveyard::bury(unsafe { Box::from_raw(orchestrator) });
        // Another thread that is in a call has it as well; the last of them ends the runtime.
        if let Some(Plane { fuse, runtime }) = plane.and_then(Arc::into_inner) {
            drop(fuse);
            if let Some(runtime) = Arc::into_inner(runtime) {
                runtime.shutdown_timeout(CLOSE_LIMIT);
            }
        }
        closed.map_err(Failed::from)
    };
    match firewall::catch(close) {
        Ok(Ok(())) => FUSE_OK,
        Ok(Err(failed)) => failed.status(),
        Err(_) => FUSE_ERR_INTERNAL,
    }
}
