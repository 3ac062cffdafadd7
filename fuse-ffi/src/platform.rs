//! The machine under a runtime, as the host describes it.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::ffi::c_void;

use fuse_edge::Platform;
use fuse_edge::platform::{CodeMemory, PlatformError, QuotaExpiry, QuotaToken};

use crate::crossing::Crossing;
use crate::handle::Refusal;
use crate::status::*;

/// Ends a call whose quota ran out; the host's quota timer gets it in fuse_platform_t.init. Valid until the runtime is
/// closed: stop the timer before that.
pub struct fuse_quota_expiry_t {
    expiry: QuotaExpiry,
}

/// Platform flag: time is the host's, and quotas are enforced by the library's own timer (full build on Linux). For
/// simulation and replay. quota_arm and quota_cancel must be NULL.
pub const FUSE_PLATFORM_OWN_QUOTA_TIMER: u32 = 1;

/// The machine under a runtime: time and a quota timer. All functions are called on the thread that uses the runtime,
/// get `user`, must not call the runtime, and must not unwind.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_platform_t {
    /// sizeof(fuse_platform_t).
    pub struct_size: u32,
    /// FUSE_PLATFORM_ bits, or 0.
    pub flags: u32,
    /// Given to each function. Must stay valid until the runtime is closed.
    pub user: *mut c_void,
    /// Called once, before anything else; may be NULL. `expiry` is for the quota timer's handler. Anything but 0 is a
    /// failure: the runtime is then not made, and the number is in the error's text.
    pub init:
        Option<unsafe extern "C-unwind" fn(user: *mut c_void, expiry: *const fuse_quota_expiry_t) -> i32>,
    /// Time in microseconds from any fixed point; required. When it goes backwards, that counts as standing still.
    pub timestamp_us: Option<unsafe extern "C-unwind" fn(user: *mut c_void) -> u64>,
    /// Starts the quota timer: when the stepping thread has used `quota_us` microseconds of CPU time (of wall time where
    /// there is no clock for CPU time), its handler calls fuse_quota_expire with `token`. One quota is armed at a time.
    /// NULL: there is no quota timer, and policies with cpu_quota_us are refused at load.
    pub quota_arm: Option<unsafe extern "C-unwind" fn(user: *mut c_void, quota_us: u32, token: u64)>,
    /// Stops the quota timer. An expiry that comes all the same is harmless. NULL exactly when quota_arm is.
    pub quota_cancel: Option<unsafe extern "C-unwind" fn(user: *mut c_void)>,
    /// Resolution of the quota timer, in microseconds: quotas are rounded up to a multiple. 0 and 1 mean exact.
    pub quota_resolution_us: u32,
    /// What native code must be aligned to, in bytes, a power of two; 0 = 4096. Used where code_publish is.
    pub code_alignment: u32,
    /// Makes `length` bytes from `start` executable and no longer writable, and brings the instruction cache up to date;
    /// 0 when it did. Used in builds without an operating system only; NULL there: code for the interpreter only.
    pub code_publish:
        Option<unsafe extern "C-unwind" fn(user: *mut c_void, start: *const u8, length: usize) -> i32>,
    /// Takes that back; 0 when it did. NULL exactly when code_publish is.
    pub code_unpublish:
        Option<unsafe extern "C-unwind" fn(user: *mut c_void, start: *const u8, length: usize) -> i32>,
}

// SAFETY: numbers, pointers that are only handed back, and functions, for which zero is `None`. Other bytes in a function
// field are an address that the caller vouches for.
unsafe impl Crossing for fuse_platform_t {
    const FIRST_SIZE: usize = 16 + 7 * size_of::<usize>();
    const NAME: &'static str = "fuse_platform_t";
}

/// The host's table as a platform.
pub(crate) struct HostPlatform {
    table: fuse_platform_t,
    timestamp_us: unsafe extern "C-unwind" fn(*mut c_void) -> u64,
    expiry: Option<Box<fuse_quota_expiry_t>>,
    #[cfg(all(feature = "std", target_os = "linux"))]
    own_timer: Option<fuse_edge::LinuxPlatform>,
}

// SAFETY: the header says that the table's functions are called on whatever thread uses the runtime.
unsafe impl Send for HostPlatform {}

impl HostPlatform {
    pub(crate) fn new(table: fuse_platform_t) -> Result<Self, crate::handle::Failed> {
        let value = |what| Refusal::Value { what };
        let timestamp_us =
            table.timestamp_us.ok_or(Refusal::Null { what: "timestamp_us of fuse_platform_t" })?;
        if table.flags & !FUSE_PLATFORM_OWN_QUOTA_TIMER != 0 {
            return Err(value("flags of fuse_platform_t has unknown bits").into());
        }
        if table.quota_arm.is_some() != table.quota_cancel.is_some() {
            return Err(value("fuse_platform_t needs both quota_arm and quota_cancel, or neither").into());
        }
        if table.code_publish.is_some() != table.code_unpublish.is_some() {
            return Err(
                value("fuse_platform_t needs both code_publish and code_unpublish, or neither").into()
            );
        }
        if table.code_alignment != 0 && !table.code_alignment.is_power_of_two() {
            return Err(value("code_alignment of fuse_platform_t is not a power of two").into());
        }
        let own = table.flags & FUSE_PLATFORM_OWN_QUOTA_TIMER != 0;
        if own && table.quota_arm.is_some() {
            return Err(value("fuse_platform_t asks for the library's quota timer and gives its own").into());
        }
        #[cfg(not(all(feature = "std", target_os = "linux")))]
        if own {
            return Err(value("this build of libfuse has no quota timer of its own").into());
        }
        Ok(Self {
            table,
            timestamp_us,
            expiry: None,
            #[cfg(all(feature = "std", target_os = "linux"))]
            own_timer: if own { Some(linux()?) } else { None },
        })
    }
}

