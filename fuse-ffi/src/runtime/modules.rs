//! Looking at modules.

use core::ffi::c_char;

use fuse_edge::stats::Histogram;

use super::{fuse_module_id_t, fuse_runtime_t, module};
use crate::app::FUSE_NAME_CAPACITY;
use crate::crossing::{self, Crossing, Out, Place};
use crate::handle::{Refusal, call};
use crate::policy::fuse_policy_t;
use crate::status::*;
use crate::text::{Text, inline};

/// Where a module is in its life: FUSE_STATE_.
pub type fuse_state_t = i32;

/// Loaded and checked, never started.
pub const FUSE_STATE_LOADED: fuse_state_t = 0;
/// Started: it is stepped when due.
pub const FUSE_STATE_RUNNING: fuse_state_t = 1;
/// Held by the host, or by the stop of the whole runtime.
pub const FUSE_STATE_PAUSED: fuse_state_t = 2;
/// It trapped or violated its policy. It can be restarted or unloaded.
pub const FUSE_STATE_TRAPPED: fuse_state_t = 3;
/// It used up a quota. It can be restarted or unloaded.
pub const FUSE_STATE_QUOTA_EXCEEDED: fuse_state_t = 4;

/// The name of a state, such as "Running"; "unknown state" for a number that this library does not know. The text lives
/// as long as the program.
///
/// ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub extern "C" fn fuse_state_name(state: fuse_state_t) -> *const c_char {
    let name = match state {
        FUSE_STATE_LOADED => c"Loaded",
        FUSE_STATE_RUNNING => c"Running",
        FUSE_STATE_PAUSED => c"Paused",
        FUSE_STATE_TRAPPED => c"Trapped",
        FUSE_STATE_QUOTA_EXCEEDED => c"QuotaExceeded",
        _ => c"unknown state",
    };
    name.as_ptr()
}

/// What the runtime knows of one module.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_module_info_t {
    /// sizeof(fuse_module_info_t).
    pub struct_size: u32,
    /// FUSE_STATE_. While the runtime is stopped, a module that runs otherwise is Paused.
    pub state: fuse_state_t,
    /// Its id.
    pub id: fuse_module_id_t,
    /// Why it is Trapped or QuotaExceeded: FUSE_ERR_TRAP, FUSE_ERR_POLICY_VIOLATION or FUSE_ERR_QUOTA_EXCEEDED; else
    /// FUSE_OK. fuse_runtime_module_failure says more.
    pub failure: fuse_status_t,
    /// The events that wait for it: bit n is event n.
    pub latch: u32,
    /// Size of its linear memory now, in bytes.
    pub memory_bytes: u64,
    /// Its name.
    pub name: [c_char; FUSE_NAME_CAPACITY],
}

// SAFETY: numbers only.
unsafe impl Crossing for fuse_module_info_t {
    const FIRST_SIZE: usize = 32 + FUSE_NAME_CAPACITY;
    const NAME: &'static str = "fuse_module_info_t";
}

/// What is known of a module. `out`: set its struct_size first.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_module_info(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
    out: *mut fuse_module_info_t,
) -> fuse_status_t {
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe {
        call(runtime, |inner| {
            let (info, out) = (inner.rt()?.module(module(id))?, Out::new(out)?);
            out.fill(&fuse_module_info_t {
                struct_size: 0,
                state: info.state as fuse_state_t,
                id: info.id.to_u64(),
                failure: info.failure.map_or(FUSE_OK, |f| f.kind() as fuse_status_t),
                latch: info.latch.bits(),
                memory_bytes: info.memory.len() as u64,
                name: inline(info.name),
            });
            Ok(FUSE_OK)
        })
    }
}

/// Why a module is Trapped or QuotaExceeded, as text; empty when it is not.
///
/// `buffer` has `capacity` bytes; `length` (may be NULL) receives how many are needed, the zero at the end among them.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_BUFFER_TOO_SMALL.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_module_failure(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let mut text = Text::<256>::new();
            if let Some(failure) = inner.rt()?.module(module(id))?.failure {
                text.set(&failure);
            }
            crossing::copy_out(text.as_bytes(), buffer.cast(), capacity, length, true)?;
            Ok(FUSE_OK)
        })
    }
}

/// The policy of a module. `out`: set its struct_size first.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_module_policy(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
    out: *mut fuse_policy_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            Out::new(out)?.fill(&fuse_policy_t::of(inner.rt()?.module(module(id))?.policy));
            Ok(FUSE_OK)
        })
    }
}

/// Copies a part of a module's linear memory as it is now: for looking at a module that failed.
///
/// `out_size` (may be NULL) receives the size of the whole memory, in bytes.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_INVALID_ARG when the part is not inside the memory.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_module_memory(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
    offset: u64,
    buffer: *mut u8,
    length: usize,
    out_size: *mut u64,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let memory = inner.rt()?.module(module(id))?.memory;
            Place::optional(out_size).put(memory.len() as u64);
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let part = start.checked_add(length).and_then(|end| memory.get(start..end));
            let part = part.ok_or(Refusal::Value { what: "the part is not inside the module's memory" })?;
            crossing::copy_out(part, buffer, length, core::ptr::null_mut(), false)?;
            Ok(FUSE_OK)
        })
    }
}

