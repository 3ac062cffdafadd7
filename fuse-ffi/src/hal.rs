//! The hardware that modules reach through the host's callbacks.

use alloc::vec::Vec;
use core::ffi::{c_char, c_void};

use fuse_edge::hal::{HalCall, HalResult, Param, Value, ValueType};
use fuse_edge::{HalFault, HalGroup};

use crate::crossing::{self, Crossing, Place};
use crate::finalizer::{Lent, fuse_finalizer_t};
use crate::handle::{Failed, Refusal, call};
use crate::runtime::{fuse_module_id_t, fuse_runtime_t};
use crate::status::*;

/// A callback gives the temperature in degrees Celsius. Callbacks run on the thread that steps, inside the call that
/// steps; they must not call their runtime (they get FUSE_ERR_WRONG_STATE), except to post events; their pointers live
/// until they return. They return 0, or a number of the host's for what went wrong: the module then traps with that
/// number and nothing else happens. They must not unwind: a C++ exception that leaves a callback ends the program.
pub type fuse_temp_fn = Option<unsafe extern "C-unwind" fn(user: *mut c_void, out_celsius: *mut f32) -> i32>;

/// A callback gives a monotonic time in microseconds. The rules are those of fuse_temp_fn.
pub type fuse_timer_fn = Option<unsafe extern "C-unwind" fn(user: *mut c_void, out_us: *mut i64) -> i32>;

/// A callback copies the newest camera frame into `buffer`, at most `capacity` bytes, and says how many it wrote; 0 when
/// there is no frame. The buffer is the module's own memory. The rules are those of fuse_temp_fn.
pub type fuse_camera_fn = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        buffer: *mut u8,
        capacity: usize,
        out_written: *mut usize,
    ) -> i32,
>;

/// A function of a HAL group of the host. It reads its parameters and sets its result with the fuse_hal_call_
/// functions; `call` lives until it returns. The rules are those of fuse_temp_fn.
pub type fuse_hal_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, call: *mut fuse_hal_call_t) -> i32>;

/// The type of a parameter or result of a host function: FUSE_HAL_.
pub type fuse_hal_type_t = i32;

/// No result.
pub const FUSE_HAL_NONE: fuse_hal_type_t = 0;
/// A 32-bit integer.
pub const FUSE_HAL_I32: fuse_hal_type_t = 1;
/// A 64-bit integer.
pub const FUSE_HAL_I64: fuse_hal_type_t = 2;
/// A 32-bit float.
pub const FUSE_HAL_F32: fuse_hal_type_t = 3;
/// A 64-bit float.
pub const FUSE_HAL_F64: fuse_hal_type_t = 4;
/// A buffer that the host reads: two wasm parameters, pointer and length. A range outside the module's memory traps the
/// module before the callback is called.
pub const FUSE_HAL_IN: fuse_hal_type_t = 5;
/// A buffer that the host writes.
pub const FUSE_HAL_OUT: fuse_hal_type_t = 6;
/// A buffer that the host reads and writes.
pub const FUSE_HAL_INOUT: fuse_hal_type_t = 7;

/// The code of the trap when a callback set another type of result than its signature says, or none.
pub const FUSE_HAL_RESULT_MISMATCH: i32 = i32::MIN;
/// The code of the trap that fuse.hpp gives when a callback threw.
pub const FUSE_HAL_CALLBACK_THREW: i32 = -2147483647;

/// One function of a HAL group.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_hal_function_t {
    /// sizeof(fuse_hal_function_t).
    pub struct_size: u32,
    /// Type of the result: FUSE_HAL_NONE, _I32, _I64, _F32 or _F64.
    pub result: fuse_hal_type_t,
    /// Name of the import, in the module "env".
    pub name: *const c_char,
    /// Types of the parameters; NULL when there are none.
    pub params: *const fuse_hal_type_t,
    /// How many, at most 16.
    pub param_count: usize,
    /// The function.
    pub callback: fuse_hal_fn,
    /// Given to the function.
    pub user: *mut c_void,
    /// Frees `user`.
    pub finalizer: fuse_finalizer_t,
}

// SAFETY: numbers, pointers, and functions for which zero is `None`.
unsafe impl Crossing for fuse_hal_function_t {
    const FIRST_SIZE: usize = 8 + 6 * size_of::<usize>();
    const NAME: &'static str = "fuse_hal_function_t";
}

/// A HAL group of the host.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_hal_group_t {
    /// sizeof(fuse_hal_group_t).
    pub struct_size: u32,
    /// Its capability bit in policies, 8 to 31.
    pub bit: u32,
    /// Its name.
    pub name: *const c_char,
    /// Pointers to its functions.
    pub functions: *const *const fuse_hal_function_t,
    /// How many, at most 256.
    pub function_count: usize,
}

