//! The runtime. JavaScript has one thread for it: who finds it borrowed is a callback of the running step.

use std::cell::RefCell;
use std::rc::Rc;

use fuse_runtime::edge::{self, ErrorKind, ModuleId, StepTiming};
use napi::bindgen_prelude::{Buffer, Function, Uint8ArraySlice};
use napi::{Env, JsError};
use napi_derive::napi;

use crate::artifact::traps_of;
use crate::call::Within;
use crate::clock::{Clock, linux};
use crate::config::{Config, NativePolicy};
use crate::event::{Published, event_id};
use crate::fault::{OrThrow, Result, error, of_node};
use crate::hal::{self, NativeFunction};
use crate::log::{self, Record};
use crate::module::{self, NativeModuleInfo, NativeStats, halves, id_of};

/// How a runtime is set up.
#[napi(object)]
pub struct NativeOptions {
    /// Largest stack of a module, in bytes.
    pub stack_bytes_max: Option<u32>,
    /// `explicit` or `signals`.
    pub traps: Option<String>,
    /// Whether each step is timed.
    pub time_every_step: bool,
    /// Whether it may compile what it loads.
    pub compile_on_load: bool,
}

/// How one step of a tick ended.
#[napi(object)]
pub struct NativeOutcome {
    /// Half of the module's id.
    pub slot: u32,
    /// The other half.
    pub generation: u32,
    /// The kind of the failure.
    pub error: Option<String>,
    /// Whether a callback is why.
    pub by_callback: bool,
}

/// A runtime.
#[napi(js_name = "NativeRuntime")]
pub struct Runtime {
    rt: Rc<Place>,
    poster: edge::EventPoster,
    published: RefCell<Option<Published>>,
}

/// Where the runtime is until it is closed.
struct Place(RefCell<Option<edge::Runtime>>);

impl Place {
    fn with<T>(&self, look: impl FnOnce(&mut edge::Runtime) -> T) -> Result<T> {
        let Ok(mut place) = self.0.try_borrow_mut() else {
            let message = "the runtime is inside a call: a callback cannot call the runtime that called it, except to \
                           post events";
            return Err(error(ErrorKind::WrongState, message));
        };
        match place.as_mut() {
            Some(rt) => Ok(look(rt)),
            None => Err(error(ErrorKind::WrongState, "the runtime is closed; make a new one")),
        }
    }

    /// A call that may run guest code, and so callbacks.
    fn guest<T>(&self, env: Env, call: impl FnOnce(&mut edge::Runtime) -> edge::Result<T>) -> Result<T> {
        let _within = Within::new(env);
        self.with(call)?.or_throw()
    }
}

impl Runtime {
    fn with<T>(&self, look: impl FnOnce(&mut edge::Runtime) -> T) -> Result<T> {
        self.rt.with(look)
    }

    fn guest<T>(&self, env: Env, call: impl FnOnce(&mut edge::Runtime) -> edge::Result<T>) -> Result<T> {
        self.rt.guest(env, call)
    }

    fn read<T>(
        &self,
        slot: u32,
        generation: u32,
        look: impl FnOnce(&edge::ModuleInfo<'_>) -> T,
    ) -> Result<T> {
        self.with(|rt| rt.module(id_of(slot, generation)).map(|info| look(&info)))?.or_throw()
    }
}

#[napi]
impl Runtime {
    /// A runtime of this machine, or of a manual clock.
    #[napi]
    pub fn create(config: &Config, options: NativeOptions, clock: Option<&Clock>) -> Result<Runtime> {
        let mut settings = edge::RuntimeConfig::new(config.app.application.clone());
        settings.stack_bytes_max = options.stack_bytes_max.unwrap_or(settings.stack_bytes_max);
        settings.traps = traps_of(options.traps)?;
        settings.compile_on_load = options.compile_on_load;
        if options.time_every_step {
            settings.step_timing = StepTiming::Every;
        }
        let rt = match clock {
            Some(clock) => edge::Runtime::new(settings, clock.take()?),
            None => edge::Runtime::new(settings, linux()?),
        };
        let rt = rt.or_throw()?;
        let (poster, published) = (rt.poster(), RefCell::default());
        Ok(Self { poster, rt: Rc::new(Place(RefCell::new(Some(rt)))), published })
    }

    /// Sets the temperature sensor.
    #[napi(ts_args_type = "callback: () => number | string")]
    pub fn set_temp(
        &self,
        callback: Function<'_, (), napi::bindgen_prelude::Either<f64, String>>,
    ) -> Result<()> {
        let callback = callback.create_ref().map_err(|e| of_node(&e))?;
        self.with(|rt| hal::set_temp(rt, callback))
    }

