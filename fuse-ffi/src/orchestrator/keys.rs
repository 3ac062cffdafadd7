//! API keys.

use alloc::string::String;
use core::ffi::{c_char, c_void};
use core::future::Future;

use fuse_orchestrator::{Error, Orchestrator, wire};

use super::call::{fuse_completion_fn, fuse_orchestrator_t, json, later, name, now, parse};
use crate::handle::Failed;
use crate::status::fuse_status_t;

/// Makes an API key of 256 random bits. `request` (may be NULL): the body of POST /v1/api-keys. The answer is the
/// key with its secret, which is told this once: overwrite the text before freeing it.
///
/// FUSE_ERR_INVALID_ARG.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_create_api_key(
    orchestrator: *mut fuse_orchestrator_t,
    request: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| create_api_key(fuse, request)) }
}

/// fuse_orchestrator_create_api_key that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_create_api_key_async(
    orchestrator: *mut fuse_orchestrator_t,
    request: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| create_api_key(fuse, request)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn create_api_key(
    fuse: Orchestrator,
    request: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let body: wire::CreateApiKey = unsafe { parse(request, "request") }?;
    Ok(async move { json(&wire::ApiKey::from(&fuse.create_api_key(&body.label, body.scopes).await?)) })
}

/// All API keys, newest first, revoked ones too, without their secrets. The answer has "api_keys".
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_api_keys(
    orchestrator: *mut fuse_orchestrator_t,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| api_keys(fuse)) }
}

/// fuse_orchestrator_api_keys that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_api_keys_async(
    orchestrator: *mut fuse_orchestrator_t,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| api_keys(fuse)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn api_keys(
    fuse: Orchestrator,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    Ok(async move {
        let keys = fuse.api_keys().await?;
        json(&wire::ApiKeyList { api_keys: keys.iter().map(wire::ApiKey::from).collect() })
    })
}

/// Revokes an API key: it is refused from now on. Revoking twice is once. There is no answer.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_revoke_api_key(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| revoke_api_key(fuse, id)) }
}

/// fuse_orchestrator_revoke_api_key that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_revoke_api_key_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| revoke_api_key(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn revoke_api_key(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: String = unsafe { name(id, "id") }?;
    Ok(async move { fuse.revoke_api_key(&id).await.map(|()| String::new()) })
}
