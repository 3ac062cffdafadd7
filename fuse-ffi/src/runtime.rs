//! The runtime: making it, and closing it.

use alloc::boxed::Box;
use alloc::string::String;
use core::cell::UnsafeCell;
use core::ffi::c_char;

use fuse_edge::{
    Application, Capabilities, EventPoster, ModuleId, Runtime, RuntimeConfig, StepTiming, TrapMode,
};

use crate::app::{fuse_app_t, with_config};
use crate::artifact::{metering, traps};
use crate::crossing::{self, Crossing, Place};
use crate::firewall;
use crate::graveyard::{self, Shell};
use crate::handle::{Exclusive, Failed, Handle, Head, KIND_RUNTIME, Refusal, free_call, get};
use crate::memory::Held;
use crate::platform::{HostPlatform, fuse_platform_t};
use crate::status::*;
use crate::text::ErrorBuffer;

mod life;
mod load;
mod log;
mod modules;
mod step;

pub use life::*;
pub use load::*;
pub use log::*;
pub use modules::*;
pub use step::*;

/// Names one loaded module of one runtime; never 0, and never used again after its module is unloaded.
pub type fuse_module_id_t = u64;

/// Runs modules under policies, step by step. It belongs to one thread at a time.
// Spelled so that cbindgen takes it for opaque, as C must.
#[cfg_attr(all(), repr(C))]
pub struct fuse_runtime_t {
    head: Head,
    /// Beside the runtime, so that a callback can post while a call runs.
    poster: UnsafeCell<Option<EventPoster>>,
    inner: UnsafeCell<Inner>,
}

pub(crate) struct Inner {
    runtime: Option<Runtime>,
}

impl Inner {
    /// The runtime. It is there as long as the handle is open.
    #[inline]
    pub(crate) fn rt(&mut self) -> Result<&mut Runtime, Failed> {
        self.runtime.as_mut().ok_or(Failed::Refusal(Refusal::Handle))
    }
}

// SAFETY: the head is the first field.
unsafe impl Handle for fuse_runtime_t {
    const KIND: u32 = KIND_RUNTIME;
}

// SAFETY: nothing refers to the cell but `call`, and the close.
unsafe impl Exclusive for fuse_runtime_t {
    type Inner = Inner;

    #[inline]
    fn head(&self) -> &Head {
        &self.head
    }

    #[inline]
    fn inner(&self) -> *mut Inner {
        self.inner.get()
    }
}

// SAFETY: `Runtime` may move between threads, and the handle is used by one at a time.
unsafe impl Send for fuse_runtime_t {}

impl Shell for fuse_runtime_t {}

/// Timing: each step of a module with a wall quota; of one without, the first 16 and then one in 64.
pub const FUSE_TIMING_SAMPLED: u32 = 0;
/// Timing: each step.
pub const FUSE_TIMING_EVERY: u32 = 1;

/// How a runtime is set up. FUSE_RUNTIME_CONFIG_INIT gives the defaults: every built-in HAL group, 32 modules, wall
/// metering, 512 KiB of stack at most, 64 KiB of log.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_runtime_config_t {
    /// sizeof(fuse_runtime_config_t).
    pub struct_size: u32,
    /// FUSE_METERING_; 0 = FUSE_METERING_WALL. Quotas that it cannot enforce are refused at load.
    pub metering: u32,
    /// Most modules at a time (1 to 65536); 0 = 32.
    pub max_modules: u32,
    /// Largest stack_size that a policy may ask for, in bytes (1024 to 2 MiB); 0 = 512 KiB. The stepping thread must
    /// have this much stack and 256 KiB more.
    pub stack_bytes_max: u32,
    /// Most bytes of linear memory that all modules together may reach; 0 = unlimited.
    pub memory_pool_bytes: u64,
    /// Bytes for the log (at most 1 GiB); 0 = 64 KiB.
    pub log_pool_bytes: u64,
    /// The built-in HAL groups that modules may use: FUSE_CAP_ bits, log and event always; 0 = all of them.
    pub hal_groups: u32,
    /// FUSE_TRAPS_.
    pub traps: u32,
    /// FUSE_TIMING_: which steps are timed.
    pub step_timing: u32,
    /// 1: what is not an artifact for this engine is refused, even where the library has the compiler. 0: it is compiled.
    pub no_compile_on_load: u32,
    /// NULL, or the application that the runtime is for: its limits, metering, groups and events are then those of the
    /// runtime, and the fields metering, max_modules, memory_pool_bytes, log_pool_bytes and hal_groups must be 0. Needed
    /// for fuse_runtime_load_app. It may be closed after the call.
    pub app: *const fuse_app_t,
}

// SAFETY: numbers, and a pointer.
unsafe impl Crossing for fuse_runtime_config_t {
    const FIRST_SIZE: usize = 48 + size_of::<u64>();
    const NAME: &'static str = "fuse_runtime_config_t";
}