    /// Sets the clock of the modules.
    #[napi(ts_args_type = "callback: () => bigint | string")]
    pub fn set_timer(&self, callback: hal::TimerFunction) -> Result<()> {
        self.with(|rt| hal::set_timer(rt, callback))
    }

    /// Sets the camera.
    #[napi(ts_args_type = "callback: (maxLen: number) => Uint8Array | null | string")]
    pub fn set_camera(&self, callback: hal::CameraFunction) -> Result<()> {
        self.with(|rt| hal::set_camera(rt, callback))
    }

    /// Registers a group.
    #[napi]
    pub fn register_group(&self, name: String, bit: f64, functions: Vec<NativeFunction>) -> Result<()> {
        let group = hal::group(&name, bit, functions)?;
        self.with(|rt| rt.register_group(group))?.or_throw()
    }

    /// Loads a module, under a policy in JSON or in 32 bytes.
    #[napi]
    pub fn load(
        &self,
        env: Env,
        name: String,
        artifact: Uint8ArraySlice<'_>,
        policy: String,
    ) -> Result<Vec<u32>> {
        let policy = edge::Policy::from_json(&policy).or_throw()?;
        self.guest(env, |rt| rt.load(&name, &artifact, &policy)).map(halves)
    }

    /// Loads a module from a file.
    #[napi]
    pub fn load_file(&self, env: Env, name: String, path: String, policy: String) -> Result<Vec<u32>> {
        let policy = edge::Policy::from_json(&policy).or_throw()?;
        self.guest(env, |rt| rt.load_file(&name, path, &policy)).map(halves)
    }

    /// Loads all modules of an application that carries its artifacts.
    #[napi]
    pub fn load_app(&self, env: Env, config: &Config) -> Result<Vec<Vec<u32>>> {
        let fetch = |module: &edge::ModuleDecl| Ok(module.binary.as_bytes().to_vec().into());
        let ids = self.guest(env, |rt| rt.load_app(&config.app, fetch))?;
        Ok(ids.into_iter().map(halves).collect())
    }

    /// The module of this name.
    #[napi]
    pub fn find(&self, name: String) -> Result<Vec<u32>> {
        self.with(|rt| rt.find(&name))?.or_throw().map(halves)
    }

    /// All modules.
    #[napi]
    pub fn modules(&self) -> Result<Vec<Vec<u32>>> {
        self.with(|rt| rt.modules().map(|info| halves(info.id)).collect())
    }

    /// Starts a module.
    #[napi]
    pub fn start(&self, env: Env, slot: u32, generation: u32) -> Result<()> {
        self.guest(env, |rt| rt.start(id_of(slot, generation)))
    }

    /// Holds a module.
    #[napi]
    pub fn pause(&self, env: Env, slot: u32, generation: u32) -> Result<()> {
        self.guest(env, |rt| rt.pause(id_of(slot, generation)))
    }

