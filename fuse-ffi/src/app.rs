//! A whole application: limits, events, groups, modules and their policies.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::ffi::c_char;

use fuse_edge::{AppConfig, ModuleDecl};

use crate::crossing::{self, Crossing, Out, Place};
use crate::firewall;
use crate::graveyard::{self, Shell};
use crate::handle::{Exclusive, Failed, Handle, Head, KIND_APP, call, free_call, get};
use crate::memory::Held;
use crate::policy::fuse_policy_t;
use crate::status::*;
use crate::text::{ErrorBuffer, inline};

/// Bytes of a name in a struct: at most 64, and zeros to the end.
pub const FUSE_NAME_CAPACITY: usize = 72;

/// An application configuration: one reviewable file with limits, events, HAL groups, modules and policies. It belongs
/// to one thread at a time.
// Spelled so that cbindgen takes it for opaque, as C must.
#[cfg_attr(all(), repr(C))]
pub struct fuse_app_t {
    head: Head,
    config: UnsafeCell<AppConfig>,
    /// Last, so that it is given back after what it was for.
    held: UnsafeCell<Held>,
}

// SAFETY: the head is the first field.
unsafe impl Handle for fuse_app_t {
    const KIND: u32 = KIND_APP;
}

// SAFETY: nothing refers to the cell but `call`.
unsafe impl Exclusive for fuse_app_t {
    type Inner = AppConfig;

    fn head(&self) -> &Head {
        &self.head
    }

    fn inner(&self) -> *mut AppConfig {
        self.config.get()
    }
}

// SAFETY: plain data, used by one thread at a time.
unsafe impl Send for fuse_app_t {}

impl Shell for fuse_app_t {}

/// What concerns the whole runtime.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_app_info_t {
    /// sizeof(fuse_app_info_t).
    pub struct_size: u32,
    /// Most modules at a time.
    pub max_modules: u32,
    /// FUSE_METERING_.
    pub metering: u32,
    /// The built-in groups that modules may use: FUSE_CAP_ bits.
    pub hal_groups: u32,
    /// Most bytes of linear memory that all modules together may reach; 0 = unlimited.
    pub memory_pool_bytes: u64,
    /// Bytes for the log.
    pub log_pool_bytes: u64,
    /// How many modules are listed.
    pub module_count: u32,
    /// How many events have names.
    pub event_count: u32,
    /// How many HAL groups of the host are declared.
    pub custom_group_count: u32,
    /// 0.
    pub reserved: u32,
    /// The application's name.
    pub name: [c_char; FUSE_NAME_CAPACITY],
}

// SAFETY: numbers only.
unsafe impl Crossing for fuse_app_info_t {
    const FIRST_SIZE: usize = 48 + FUSE_NAME_CAPACITY;
    const NAME: &'static str = "fuse_app_info_t";
}

/// One module of an application.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_app_module_t {
    /// sizeof(fuse_app_module_t).
    pub struct_size: u32,
    /// 1 when the application carries the module's artifact, else 0.
    pub has_artifact: u32,
    /// Its name.
    pub name: [c_char; FUSE_NAME_CAPACITY],
}

// SAFETY: numbers only.
unsafe impl Crossing for fuse_app_module_t {
    const FIRST_SIZE: usize = 8 + FUSE_NAME_CAPACITY;
    const NAME: &'static str = "fuse_app_module_t";
}

fn make(config: AppConfig, held: Held, out: &Place<*mut fuse_app_t>) {
    let (config, held) = (UnsafeCell::new(config), UnsafeCell::new(held));
    let app = fuse_app_t { head: Head::new(KIND_APP), config, held };
    out.put(Box::into_raw(Box::new(app)));
}

fn module(app: &AppConfig, index: u32) -> Result<&ModuleDecl, Failed> {
    app.modules.get(index as usize).ok_or_else(|| Failed::Other {
        status: FUSE_ERR_NOT_FOUND,
        what: alloc::format!(
            "the application lists {} modules, there is no module {index}",
            app.modules.len()
        ),
    })
}

/// Reads an application from app_config.json and checks all of it. Close it with fuse_app_close.
///
/// `error` (may be NULL) receives why it failed, with the JSON path, cut to `error_capacity` bytes.
///
/// FUSE_ERR_INVALID_ARG for unknown fields, unknown names, duplicates, values out of range. Full build only.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[cfg(feature = "full")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_from_json(
    json: *const c_char,
    length: usize,
    out: *mut *mut fuse_app_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            let json = crossing::text(json, length, "json")?;
            let out = Place::new(out, "out")?;
            make(AppConfig::from_json(json)?, Held::take("the application", 0)?, &out);
            Ok(())
        })
    }
}

/// Reads an application from the binary that `fuse module pack` writes; its length and SHA-256 are checked first. Close
/// it with fuse_app_close.
///
/// `error` (may be NULL) receives why it failed, cut to `error_capacity` bytes.
///
/// FUSE_ERR_INVALID_ARG for what is damaged or not valid.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: yes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_from_binary(
    bytes: *const u8,
    length: usize,
    out: *mut *mut fuse_app_t,
    error: *mut c_char,
    error_capacity: usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        free_call(ErrorBuffer::new(error, error_capacity), || {
            let bytes = crossing::bytes(bytes, length, "bytes")?;
            let out = Place::new(out, "out")?;
            let held = Held::take("the application", AppConfig::binary_memory_bytes(bytes))?;
            make(AppConfig::from_binary(bytes)?, held, &out);
            Ok(())
        })
    }
}

