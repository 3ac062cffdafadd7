//! No panic leaves a function.

use alloc::string::String;

/// A panic was caught; what it said.
pub(crate) struct Panicked(pub(crate) String);

/// Runs `call`, and catches its panic.
#[cfg(feature = "std")]
#[inline]
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    // What the call had its hands on is not used again: the handle is poisoned.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).map_err(|payload| {
        let said = payload.downcast_ref::<&str>().map(|s| (*s).into());
        Panicked(said.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default())
    })
}

/// Runs `call`. A panic calls the host's handler, which does not return.
#[cfg(not(feature = "std"))]
#[inline]
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    Ok(call())
}

#[cfg(all(test, feature = "full"))]
mod tests {
    use core::ffi::{CStr, c_void};
    use core::ptr::null_mut;

    use crate::*;

    unsafe extern "C-unwind" fn panics(_: *mut c_void, _: *mut f32) -> i32 {
        panic!("the sensor is on fire")
    }

    /// A callback in Rust, compiled with the library, that panics: the status is that of a failure inside, the handle takes
    /// no further call, and it can be closed.
    #[test]
    fn a_panic_becomes_a_status_and_poisons() {
        let source = br#"(module (import "env" "temp_get_reading" (func $r (result f32)))
            (func (export "module_step") (drop (call $r))))"#;
        // SAFETY: pointers to locals of the right types, and handles that the calls gave.
        unsafe {
            let (mut runtime, mut id, mut text) = (null_mut(), 0, [0; 256]);
            assert_eq!(
                fuse_runtime_new(core::ptr::null(), core::ptr::null(), &raw mut runtime, null_mut(), 0),
                FUSE_OK
            );
            assert_eq!(fuse_runtime_set_temp(runtime, Some(panics), null_mut(), None), FUSE_OK);
            let mut policy = fuse_policy_t::of(&fuse_edge::Policy::default());
            policy.capabilities = FUSE_CAP_TEMP_SENSOR;
            let (start, len) = (source.as_ptr(), source.len());
            assert_eq!(
                fuse_runtime_load(runtime, c"m".as_ptr(), start, len, &raw const policy, &raw mut id),
                FUSE_OK
            );
            assert_eq!(fuse_runtime_start(runtime, id), FUSE_OK);
            assert_eq!(fuse_runtime_run_step(runtime, id), FUSE_ERR_INTERNAL);
            assert_eq!(fuse_last_error(runtime.cast(), text.as_mut_ptr(), text.len(), null_mut()), FUSE_OK);
            let said = CStr::from_ptr(text.as_ptr()).to_str().unwrap_or_default();
            assert!(said.contains("the sensor is on fire"), "{said}");
            assert_eq!(fuse_runtime_run_step(runtime, id), FUSE_ERR_POISONED);
            assert_eq!(fuse_runtime_unload(runtime, id), FUSE_ERR_POISONED);
            assert_eq!(fuse_runtime_close(runtime), FUSE_OK);
            assert_eq!(fuse_runtime_close(runtime), FUSE_ERR_INVALID_ARG);
        }
    }
}