// SAFETY: numbers and pointers.
unsafe impl Crossing for fuse_hal_group_t {
    const FIRST_SIZE: usize = 8 + 3 * size_of::<usize>();
    const NAME: &'static str = "fuse_hal_group_t";
}

/// Most functions of one group.
const FUNCTIONS_MAX: usize = 256;
/// Most parameters of one function; the core's own limit is 16, and its message is the better one.
const PARAMS_MAX: usize = 64;

fn answer<T>(code: i32, value: T) -> HalResult<T> {
    if code == 0 { Ok(value) } else { Err(HalFault { code }) }
}

/// Sets the temperature sensor. `callback` NULL: there is none, and modules read 0. `finalizer` (may be NULL) is called
/// with `user` once, when the callback is replaced, the runtime is closed, or this call fails.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_set_temp(
    runtime: *mut fuse_runtime_t,
    callback: fuse_temp_fn,
    user: *mut c_void,
    finalizer: fuse_finalizer_t,
) -> fuse_status_t {
    let lent = Lent::new(user, finalizer);
    // SAFETY: the caller's, as for every pointer of this file.
    unsafe {
        call(runtime, |inner| {
            inner.rt()?.set_temp(move || {
                let mut celsius = 0.0;
                // SAFETY: the host's function, with its pointer.
                let code = callback.map_or(0, |callback| callback(lent.user(), &raw mut celsius));
                answer(code, celsius)
            });
            Ok(FUSE_OK)
        })
    }
}

/// Sets the clock that modules read. Otherwise as fuse_runtime_set_temp.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_set_timer(
    runtime: *mut fuse_runtime_t,
    callback: fuse_timer_fn,
    user: *mut c_void,
    finalizer: fuse_finalizer_t,
) -> fuse_status_t {
    let lent = Lent::new(user, finalizer);
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            inner.rt()?.set_timer(move || {
                let mut us = 0;
                // SAFETY: the host's function, with its pointer.
                let code = callback.map_or(0, |callback| callback(lent.user(), &raw mut us));
                answer(code, us)
            });
            Ok(FUSE_OK)
        })
    }
}

/// Sets the camera. Otherwise as fuse_runtime_set_temp. A callback that says it wrote more than there is room counts as
/// having filled the buffer.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_set_camera(
    runtime: *mut fuse_runtime_t,
    callback: fuse_camera_fn,
    user: *mut c_void,
    finalizer: fuse_finalizer_t,
) -> fuse_status_t {
    let lent = Lent::new(user, finalizer);
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            inner.rt()?.set_camera(move |buffer| {
                let mut written = 0;
                let (start, len) = (buffer.as_mut_ptr(), buffer.len());
                // SAFETY: the host's function, with its pointer and a buffer that is there until it returns.
                let code = callback.map_or(0, |callback| callback(lent.user(), start, len, &raw mut written));
                answer(code, written)
            });
            Ok(FUSE_OK)
        })
    }
}

/// Registers a HAL group of the host: GPIO, UART, a downlink. Modules that are loaded from now on may import its
/// functions, if their policy has its bit. What the structs point to is copied; `user` pointers are kept, and each
/// function's finalizer is called once, when the runtime is closed or when this call fails (as far as the structs could be
/// read).
///
/// FUSE_ERR_INVALID_ARG when a name, bit or signature is not valid or is taken, or when the application declares a
/// group of this name or bit in another shape.
///
/// ISR-safe: no; allocates: yes; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_runtime_register_group(
    runtime: *mut fuse_runtime_t,
    group: *const fuse_hal_group_t,
) -> fuse_status_t {
    // The finalizers must be called whatever fails, so the group is built first.
    // SAFETY: the caller's.
    let built = crate::firewall::catch(|| unsafe { build(group) });
    // SAFETY: the caller's.
    unsafe {
        call(runtime, |inner| {
            let rt = inner.rt()?;
            let group =
                built.map_err(|panicked| Failed::Other { status: FUSE_ERR_INTERNAL, what: panicked.0 })??;
            rt.register_group(group)?;
            Ok(FUSE_OK)
        })
    }
}