    /// A function that steps a module. Finding the runtime behind `this` and reading the id would cost several times what a
    /// step costs.
    #[napi(ts_return_type = "() => void")]
    pub fn stepper<'env>(
        &self,
        env: &'env Env,
        slot: u32,
        generation: u32,
    ) -> napi::Result<Function<'env, (), ()>> {
        let (rt, id) = (Rc::clone(&self.rt), id_of(slot, generation));
        env.create_function_from_closure("step", move |call| {
            match rt.guest(*call.env, |rt| rt.run_step(id)) {
                Ok(()) => Ok(()),
                Err(error) => call.env.throw(JsError::from(error).into_unknown(*call.env)),
            }
        })
    }

    /// Starts a failed module again.
    #[napi]
    pub fn restart_module(&self, env: Env, slot: u32, generation: u32) -> Result<()> {
        self.guest(env, |rt| rt.restart_module(id_of(slot, generation)))
    }

    /// Replaces a module's artifact.
    #[napi]
    pub fn update(&self, env: Env, slot: u32, generation: u32, artifact: Uint8ArraySlice<'_>) -> Result<()> {
        self.guest(env, |rt| rt.update(id_of(slot, generation), &artifact))
    }

    /// Unloads a module.
    #[napi]
    pub fn unload(&self, env: Env, slot: u32, generation: u32) -> Result<()> {
        self.guest(env, |rt| rt.unload(id_of(slot, generation)))
    }

    /// Steps what is due; null when nothing was.
    #[napi]
    pub fn tick(&self, env: Env) -> Result<Option<Vec<NativeOutcome>>> {
        let _within = Within::new(env);
        let ended = self.with(|rt| {
            let outcomes = rt.tick()?.outcomes().to_vec();
            Ok(outcomes.iter().map(|outcome| ended(rt, outcome)).collect::<Vec<_>>())
        })?;
        ended.or_throw().map(|ended| (!ended.is_empty()).then_some(ended))
    }

    /// How long until a module is due.
    #[napi]
    pub fn next_deadline_us(&self) -> Result<Option<i64>> {
        self.with(|rt| rt.next_deadline_us().map(u64::cast_signed))
    }

    /// Posts an event; a callback may.
    #[napi]
    pub fn post_event(&self, event: f64) -> Result<()> {
        self.poster.post(event_id(event)?);
        Ok(())
    }

    /// Posts an event with the time of its cause.
    #[napi]
    pub fn post_event_at(&self, event: f64, timestamp_us: i64) -> Result<()> {
        self.poster.post_at(event_id(event)?, timestamp_us.cast_unsigned());
        Ok(())
    }

    /// Clears an event.
    #[napi]
    pub fn clear_event(&self, event: f64) -> Result<()> {
        let event = event_id(event)?;
        self.with(|rt| rt.clear_event(event))
    }

    /// A number under which other threads open a poster.
    #[napi]
    pub fn poster_number(&self) -> Result<u32> {
        self.with(|_| ())?;
        let mut published = self.published.borrow_mut();
        Ok(published.get_or_insert_with(|| Published::new(self.poster.clone())).number)
    }

    /// Stops the runtime.
    #[napi]
    pub fn stop(&self) -> Result<()> {
        self.with(edge::Runtime::stop)?.or_throw()
    }

    /// Lifts a stop.
    #[napi]
    pub fn restart(&self) -> Result<()> {
        self.with(edge::Runtime::restart)?.or_throw()
    }

    /// Whether it is stopped.
    #[napi]
    pub fn is_stopped(&self) -> Result<bool> {
        self.with(|rt| rt.is_runtime_stopped())
    }

    /// What is known of a module.
    #[napi]
    pub fn module_info(&self, slot: u32, generation: u32) -> Result<NativeModuleInfo> {
        self.read(slot, generation, module::info)
    }

    /// A module's policy.
    #[napi]
    pub fn module_policy(&self, slot: u32, generation: u32) -> Result<NativePolicy> {
        self.read(slot, generation, module::policy)
    }

    /// A module's statistics.
    #[napi]
    pub fn module_stats(&self, slot: u32, generation: u32) -> Result<NativeStats> {
        self.read(slot, generation, |info| info.stats.into())
    }

    /// A copy of part of a module's memory.
    #[napi]
    pub fn module_memory(&self, slot: u32, generation: u32, offset: f64, length: f64) -> Result<Buffer> {
        self.read(slot, generation, |info| module::memory(info, offset, length))
    }

    /// Records of the log from a sequence number on.
    #[napi]
    pub fn log_records(&self, since: i64) -> Result<Vec<Record>> {
        self.with(|rt| log::since(since.max(0).cast_unsigned(), rt))
    }

    /// The next sequence number, and how many records of modules and of the runtime were overwritten.
    #[napi]
    pub fn log_counts(&self) -> Result<Vec<i64>> {
        self.with(|rt| {
            let log = rt.log();
            [log.next_sequence(), log.lost(), log.lost_security()].map(u64::cast_signed).to_vec()
        })
    }

    /// Unloads all modules and frees the runtime. Twice does nothing.
    #[napi]
    pub fn close(&self, env: Env) -> Result<()> {
        if self.rt.0.try_borrow().is_ok_and(|place| place.is_none()) {
            return Ok(());
        }
        let _within = Within::new(env);
        self.with(|rt| {
            let ids: Vec<ModuleId> = rt.modules().map(|info| info.id).collect();
            for id in ids {
                // Each id was just listed; a deinit that fails is in the log.
                let _ = rt.unload(id);
            }
        })?;
        drop(self.published.take());
        drop(self.rt.0.take());
        Ok(())
    }
}

fn ended(rt: &edge::Runtime, outcome: &edge::StepOutcome) -> NativeOutcome {
    let raw = outcome.module.to_u64();
    let failure = rt.module(outcome.module).ok().and_then(|info| info.failure);
    let by_callback = matches!(failure, Some(edge::Failure::Trap(edge::TrapCause::Callback { .. })));
    NativeOutcome {
        slot: raw as u32,
        generation: (raw >> 32) as u32,
        error: outcome.result.err().map(|kind| kind.name().to_owned()),
        by_callback: by_callback && outcome.result.is_err(),
    }
}
