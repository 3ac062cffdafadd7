//! Opening and closing a control plane.

use alloc::boxed::Box;
use core::ffi::c_char;
use core::future::Future;
use core::time::Duration;
use std::sync::Arc;

use fuse_host_agent::{DefaultProvider, Embedded, EmbeddedOptions, ProviderChoice};
use fuse_orchestrator::{Error, Orchestrator};
use secrecy::SecretString;
use tokio::runtime::Runtime;

use super::call::{Plane, fuse_orchestrator_t, json, refuse_inside, with};
use crate::crossing::{self, Crossing, Place};
use crate::firewall;
use crate::graveyard;
use crate::handle::{Failed, Refusal, free_call, get};
use crate::status::*;
use crate::text::ErrorBuffer;

/// How long a close waits for calls that run.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How to open a control plane in this process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_open_options_t {
    /// sizeof(fuse_open_options_t).
    pub struct_size: u32,
    /// 0.
    pub flags: u32,
    /// What the host `default` is to be: "auto", "local" or "stub"; NULL: "auto".
    pub provider: *const c_char,
    /// The folder of this machine's VMs and images; NULL: that of the environment variable FUSE_HOST_DATA, else
    /// /var/lib/fuse-host-agent. One process at a time works on it.
    pub host_data: *const c_char,
}

// SAFETY: numbers and pointers.
unsafe impl Crossing for fuse_open_options_t {
    const FIRST_SIZE: usize = 8 + 2 * size_of::<usize>();
    const NAME: &'static str = "fuse_open_options_t";
}

/// # Safety
/// `raw` is null or points to options; their pointers are null or texts.
unsafe fn options(raw: *const fuse_open_options_t) -> Result<EmbeddedOptions, Failed> {
    if raw.is_null() {
        return Ok(EmbeddedOptions::default());
    }
    // SAFETY: the caller's.
    let raw = unsafe { crossing::read(raw) }?;
    if raw.flags != 0 {
        return Err(Refusal::Value { what: "flags of fuse_open_options_t is not 0" }.into());
    }
    let text = |at: *const c_char, what| match at.is_null() {
        true => Ok(None),
        // SAFETY: the caller's.
        false => unsafe { crossing::string(at, what) }.map(Some),
    };
    let provider = match text(raw.provider, "provider")? {
        Some(name) => name.parse()?,
        None => ProviderChoice::default(),
    };
    Ok(EmbeddedOptions { provider, host_data: text(raw.host_data, "host_data")?.map(Into::into) })
}

/// Opens on threads of its own.
fn open(
    out: &Place<*mut fuse_orchestrator_t>,
    opening: impl Future<Output = Result<(Orchestrator, Option<DefaultProvider>), Error>>,
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
    let (fuse, provider) = runtime.block_on(opening)?;
    let plane = Plane { fuse, provider, runtime: Arc::new(runtime) };
    out.put(Box::into_raw(Box::new(fuse_orchestrator_t::new(plane))));
    Ok(())
}

/// Opens one in this process, and says on the standard error when it is not what the program would expect: a C program
/// has no log that it could go to.
async fn embedded(
    opening: impl Future<Output = Result<Embedded, Error>>,
) -> Result<(Orchestrator, Option<DefaultProvider>), Error> {
    let Embedded { fuse, provider } = opening.await?;
    if let Some(warning) = &provider.warning {
        // Nobody is told where there is no standard error.
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("fuse: warning: {warning}\n"));
    }
    Ok((fuse, Some(provider)))
}

/// Gives C an orchestrator that a Rust program opened, with parts of its own. Calls from C run on `runtime`; where that is
/// one of a single thread, nothing happens between them. C closes it with [`fuse_orchestrator_close`], which ends the
/// runtime too when nobody else has it.
#[must_use]
pub fn orchestrator_for_c(fuse: Orchestrator, runtime: Arc<Runtime>) -> *mut fuse_orchestrator_t {
    Box::into_raw(Box::new(fuse_orchestrator_t::new(Plane { fuse, provider: None, runtime })))
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
            open(&Place::new(out, "out")?, embedded(Embedded::in_memory()))
        })
    }
}

/// Opens a control plane whose state is in a directory, which is made when it is not there: fuse_orchestrator_open_with
/// with FUSE_OPEN_OPTIONS_INIT, so that environments are real VMs of this machine where there can be some, and else those
/// of the stub, with a warning on the standard error. Close it with fuse_orchestrator_close.
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
    unsafe { fuse_orchestrator_open_with(directory, core::ptr::null(), out, error, error_capacity) }
}

/// Opens a control plane whose state is in a directory, which is made when it is not there. `options` (may be NULL:
/// FUSE_OPEN_OPTIONS_INIT) say what runs its environments, which is the host `default`:
///
/// - "auto": real VMs of this machine where QEMU or Firecracker is installed and an image is (`fuse image build` makes
///   one); else the stub, which runs commands in memory and isolates nothing. A line on the standard error then says
///   so, and why. A directory with real VMs never goes back to the stub.
/// - "local": real VMs, or FUSE_ERR_UNAVAILABLE with what is missing and what to do.
/// - "stub": the stub, without a warning.
///
/// fuse_orchestrator_provider tells which it became. VMs outlive the program; the next one that opens the directory
/// takes them over. Their VMMs are child processes of this one: a program that waits for any child sees theirs end, and
/// before Linux 5.10 the library handles SIGCHLD, and calls the handler that was there. Close it with
/// fuse_orchestrator_close.
///
/// `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
///
/// FUSE_ERR_UNAVAILABLE also when another process has the directory open, or it cannot be written; FUSE_ERR_CONFLICT when
/// the environments of the directory need another provider; FUSE_ERR_INVALID_ARG for another name. Full build only.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_open_with(
    directory: *const c_char,
    options: *const fuse_open_options_t,
    out: *mut *mut fuse_orchestrator_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            let directory = crossing::string(directory, "directory")?.to_owned();
            let options = self::options(options)?;
            let opening = async move { Embedded::open(directory, &options).await };
            open(&Place::new(out, "out")?, embedded(opening))
        })
    }
}

/// What ran the environments of an orchestrator when it was opened: the JSON object {"name", "url", "why"} of its host
/// `default`. `name` is "local" (VMs of this machine), "stub", or "remote" (somebody registered a host agent under that
/// name); `why` says why it is the stub, or why its VMs cannot be reached, and is left out where all is as it should be.
/// NULL for one behind the REST API, whose hosts are the server's affair.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_provider(
    orchestrator: *mut fuse_orchestrator_t,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with(orchestrator, out, |plane| match &plane.provider {
            Some(provider) => Ok(json(&DefaultProvider { warning: None, ..provider.clone() })?),
            None => Ok(String::new()),
        })
    }
}

/// Connects to a control plane behind the REST API, such as "https://fuse.example.org:8080", with a bearer token: the
/// master token or an API key; NULL: without one. Every function does the same as with one in this process. Close it with
/// fuse_orchestrator_close; the server goes on.
///
/// `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
///
/// FUSE_ERR_INVALID_ARG for a URL that is none; FUSE_ERR_UNAVAILABLE when nothing answers. A token that the server does not
/// take is FUSE_ERR_UNAUTHORIZED from the first call. Full build only.
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
            open(&Place::new(out, "out")?, async { Ok((Orchestrator::connect(url, token).await?, None)) })
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
        if let Some(Plane { fuse, runtime, .. }) = plane.and_then(Arc::into_inner) {
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
