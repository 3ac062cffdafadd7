//! The rival of the call figures: wasmtime itself, with the engine settings of Fuse and the same native code.
#![allow(unsafe_code)]

use fuse_edge::TrapMode;
use fuse_edge::artifact::Artifact;
use wasmtime::{
    Caller, Config, Engine, FuncType, InstancePre, Linker, Module, Store, TypedFunc, Val, ValType,
};

use crate::Result;

/// A host function as a host would keep it that lets its callers choose it: a boxed closure that can fail.
pub type Callback = Box<dyn FnMut(i32) -> std::result::Result<i64, i32> + Send>;

/// What the store holds.
pub struct Ctx {
    callback: Callback,
}

/// An engine with its imports.
pub struct RawEngine {
    engine: Engine,
    linker: Linker<Ctx>,
}

/// The settings of Fuse's engines for wall metering.
fn config(traps: TrapMode) -> Config {
    let mut config = Config::new();
    config
        .wasm_backtrace_max_frames(None)
        .native_unwind_info(false)
        .wasm_multi_memory(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .memory_init_cow(false)
        .epoch_interruption(true)
        .generate_address_map(false)
        .max_wasm_stack(64 * 1024);
    match traps {
        TrapMode::Explicit => config
            .signals_based_traps(false)
            .memory_reservation(0)
            .memory_guard_size(0)
            .memory_reservation_for_growth(0)
            .memory_may_move(false),
        TrapMode::Signals => config
            .signals_based_traps(true)
            .memory_reservation(4 << 30)
            .memory_guard_size(32 << 20)
            .memory_reservation_for_growth(0),
    };
    config
}

impl RawEngine {
    /// An engine and a linker with the functions that the modules of the figures import.
    ///
    /// # Errors
    /// When the engine cannot be made.
    pub fn new(traps: TrapMode) -> Result<Self> {
        let engine = Engine::new(&config(traps))?;
        let mut linker = Linker::new(&engine);
        linker.func_wrap("env", "timer_get_timestamp", |mut caller: Caller<'_, Ctx>| {
            (caller.data_mut().callback)(0).map_err(|code| wasmtime::Error::msg(code.to_string()))
        })?;
        linker.func_wrap("env", "gpio_read", |mut caller: Caller<'_, Ctx>, pin: i32| {
            let value = (caller.data_mut().callback)(pin);
            value.map(|v| v as i32).map_err(|code| wasmtime::Error::msg(code.to_string()))
        })?;
        // A signature that is known at run time only.
        let signature = FuncType::new(&engine, [ValType::I32], [ValType::I32]);
        linker.func_new("env", "gpio_read_dynamic", signature, |mut caller, params, results| {
            let pin = params.first().and_then(Val::i32).unwrap_or(0);
            let value = (caller.data_mut().callback)(pin);
            let value = value.map_err(|code| wasmtime::Error::msg(code.to_string()))?;
            if let Some(result) = results.first_mut() {
                *result = Val::I32(value as i32);
            }
            Ok(())
        })?;
        Ok(Self { engine, linker })
    }

    /// Deserialises the native code of an artifact, as Fuse does, without a check of its hash.
    ///
    /// # Errors
    /// When the code is not for this engine.
    pub fn prepare(&self, code: &[u8]) -> Result<InstancePre<Ctx>> {
        // SAFETY: the code comes from an artifact that this process has compiled.
        let module = unsafe { Module::deserialize(&self.engine, code) }?;
        Ok(self.linker.instantiate_pre(&module)?)
    }

    /// Loads an artifact, and runs its init if it has one.
    ///
    /// # Errors
    /// When that fails.
    pub fn load(&self, artifact: &[u8]) -> Result<Raw> {
        self.start(Artifact::parse(artifact)?.code.bytes, Box::new(|value| Ok(i64::from(value))))
    }

    /// Loads native code with a host function, and runs its init if it has one.
    ///
    /// # Errors
    /// When that fails.
    pub fn start(&self, code: &[u8], callback: Callback) -> Result<Raw> {
        let pre = self.prepare(code)?;
        let mut store = Store::new(&self.engine, Ctx { callback });
        store.set_epoch_deadline(1 << 40);
        let instance = pre.instantiate(&mut store)?;
        if let Some(init) = instance.get_func(&mut store, "module_init") {
            init.typed::<(), ()>(&store)?.call(&mut store, ())?;
        }
        let step = instance.get_typed_func(&mut store, "module_step")?;
        Ok(Raw { store, step, instance })
    }
}

/// An instance with its typed entry point.
pub struct Raw {
    store: Store<Ctx>,
    step: TypedFunc<(), ()>,
    instance: wasmtime::Instance,
}

impl Raw {
    /// One typed call.
    #[inline(always)]
    pub fn step(&mut self) {
        let result = self.step.call(&mut self.store, ());
        debug_assert!(result.is_ok(), "{result:?}");
        std::hint::black_box(&result);
    }

    /// The value of an exported `i32` global.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn global_i32(&mut self, name: &str) -> Result<i32> {
        let global = self.instance.get_global(&mut self.store, name);
        let value = global.and_then(|global| global.get(&mut self.store).i32());
        value.ok_or_else(|| format!("the module exports no i32 global `{name}`").into())
    }
}