impl fuse_runtime_config_t {
    /// # Safety
    /// `app` is null or a handle.
    pub(crate) unsafe fn resolve(&self) -> Result<RuntimeConfig, Failed> {
        let application = if self.app.is_null() {
            self.application()?
        } else {
            let taken = u64::from(self.metering | self.max_modules | self.hal_groups)
                | self.memory_pool_bytes
                | self.log_pool_bytes;
            if taken != 0 {
                return Err(Refusal::Value {
                    what: "fuse_runtime_config_t names an app, so metering, max_modules, memory_pool_bytes, \
                           log_pool_bytes and hal_groups are the application's and must be 0",
                }
                .into());
            }
            // SAFETY: the caller's.
            unsafe {
                with_config(self.app, |app| {
                    // For the time of the copy; the runtime sets memory aside for it after that.
                    let _held = Held::take("the application", app.application.memory_bytes())?;
                    Ok(app.application.clone())
                })
            }?
        };
        let mut config = RuntimeConfig::new(application);
        if self.stack_bytes_max != 0 {
            config.stack_bytes_max = self.stack_bytes_max;
        }
        config.traps = traps(self.traps)?;
        if config.traps == TrapMode::Signals && !cfg!(feature = "std") {
            return Err(Refusal::Value { what: "FUSE_TRAPS_SIGNALS needs an operating system" }.into());
        }
        config.step_timing = match self.step_timing {
            FUSE_TIMING_SAMPLED => StepTiming::Sampled,
            FUSE_TIMING_EVERY => StepTiming::Every,
            _ => {
                return Err(Refusal::Value {
                    what: "step_timing is not FUSE_TIMING_SAMPLED or FUSE_TIMING_EVERY",
                }
                .into());
            }
        };
        config.compile_on_load = self.no_compile_on_load == 0;
        Ok(config)
    }

    fn application(&self) -> Result<Application, Failed> {
        let mut application = Application::default();
        if self.metering != 0 {
            application.metering = metering(self.metering)?;
        }
        if self.max_modules != 0 {
            application.max_modules = self.max_modules;
        }
        if self.log_pool_bytes != 0 {
            application.log_pool_bytes = self.log_pool_bytes;
        }
        if self.hal_groups != 0 {
            application.hal_groups =
                Capabilities::from_bits(self.hal_groups) | Capabilities::LOG | Capabilities::EVENT_POST;
        }
        application.memory_pool_bytes = self.memory_pool_bytes;
        Ok(application)
    }
}

/// Makes a runtime. Close it with fuse_runtime_close.
///
/// `config` may be NULL: FUSE_RUNTIME_CONFIG_INIT. `platform` may be NULL in the full build on Linux: the library's own
/// clock, and a thread that enforces quotas. The struct is copied; what its `user` points to must stay.
/// `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
///
/// FUSE_ERR_INVALID_ARG for a configuration or platform that is not valid or could not be set up.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_new(
    config: *const fuse_runtime_config_t,
    platform: *const fuse_platform_t,
    out: *mut *mut fuse_runtime_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            let out = Place::new(out, "out")?;
            let config = match config.is_null() {
                true => RuntimeConfig::default(),
                false => crossing::read(config)?.resolve()?,
            };
            let runtime = match platform.is_null() {
                true => on_own_platform(config)?,
                false => Runtime::new(config, HostPlatform::new(crossing::read(platform)?)?)?,
            };
            out.put(Box::into_raw(Box::new(handle(runtime))));
            Ok(())
        })
    }
}

fn handle(runtime: Runtime) -> fuse_runtime_t {
    fuse_runtime_t {
        head: Head::new(KIND_RUNTIME),
        poster: UnsafeCell::new(Some(runtime.poster())),
        inner: UnsafeCell::new(Inner { runtime: Some(runtime) }),
    }
}

#[cfg(all(feature = "std", target_os = "linux"))]
fn on_own_platform(config: RuntimeConfig) -> Result<Runtime, Failed> {
    Ok(Runtime::new(config, crate::platform::linux()?)?)
}

#[cfg(not(all(feature = "std", target_os = "linux")))]
fn on_own_platform(_: RuntimeConfig) -> Result<Runtime, Failed> {
    Err(Refusal::Null { what: "platform (this build of libfuse has none of its own)" }.into())
}

/// Closes a runtime: its modules are dropped (without module_deinit; unload them first where that matters), finalizers
/// are called. Its posters stay valid. NULL is allowed and does nothing. A poisoned runtime can be closed.
///
/// FUSE_ERR_WRONG_STATE from inside a callback of this runtime; it then stays open.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_close(runtime: *mut fuse_runtime_t) -> fuse_status_t {
    if runtime.is_null() {
        return FUSE_OK;
    }
    // SAFETY: the caller's.
    match unsafe { get(runtime) } {
        Err(refusal) => return refusal.status(),
        Ok(handle) => {
            if let Err(refusal) = handle.head.close() {
                return handle.head.fail(&refusal.into());
            }
        }
    }
    let close = || {
        // SAFETY: it came from `Box::into_raw`, was open until now, and no call runs on it.
        let shell = unsafe { Box::from_raw(runtime) };
        // SAFETY: as above.
        let (poster, inner) = unsafe { (&mut *shell.poster.get(), &mut *shell.inner.get()) };
        let parts = (poster.take(), inner.runtime.take());
        graveyard::bury(shell);
        drop(parts);
    };
    firewall::catch(close).map_or(FUSE_ERR_INTERNAL, |()| FUSE_OK)
}

/// The module with this number, which may be none.
#[inline]
pub(crate) fn module(id: fuse_module_id_t) -> ModuleId {
    ModuleId::from_u64(id)
}

/// Posts through a handle on which a call may run.
///
/// # Safety
/// As [`get`]; nobody closes the runtime meanwhile.
#[inline]
unsafe fn post(runtime: *const fuse_runtime_t, event: u32) -> fuse_status_t {
    // SAFETY: the caller's.
    let Ok(handle) = (unsafe { get(runtime) }) else { return FUSE_ERR_INVALID_ARG };
    let Some(id) = crate::poster::event_id(event) else {
        return handle.head.fail(&Refusal::Event { event }.into());
    };
    // SAFETY: it is set before the handle is given out, and taken at its close.
    if let Some(poster) = unsafe { &*handle.poster.get() } {
        poster.post(id);
    }
    FUSE_OK
}

/// An error with a text of this file's own.
fn other(status: fuse_status_t, what: String) -> Failed {
    Failed::Other { status, what }
}
