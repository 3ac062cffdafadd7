//! Bringing modules in.

use alloc::borrow::Cow;
use alloc::ffi::CString;
use alloc::format;
use core::ffi::{c_char, c_void};

use fuse_edge::{Error, ModuleDecl, ModuleId, Policy};

use super::{fuse_module_id_t, fuse_runtime_t, module, other};
use crate::app::{fuse_app_t, with_config};
use crate::crossing::{self, Place};
use crate::handle::{Failed, call};
use crate::policy::fuse_policy_t;
use crate::status::*;

/// # Safety
/// `policy` is null or a struct.
unsafe fn policy_of(policy: *const fuse_policy_t) -> Result<Policy, Failed> {
    match policy.is_null() {
        true => Ok(Policy::default()),
        // SAFETY: the caller's.
        false => unsafe { crossing::read(policy) }?.policy(),
    }
}

/// Loads a module from an artifact (in builds with the compiler also from .wasm or .wat): hashes are checked, imports
/// resolved, memory made, the start function run. Its state is then FUSE_STATE_LOADED. The bytes are not used after the
/// call.
///
/// `name` is 1 to 64 bytes. `policy` may be NULL: FUSE_POLICY_INIT. `out` receives the module's id.
///
/// FUSE_ERR_INVALID_ARG for a name that is taken or a policy that the runtime cannot enforce; FUSE_ERR_MODULE_LIMIT;
/// FUSE_ERR_LOAD_FAILED for everything about the artifact. Each refusal is logged; nothing else changes.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_load(
    runtime: *mut fuse_runtime_t,
    name: *const c_char,
    artifact: *const u8,
    length: usize,
    policy: *const fuse_policy_t,
    out: *mut fuse_module_id_t,
) -> fuse_status_t {
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe {
        call(runtime, |inner| {
            let (name, artifact) =
                (crossing::string(name, "name")?, crossing::bytes(artifact, length, "artifact")?);
            let (policy, out) = (policy_of(policy)?, Place::new(out, "out")?);
            out.put(inner.rt()?.load(name, artifact, &policy)?.to_u64());
            Ok(FUSE_OK)
        })
    }
}

/// fuse_runtime_load from a file. It is read once and checked in memory, so that nobody can change it between the check
/// and the use. Builds with files only.
///
/// As fuse_runtime_load; FUSE_ERR_LOAD_FAILED when the file cannot be read.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: no.
#[cfg(feature = "std")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_load_file(
    runtime: *mut fuse_runtime_t,
    name: *const c_char,
    path: *const c_char,
    policy: *const fuse_policy_t,
    out: *mut fuse_module_id_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let (name, path) = (crossing::string(name, "name")?, crossing::string(path, "path")?);
            let (policy, out) = (policy_of(policy)?, Place::new(out, "out")?);
            out.put(inner.rt()?.load_file(name, path, &policy)?.to_u64());
            Ok(FUSE_OK)
        })
    }
}

/// Gives the artifact of a module of an application that does not carry it: `binary` is where the configuration says that
/// it is. The bytes must stay until the next call of this function, or the end of the call that called it. Returns 0, or
/// a number of the host's for what went wrong. Runs on the calling thread; must not call the runtime or unwind.
pub type fuse_fetch_fn = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        name: *const c_char,
        binary: *const c_char,
        out: *mut *const u8,
        out_length: *mut usize,
    ) -> i32,
>;

/// Loads all modules of an application, in order, into a runtime that was made for it (fuse_runtime_config_t.app). They
/// are not started. On a failure, what this call loaded is unloaded again.
///
/// `fetch` gives the artifacts that the application does not carry; NULL when it carries all. `ids` (may be NULL) receives
/// the modules' ids as far as `capacity` goes, and `out_count` (may be NULL) how many modules there are.
///
/// FUSE_ERR_INVALID_ARG when the application is not the one that the runtime was made for, or declares a group that the
/// host did not register; else as fuse_runtime_load, and FUSE_ERR_LOAD_FAILED when `fetch` fails.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_load_app(
    runtime: *mut fuse_runtime_t,
    app: *const fuse_app_t,
    fetch: fuse_fetch_fn,
    user: *mut c_void,
    ids: *mut fuse_module_id_t,
    capacity: usize,
    out_count: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let rt = inner.rt()?;
            let loaded =
                with_config(app, |app| Ok(rt.load_app(app, |module| fetched(module, fetch, user))?))?;
            put_ids(&loaded, ids, capacity, out_count);
            Ok(FUSE_OK)
        })
    }
}

fn refused(module: &ModuleDecl, why: &str) -> Error {
    Error::LoadFailed { name: module.name.clone(), why: why.into() }
}

