//! What the flight build has beside the rest: how much memory a deployment takes. The header is `fuse_flight.h`.

use fuse_edge::platform::MemoryLedger;
use fuse_edge::{MemoryPlan, Policy, RuntimeConfig};

use crate::crossing::{self, Crossing, Place};
use crate::handle::{Failed, Refusal};
use crate::policy::fuse_policy_t;
use crate::runtime::fuse_runtime_config_t;
use crate::status::*;

unsafe extern "Rust" {
    /// Where memory is counted: in the arena of the crate that makes the archive.
    safe fn fuse_ffi_memory_ledger() -> &'static dyn MemoryLedger;
}

/// The ledger of the process.
pub(crate) fn memory_ledger() -> &'static dyn MemoryLedger {
    fuse_ffi_memory_ledger()
}

/// Whether the process has its arena.
pub(crate) fn has_memory() -> bool {
    memory_ledger().reserve(0).is_ok()
}

/// What the allocator keeps for itself at both ends of an arena.
const ENDS: u64 = 128;
/// What is never set aside: for the handles and texts of calls that fail before they set anything aside, and for traps.
const SLACK: u64 = 24 * 1024;
/// The allocator finds a block only in lists of blocks that are all large enough: one part in this many is out of sight.
const STEPS: u64 = 32;

/// How many bytes of an arena of this length may be set aside.
#[must_use]
pub const fn arena_capacity(length: u64) -> u64 {
    let inside = length.saturating_sub(ENDS);
    (inside - inside / STEPS).saturating_sub(SLACK)
}

/// The shortest arena, in whole pages, of which this much may be set aside.
const fn arena_length(bytes: u64) -> u64 {
    const PAGE: u64 = 4096;
    let mut length = ((bytes + SLACK) / (STEPS - 1) * STEPS + ENDS).next_multiple_of(PAGE);
    while arena_capacity(length) < bytes {
        length += PAGE;
    }
    length
}

/// One module of a plan; see `fuse_flight.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_planned_module_t {
    struct_size: u32,
    reserved: u32,
    artifact: *const u8,
    artifact_length: usize,
    policy: *const fuse_policy_t,
}

// SAFETY: numbers and pointers.
unsafe impl Crossing for fuse_planned_module_t {
    const FIRST_SIZE: usize = 8 + 3 * size_of::<usize>();
    const NAME: &'static str = "fuse_planned_module_t";
}

/// A deployment; see `fuse_flight.h`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_memory_plan_t {
    struct_size: u32,
    /// 1: room to update or restart any one module.
    spare: u32,
    config: *const fuse_runtime_config_t,
    modules: *const *const fuse_planned_module_t,
    module_count: usize,
    group_count: u32,
    function_count: u32,
    code_alignment: u32,
    reserved: u32,
}

// SAFETY: numbers and pointers.
unsafe impl Crossing for fuse_memory_plan_t {
    const FIRST_SIZE: usize = 24 + 3 * size_of::<usize>();
    const NAME: &'static str = "fuse_memory_plan_t";
}

// What the header says; tests/flight checks the same from C.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<fuse_planned_module_t>() == 32 && size_of::<fuse_memory_plan_t>() == 48);

/// Works out the length of the arena that a deployment takes; see `fuse_flight.h`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_required_memory(
    plan: *const fuse_memory_plan_t,
    out: *mut u64,
) -> fuse_status_t {
    // SAFETY: the caller's. No arena may be there yet, so nothing below may allocate, not even for a refusal.
    let worked = unsafe {
        (|| {
            let (raw, out) = (crossing::read(plan)?, Place::new(out, "out")?);
            let config = match raw.config.is_null() {
                true => RuntimeConfig::default(),
                false => crossing::read(raw.config)?.resolve()?,
            };
            let alignment = match raw.code_alignment {
                0 => 4096,
                given => u64::from(given),
            };
            let mut plan = MemoryPlan::new(&config, raw.group_count, raw.function_count, alignment);
            add_modules(&mut plan, &raw)?;
            if raw.spare != 0 {
                plan.add_spare();
            }
            out.put(arena_length(plan.bytes()));
            Ok(())
        })()
    };
    worked.map_or_else(|failed: Failed| failed.status(), |()| FUSE_OK)
}

/// # Safety
/// The plan's modules are there.
unsafe fn add_modules(plan: &mut MemoryPlan, raw: &fuse_memory_plan_t) -> Result<(), Failed> {
    if raw.modules.is_null() && raw.module_count > 0 {
        return Err(Refusal::Null { what: "modules of fuse_memory_plan_t" }.into());
    }
    if raw.module_count > fuse_edge::app::MAX_MODULES_LIMIT as usize {
        return Err(Refusal::Value { what: "module_count of fuse_memory_plan_t is above 65536" }.into());
    }
    for index in 0..raw.module_count {
        // SAFETY: the caller's: as many pointers as it says, each to a struct as long as its first field says.
        let module = unsafe { crossing::read(raw.modules.add(index).read_unaligned()) }?;
        // SAFETY: the caller's.
        let artifact = unsafe { crossing::bytes(module.artifact, module.artifact_length, "artifact") }?;
        let policy = match module.policy.is_null() {
            true => Policy::default(),
            false => {
                // SAFETY: the caller's.
                let policy = unsafe { crossing::read(module.policy) }?;
                Policy {
                    memory_pages_max: policy.memory_pages_max,
                    stack_size: policy.stack_size,
                    heap_size: policy.heap_size,
                    ..Policy::default()
                }
            }
        };
        if !plan.add(artifact, &policy) {
            return Err(Refusal::Value { what: "a module of the plan is not an artifact" }.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arena_is_as_short_as_can_be() {
        for bytes in [0, 1, 100_000, 123_456, 1 << 20, 77 << 20] {
            let length = arena_length(bytes);
            assert!(arena_capacity(length) >= bytes);
            assert!(arena_capacity(length - 4096) < bytes, "{bytes}");
        }
    }
}
