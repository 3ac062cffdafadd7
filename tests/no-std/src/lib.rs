//! The runtime without std, behind three C functions.
#![no_std]

extern crate alloc;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::alloc::{GlobalAlloc, Layout};
use core::ffi::{c_int, c_void};
use core::slice;

use fuse_edge::platform::{CodeMemory, PlatformError, QuotaExpiry, QuotaToken};
use fuse_edge::{AppConfig, ErrorKind, Platform, Policy, Runtime, RuntimeConfig};

unsafe extern "C" {
    fn host_alloc(size: usize, align: usize) -> *mut u8;
    fn host_free(start: *mut u8);
    fn host_panic() -> !;
    fn host_time_us() -> u64;
    fn host_protect(start: *const u8, len: usize, executable: c_int) -> c_int;
    fn host_say(text: *const u8, len: usize);
}

struct HostAllocator;

// SAFETY: the host's functions are an allocator for any size and alignment, as their C side says.
unsafe impl GlobalAlloc for HostAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: plain numbers.
        unsafe { host_alloc(layout.size(), layout.align()) }
    }

    unsafe fn dealloc(&self, start: *mut u8, _: Layout) {
        // SAFETY: `start` came from `alloc`.
        unsafe { host_free(start) }
    }
}

#[global_allocator]
static ALLOCATOR: HostAllocator = HostAllocator;

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    let text = alloc::format!("{info}");
    // SAFETY: as many bytes as it says, for the time of the call; the second does not return.
    unsafe {
        host_say(text.as_ptr(), text.len());
        host_panic()
    }
}

/// Parts of `alloc` come compiled for unwinding and name these two; with `panic = "abort"` nothing calls them.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// See [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    // SAFETY: does not return.
    unsafe { host_panic() }
}

struct HostPlatform;

impl Platform for HostPlatform {
    fn init(&mut self, _: QuotaExpiry) -> Result<(), PlatformError> {
        Ok(())
    }

    fn timestamp_us(&self) -> u64 {
        // SAFETY: takes nothing and gives a number.
        unsafe { host_time_us() }
    }

    fn quota_arm(&mut self, _: u32, _: QuotaToken) {}

    fn quota_cancel(&mut self) {}

    fn enforces_quota(&self) -> bool {
        false
    }

    fn code_memory(&self) -> Option<Arc<dyn CodeMemory>> {
        Some(Arc::new(HostCode))
    }
}

struct HostCode;

impl HostCode {
    fn protect(start: *const u8, len: usize, executable: bool) -> Result<(), PlatformError> {
        // SAFETY: the region belongs to the engine, which asks for this.
        match unsafe { host_protect(start, len, c_int::from(executable)) } {
            0 => Ok(()),
            code => Err(PlatformError { tried: "change the protection of code", code }),
        }
    }
}

impl CodeMemory for HostCode {
    fn alignment(&self) -> usize {
        4096
    }

    fn publish(&self, start: *const u8, len: usize) -> Result<(), PlatformError> {
        Self::protect(start, len, true)
    }

    fn unpublish(&self, start: *const u8, len: usize) -> Result<(), PlatformError> {
        Self::protect(start, len, false)
    }
}

/// A runtime with one module, started. Null when that fails.
///
/// # Safety
/// `artifact` and `policy` point to as many bytes as their lengths say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check_open(
    artifact: *const u8,
    artifact_len: usize,
    policy: *const u8,
    policy_len: usize,
) -> *mut c_void {
    // SAFETY: the caller's.
    let (artifact, policy) =
        unsafe { (slice::from_raw_parts(artifact, artifact_len), slice::from_raw_parts(policy, policy_len)) };
    let open = || {
        let mut runtime = Runtime::new(RuntimeConfig::default(), HostPlatform)?;
        runtime.set_temp(|| Ok(21.5));
        let id = runtime.load("module", artifact, &Policy::from_bytes(policy)?)?;
        runtime.start(id)?;
        Ok::<_, fuse_edge::Error>(runtime)
    };
    match open() {
        Ok(runtime) => Box::into_raw(Box::new(runtime)).cast(),
        Err(e) => {
            let text = alloc::format!("{e}");
            // SAFETY: as many bytes as it says, for the time of the call.
            unsafe { host_say(text.as_ptr(), text.len()) };
            core::ptr::null_mut()
        }
    }
}

/// One tick: how many modules ran, or minus the class of the first failure.
///
/// # Safety
/// `runtime` came from `check_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check_tick(runtime: *mut c_void) -> c_int {
    // SAFETY: the caller's.
    let runtime = unsafe { &mut *runtime.cast::<Runtime>() };
    match runtime.tick() {
        Ok(report) => match report.failed().next() {
            None => report.outcomes().len() as c_int,
            Some(failed) => -failed.result.map_or_else(|kind| kind as c_int, |()| 0),
        },
        Err(e) => -(e.kind() as c_int),
    }
}

/// Ends a runtime; also proves that a packed application can be read here.
///
/// # Safety
/// `runtime` came from `check_open` and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn check_close(runtime: *mut c_void) -> c_int {
    // SAFETY: the caller's.
    drop(unsafe { Box::from_raw(runtime.cast::<Runtime>()) });
    c_int::from(AppConfig::from_binary(b"not one").is_err_and(|e| e.kind() == ErrorKind::InvalidArg))
}