/// Writes the binary form, with the artifacts that the application carries.
///
/// `buffer` has `capacity` bytes; `length` (may be NULL) receives how many are needed.
///
/// FUSE_ERR_BUFFER_TOO_SMALL.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_to_binary(
    app: *mut fuse_app_t,
    buffer: *mut u8,
    capacity: usize,
    length: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(app, |app| {
            crossing::copy_out(&app.to_binary()?, buffer, capacity, length, false)?;
            Ok(FUSE_OK)
        })
    }
}

/// What concerns the whole runtime. `out`: set its struct_size first.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_info(app: *mut fuse_app_t, out: *mut fuse_app_info_t) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(app, |app| {
            let a = &app.application;
            Out::new(out)?.fill(&fuse_app_info_t {
                struct_size: 0,
                max_modules: a.max_modules,
                metering: a.metering as u32,
                hal_groups: a.hal_groups.bits(),
                memory_pool_bytes: a.memory_pool_bytes,
                log_pool_bytes: a.log_pool_bytes,
                module_count: app.modules.len() as u32,
                event_count: a.events.len() as u32,
                custom_group_count: a.custom_groups.len() as u32,
                reserved: 0,
                name: inline(&a.name),
            });
            Ok(FUSE_OK)
        })
    }
}

/// The id of the event with this name.
///
/// FUSE_ERR_NOT_FOUND.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_event(
    app: *mut fuse_app_t,
    name: *const c_char,
    out_event: *mut u32,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(app, |app| {
            let (name, out) = (crossing::string(name, "name")?, Place::new(out_event, "out_event")?);
            let event = app.application.event(name).ok_or_else(|| Failed::Other {
                status: FUSE_ERR_NOT_FOUND,
                what: alloc::format!("the application has no event named `{name}`"),
            })?;
            out.put(event.get());
            Ok(FUSE_OK)
        })
    }
}

/// One of the application's modules, counted from 0 in load order. `out`: set its struct_size first.
///
/// FUSE_ERR_NOT_FOUND for an index that is too large.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_module(
    app: *mut fuse_app_t,
    index: u32,
    out: *mut fuse_app_module_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(app, |app| {
            let module = module(app, index)?;
            let has_artifact = u32::from(module.artifact.is_some());
            let name = inline(&module.name);
            Out::new(out)?.fill(&fuse_app_module_t { struct_size: 0, has_artifact, name });
            Ok(FUSE_OK)
        })
    }
}

/// The policy of one of the application's modules. `out`: set its struct_size first.
///
/// FUSE_ERR_NOT_FOUND for an index that is too large.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_module_policy(
    app: *mut fuse_app_t,
    index: u32,
    out: *mut fuse_policy_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(app, |app| {
            Out::new(out)?.fill(&fuse_policy_t::of(&module(app, index)?.policy));
            Ok(FUSE_OK)
        })
    }
}

/// Where the artifact of one of the application's modules is: its field "binary", a path relative to the configuration.
///
/// `buffer` has `capacity` bytes; `length` (may be NULL) receives how many are needed, the zero at the end among them.
///
/// FUSE_ERR_NOT_FOUND for an index that is too large; FUSE_ERR_BUFFER_TOO_SMALL.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_module_binary(
    app: *mut fuse_app_t,
    index: u32,
    buffer: *mut c_char,
    capacity: usize,
    length: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        call(app, |app| {
            let binary = module(app, index)?.binary.as_bytes();
            crossing::copy_out(binary, buffer.cast(), capacity, length, true)?;
            Ok(FUSE_OK)
        })
    }
}

/// Puts an artifact into the application, so that the binary form carries it. The bytes are copied.
///
/// FUSE_ERR_NOT_FOUND for an index that is too large.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_set_artifact(
    app: *mut fuse_app_t,
    index: u32,
    artifact: *const u8,
    length: usize,
) -> fuse_status_t {
    let mut held = None;
    // SAFETY: the caller's.
    let status = unsafe {
        call(app, |app| {
            let artifact = crossing::bytes(artifact, length, "artifact")?;
            module(app, index)?;
            held = Some(Held::take("the artifact", length as u64 + 128)?);
            if let Some(module) = app.modules.get_mut(index as usize) {
                module.artifact = Some(artifact.to_vec());
            }
            Ok(FUSE_OK)
        })
    };
    if let Some(held) = held {
        // SAFETY: the call has seen that the handle is open, and no call runs on it now.
        unsafe { (*(*app).held.get()).absorb(held) };
    }
    status
}

/// Closes an application. Runtimes that were made of it are not touched. NULL is allowed and does nothing.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_app_close(app: *mut fuse_app_t) -> fuse_status_t {
    if app.is_null() {
        return FUSE_OK;
    }
    // SAFETY: the caller's.
    let closed = unsafe { get(app) }.and_then(|app| app.head.close());
    if let Err(refusal) = closed {
        return refusal.status();
    }
    let close = || {
        // SAFETY: it came from `Box::into_raw`, was open until now, and no call runs on it.
        let shell = unsafe { Box::from_raw(app) };
        // SAFETY: as above.
        unsafe { *shell.config.get() = AppConfig::default() };
        graveyard::bury(shell);
    };
    firewall::catch(close).map_or(FUSE_ERR_INTERNAL, |()| FUSE_OK)
}

/// Works with the configuration of an application. No call of the host's, made by a callback meanwhile, reaches it.
///
/// # Safety
/// As [`get`]; no other thread uses the application.
pub(crate) unsafe fn with_config<T>(
    app: *const fuse_app_t,
    work: impl FnOnce(&AppConfig) -> Result<T, Failed>,
) -> Result<T, Failed> {
    // SAFETY: the caller's.
    let app = unsafe { get(app) }?;
    app.head.enter()?;
    // SAFETY: no call ran on it, and none can begin until `leave`.
    let result = work(unsafe { &*app.config.get() });
    app.head.leave();
    result
}
