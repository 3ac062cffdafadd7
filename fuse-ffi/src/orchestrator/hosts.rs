//! Hosts, and the letters that tell an operator of what does not work.

use alloc::string::String;
use core::ffi::{c_char, c_void};
use core::future::Future;
use core::time::Duration;

use fuse_orchestrator::model::HostId;
use fuse_orchestrator::{Error, Orchestrator, Removal, wire};

use super::call::{fuse_completion_fn, fuse_orchestrator_t, json, later, name, now, parse};
use crate::handle::{Failed, Refusal};
use crate::status::fuse_status_t;

/// Registers a host, or registers it again: then its record keeps its age, its cordon and everything on it.
/// `request`: the body of POST /v1/hosts. The answer is the host.
///
/// FUSE_ERR_INVALID_ARG with every problem at once; FUSE_ERR_UNAVAILABLE when the host does not answer and its
/// capacity is not fully declared.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_register_host(
    orchestrator: *mut fuse_orchestrator_t,
    request: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| register_host(fuse, request)) }
}

/// fuse_orchestrator_register_host that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_register_host_async(
    orchestrator: *mut fuse_orchestrator_t,
    request: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| register_host(fuse, request)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn register_host(
    fuse: Orchestrator,
    request: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let body: wire::RegisterHost = unsafe { parse(request, "request") }?;
    let (id, registration) = body.registration()?;
    Ok(async move { json(&wire::Host::from(&fuse.register_host(&id, registration).await?)) })
}

/// One host.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_host(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| host(fuse, id)) }
}

/// fuse_orchestrator_host that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_host_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| host(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn host(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: HostId = unsafe { name(id, "id") }?;
    Ok(async move { json(&wire::Host::from(&fuse.host(&id).await?)) })
}

/// A page of hosts, by id. `query` (may be NULL): an object with limit (50, at most 200) and cursor, both texts. The
/// answer has "hosts" and, when there are more, "next_cursor".
///
/// FUSE_ERR_INVALID_ARG for a cursor that no list gave out.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_hosts(
    orchestrator: *mut fuse_orchestrator_t,
    query: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| hosts(fuse, query)) }
}

/// fuse_orchestrator_hosts that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_hosts_async(
    orchestrator: *mut fuse_orchestrator_t,
    query: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| hosts(fuse, query)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn hosts(
    fuse: Orchestrator,
    query: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let query: wire::PageQuery = unsafe { parse(query, "query") }?;
    Ok(async move {
        let page = fuse.hosts(query.page_limit(), query.page_cursor()).await?;
        let hosts = page.items.iter().map(wire::Host::from).collect();
        json(&wire::HostList { hosts, next_cursor: page.next_cursor })
    })
}

/// Lets no new environments go to a host. Those that it has go on. There is no answer.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_cordon(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| cordon(fuse, id)) }
}

/// fuse_orchestrator_cordon that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_cordon_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| cordon(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn cordon(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: HostId = unsafe { name(id, "id") }?;
    Ok(async move { fuse.cordon(&id).await.map(|()| String::new()) })
}

/// Lets new environments go to a host again. There is no answer.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_uncordon(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| uncordon(fuse, id)) }
}

/// fuse_orchestrator_uncordon that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_uncordon_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| uncordon(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn uncordon(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: HostId = unsafe { name(id, "id") }?;
    Ok(async move { fuse.uncordon(&id).await.map(|()| String::new()) })
}

/// Empties a host: cordons it, drains each of its environments, and destroys each when its drain command has ended, or
/// when its time is over. `query` (may be NULL): an object with limit_seconds, a text: how long the drain of one
/// environment may take; left out: as configured, 15 min. Returns when the order is durable; it is carried out in the
/// background, and an uncordon takes it back. The answer is that of fuse_orchestrator_host_drain.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_INVALID_ARG for a limit that is no number of seconds.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_drain_host(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    query: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| drain_host(fuse, id, query)) }
}

/// fuse_orchestrator_drain_host that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_drain_host_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    query: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| drain_host(fuse, id, query)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn drain_host(
    fuse: Orchestrator,
    id: *const c_char,
    query: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: HostId = unsafe { name(id, "id") }?;
    // SAFETY: the caller's.
    let limit = unsafe { parse::<wire::HostDrainQuery>(query, "query") }?.limit()?;
    Ok(async move { json(&wire::HostDrain::from(&fuse.drain_host(&id, limit).await?)) })
}