/// The library's own platform.
#[cfg(all(feature = "std", target_os = "linux"))]
pub(crate) fn linux() -> Result<fuse_edge::LinuxPlatform, crate::handle::Failed> {
    fuse_edge::LinuxPlatform::new().map_err(|e| crate::handle::Failed::Other {
        status: FUSE_ERR_UNAVAILABLE,
        what: alloc::format!("cannot set up the platform: {e}"),
    })
}

impl Platform for HostPlatform {
    fn init(&mut self, expiry: QuotaExpiry) -> Result<(), PlatformError> {
        #[cfg(all(feature = "std", target_os = "linux"))]
        if let Some(own) = &mut self.own_timer {
            own.init(expiry.clone())?;
        }
        let expiry = self.expiry.insert(Box::new(fuse_quota_expiry_t { expiry }));
        let Some(init) = self.table.init else { return Ok(()) };
        // SAFETY: the host's function, with its pointer; the box does not move while the platform lives.
        match unsafe { init(self.table.user, &raw const **expiry) } {
            0 => Ok(()),
            code => Err(PlatformError { tried: "initialise the host's platform", code }),
        }
    }

    #[inline]
    fn timestamp_us(&self) -> u64 {
        // SAFETY: the host's function, with its pointer.
        unsafe { (self.timestamp_us)(self.table.user) }
    }

    #[inline]
    fn quota_arm(&mut self, quota_us: u32, token: QuotaToken) {
        #[cfg(all(feature = "std", target_os = "linux"))]
        if let Some(own) = &mut self.own_timer {
            return own.quota_arm(quota_us, token);
        }
        if let Some(arm) = self.table.quota_arm {
            let rounded = quota_us.checked_next_multiple_of(self.table.quota_resolution_us.max(1));
            // SAFETY: the host's function, with its pointer.
            unsafe { arm(self.table.user, rounded.unwrap_or(u32::MAX), token.to_u64()) };
        }
    }

    #[inline]
    fn quota_cancel(&mut self) {
        #[cfg(all(feature = "std", target_os = "linux"))]
        if let Some(own) = &mut self.own_timer {
            return own.quota_cancel();
        }
        if let Some(cancel) = self.table.quota_cancel {
            // SAFETY: the host's function, with its pointer.
            unsafe { cancel(self.table.user) };
        }
    }

    fn enforces_quota(&self) -> bool {
        self.table.quota_arm.is_some() || self.table.flags & FUSE_PLATFORM_OWN_QUOTA_TIMER != 0
    }

    #[cfg(feature = "flight")]
    fn memory_ledger(&self) -> Option<&'static dyn fuse_edge::platform::MemoryLedger> {
        Some(crate::flight::memory_ledger())
    }

    fn code_memory(&self) -> Option<Arc<dyn CodeMemory>> {
        let (publish, unpublish) = (self.table.code_publish?, self.table.code_unpublish?);
        let alignment = match self.table.code_alignment {
            0 => 4096,
            given => given as usize,
        };
        Some(Arc::new(HostCode { user: self.table.user, alignment, publish, unpublish }))
    }
}

type Protect = unsafe extern "C-unwind" fn(*mut c_void, *const u8, usize) -> i32;

struct HostCode {
    user: *mut c_void,
    alignment: usize,
    publish: Protect,
    unpublish: Protect,
}

// SAFETY: as for `HostPlatform`.
unsafe impl Send for HostCode {}
// SAFETY: the engine calls it while it loads or drops a module, on the thread that uses the runtime.
unsafe impl Sync for HostCode {}

impl HostCode {
    fn protect(&self, with: Protect, start: *const u8, length: usize) -> Result<(), PlatformError> {
        // SAFETY: the host's function, with its pointer; the region is the engine's, which asks for this.
        match unsafe { with(self.user, start, length) } {
            0 => Ok(()),
            code => Err(PlatformError { tried: "change the protection of code", code }),
        }
    }
}

impl CodeMemory for HostCode {
    fn alignment(&self) -> usize {
        self.alignment
    }

    fn publish(&self, start: *const u8, length: usize) -> Result<(), PlatformError> {
        self.protect(self.publish, start, length)
    }

    fn unpublish(&self, start: *const u8, length: usize) -> Result<(), PlatformError> {
        self.protect(self.unpublish, start, length)
    }
}

/// Tells the runtime that the quota with this token ran out: the call that it names ends, if it still runs. For the
/// handler of the host's quota timer. Atomics only; calling it again is harmless, and mends a first call that came too
/// early to be seen.
///
/// ISR-safe: yes; allocates: no; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_quota_expire(expiry: *const fuse_quota_expiry_t, token: u64) -> fuse_status_t {
    if expiry.is_null() || !expiry.is_aligned() {
        return FUSE_ERR_INVALID_ARG;
    }
    // SAFETY: the runtime that gave it is open.
    unsafe { &*expiry }.expiry.expire(QuotaToken::from_u64(token));
    FUSE_OK
}
