//! What guest code meets when it calls an import: the checks of its policy, then the host's callback.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use wasmtime::{Caller, Extern, FuncType, Linker, Memory, ValRaw, ValType};

use crate::error::{Failure, TrapCause, Violation};
use crate::event::{EventId, Pending};
use crate::hal::{Argument, HAL_RESULT_MISMATCH, PARAMS_MAX};
use crate::hal::{Capabilities, FunctionDecl, Hal, HalCall, HalFault, HalResult, Param, Value, ValueType};
use crate::log::{Log, LogLevel, LogSource, LogText};
use crate::module::ModuleId;
use crate::platform::Platform;
use crate::policy::PAGE_BYTES;
use crate::quota::{QuotaCell, QuotaToken};

/// What all modules of a runtime share. It lies in the store of the module that runs, and with the runtime
/// while none does; so no lock and no shared borrow is needed.
pub(crate) struct Host {
    pub(crate) hal: Hal,
    pub(crate) log: Log,
    pub(crate) platform: Box<dyn Platform>,
    pub(crate) pending: Arc<Pending>,
    pub(crate) quota: Arc<QuotaCell>,
}

impl Host {
    pub(crate) fn security(&mut self, module: Option<ModuleId>, text: fmt::Arguments<'_>) {
        let mut cut = LogText::new();
        // `LogText` takes what fits and is never an error.
        let _ = fmt::Write::write_fmt(&mut cut, text);
        // A name or message inside the text may hold control bytes.
        let cut = LogText::escaped(cut.as_str().as_bytes());
        self.log.write(self.platform.timestamp_us(), module, LogLevel::Fatal, LogSource::Security, cut);
    }
}

/// The bounds of one module's memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryBounds {
    /// Most bytes that it may reach.
    pub(crate) budget: u64,
    /// Most bytes that it reached.
    pub(crate) peak: u64,
}

impl wasmtime::ResourceLimiter for MemoryBounds {
    fn memory_growing(&mut self, _: usize, desired: usize, maximum: Option<usize>) -> wasmtime::Result<bool> {
        let desired = desired as u64;
        let allowed = desired <= self.budget && maximum.is_none_or(|max| desired <= max as u64);
        if allowed {
            self.peak = self.peak.max(desired);
        }
        Ok(allowed)
    }

    /// Tables keep their initial size: growing one would allocate in a step.
    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(current == 0 && desired <= TABLE_ELEMENTS_MAX)
    }
}

/// Most elements that a module's tables may start with, each.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 65_536;

/// What belongs to one module, in its store.
pub(crate) struct Ctx {
    /// The shared part, while this module runs.
    pub(crate) host: Option<Box<Host>>,
    pub(crate) module: ModuleId,
    pub(crate) capabilities: Capabilities,
    /// The call that runs now.
    pub(crate) token: QuotaToken,
    /// The exported memory, once the instance exists.
    pub(crate) memory: Option<Memory>,
    pub(crate) bounds: MemoryBounds,
    /// Why an import ended the call.
    pub(crate) failure: Option<Failure>,
    /// Set when the wall quota ended the call.
    pub(crate) out_of_time: bool,
}

/// Stops guest code; why is in [`Ctx::failure`] or [`Ctx::out_of_time`].
#[derive(Debug)]
struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped by the host")
    }
}

impl core::error::Error for Stopped {}

#[cold]
pub(crate) fn stopped() -> wasmtime::Error {
    wasmtime::Error::new(Stopped)
}

impl Ctx {
    #[cold]
    fn fail(&mut self, failure: Failure) -> wasmtime::Error {
        self.failure = Some(failure);
        stopped()
    }

    #[inline]
    fn require(&mut self, needed: Capabilities) -> wasmtime::Result<()> {
        if self.capabilities.contains(needed) {
            return Ok(());
        }
        Err(self.fail(Failure::Violation(Violation::Capability { missing: needed })))
    }

    /// The shared part. It is there whenever guest code runs.
    #[inline]
    fn host(&mut self) -> wasmtime::Result<&mut Host> {
        self.host.as_deref_mut().ok_or_else(stopped)
    }

    /// After a callback: its failure traps the module, and a quota that ran out meanwhile ends the call.
    #[inline]
    fn finish<T>(&mut self, result: HalResult<T>) -> wasmtime::Result<T> {
        let token = self.token;
        let expired = self.host()?.quota.is_killed(token);
        match result {
            Ok(value) if !expired => Ok(value),
            Ok(_) => {
                self.out_of_time = true;
                Err(stopped())
            }
            Err(HalFault { code }) => Err(self.fail(Failure::Trap(TrapCause::Callback { code }))),
        }
    }
}

