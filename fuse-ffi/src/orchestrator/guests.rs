//! What is done in guests.

use alloc::string::String;
use core::ffi::{c_char, c_void};
use core::future::Future;

use fuse_orchestrator::model::EnvironmentId;
use fuse_orchestrator::provider::{FileUpload, LogSource};
use fuse_orchestrator::{Error, Orchestrator, wire};

use super::call::{fuse_completion_fn, fuse_orchestrator_t, json, later, name, now, parse};
use crate::crossing;
use crate::handle::Failed;
use crate::status::fuse_status_t;

/// Runs a command in a running environment and waits for it. `request`: the body of POST /v1/environments/{id}:exec.
/// The answer has its exit code and its output. Beyond its time (60 s, at most 10 min) it is killed and its exit
/// code is 124.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_exec(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    request: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| exec(fuse, id, request)) }
}

/// fuse_orchestrator_exec that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_exec_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    request: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| exec(fuse, id, request)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn exec(
    fuse: Orchestrator,
    id: *const c_char,
    request: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    // SAFETY: the caller's.
    let body: wire::ExecCommand = unsafe { parse(request, "request") }?;
    let body = body.request()?;
    Ok(async move { json(&wire::ExecResult::from(&fuse.exec(&id, body).await?)) })
}

/// Writes a file in a running environment: `length` bytes, at most 48 MiB, at an absolute `path`, with a mode such
/// as 0644. The bytes are copied. There is no answer.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run; FUSE_ERR_TOO_LARGE.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_upload(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    path: *const c_char,
    mode: u32,
    bytes: *const u8,
    length: usize,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| upload(fuse, id, path, mode, bytes, length)) }
}

/// fuse_orchestrator_upload that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_upload_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    path: *const c_char,
    mode: u32,
    bytes: *const u8,
    length: usize,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| upload(fuse, id, path, mode, bytes, length)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn upload(
    fuse: Orchestrator,
    id: *const c_char,
    path: *const c_char,
    mode: u32,
    bytes: *const u8,
    length: usize,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    // SAFETY: the caller's.
    let (path, content) = unsafe {
        (crossing::string(path, "path")?.into(), crossing::bytes(bytes, length, "bytes")?.to_vec())
    };
    let file = FileUpload { path, content, mode };
    Ok(async move { fuse.upload(&id, file).await.map(|()| String::new()) })
}

/// Reads the end of a log of an environment, also of one that ended while its record is kept. `source`: "console",
/// "startup" or "agent"; NULL: "console". Secrets are replaced. The answer is the text of the log, which is not
/// JSON; NULL when it is empty.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_logs(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    source: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| logs(fuse, id, source)) }
}

/// fuse_orchestrator_logs that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_logs_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    source: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| logs(fuse, id, source)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn logs(
    fuse: Orchestrator,
    id: *const c_char,
    source: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    // SAFETY: the caller's.
    let source = unsafe { log_source(source) }?;
    Ok(async move { fuse.logs(&id, source).await })
}

/// Gives a running environment new credentials. When it returns, its agent takes the new token and no other. There
/// is no answer.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_rotate_token(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| rotate_token(fuse, id)) }
}

/// fuse_orchestrator_rotate_token that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_rotate_token_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| rotate_token(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn rotate_token(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    Ok(async move { fuse.rotate_token(&id).await.map(|()| String::new()) })
}

/// # Safety
/// `source` is null or text.
pub(super) unsafe fn log_source(source: *const c_char) -> Result<LogSource, Failed> {
    // SAFETY: the caller's.
    let source = if source.is_null() { "" } else { unsafe { crossing::string(source, "source") }? };
    Ok(wire::LogQuery { source: source.into(), follow: String::new() }.parts()?.0)
}