/// # Safety
/// As [`fuse_runtime_register_group`].
unsafe fn build(group: *const fuse_hal_group_t) -> Result<HalGroup, Failed> {
    // SAFETY: the caller's.
    let raw = unsafe { crossing::read(group) }?;
    if raw.function_count > FUNCTIONS_MAX {
        return Err(
            Refusal::TooLong { what: "function_count of fuse_hal_group_t", limit: FUNCTIONS_MAX }.into()
        );
    }
    if raw.functions.is_null() && raw.function_count > 0 {
        return Err(Refusal::Null { what: "functions of fuse_hal_group_t" }.into());
    }
    let mut functions = Vec::with_capacity(raw.function_count);
    let mut failed = None;
    for index in 0..raw.function_count {
        // SAFETY: so many pointers are there.
        let function = unsafe { raw.functions.add(index).read_unaligned() };
        // All are read, also after one that cannot be: their finalizers are owed.
        // SAFETY: the caller's.
        match unsafe { crossing::read(function) } {
            Ok(f) => functions.push((Lent::new(f.user, f.finalizer), f)),
            Err(refusal) => failed = Some(refusal),
        }
    }
    if let Some(refusal) = failed {
        return Err(refusal.into());
    }
    // SAFETY: the caller's.
    let name = unsafe { crossing::string(raw.name, "name of fuse_hal_group_t") }?;
    let bit = u8::try_from(raw.bit).unwrap_or(u8::MAX);
    let mut built = HalGroup::new(name, bit);
    for (lent, function) in functions {
        // SAFETY: the caller's.
        built = unsafe { add(built, lent, &function) }?;
    }
    Ok(built)
}

/// # Safety
/// As [`fuse_runtime_register_group`].
unsafe fn add(group: HalGroup, lent: Lent, raw: &fuse_hal_function_t) -> Result<HalGroup, Failed> {
    // SAFETY: the caller's.
    let name = unsafe { crossing::string(raw.name, "name of fuse_hal_function_t") }?;
    let callback = raw.callback.ok_or(Refusal::Null { what: "callback of fuse_hal_function_t" })?;
    if raw.param_count > PARAMS_MAX {
        return Err(Refusal::TooLong { what: "param_count of fuse_hal_function_t", limit: PARAMS_MAX }.into());
    }
    if raw.params.is_null() && raw.param_count > 0 {
        return Err(Refusal::Null { what: "params of fuse_hal_function_t" }.into());
    }
    let mut params = Vec::with_capacity(raw.param_count);
    for index in 0..raw.param_count {
        // SAFETY: so many numbers are there.
        params.push(param(unsafe { raw.params.add(index).read_unaligned() })?);
    }
    let result = match raw.result {
        FUSE_HAL_NONE => None,
        ty => Some(
            value_type(ty)
                .ok_or(Refusal::Value { what: "result of fuse_hal_function_t is no type of a result" })?,
        ),
    };
    Ok(group.function(name, &params, result, move |call| {
        let mut call =
            fuse_hal_call_t { call: core::ptr::from_mut(call).cast(), result: FUSE_HAL_NONE, bits: 0 };
        // SAFETY: the host's function, with its pointer; the call lives until it returns.
        let code = unsafe { callback(lent.user(), &raw mut call) };
        answer(code, call.returned())
    }))
}

const fn value_type(ty: fuse_hal_type_t) -> Option<ValueType> {
    Some(match ty {
        FUSE_HAL_I32 => ValueType::I32,
        FUSE_HAL_I64 => ValueType::I64,
        FUSE_HAL_F32 => ValueType::F32,
        FUSE_HAL_F64 => ValueType::F64,
        _ => return None,
    })
}

fn param(ty: fuse_hal_type_t) -> Result<Param, Refusal> {
    Ok(match ty {
        FUSE_HAL_IN => Param::In,
        FUSE_HAL_OUT => Param::Out,
        FUSE_HAL_INOUT => Param::InOut,
        ty => Param::Value(
            value_type(ty)
                .ok_or(Refusal::Value { what: "params of fuse_hal_function_t has an unknown type" })?,
        ),
    })
}

/// One call of a host function, while its callback runs.
pub struct fuse_hal_call_t {
    /// `HalCall<'_>`: it cannot be named with its lifetime here.
    call: *mut c_void,
    /// The type of the result that was set. Beside its bits rather than a `Value`: what was written in parts and is read
    /// whole waits in the processor for nanoseconds.
    result: fuse_hal_type_t,
    bits: u64,
}

impl fuse_hal_call_t {
    fn returned(&self) -> Option<Value> {
        let narrow = self.bits as u32;
        Some(match self.result {
            FUSE_HAL_I32 => Value::I32(narrow.cast_signed()),
            FUSE_HAL_I64 => Value::I64(self.bits.cast_signed()),
            FUSE_HAL_F32 => Value::F32(f32::from_bits(narrow)),
            FUSE_HAL_F64 => Value::F64(f64::from_bits(self.bits)),
            _ => return None,
        })
    }

    fn get(&mut self) -> &mut HalCall<'_> {
        // SAFETY: made from a `&mut HalCall` that outlives the callback, in which alone this struct is reachable.
        unsafe { &mut *self.call.cast() }
    }
}

/// # Safety
/// `call` is null, or that of a callback that runs on this thread.
#[inline]
unsafe fn with_call(
    call: *mut fuse_hal_call_t,
    work: impl FnOnce(&mut fuse_hal_call_t) -> bool,
) -> fuse_status_t {
    if call.is_null() || !call.is_aligned() {
        return FUSE_ERR_INVALID_ARG;
    }
    // SAFETY: the caller's; the functions below are done with it when they return. They index and compare, which cannot
    // panic.
    if work(unsafe { &mut *call }) { FUSE_OK } else { FUSE_ERR_INVALID_ARG }
}

