//! Runtimes and modules that the figures are measured on.

use fuse_edge::artifact::{CompileOptions, compile};
use fuse_edge::{Application, LinuxPlatform, ModuleId, Policy, Runtime, RuntimeConfig, StepTiming, TrapMode};

use crate::Result;

/// A module whose step does nothing.
pub const EMPTY: &str = r#"(module (func (export "module_step")))"#;

/// A step that never ends, without a call and without touching memory.
pub const LOOP: &str = r#"(module (func (export "module_step") (loop (br 0))))"#;

/// Calls that a step of [`HOST_CALLS`] and [`GROUP_CALLS`] makes.
pub const CALLS_PER_STEP: u32 = 1000;

/// A step that reads the time again and again.
pub const HOST_CALLS: &str = r#"(module (import "env" "timer_get_timestamp" (func $call (result i64)))
    (func (export "module_step") (local $i i32)
      (local.set $i (i32.const 1000))
      (loop $again (drop (call $call))
        (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))"#;

/// A step that calls a function of the host's own group again and again.
pub const GROUP_CALLS: &str = r#"(module (import "env" "gpio_read" (func $call (param i32) (result i32)))
    (func (export "module_step") (local $i i32)
      (local.set $i (i32.const 1000))
      (loop $again (drop (call $call (local.get $i)))
        (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))"#;

/// A step that notes, first thing, that it has begun.
pub const BEGINS: &str = r#"(module (import "env" "timer_get_timestamp" (func $call (result i64)))
    (func (export "module_step") (drop (call $call))))"#;

/// A module of about 2 KiB with one page of memory, which its init fills, so that all of it is resident.
#[must_use]
pub fn two_kilobytes() -> String {
    let text = "0123456789abcdef".repeat(100);
    let mut functions = String::new();
    for i in 0..8 {
        functions.push_str(&format!(
            "(func $f{i} (param i32) (result i32)
               (i32.xor (i32.load (local.get 0)) (i32.mul (local.get 0) (i32.const {}))))",
            i * 77 + 1
        ));
    }
    let calls: String = (0..8).map(|i| format!("(drop (call $f{i} (i32.const {})))", i * 4)).collect();
    format!(
        r#"(module (memory (export "memory") 1) (data (i32.const 1024) "{text}") {functions}
             (func (export "module_init") (memory.fill (i32.const 4096) (i32.const 7) (i32.const 61440)))
             (func (export "module_step") {calls}))"#
    )
}

/// The artifact of a module for wall metering, without its portable form.
///
/// # Errors
/// When it does not compile.
pub fn artifact(source: &[u8], traps: TrapMode) -> Result<Vec<u8>> {
    Ok(compile(source, &CompileOptions { traps, portable: false, ..CompileOptions::default() })?)
}

/// A runtime on this machine that takes artifacts only.
///
/// # Errors
/// When the platform cannot be set up.
pub fn runtime(modules: usize, traps: TrapMode, step_timing: StepTiming) -> Result<Runtime> {
    let application = Application { max_modules: u32::try_from(modules)?, ..Application::default() };
    let config =
        RuntimeConfig { traps, step_timing, compile_on_load: false, ..RuntimeConfig::new(application) };
    Ok(Runtime::new(config, LinuxPlatform::new()?)?)
}

/// A runtime with one module that has been started.
pub struct Single {
    /// The runtime.
    pub runtime: Runtime,
    /// Its module.
    pub module: ModuleId,
    /// Steps that did not end well.
    pub failures: u64,
}

impl Single {
    /// Loads and starts `artifact` in a runtime of its own.
    ///
    /// # Errors
    /// When that fails.
    pub fn new(artifact: &[u8], policy: &Policy) -> Result<Self> {
        Self::within(runtime(1, TrapMode::Explicit, StepTiming::Sampled)?, artifact, policy)
    }

    /// Loads and starts `artifact` in a runtime that was set up before.
    ///
    /// # Errors
    /// When that fails.
    pub fn within(mut runtime: Runtime, artifact: &[u8], policy: &Policy) -> Result<Self> {
        let module = runtime.load("bench", artifact, policy)?;
        runtime.start(module)?;
        Ok(Self { runtime, module, failures: 0 })
    }

    /// One step. A failure is counted, and the module goes on.
    #[inline(always)]
    pub fn step(&mut self) {
        if self.runtime.run_step(self.module).is_err() {
            self.failed();
        }
    }

    #[cold]
    fn failed(&mut self) {
        self.failures += 1;
        // If it cannot, every other step fails and is counted too.
        let _ = self.runtime.restart_module(self.module);
    }

    /// That all steps ended well.
    ///
    /// # Errors
    /// When one did not.
    pub fn check(&self) -> Result<()> {
        match self.failures {
            0 => Ok(()),
            n => Err(format!("{n} steps failed while they were measured").into()),
        }
    }
}

/// Loads `count` modules that are not due: every other one waits for an hour, the rest for an event.
///
/// # Errors
/// When one does not load.
pub fn with_idle_modules(count: usize) -> Result<Runtime> {
    use fuse_edge::{Activation, EventId, EventMask};
    let mut runtime = runtime(count + 1, TrapMode::Explicit, StepTiming::Sampled)?;
    let empty = artifact(EMPTY.as_bytes(), TrapMode::Explicit)?;
    for i in 0..count {
        let policy = if i % 2 == 0 {
            Policy { step_interval_us: 3_600_000_000, ..Policy::default() }
        } else {
            let event = EventMask::from(EventId::new(1 + (i / 2) as u32 % 31)?);
            Policy { activation: Activation::EVENT, event_subscribe: event, ..Policy::default() }
        };
        let id = runtime.load(&format!("idle-{i}"), &empty, &policy)?;
        runtime.start(id)?;
    }
    // The first tick runs each interval module once.
    let ran = runtime.tick()?.outcomes().len();
    if ran != count.div_ceil(2) {
        return Err(format!("{ran} modules ran in the first tick, not {}", count.div_ceil(2)).into());
    }
    Ok(runtime)
}