/// What a module did since it was loaded. It survives a restart and an update of the module. Times are in nanoseconds;
/// medians and 99th percentiles are upper bounds within a factor of two.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_module_stats_t {
    /// sizeof(fuse_module_stats_t).
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Steps that ended well.
    pub steps: u64,
    /// Calls of the module that trapped, failures of callbacks among them.
    pub traps: u64,
    /// Calls that violated the policy.
    pub violations: u64,
    /// Calls that used up a quota.
    pub quota_hits: u64,
    /// Instructions that the last step used, in a runtime with fuel metering.
    pub fuel_last: u64,
    /// The most that one step used.
    pub fuel_peak: u64,
    /// Instructions that all steps used.
    pub fuel_total: u64,
    /// Largest size of linear memory, in bytes.
    pub memory_peak_bytes: u64,
    /// How many steps were timed.
    pub step_count: u64,
    /// Mean time of a step.
    pub step_mean_ns: u64,
    /// Median.
    pub step_p50_ns: u64,
    /// 99th percentile.
    pub step_p99_ns: u64,
    /// The longest.
    pub step_max_ns: u64,
    /// How many times from an event to the start of the step that it caused were measured.
    pub latency_count: u64,
    /// Their mean.
    pub latency_mean_ns: u64,
    /// Their median.
    pub latency_p50_ns: u64,
    /// Their 99th percentile.
    pub latency_p99_ns: u64,
    /// The longest.
    pub latency_max_ns: u64,
}

// SAFETY: numbers only.
unsafe impl Crossing for fuse_module_stats_t {
    const FIRST_SIZE: usize = 152;
    const NAME: &'static str = "fuse_module_stats_t";
}

/// Statistics of a module. `out`: set its struct_size first.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_module_stats(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
    out: *mut fuse_module_stats_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let (stats, out) = (inner.rt()?.module(module(id))?.stats, Out::new(out)?);
            let (step, latency) = (&stats.step_time, &stats.event_latency);
            out.fill(&fuse_module_stats_t {
                struct_size: 0,
                reserved: 0,
                steps: stats.steps,
                traps: stats.traps,
                violations: stats.violations,
                quota_hits: stats.quota_hits,
                fuel_last: stats.fuel_last,
                fuel_peak: stats.fuel_peak,
                fuel_total: stats.fuel_total,
                memory_peak_bytes: stats.memory_peak_bytes,
                step_count: step.count(),
                step_mean_ns: step.mean_ns(),
                step_p50_ns: step.quantile_ns(500),
                step_p99_ns: step.quantile_ns(990),
                step_max_ns: step.max_ns(),
                latency_count: latency.count(),
                latency_mean_ns: latency.mean_ns(),
                latency_p50_ns: latency.quantile_ns(500),
                latency_p99_ns: latency.quantile_ns(990),
                latency_max_ns: latency.max_ns(),
            });
            Ok(FUSE_OK)
        })
    }
}

/// The histogram of step times.
pub const FUSE_HISTOGRAM_STEP: u32 = 0;
/// The histogram of times from an event to the start of the step that it caused.
pub const FUSE_HISTOGRAM_LATENCY: u32 = 1;
/// Buckets of a histogram: bucket n counts the times of 2^n to 2^(n+1) - 1 nanoseconds, bucket 0 also zero, the last one
/// everything longer.
pub const FUSE_HISTOGRAM_BUCKETS: usize = 40;

/// A histogram of a module (`which`: FUSE_HISTOGRAM_STEP or FUSE_HISTOGRAM_LATENCY). `buckets` has room for `capacity`
/// numbers; FUSE_HISTOGRAM_BUCKETS are written.
///
/// FUSE_ERR_NOT_FOUND; FUSE_ERR_BUFFER_TOO_SMALL.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_module_histogram(
    runtime: *mut fuse_runtime_t,
    id: fuse_module_id_t,
    which: u32,
    buckets: *mut u64,
    capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let stats = inner.rt()?.module(module(id))?.stats;
            let histogram: &Histogram = match which {
                FUSE_HISTOGRAM_STEP => &stats.step_time,
                FUSE_HISTOGRAM_LATENCY => &stats.event_latency,
                _ => return Err(Refusal::Value { what: "there is no such histogram" }.into()),
            };
            if buckets.is_null() {
                return Err(Refusal::Null { what: "buckets" }.into());
            }
            if capacity < FUSE_HISTOGRAM_BUCKETS {
                return Err(Refusal::TooSmall { have: capacity * 8, need: FUSE_HISTOGRAM_BUCKETS * 8 }.into());
            }
            for (index, count) in histogram.buckets().iter().enumerate() {
                buckets.add(index).write_unaligned(*count);
            }
            Ok(FUSE_OK)
        })
    }
}

const _: () = assert!(FUSE_HISTOGRAM_BUCKETS == fuse_edge::stats::HISTOGRAM_BUCKETS);