/// # Safety
/// As [`fuse_runtime_load_app`].
unsafe fn fetched<'a>(
    module: &ModuleDecl,
    fetch: fuse_fetch_fn,
    user: *mut c_void,
) -> fuse_edge::Result<Cow<'a, [u8]>> {
    let fetch = fetch.ok_or_else(|| {
        refused(module, "the application does not carry its artifact, and there is no function to fetch it")
    })?;
    let text = |text: &str| CString::new(text).map_err(|_| refused(module, "its `binary` contains a zero"));
    let (name, binary) = (text(&module.name)?, text(&module.binary)?);
    let (mut start, mut length) = (core::ptr::null(), 0);
    // SAFETY: the host's function, with its pointer.
    let code = unsafe { fetch(user, name.as_ptr(), binary.as_ptr(), &raw mut start, &raw mut length) };
    if code != 0 {
        return Err(refused(module, &format!("the host could not fetch `{}`: code {code}", module.binary)));
    }
    // SAFETY: the host's function says that the bytes stay until it is called again; they are used before.
    unsafe { crossing::bytes(start, length, "artifact") }
        .map(Cow::Borrowed)
        .map_err(|_| refused(module, "the host's fetch function succeeded and gave NULL"))
}

/// # Safety
/// `ids` is null or has room for `capacity`; `out_count` is null or can be written.
unsafe fn put_ids(loaded: &[ModuleId], ids: *mut fuse_module_id_t, capacity: usize, out_count: *mut usize) {
    if !ids.is_null() {
        for (index, id) in loaded.iter().take(capacity).enumerate() {
            // SAFETY: `index` is below `capacity`.
            unsafe { ids.add(index).write_unaligned(id.to_u64()) };
        }
    }
    // SAFETY: the caller's.
    unsafe { Place::optional(out_count) }.put(loaded.len());
}

/// fuse_runtime_load_app with artifacts from files: each module's "binary" is a path relative to `folder`. Builds with
/// files only.
///
/// ISR-safe: no; allocates: yes; blocks: yes; thread-safe: no.
#[cfg(feature = "std")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_load_app_files(
    runtime: *mut fuse_runtime_t,
    app: *const fuse_app_t,
    folder: *const c_char,
    ids: *mut fuse_module_id_t,
    capacity: usize,
    out_count: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let (rt, folder) = (inner.rt()?, crossing::string(folder, "folder")?);
            let loaded = with_config(app, |app| Ok(rt.load_app(app, |module| file(folder, module))?))?;
            put_ids(&loaded, ids, capacity, out_count);
            Ok(FUSE_OK)
        })
    }
}

/// The artifact of a module, from its file below a folder.
#[cfg(feature = "std")]
fn file<'a>(folder: &str, module: &ModuleDecl) -> fuse_edge::Result<Cow<'a, [u8]>> {
    let path = std::path::Path::new(folder).join(&module.binary);
    let read = std::fs::read(&path).map(Cow::Owned);
    read.map_err(|e| refused(module, &format!("cannot read {}: {e}", path.display())))
}

/// Replaces a module's artifact between steps. The new one is loaded, checked and (if the module was started) initialised
/// before the old one is deinitialised and dropped; its memory is fresh. A failed module runs again. Name, id, policy,
/// statistics and waiting events stay. The bytes are not used after the call.
///
/// As fuse_runtime_load, and the failure of the new module_init. The old one then goes on as if nothing had happened.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_update(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
    artifact: *const u8,
    length: usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let artifact = crossing::bytes(artifact, length, "artifact")?;
            Ok(inner.rt()?.update(module(id), artifact).map(|()| FUSE_OK)?)
        })
    }
}

/// The id of the module with this name.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_find(
    runtime: *mut fuse_runtime_t,
    name: *const c_char,
    out: *mut fuse_module_id_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let (name, out) = (crossing::string(name, "name")?, Place::new(out, "out")?);
            out.put(inner.rt()?.find(name)?.to_u64());
            Ok(FUSE_OK)
        })
    }
}

/// The ids of all modules. `ids` has room for `capacity`; `out_count` receives how many there are.
///
/// FUSE_ERR_BUFFER_TOO_SMALL when there are more than `capacity`; nothing is written to `ids` then.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_modules(
    runtime: *mut fuse_runtime_t,
    ids: *mut fuse_module_id_t,
    capacity: usize,
    out_count: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let (rt, out) = (inner.rt()?, Place::new(out_count, "out_count")?);
            let count = rt.modules().count();
            out.put(count);
            if count > capacity || (ids.is_null() && count > 0) {
                let what = format!("there is room for {capacity} ids, {count} are needed");
                return Err(other(FUSE_ERR_BUFFER_TOO_SMALL, what));
            }
            for (index, module) in rt.modules().enumerate() {
                ids.add(index).write_unaligned(module.id.to_u64());
            }
            Ok(FUSE_OK)
        })
    }
}
