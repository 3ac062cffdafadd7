//! What a Fuse edge module may import and export, for modules written in Rust.
//!
//! A module is a type that implements [`Module`], named in [`module!`]:
//!
//! ```
//! // #![no_std]
//! use fuse_module::{log, Level, Module};
//!
//! struct Hello;
//!
//! impl Module for Hello {
//!     fn step(&mut self) {
//!         log(Level::Info, b"hello");
//!     }
//! }
//!
//! fuse_module::module!(Hello = Hello);
//! # fn main() {}
//! ```
//!
//! It is built as a `cdylib` for `wasm32-unknown-unknown`. There is no libc, no WASI and no
//! thread under it, and no allocator unless it brings one. Each import needs its capability in
//! the module's policy: a call without it is a policy violation, which ends the step, leaves the
//! module Trapped and is written to the security log. An import whose group the host did not
//! compile in or did not enable makes the module fail to load; the linker drops the imports that
//! are not used. A panic is a trap.
//!
//! The guide is docs/modules.md.

#![no_std]

#[cfg(target_arch = "wasm32")]
mod imports {
    #[link(wasm_import_module = "env")]
    extern "C" {
        pub(crate) fn temp_get_reading() -> f32;
        pub(crate) fn timer_get_timestamp() -> i64;
        pub(crate) fn camera_last_frame(buffer: *mut u8, max_len: u32) -> i64;
        pub(crate) fn module_log_event(text: *const u8, len: u32, level: u32);
        pub(crate) fn fuse_event_post(event_id: u32);
    }
}

/// Off wasm32 there is no host: the imports behave as those of a host without any callback, so
/// that a module's own logic can be tested natively.
#[cfg(not(target_arch = "wasm32"))]
mod imports {
    pub(crate) unsafe fn temp_get_reading() -> f32 {
        0.0
    }
    pub(crate) unsafe fn timer_get_timestamp() -> i64 {
        0
    }
    pub(crate) unsafe fn camera_last_frame(_buffer: *mut u8, _max_len: u32) -> i64 {
        0
    }
    pub(crate) unsafe fn module_log_event(_text: *const u8, _len: u32, _level: u32) {}
    pub(crate) unsafe fn fuse_event_post(_event_id: u32) {}
}

/// A module: its state between steps, and what it does in each of them.
pub trait Module {
    /// Once, at the first start, before any step. A trap here leaves the module Trapped.
    fn init(&mut self) {}

    /// One unit of work, under the policy's quota. It returns when the work is done: a module
    /// never waits, it is stepped again.
    fn step(&mut self);

    /// At unload, if the module was started and is neither Trapped nor QuotaExceeded.
    fn deinit(&mut self) {}
}

/// Exports `module_init`, `module_step` and `module_deinit` for a [`Module`]:
/// `module!(Type = initial value)`. The initial value is a constant.
#[macro_export]
macro_rules! module {
    ($module:ty = $initial:expr) => {
        const _: () = {
            static mut MODULE: $module = $initial;

            fn module() -> &'static mut $module {
                // SAFETY: a module has one thread, and the runtime runs one of its exports at a
                // time: it never calls one from inside another. So this is the only reference.
                unsafe { &mut *core::ptr::addr_of_mut!(MODULE) }
            }

            #[no_mangle]
            extern "C" fn module_init() {
                $crate::Module::init(module());
            }

            #[no_mangle]
            extern "C" fn module_step() {
                $crate::Module::step(module());
            }

            #[no_mangle]
            extern "C" fn module_deinit() {
                $crate::Module::deinit(module());
            }
        };
    };
}

/// Declares functions of the host's own HAL groups. Their types must be the registered ones
/// (pointers, `u32` and `i32` are i32), or the module fails to load. Calling one is `unsafe`
/// where it takes pointers, so wrap it:
///
/// ```ignore
/// fuse_module::hal_import! {
///     fn downlink_write(bytes: *const u8, len: u32) -> i32;
/// }
///
/// fn downlink(bytes: &[u8]) -> i32 {
///     // SAFETY: the host reads `len` bytes at `bytes`, which is what the slice covers.
///     unsafe { downlink_write(bytes.as_ptr(), bytes.len() as u32) }
/// }
/// ```
#[macro_export]
macro_rules! hal_import {
    ($(fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)+) => {
        #[link(wasm_import_module = "env")]
        extern "C" {
            $(fn $name($($arg: $type),*) $(-> $result)?;)+
        }
    };
}

