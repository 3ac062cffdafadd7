//! Running modules, and the events that make them due.

use super::{fuse_module_id_t, fuse_runtime_t, module, post};
use crate::crossing::Place;
use crate::handle::{Refusal, call};
use crate::poster::event_id;
use crate::status::*;

/// A deadline that never comes: only an event or the host itself can make a module due.
pub const FUSE_NEVER: u64 = 18446744073709551615;

/// Steps one module now, whatever its activation. Only where that contains FUSE_ACTIVATE_INTERVAL, the interval must have
/// passed. The events that wait for it stay.
///
/// In this order: FUSE_ERR_WRONG_STATE when the runtime is stopped; FUSE_ERR_NOT_FOUND; FUSE_ERR_WRONG_STATE when the
/// module is not Running; FUSE_ERR_INTERVAL_NOT_ELAPSED; then the failure of the step: FUSE_ERR_TRAP,
/// FUSE_ERR_POLICY_VIOLATION, FUSE_ERR_QUOTA_EXCEEDED.
///
/// ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_run_step(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
) -> fuse_status_t {
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe { call(runtime, |inner| Ok(inner.rt()?.run_step(module(id)).map(|()| FUSE_OK)?)) }
}

/// Steps every module that is due, once each, by priority and then load order. A failure of one is reported and does
/// not stop the others: the call succeeds.
///
/// `modules` and `statuses` (each may be NULL) receive which modules ran, in order, and how each ended, as far as
/// `capacity` goes. `out_ran` and `out_failed` (each may be NULL) receive how many ran and how many of them failed.
///
/// FUSE_ERR_WRONG_STATE when the runtime is stopped.
///
/// ISR-safe: no; allocates: on failure; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_tick(
    runtime: *mut fuse_runtime_t,
    modules: *mut fuse_module_id_t,
    statuses: *mut fuse_status_t,
    capacity: usize,
    out_ran: *mut usize,
    out_failed: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let outcomes = inner.rt()?.tick()?.outcomes();
            let mut failed = 0;
            for (index, outcome) in outcomes.iter().enumerate() {
                let status = outcome.result.map_or_else(|kind| kind as fuse_status_t, |()| FUSE_OK);
                failed += usize::from(status != FUSE_OK);
                if index < capacity && !modules.is_null() {
                    modules.add(index).write_unaligned(outcome.module.to_u64());
                }
                if index < capacity && !statuses.is_null() {
                    statuses.add(index).write_unaligned(status);
                }
            }
            Place::optional(out_ran).put(outcomes.len());
            Place::optional(out_failed).put(failed);
            Ok(FUSE_OK)
        })
    }
}

/// How long the host may sleep until a module is due, in microseconds: 0 when one is, FUSE_NEVER when only an event or
/// the host itself can make one due.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_next_deadline(
    runtime: *mut fuse_runtime_t,
    out_us: *mut u64,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let out = Place::new(out_us, "out_us")?;
            out.put(inner.rt()?.next_deadline_us().unwrap_or(FUSE_NEVER));
            Ok(FUSE_OK)
        })
    }
}

/// Posts an event (0 to 31), on the thread that uses the runtime; also from inside its callbacks. Other threads and
/// interrupts use a fuse_poster_t.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_post_event(runtime: *mut fuse_runtime_t, event: u32) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe { post(runtime, event) }
}

/// Takes an event (0 to 31) back from the latches of all modules.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_clear_event(runtime: *mut fuse_runtime_t, event: u32) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let event = event_id(event).ok_or(Refusal::Event { event })?;
            inner.rt()?.clear_event(event);
            Ok(FUSE_OK)
        })
    }
}