/// How the emptying of a host goes. The answer has since, limit_seconds, environments (how many there were), left (how
/// many there are), states and, when the host is empty, finished_at; NULL when nobody asked for it.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_host_drain(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| host_drain(fuse, id)) }
}

/// fuse_orchestrator_host_drain that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_host_drain_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| host_drain(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn host_drain(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: HostId = unsafe { name(id, "id") }?;
    Ok(async move {
        match fuse.host_drain(&id).await? {
            Some(progress) => json(&wire::HostDrain::from(&progress)),
            None => Ok(String::new()),
        }
    })
}

/// Removes a host. `force` 1: whatever it holds; its environments count as gone, and the operator vouches for that.
/// 0: it must hold none. There is no answer.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when it is in use; FUSE_ERR_INVALID_ARG for another `force`.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_remove_host(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    force: u32,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| remove_host(fuse, id, force)) }
}

/// fuse_orchestrator_remove_host that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_remove_host_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    force: u32,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| remove_host(fuse, id, force)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn remove_host(
    fuse: Orchestrator,
    id: *const c_char,
    force: u32,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: HostId = unsafe { name(id, "id") }?;
    let removal = match force {
        0 => Removal::Empty,
        1 => Removal::Forced,
        _ => return Err(Refusal::Value { what: "force is 0 or 1" }.into()),
    };
    Ok(async move { fuse.remove_host(&id, removal).await.map(|()| String::new()) })
}

/// All dead letters: what the control plane tried and gave up for now. The answer has "dead_letters".
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_dead_letters(
    orchestrator: *mut fuse_orchestrator_t,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| dead_letters(fuse)) }
}

/// fuse_orchestrator_dead_letters that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_dead_letters_async(
    orchestrator: *mut fuse_orchestrator_t,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| dead_letters(fuse)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn dead_letters(
    fuse: Orchestrator,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    Ok(async move {
        let letters = fuse.dead_letters().await?;
        json(&wire::DeadLetterList { dead_letters: letters.iter().map(wire::DeadLetter::from).collect() })
    })
}

/// Tries now what a dead letter is about. It goes when that succeeds, or when there was nothing to try. There is no
/// answer.
///
/// FUSE_ERR_NOT_FOUND; what the try fails with.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_retry_dead_letter(
    orchestrator: *mut fuse_orchestrator_t,
    key: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| retry_dead_letter(fuse, key)) }
}

/// fuse_orchestrator_retry_dead_letter that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_retry_dead_letter_async(
    orchestrator: *mut fuse_orchestrator_t,
    key: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| retry_dead_letter(fuse, key)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn retry_dead_letter(
    fuse: Orchestrator,
    key: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let key: String = unsafe { name(key, "key") }?;
    Ok(async move { fuse.retry_dead_letter(&key).await.map(|()| String::new()) })
}

/// Takes a dead letter away. Work that is behind it goes on, and writes a new one when it fails again. There is no
/// answer.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_dismiss_dead_letter(
    orchestrator: *mut fuse_orchestrator_t,
    key: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| dismiss_dead_letter(fuse, key)) }
}

/// fuse_orchestrator_dismiss_dead_letter that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_dismiss_dead_letter_async(
    orchestrator: *mut fuse_orchestrator_t,
    key: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| dismiss_dead_letter(fuse, key)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn dismiss_dead_letter(
    fuse: Orchestrator,
    key: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let key: String = unsafe { name(key, "key") }?;
    Ok(async move { fuse.dismiss_dead_letter(&key).await.map(|()| String::new()) })
}

/// Asks whether the control plane can act, at most `limit_ms` milliseconds: what a readiness check wants to know.
/// There is no answer.
///
/// FUSE_ERR_UNAVAILABLE.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_check(
    orchestrator: *mut fuse_orchestrator_t,
    limit_ms: u64,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| check(fuse, limit_ms)) }
}

/// fuse_orchestrator_check that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_check_async(
    orchestrator: *mut fuse_orchestrator_t,
    limit_ms: u64,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| check(fuse, limit_ms)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn check(
    fuse: Orchestrator,
    limit_ms: u64,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    let limit = Duration::from_millis(limit_ms);
    Ok(async move { fuse.check(limit).await.map(|()| String::new()) })
}