/// A checked range of `memory`, or the trap.
fn checked(ctx: &mut Ctx, size: usize, ptr: u32, len: u32) -> wasmtime::Result<Range<usize>> {
    let start = ptr as usize;
    match start.checked_add(len as usize) {
        Some(end) if end <= size => Ok(start..end),
        _ => Err(ctx.fail(Failure::Trap(TrapCause::HostRange { ptr, len }))),
    }
}

/// The exported memory. During a start function the instance does not exist yet, so it is looked up.
fn memory(caller: &mut Caller<'_, Ctx>, ptr: u32, len: u32) -> wasmtime::Result<Memory> {
    if let Some(memory) = caller.data().memory {
        return Ok(memory);
    }
    match caller.get_export("memory") {
        Some(Extern::Memory(memory)) => Ok(memory),
        _ => Err(caller.data_mut().fail(Failure::Trap(TrapCause::HostRange { ptr, len }))),
    }
}

#[cfg(feature = "hal-temp")]
fn temp_get_reading(mut caller: Caller<'_, Ctx>) -> wasmtime::Result<f32> {
    let ctx = caller.data_mut();
    ctx.require(Capabilities::TEMP_SENSOR)?;
    let reading = ctx.host()?.hal.temp.as_mut().map_or(Ok(0.0), |callback| callback());
    ctx.finish(reading)
}

#[cfg(feature = "hal-timer")]
fn timer_get_timestamp(mut caller: Caller<'_, Ctx>) -> wasmtime::Result<i64> {
    let ctx = caller.data_mut();
    ctx.require(Capabilities::TIMER)?;
    let time = ctx.host()?.hal.timer.as_mut().map_or(Ok(0), |callback| callback());
    ctx.finish(time)
}

#[cfg(feature = "hal-camera")]
fn camera_last_frame(mut caller: Caller<'_, Ctx>, ptr: u32, max_len: u32) -> wasmtime::Result<i64> {
    caller.data_mut().require(Capabilities::CAMERA)?;
    if max_len == 0 {
        let cause = TrapCause::HostRange { ptr, len: 0 };
        return Err(caller.data_mut().fail(Failure::Trap(cause)));
    }
    let memory = memory(&mut caller, ptr, max_len)?;
    let (bytes, ctx) = memory.data_and_store_mut(&mut caller);
    let range = checked(ctx, bytes.len(), ptr, max_len)?;
    let frame = &mut bytes[range];
    let written = ctx.host()?.hal.camera.as_mut().map_or(Ok(0), |callback| callback(frame));
    // `max_len` is a u32, so the clamped count fits.
    ctx.finish(written).map(|n| n.min(max_len as usize) as i64)
}

fn module_log_event(mut caller: Caller<'_, Ctx>, ptr: u32, len: u32, level: i32) -> wasmtime::Result<()> {
    caller.data_mut().require(Capabilities::LOG)?;
    if len == 0 {
        return Ok(());
    }
    let memory = memory(&mut caller, ptr, len)?;
    let (bytes, ctx) = memory.data_and_store_mut(&mut caller);
    let range = checked(ctx, bytes.len(), ptr, len)?;
    let text = LogText::escaped(&bytes[range]);
    let module = ctx.module;
    let host = ctx.host()?;
    let now = host.platform.timestamp_us();
    host.log.write(now, Some(module), LogLevel::from_raw(level), LogSource::Module, text);
    ctx.finish(Ok(()))
}

fn fuse_event_post(mut caller: Caller<'_, Ctx>, id: i32) -> wasmtime::Result<()> {
    let ctx = caller.data_mut();
    ctx.require(Capabilities::EVENT_POST)?;
    let Ok(event) = EventId::new(id as u32) else {
        return Err(ctx.fail(Failure::Violation(Violation::EventId { id })));
    };
    ctx.host()?.pending.post(event);
    Ok(())
}

/// Defines the built-in import `name`. `false` when this build does not contain it.
pub(crate) fn link_built_in(linker: &mut Linker<Ctx>, name: &str) -> wasmtime::Result<bool> {
    match name {
        #[cfg(feature = "hal-temp")]
        "temp_get_reading" => linker.func_wrap("env", name, temp_get_reading)?,
        #[cfg(feature = "hal-timer")]
        "timer_get_timestamp" => linker.func_wrap("env", name, timer_get_timestamp)?,
        #[cfg(feature = "hal-camera")]
        "camera_last_frame" => linker.func_wrap("env", name, camera_last_frame)?,
        "module_log_event" => linker.func_wrap("env", name, module_log_event)?,
        "fuse_event_post" => linker.func_wrap("env", name, fuse_event_post)?,
        _ => return Ok(false),
    };
    Ok(true)
}

const fn val_type(value: ValueType) -> ValType {
    match value {
        ValueType::I32 => ValType::I32,
        ValueType::I64 => ValType::I64,
        ValueType::F32 => ValType::F32,
        ValueType::F64 => ValType::F64,
    }
}