/// Bits of a policy's `capabilities`, for reference: a module cannot read or change its policy.
/// Bits 8 to 31 belong to the HAL groups that a host registers.
pub mod capability {
    /// [`temperature`](crate::temperature).
    pub const TEMP_SENSOR: u32 = 1 << 0;
    /// [`timestamp_us`](crate::timestamp_us).
    pub const TIMER: u32 = 1 << 1;
    /// [`camera_last_frame`](crate::camera_last_frame).
    pub const CAMERA: u32 = 1 << 2;
    /// [`log`](crate::log).
    pub const LOG: u32 = 1 << 3;
    /// [`post_event`](crate::post_event).
    pub const EVENT_POST: u32 = 1 << 4;
}

/// Bytes of a log line that are kept; the rest is cut.
pub const LOG_TEXT_MAX: usize = 127;

/// Highest event id.
pub const EVENT_MAX: u32 = 31;

/// Severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Level {
    /// For the module's author.
    Debug = 0,
    /// For the operator.
    Info = 1,
    /// Something that the module cannot do its work without has failed.
    Fatal = 2,
}

/// Temperature in degrees Celsius; 0 where the host registered no sensor.
///
/// Capability TEMP_SENSOR, group `temp`. Traps without the capability.
#[must_use]
pub fn temperature() -> f32 {
    // SAFETY: the import takes nothing.
    unsafe { imports::temp_get_reading() }
}

/// Microseconds of a monotonic clock whose zero the host chose: fit for differences, not for
/// dates. 0 where the host registered no clock.
///
/// Capability TIMER, group `timer`. Traps without the capability.
#[must_use]
pub fn timestamp_us() -> i64 {
    // SAFETY: the import takes nothing.
    unsafe { imports::timer_get_timestamp() }
}

/// Copies the raw bytes of the newest camera frame into `buffer` and returns how many were
/// written: 0 where there is no frame yet, or no camera. A frame longer than `buffer` is cut.
///
/// Capability CAMERA, group `camera`. Traps without the capability, or if `buffer` is empty.
#[must_use]
pub fn camera_last_frame(buffer: &mut [u8]) -> usize {
    // SAFETY: the host writes at most `len` bytes at `buffer`, which is what the slice covers.
    unsafe { imports::camera_last_frame(buffer.as_mut_ptr(), buffer.len() as u32) as usize }
}

/// Writes one line to the log. [`LOG_TEXT_MAX`] bytes are kept, control bytes are escaped, an
/// empty text does nothing.
///
/// Capability LOG. Traps without the capability.
pub fn log(level: Level, text: &[u8]) {
    // SAFETY: the host reads `len` bytes at `text`, which is what the slice covers.
    unsafe { imports::module_log_event(text.as_ptr(), text.len() as u32, level as u32) }
}

/// Posts an event: every module that subscribes to it becomes due, in this tick if it runs later
/// in the tick's order, else in the next one. Ids are 0 to [`EVENT_MAX`].
///
/// Capability EVENT_POST. Traps without the capability, or if the id is above [`EVENT_MAX`]; both
/// are policy violations.
pub fn post_event(event_id: u32) {
    // SAFETY: the import takes a number, and the host checks it.
    unsafe { imports::fuse_event_post(event_id) }
}

/// A log line that is put together without an allocator: `write!` into it, then
/// [`log`](Line::log). What does not fit into [`LOG_TEXT_MAX`] bytes is cut.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    text: [u8; LOG_TEXT_MAX],
    len: usize,
}

impl Line {
    /// An empty line.
    #[must_use]
    pub const fn new() -> Self {
        Self { text: [0; LOG_TEXT_MAX], len: 0 }
    }

    /// Appends text.
    pub fn text(&mut self, text: &str) -> &mut Self {
        for (place, byte) in self.text[self.len..].iter_mut().zip(text.bytes()) {
            *place = byte;
            self.len += 1;
        }
        self
    }

    /// Appends a number in decimal. Smaller than `write!`, which brings the formatting machinery
    /// of `core` with it.
    pub fn number(&mut self, number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        for (place, byte) in self.text[self.len..].iter_mut().zip(&digits[at..]) {
            *place = *byte;
            self.len += 1;
        }
        self
    }

    /// The bytes so far.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }

    /// Writes the line to the log: see [`log()`].
    pub fn log(&self, level: Level) {
        log(level, self.as_bytes());
    }
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.text(text);
        Ok(())
    }
}

/// A panic ends the step as a trap: the module is left Trapped, and nothing else is touched.
#[cfg(all(target_arch = "wasm32", not(test)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_text_and_numbers() {
        let mut line = Line::new();
        line.text("kept ").number(0).text(" of ").number(u64::MAX);
        assert_eq!(line.as_bytes(), b"kept 0 of 18446744073709551615");
    }

    #[test]
    fn a_line_is_cut_where_the_log_cuts_it() {
        let mut line = Line::new();
        for _ in 0..20 {
            line.text("0123456789");
        }
        line.number(42);
        assert_eq!(line.as_bytes().len(), LOG_TEXT_MAX);
        assert!(line.as_bytes().ends_with(b"0123456"));
    }
}
