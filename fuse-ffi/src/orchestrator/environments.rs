//! Environments: from a request to their end.

use alloc::string::String;
use core::ffi::{c_char, c_void};
use core::future::Future;
use core::time::Duration;

use fuse_orchestrator::model::{EnvironmentId, IdempotencyKey};
use fuse_orchestrator::{Error, Orchestrator, wire};

use super::call::{fuse_completion_fn, fuse_orchestrator_t, json, later, name, now, parse};
use crate::handle::Failed;
use crate::status::fuse_status_t;

/// Asks for an environment. `request`: the body of POST /v1/environments. The answer is the environment in state
/// "provisioning": it comes up in the background; wait for it with fuse_orchestrator_wait_running or follow its
/// events. `key` (may be NULL) is an idempotency key: an equal request with an equal key gets the environment that
/// the first one made.
///
/// FUSE_ERR_INVALID_ARG with every problem at once; FUSE_ERR_CONFLICT when the task has a live environment or the
/// key was used for another request; FUSE_ERR_UNAVAILABLE when no host can take it.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_provision(
    orchestrator: *mut fuse_orchestrator_t,
    request: *const c_char,
    key: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| provision(fuse, request, key)) }
}

/// fuse_orchestrator_provision that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_provision_async(
    orchestrator: *mut fuse_orchestrator_t,
    request: *const c_char,
    key: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| provision(fuse, request, key)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn provision(
    fuse: Orchestrator,
    request: *const c_char,
    key: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let body: wire::CreateEnvironment = unsafe { parse(request, "request") }?;
    let body = body.request()?;
    // SAFETY: the caller's.
    let key: Option<IdempotencyKey> = if key.is_null() { None } else { Some(unsafe { name(key, "key") }?) };
    Ok(async move {
        let made = match &key {
            Some(key) => fuse.provision_once(key, body).await?,
            None => fuse.provision(body).await?,
        };
        json(&wire::Environment::from(&*made))
    })
}

/// Waits until an environment runs, at most `limit_ms` milliseconds. The answer is the environment.
///
/// FUSE_ERR_UNAVAILABLE when it takes longer (it goes on), FUSE_ERR_NOT_FOUND, FUSE_ERR_FAILED or another failure
/// when it failed or was destroyed instead.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_wait_running(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    limit_ms: u64,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| wait_running(fuse, id, limit_ms)) }
}

/// fuse_orchestrator_wait_running that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_wait_running_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    limit_ms: u64,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| wait_running(fuse, id, limit_ms)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn wait_running(
    fuse: Orchestrator,
    id: *const c_char,
    limit_ms: u64,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    let limit = Duration::from_millis(limit_ms);
    Ok(async move { json(&wire::Environment::from(&*fuse.wait_running(&id, limit).await?)) })
}

/// One environment; also one that ended, while its record is kept.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_get(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| get(fuse, id)) }
}

/// fuse_orchestrator_get that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_get_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| get(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn get(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    Ok(async move { json(&wire::Environment::from(&*fuse.get(&id).await?)) })
}

/// A page of environments, by id. `query` (may be NULL): an object with the query of GET /v1/environments, all
/// texts: task_id, state, host_id, limit (50, at most 200), cursor. The answer has "environments" and, when there
/// are more, "next_cursor".
///
/// FUSE_ERR_INVALID_ARG for a cursor that no list gave out.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_list(
    orchestrator: *mut fuse_orchestrator_t,
    query: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| list(fuse, query)) }
}

/// fuse_orchestrator_list that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_list_async(
    orchestrator: *mut fuse_orchestrator_t,
    query: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| list(fuse, query)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn list(
    fuse: Orchestrator,
    query: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let query: wire::EnvironmentQuery = unsafe { parse(query, "query") }?;
    let filter = query.filter()?;
    Ok(async move {
        let page = fuse.list(&filter, query.page_limit(), query.page_cursor()).await?;
        let environments = page.items.iter().map(|e| wire::Environment::from(&**e)).collect();
        json(&wire::EnvironmentList { environments, next_cursor: page.next_cursor })
    })
}

/// Tells a running environment to end its work: it becomes "draining", and its drain command runs. It is not
/// destroyed for that. The answer is the environment.
///
/// FUSE_ERR_CONFLICT when it does not run; FUSE_ERR_UNAVAILABLE when the drain command failed: it is draining all
/// the same.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_drain(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| drain(fuse, id)) }
}

/// fuse_orchestrator_drain that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_drain_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| drain(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn drain(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    Ok(async move { json(&wire::Environment::from(&*fuse.drain(&id).await?)) })
}

/// Destroys an environment, whatever it is doing. There is no answer.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_destroy(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| destroy(fuse, id)) }
}

/// fuse_orchestrator_destroy that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_destroy_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| destroy(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn destroy(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    Ok(async move { fuse.destroy(&id).await.map(|()| String::new()) })
}

/// Forks a running environment: the new one begins with the disk of the source, on the same host, with credentials
/// of its own. `request`: the body of POST /v1/environments/{id}:fork. The answer is the new environment, which
/// comes up in the background.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when it does not run; FUSE_ERR_UNAVAILABLE when the host has no room.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_fork(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    request: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| fork(fuse, id, request)) }
}

/// fuse_orchestrator_fork that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_fork_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    request: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| fork(fuse, id, request)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn fork(
    fuse: Orchestrator,
    id: *const c_char,
    request: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    // SAFETY: the caller's.
    let body: wire::ForkEnvironment = unsafe { parse(request, "request") }?;
    let body = body.request()?;
    Ok(async move { json(&wire::Environment::from(&*fuse.fork(&id, body).await?)) })
}