/// The wasm type of a host function: a buffer is two `i32`.
pub(crate) fn func_type(engine: &wasmtime::Engine, decl: &FunctionDecl) -> wasmtime::Result<FuncType> {
    let params = decl.params.iter().flat_map(|param| match param {
        Param::Value(value) => [Some(val_type(*value)), None],
        _ => [Some(ValType::I32), Some(ValType::I32)],
    });
    Ok(FuncType::try_new(engine, params.flatten(), decl.result.map(val_type))?)
}

/// Parameters that most host functions do with.
const PARAMS_FEW: usize = 3;

/// Defines a function of a host group; `index` is its place in [`Hal::functions`].
pub(crate) fn link_custom(
    linker: &mut Linker<Ctx>,
    decl: &FunctionDecl,
    capability: Capabilities,
    index: usize,
) -> wasmtime::Result<()> {
    let ty = func_type(linker.engine(), decl)?;
    let params: Vec<Param> = decl.params.clone();
    let result = decl.result;
    let call = move |caller: Caller<'_, Ctx>, raw: &mut [core::mem::MaybeUninit<ValRaw>]| {
        // Most functions have few parameters, and making room for all that are possible would cost more than the
        // rest of the call.
        if params.len() <= PARAMS_FEW {
            call_custom::<PARAMS_FEW>(caller, raw, &params, result, capability, index)
        } else {
            call_custom::<PARAMS_MAX>(caller, raw, &params, result, capability, index)
        }
    };
    // SAFETY: `ty` was made from `decl.params` and `decl.result`, and `call_custom` reads and writes `raw` by the
    // same two: as many values as the type has parameters, each by its type, then one result.
    unsafe { linker.func_new_unchecked("env", &decl.name, ty, call)? };
    Ok(())
}

fn read_value(raw: ValRaw, ty: ValueType) -> Value {
    match ty {
        ValueType::I32 => Value::I32(raw.get_i32()),
        ValueType::I64 => Value::I64(raw.get_i64()),
        ValueType::F32 => Value::F32(f32::from_bits(raw.get_f32())),
        ValueType::F64 => Value::F64(f64::from_bits(raw.get_f64())),
    }
}

/// `params` are at most `N`.
#[inline]
fn call_custom<const N: usize>(
    mut caller: Caller<'_, Ctx>,
    raw: &mut [core::mem::MaybeUninit<ValRaw>],
    params: &[Param],
    result: Option<ValueType>,
    capability: Capabilities,
    index: usize,
) -> wasmtime::Result<()> {
    caller.data_mut().require(capability)?;
    let mut arguments = [const { Argument::Value(Value::I32(0)) }; N];
    let mut next = 0;
    let mut take = || {
        // SAFETY: wasmtime initialises as many values as the function's type has parameters, and each
        // parameter below takes as many as `func_type` made of it.
        let value = unsafe { raw[next].assume_init() };
        next += 1;
        value
    };
    let mut buffers = None;
    for (argument, param) in arguments.iter_mut().zip(params) {
        *argument = match param {
            Param::Value(ty) => Argument::Value(read_value(take(), *ty)),
            kind => {
                let (ptr, len) = (take().get_u32(), take().get_u32());
                let memory = match buffers {
                    Some(memory) => memory,
                    None => *buffers.insert(memory(&mut caller, ptr, len)?),
                };
                let size = memory.data_size(&caller);
                Argument::Buffer(checked(caller.data_mut(), size, ptr, len)?, *kind)
            }
        };
    }
    let (bytes, ctx): (&mut [u8], _) = match buffers {
        Some(memory) => memory.data_and_store_mut(&mut caller),
        None => (&mut [], caller.data_mut()),
    };
    let mut call = HalCall { module: ctx.module, memory: bytes, arguments: &arguments[..params.len()] };
    let callback = ctx.host()?.hal.functions.get_mut(index).ok_or_else(stopped)?;
    let answer = callback(&mut call);
    let value = ctx.finish(answer)?;
    match (value, result) {
        (None, None) => {}
        (Some(value), Some(ty)) if value.value_type() == ty => {
            raw[0].write(match value {
                Value::I32(v) => ValRaw::i32(v),
                Value::I64(v) => ValRaw::i64(v),
                Value::F32(v) => ValRaw::f32(v.to_bits()),
                Value::F64(v) => ValRaw::f64(v.to_bits()),
            });
        }
        _ => return ctx.finish(Err(HalFault { code: HAL_RESULT_MISMATCH })),
    }
    Ok(())
}

/// Whether an import takes a pointer into memory.
pub(crate) fn built_in_takes_pointer(name: &str) -> bool {
    matches!(name, "camera_last_frame" | "module_log_event")
}

/// Most bytes of a memory of this many pages.
pub(crate) const fn pages_to_bytes(pages: u64) -> u64 {
    pages.saturating_mul(PAGE_BYTES)
}
