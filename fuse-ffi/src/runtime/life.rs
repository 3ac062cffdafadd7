//! The states of modules and of the runtime.

use super::{fuse_module_id_t, fuse_runtime_t, module};
use crate::crossing::Place;
use crate::handle::call;
use crate::status::*;

/// Starts a module that is Loaded or Paused. The first start runs module_init, under the policy.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_WRONG_STATE; the failure of module_init (FUSE_ERR_TRAP, FUSE_ERR_POLICY_VIOLATION,
/// FUSE_ERR_QUOTA_EXCEEDED), which leaves the module failed.
///
/// ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_start(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
) -> fuse_status_t {
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe { call(runtime, |inner| Ok(inner.rt()?.start(module(id)).map(|()| FUSE_OK)?)) }
}

/// Pauses a module that is Running. Events that come meanwhile wait for it.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_WRONG_STATE.
///
/// ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_pause(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { call(runtime, |inner| Ok(inner.rt()?.pause(module(id)).map(|()| FUSE_OK)?)) }
}

/// Restarts a module that is Trapped or QuotaExceeded, from its artifact: fresh memory, module_init, then Running. Its
/// statistics go on.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_WRONG_STATE; FUSE_ERR_LOAD_FAILED or the failure of module_init, which leave it failed.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_restart_module(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { call(runtime, |inner| Ok(inner.rt()?.restart_module(module(id)).map(|()| FUSE_OK)?)) }
}

/// Unloads a module in any state. module_deinit runs, under the policy, if the module was ever started and has not
/// failed; its failure is logged and not returned.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_unload(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { call(runtime, |inner| Ok(inner.rt()?.unload(module(id)).map(|()| FUSE_OK)?)) }
}

/// Stops the runtime: every Running module is held, and no module runs until fuse_runtime_restart. Events still latch.
///
/// FUSE_ERR_WRONG_STATE when it is stopped already.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_stop(runtime: *mut fuse_runtime_t) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { call(runtime, |inner| Ok(inner.rt()?.stop().map(|()| FUSE_OK)?)) }
}

/// Lifts a stop: the modules that it held run again; those that the host had paused itself stay paused.
///
/// FUSE_ERR_WRONG_STATE when the runtime is not stopped.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_restart(runtime: *mut fuse_runtime_t) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { call(runtime, |inner| Ok(inner.rt()?.restart().map(|()| FUSE_OK)?)) }
}

/// Whether the runtime is stopped: 1 or 0.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_is_stopped(
    runtime: *mut fuse_runtime_t,
    out_stopped: *mut u32,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let out = Place::new(out_stopped, "out_stopped")?;
            out.put(u32::from(inner.rt()?.is_runtime_stopped()));
            Ok(FUSE_OK)
        })
    }
}
