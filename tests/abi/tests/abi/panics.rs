//! Rule 6: a panic inside becomes a status, and the handle takes nothing but its close.

#![allow(clippy::panic, reason = "panics are what is tested")]

use std::ffi::{CStr, c_void};
use std::ptr::{null, null_mut};

use fuse::*;

unsafe extern "C-unwind" fn panics(_: *mut c_void, _: *mut f32) -> i32 {
    panic!("the sensor is on fire")
}

static POLICY: fuse_policy_t = fuse_policy_t {
    struct_size: size_of::<fuse_policy_t>() as u32,
    capabilities: FUSE_CAP_TEMP_SENSOR,
    memory_pages_max: 1,
    stack_size: 65536,
    heap_size: 0,
    cpu_quota_us: 0,
    step_interval_us: 0,
    activation_mask: FUSE_ACTIVATE_INTERVAL,
    event_subscribe: 0,
    priority: 128,
    fuel_quota: 0,
};

/// A callback in Rust, compiled together with the library, that panics under a step.
#[test]
fn rule_06_a_panic_becomes_a_status_and_poisons() {
    let source = br#"(module (import "env" "temp_get_reading" (func $r (result f32)))
        (func (export "module_step") (drop (call $r))))"#;
    // SAFETY: pointers to locals of the right types, and handles that the calls gave.
    unsafe {
        let (mut runtime, mut id, mut text) = (null_mut(), 0, [0; 256]);
        assert_eq!(fuse_runtime_new(null(), null(), &raw mut runtime, null_mut(), 0), FUSE_OK);
        assert_eq!(fuse_runtime_set_temp(runtime, Some(panics), null_mut(), None), FUSE_OK);
        let (start, len) = (source.as_ptr(), source.len());
        let name = c"thermometer".as_ptr();
        assert_eq!(fuse_runtime_load(runtime, name, start, len, &raw const POLICY, &raw mut id), FUSE_OK);
        assert_eq!(fuse_runtime_start(runtime, id), FUSE_OK);
        assert_eq!(fuse_runtime_run_step(runtime, id), FUSE_ERR_INTERNAL);
        assert_eq!(fuse_last_error(runtime.cast(), text.as_mut_ptr(), text.len(), null_mut()), FUSE_OK);
        let said = CStr::from_ptr(text.as_ptr()).to_string_lossy();
        assert!(said.contains("the sensor is on fire"), "{said}");
        assert_eq!(fuse_runtime_run_step(runtime, id), FUSE_ERR_POISONED);
        assert_eq!(fuse_runtime_unload(runtime, id), FUSE_ERR_POISONED);
        assert_eq!(fuse_runtime_close(runtime), FUSE_OK);
        assert_eq!(fuse_runtime_close(runtime), FUSE_ERR_INVALID_ARG);
    }
}
