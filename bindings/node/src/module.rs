//! What the package asks about one module.

use fuse_runtime::edge::{self, ModuleId};
use napi::bindgen_prelude::Buffer;
use napi_derive::napi;

use crate::config::NativePolicy;

/// The id of its two halves.
pub(crate) fn id_of(slot: u32, generation: u32) -> ModuleId {
    ModuleId::from_u64(u64::from(generation) << 32 | u64::from(slot))
}

/// Its two halves.
pub(crate) fn halves(id: ModuleId) -> Vec<u32> {
    let raw = id.to_u64();
    vec![raw as u32, (raw >> 32) as u32]
}

/// What is known of a module.
#[napi(object)]
pub struct NativeModuleInfo {
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: String,
    /// Why it failed.
    pub failure: Option<String>,
    /// Mask.
    pub latch: u32,
    /// Size of its memory.
    pub memory_bytes: i64,
}

/// Counts of durations.
#[napi(object)]
pub struct NativeHistogram {
    /// By power of two.
    pub buckets: Vec<i64>,
    /// How many.
    pub count: i64,
    /// The longest.
    pub max_ns: i64,
    /// The mean.
    pub mean_ns: i64,
}

impl From<&edge::stats::Histogram> for NativeHistogram {
    fn from(h: &edge::stats::Histogram) -> Self {
        Self {
            buckets: h.buckets().iter().map(|n| n.cast_signed()).collect(),
            count: h.count().cast_signed(),
            max_ns: h.max_ns().cast_signed(),
            mean_ns: h.mean_ns().cast_signed(),
        }
    }
}

/// Statistics of a module.
#[napi(object)]
pub struct NativeStats {
    /// Steps that ended well.
    pub steps: i64,
    /// Calls that trapped.
    pub traps: i64,
    /// Calls that violated the policy.
    pub violations: i64,
    /// Calls that used up a quota.
    pub quota_hits: i64,
    /// Step times.
    pub step_time: NativeHistogram,
    /// Instructions of the last step.
    pub fuel_last: i64,
    /// The most of one step.
    pub fuel_peak: i64,
    /// Of all steps.
    pub fuel_total: i64,
    /// Largest size of memory.
    pub memory_peak_bytes: i64,
    /// From an event to its step.
    pub event_latency: NativeHistogram,
}

impl From<&edge::ModuleStats> for NativeStats {
    fn from(s: &edge::ModuleStats) -> Self {
        Self {
            steps: s.steps.cast_signed(),
            traps: s.traps.cast_signed(),
            violations: s.violations.cast_signed(),
            quota_hits: s.quota_hits.cast_signed(),
            step_time: (&s.step_time).into(),
            fuel_last: s.fuel_last.cast_signed(),
            fuel_peak: s.fuel_peak.cast_signed(),
            fuel_total: s.fuel_total.cast_signed(),
            memory_peak_bytes: s.memory_peak_bytes.cast_signed(),
            event_latency: (&s.event_latency).into(),
        }
    }
}

/// What is known of it.
pub(crate) fn info(info: &edge::ModuleInfo<'_>) -> NativeModuleInfo {
    NativeModuleInfo {
        name: info.name.to_owned(),
        state: info.state.name().to_owned(),
        failure: info.failure.map(|f| f.to_string()),
        latch: info.latch.bits(),
        memory_bytes: i64::try_from(info.memory.len()).unwrap_or(i64::MAX),
    }
}

/// Its policy.
pub(crate) fn policy(info: &edge::ModuleInfo<'_>) -> NativePolicy {
    info.policy.into()
}

/// A copy of part of its memory, as in a slice.
pub(crate) fn memory(info: &edge::ModuleInfo<'_>, offset: f64, length: f64) -> Buffer {
    // Casts of floats end at the bounds.
    let start = (offset as usize).min(info.memory.len());
    let end = start.saturating_add(length as usize).min(info.memory.len());
    info.memory[start..end].to_vec().into()
}
