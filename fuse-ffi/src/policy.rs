//! What one module may do and use.

use core::ffi::c_char;

use fuse_edge::{Activation, Capabilities, EventMask, Policy};

use crate::crossing::{self, Crossing, Out};
use crate::handle::{Refusal, free_call};
use crate::status::fuse_status_t;
use crate::text::ErrorBuffer;

/// Capability: temp_get_reading.
pub const FUSE_CAP_TEMP_SENSOR: u32 = 1;
/// Capability: timer_get_timestamp.
pub const FUSE_CAP_TIMER: u32 = 2;
/// Capability: camera_last_frame.
pub const FUSE_CAP_CAMERA: u32 = 4;
/// Capability: module_log_event.
pub const FUSE_CAP_LOG: u32 = 8;
/// Capability: fuse_event_post.
pub const FUSE_CAP_EVENT_POST: u32 = 16;

/// Activation: due when step_interval_us has passed since the last step.
pub const FUSE_ACTIVATE_INTERVAL: u32 = 1;
/// Activation: due when an event that it subscribes to has been posted.
pub const FUSE_ACTIVATE_EVENT: u32 = 2;
/// Activation: stepped by fuse_runtime_run_step only.
pub const FUSE_ACTIVATE_MANUAL: u32 = 4;

/// Length of the binary form of a policy, in bytes.
pub const FUSE_POLICY_BYTES: usize = 32;

/// The policy of one module. FUSE_POLICY_INIT allows nothing but to run: no capability, one page of memory, no growth,
/// 64 KiB of stack, no quota, interval activation without an interval.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_policy_t {
    /// sizeof(fuse_policy_t).
    pub struct_size: u32,
    /// The HAL groups that it may call: FUSE_CAP_ bits; bits 8 to 31 are the host's own groups.
    pub capabilities: u32,
    /// Hard cap of linear memory, in pages of 64 KiB (0 to 65536). A module that starts with more does not load.
    pub memory_pages_max: u32,
    /// Stack of this module, in bytes (1024 to the runtime's stack_bytes_max). Deeper recursion traps it alone.
    pub stack_size: u32,
    /// How many bytes its memory may grow beyond the initial size, rounded down to whole pages.
    pub heap_size: u32,
    /// Longest that one call of the module may run, in microseconds of its own CPU time; 0 = unlimited.
    pub cpu_quota_us: u32,
    /// Least time between the starts of two successful steps, in microseconds; 0 = none.
    pub step_interval_us: u32,
    /// What makes it due: FUSE_ACTIVATE_ bits; 0 means FUSE_ACTIVATE_INTERVAL.
    pub activation_mask: u32,
    /// The events that wake it: bit n is event n.
    pub event_subscribe: u32,
    /// Order within a tick (0 to 255): lower runs first. FUSE_POLICY_INIT sets 128.
    pub priority: u32,
    /// Instructions that one call may execute; 0 = unlimited.
    pub fuel_quota: u64,
}

// SAFETY: numbers only.
unsafe impl Crossing for fuse_policy_t {
    const FIRST_SIZE: usize = 48;
    const NAME: &'static str = "fuse_policy_t";
}

impl fuse_policy_t {
    pub(crate) fn of(policy: &Policy) -> Self {
        Self {
            struct_size: size_of::<Self>() as u32,
            capabilities: policy.capabilities.bits(),
            memory_pages_max: policy.memory_pages_max,
            stack_size: policy.stack_size,
            heap_size: policy.heap_size,
            cpu_quota_us: policy.cpu_quota_us,
            step_interval_us: policy.step_interval_us,
            activation_mask: policy.activation.bits(),
            event_subscribe: policy.event_subscribe.bits(),
            priority: u32::from(policy.priority),
            fuel_quota: policy.fuel_quota,
        }
    }

    pub(crate) fn policy(&self) -> Result<Policy, crate::handle::Failed> {
        let priority = u8::try_from(self.priority)
            .map_err(|_| Refusal::Value { what: "priority of fuse_policy_t is above 255" })?;
        Ok(Policy {
            capabilities: Capabilities::from_bits(self.capabilities),
            memory_pages_max: self.memory_pages_max,
            stack_size: self.stack_size,
            heap_size: self.heap_size,
            cpu_quota_us: self.cpu_quota_us,
            step_interval_us: self.step_interval_us,
            activation: Activation::from_bits(self.activation_mask)?,
            event_subscribe: EventMask::from_bits(self.event_subscribe),
            fuel_quota: self.fuel_quota,
            priority,
        })
    }
}

/// Reads the binary form of a policy, for uplinks: exactly 32 bytes, eight little-endian 32-bit numbers in the order
/// capabilities, memory_pages_max, stack_size, heap_size, cpu_quota_us, step_interval_us, activation_mask,
/// event_subscribe. Priority and fuel quota take their defaults.
///
/// `out`: set its struct_size first. `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
///
/// FUSE_ERR_INVALID_ARG for another length and for a field out of range.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_policy_from_bytes(
    bytes: *const u8,
    length: usize,
    out: *mut fuse_policy_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            let bytes = crossing::bytes(bytes, length, "bytes")?;
            Out::new(out)?.fill(&fuse_policy_t::of(&Policy::from_bytes(bytes)?));
            Ok(())
        })
    }
}

/// Writes the binary form of a policy; see fuse_policy_from_bytes. Priority and fuel quota are not in it.
///
/// `buffer` has `capacity` bytes; `length` (may be NULL) receives 32.
///
/// FUSE_ERR_BUFFER_TOO_SMALL; FUSE_ERR_INVALID_ARG for a policy that is not valid.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_policy_to_bytes(
    policy: *const fuse_policy_t,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        free_call(ErrorBuffer::new(core::ptr::null_mut(), 0), || {
            let policy = crossing::read(policy)?.policy()?;
            policy.validate()?;
            Ok(crossing::copy_out(&policy.to_bytes(), buffer, capacity, length, false)?)
        })
    }
}

/// Reads a policy from JSON: the same fields as in app_config.json; masks may be numbers or lists of names.
///
/// `out`: set its struct_size first. `error` (may be NULL) receives why it failed, with the JSON path, cut to
/// `error_capacity` bytes.
///
/// FUSE_ERR_INVALID_ARG for text that is not a policy. Full build only.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[cfg(feature = "full")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_policy_from_json(
    json: *const c_char,
    length: usize,
    out: *mut fuse_policy_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            let json = crossing::text(json, length, "json")?;
            Out::new(out)?.fill(&fuse_policy_t::of(&Policy::from_json(json)?));
            Ok(())
        })
    }
}