/// The module that called.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_module(
    call: *mut fuse_hal_call_t,
    out: *mut fuse_module_id_t,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| {
            Place::new(out, "out").map(|out| out.put(call.get().module().to_u64())).is_ok()
        })
    }
}

/// The 32-bit integer at a parameter, counted from 0, a buffer as one.
///
/// FUSE_ERR_INVALID_ARG when there is no such parameter or it has another type.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_i32(
    call: *mut fuse_hal_call_t,
    param: usize,
    out: *mut i32,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| match (call.get().value(param), Place::new(out, "out")) {
            (Some(Value::I32(value)), Ok(out)) => {
                out.put(value);
                true
            }
            _ => false,
        })
    }
}

/// The 64-bit integer at a parameter. Otherwise as fuse_hal_call_i32.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_i64(
    call: *mut fuse_hal_call_t,
    param: usize,
    out: *mut i64,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| match (call.get().value(param), Place::new(out, "out")) {
            (Some(Value::I64(value)), Ok(out)) => {
                out.put(value);
                true
            }
            _ => false,
        })
    }
}

/// The 32-bit float at a parameter. Otherwise as fuse_hal_call_i32.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_f32(
    call: *mut fuse_hal_call_t,
    param: usize,
    out: *mut f32,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| match (call.get().value(param), Place::new(out, "out")) {
            (Some(Value::F32(value)), Ok(out)) => {
                out.put(value);
                true
            }
            _ => false,
        })
    }
}

/// The 64-bit float at a parameter. Otherwise as fuse_hal_call_i32.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_f64(
    call: *mut fuse_hal_call_t,
    param: usize,
    out: *mut f64,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| match (call.get().value(param), Place::new(out, "out")) {
            (Some(Value::F64(value)), Ok(out)) => {
                out.put(value);
                true
            }
            _ => false,
        })
    }
}

/// The bytes of a buffer that the host may read (FUSE_HAL_IN, FUSE_HAL_INOUT). They lie in the module's memory, have
/// been checked, and are there until the callback returns. For another parameter the length is 0.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_input(
    call: *mut fuse_hal_call_t,
    param: usize,
    out: *mut *const u8,
    out_length: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| match (Place::new(out, "out"), Place::new(out_length, "out_length")) {
            (Ok(out), Ok(out_length)) => {
                let bytes = call.get().buffer(param);
                out.put(bytes.as_ptr());
                out_length.put(bytes.len());
                true
            }
            _ => false,
        })
    }
}

/// The bytes of a buffer that the host may write (FUSE_HAL_OUT, FUSE_HAL_INOUT). Otherwise as fuse_hal_call_input.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_output(
    call: *mut fuse_hal_call_t,
    param: usize,
    out: *mut *mut u8,
    out_length: *mut usize,
) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| match (Place::new(out, "out"), Place::new(out_length, "out_length")) {
            (Ok(out), Ok(out_length)) => {
                let bytes = call.get().buffer_mut(param);
                out.put(bytes.as_mut_ptr());
                out_length.put(bytes.len());
                true
            }
            _ => false,
        })
    }
}

/// Sets the result: a 32-bit integer. It must have the type of the signature, or the module traps with
/// FUSE_HAL_RESULT_MISMATCH.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_return_i32(call: *mut fuse_hal_call_t, value: i32) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| {
            (call.result, call.bits) = (FUSE_HAL_I32, u64::from(value.cast_unsigned()));
            true
        })
    }
}

/// Sets the result: a 64-bit integer. Otherwise as fuse_hal_call_return_i32.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_return_i64(call: *mut fuse_hal_call_t, value: i64) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| {
            (call.result, call.bits) = (FUSE_HAL_I64, value.cast_unsigned());
            true
        })
    }
}

/// Sets the result: a 32-bit float. Otherwise as fuse_hal_call_return_i32.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_return_f32(call: *mut fuse_hal_call_t, value: f32) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| {
            (call.result, call.bits) = (FUSE_HAL_F32, u64::from(value.to_bits()));
            true
        })
    }
}

/// Sets the result: a 64-bit float. Otherwise as fuse_hal_call_return_i32.
///
/// ISR-safe: no; allocates: no; blocks: no; thread-safe: no.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_hal_call_return_f64(call: *mut fuse_hal_call_t, value: f64) -> fuse_status_t {
    // SAFETY: the caller's.
    unsafe {
        with_call(call, |call| {
            (call.result, call.bits) = (FUSE_HAL_F64, value.to_bits());
            true
        })
    }
}
