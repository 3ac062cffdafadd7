//! Snapshots.

use alloc::string::String;
use core::ffi::{c_char, c_void};
use core::future::Future;

use fuse_orchestrator::model::{Arch, EnvironmentId, SnapshotId};
use fuse_orchestrator::{Error, Orchestrator, wire};

use super::call::{fuse_completion_fn, fuse_orchestrator_t, json, later, name, now, parse};
use crate::handle::{Failed, Refusal};
use crate::status::fuse_status_t;

/// Takes a snapshot of a running environment and waits until it is ready. `request` (may be NULL): the body of POST
/// /v1/environments/{id}/snapshots. The answer is the snapshot.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when the environment does not run.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_create_snapshot(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    request: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| create_snapshot(fuse, id, request)) }
}

/// fuse_orchestrator_create_snapshot that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_create_snapshot_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    request: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| create_snapshot(fuse, id, request)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn create_snapshot(
    fuse: Orchestrator,
    id: *const c_char,
    request: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: EnvironmentId = unsafe { name(id, "id") }?;
    // SAFETY: the caller's.
    let body: wire::CreateSnapshot = unsafe { parse(request, "request") }?;
    let body = body.request()?;
    Ok(async move { json(&wire::Snapshot::from(&*fuse.create_snapshot(&id, body).await?)) })
}

/// One snapshot.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_snapshot(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| snapshot(fuse, id)) }
}

/// fuse_orchestrator_snapshot that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_snapshot_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| snapshot(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn snapshot(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: SnapshotId = unsafe { name(id, "id") }?;
    Ok(async move { json(&wire::Snapshot::from(&*fuse.snapshot(&id).await?)) })
}

/// A page of snapshots, newest first. `query` (may be NULL): an object with the query of GET /v1/snapshots, all
/// texts: vm_id, task_id, state, mode, name, arch, limit (50, at most 200), cursor. The answer has "snapshots" and,
/// when there are more, "next_cursor".
///
/// FUSE_ERR_INVALID_ARG for a cursor that no list gave out.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_snapshots(
    orchestrator: *mut fuse_orchestrator_t,
    query: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| snapshots(fuse, query)) }
}

/// fuse_orchestrator_snapshots that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_snapshots_async(
    orchestrator: *mut fuse_orchestrator_t,
    query: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| snapshots(fuse, query)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn snapshots(
    fuse: Orchestrator,
    query: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let query: wire::SnapshotQuery = unsafe { parse(query, "query") }?;
    let filter = query.filter()?;
    Ok(async move {
        let page = fuse.snapshots(&filter, query.page_limit(), query.page_cursor()).await?;
        let snapshots = page.items.iter().map(|s| wire::Snapshot::from(&**s)).collect();
        json(&wire::SnapshotList { snapshots, next_cursor: page.next_cursor })
    })
}

/// The ancestors of a snapshot, its parent first; at most 1,000. The answer has "snapshots".
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_lineage(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| lineage(fuse, id)) }
}

/// fuse_orchestrator_lineage that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_lineage_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| lineage(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn lineage(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: SnapshotId = unsafe { name(id, "id") }?;
    Ok(async move {
        let line = fuse.lineage(&id).await?;
        let snapshots = line.iter().map(|s| wire::Snapshot::from(&**s)).collect();
        json(&wire::SnapshotList { snapshots, next_cursor: None })
    })
}

/// Finds the newest ready snapshot of a layer of a build, for an architecture: "amd64" or "arm64". The answer has "found"
/// and, when there is one, "snapshot".
///
/// FUSE_ERR_INVALID_ARG for another architecture, or an empty layer.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_resolve_snapshot(
    orchestrator: *mut fuse_orchestrator_t,
    layer_key: *const c_char,
    arch: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| resolve_snapshot(fuse, layer_key, arch)) }
}

/// fuse_orchestrator_resolve_snapshot that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_resolve_snapshot_async(
    orchestrator: *mut fuse_orchestrator_t,
    layer_key: *const c_char,
    arch: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| resolve_snapshot(fuse, layer_key, arch)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn resolve_snapshot(
    fuse: Orchestrator,
    layer_key: *const c_char,
    arch: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let (layer_key, arch): (String, Arch) = unsafe { (name(layer_key, "layer_key")?, name(arch, "arch")?) };
    if layer_key.is_empty() {
        return Err(Refusal::Value { what: "layer_key is not empty" }.into());
    }
    Ok(async move {
        let found = fuse.resolve_snapshot(&layer_key, arch).await?;
        let snapshot = found.map(|snapshot| wire::Snapshot::from(&*snapshot));
        json(&wire::Resolved { found: snapshot.is_some(), snapshot })
    })
}

/// Sets the environment that a snapshot was made of back to it, in place. Its credentials stay those of now. There
/// is no answer.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when it is not ready or the environment does not run.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_restore_snapshot(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| restore_snapshot(fuse, id)) }
}

/// fuse_orchestrator_restore_snapshot that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_restore_snapshot_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| restore_snapshot(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn restore_snapshot(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: SnapshotId = unsafe { name(id, "id") }?;
    Ok(async move { fuse.restore_snapshot(&id).await.map(|()| String::new()) })
}

/// Deletes a snapshot, bytes and record. There is no answer.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_CONFLICT when others were made of it or it is in use.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_delete_snapshot(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    out: *mut *mut c_char,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { now(orchestrator, out, |fuse| delete_snapshot(fuse, id)) }
}

/// fuse_orchestrator_delete_snapshot that does not wait: `done` is told the answer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_orchestrator_delete_snapshot_async(
    orchestrator: *mut fuse_orchestrator_t,
    id: *const c_char,
    done: fuse_completion_fn,
    user: *mut c_void,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { later(orchestrator, done, user, |fuse| delete_snapshot(fuse, id)) }
}

/// # Safety
/// The pointers are null or texts.
unsafe fn delete_snapshot(
    fuse: Orchestrator,
    id: *const c_char,
) -> Result<impl Future<Output = Result<String, Error>> + Send + 'static, Failed> {
    // SAFETY: the caller's.
    let id: SnapshotId = unsafe { name(id, "id") }?;
    Ok(async move { fuse.delete_snapshot(&id).await.map(|()| String::new()) })
}
