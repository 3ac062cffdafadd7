//! The runtime: modules, their states, and the calls that step them.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::app::{Application, check_groups};
use crate::budget::{Reservation, engine_bytes, group_bytes, runtime_bytes};
use crate::engine::{EngineTable, STACK_BYTES_LIMIT, Settings, TrapMode};
use crate::error::{Error, ErrorKind, Failure, Result, Violation};
use crate::event::{EventId, EventMask, EventPoster, Pending};
use crate::hal::{CameraCallback, Capabilities, Hal, HalGroup, HalResult, TempCallback, TimerCallback};
use crate::host::Host;
use crate::instance::{Code, CustomImport, Imports, Instance, Linkers};
use crate::log::{Log, LogSink};
use crate::module::{ModuleId, ModuleState};
use crate::platform::{MemoryLedger, Platform, QuotaExpiry};
use crate::policy::{Policy, STACK_BYTES_MIN};
use crate::quota::{QuotaCell, QuotaToken};
use crate::schedule::{Schedule, SteadyClock};
use crate::stats::ModuleStats;

mod life;
mod load;
mod step;

/// Which steps are timed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StepTiming {
    /// Each step of a module with a wall quota; of one without, the first 16 and then one in 64. Reading the
    /// clock twice costs as much as an empty step.
    #[default]
    Sampled,
    /// Each step.
    Every,
}

/// How a runtime is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeConfig {
    /// Limits, metering, groups and events.
    pub application: Application,
    /// Largest `stack_size` that a policy may ask for, in bytes (1024..=2 MiB). The stepping thread must have
    /// this much stack and 256 KiB more. Default 512 KiB.
    pub stack_bytes_max: u32,
    /// How traps of guest code are detected.
    pub traps: TrapMode,
    /// Which steps are timed.
    pub step_timing: StepTiming,
    /// Whether `load` compiles what is not an artifact for this engine: WebAssembly, and artifacts that carry
    /// it. Needs the `compiler` feature. Default true.
    pub compile_on_load: bool,
}

impl Default for RuntimeConfig {
    fn default() -> Self {
        Self::new(Application::default())
    }
}

impl RuntimeConfig {
    /// The defaults for an application.
    #[must_use]
    pub fn new(application: Application) -> Self {
        Self {
            application,
            stack_bytes_max: 512 * 1024,
            traps: TrapMode::default(),
            step_timing: StepTiming::default(),
            compile_on_load: true,
        }
    }
}

/// A loaded module.
struct Loaded {
    name: String,
    policy: Policy,
    state: ModuleState,
    /// Whether it ran its init, so that it is owed its deinit.
    started: bool,
    code: Code,
    instance: Instance,
    /// Bytes of the memory pool that it holds.
    reserved: u64,
    stats: ModuleStats,
    failure: Option<Failure>,
    /// The memory set aside for it. Last, so that it is given back after what it was for.
    memory: Option<Reservation>,
}

/// A place for a module. Its generation grows with each unload, so that stale ids are told apart.
struct Slot {
    generation: u32,
    loaded: Option<Box<Loaded>>,
}

/// How one module's step in a tick ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StepOutcome {
    /// The module.
    pub module: ModuleId,
    /// `Ok`, or the class of its failure; [`ModuleInfo::failure`] and the log say more.
    pub result: core::result::Result<(), ErrorKind>,
}

/// What a tick did.
#[derive(Clone, Copy, Debug)]
pub struct TickReport<'a> {
    outcomes: &'a [StepOutcome],
}

impl<'a> TickReport<'a> {
    /// The modules that ran, in order, and how each ended.
    #[must_use]
    pub const fn outcomes(&self) -> &'a [StepOutcome] {
        self.outcomes
    }

    /// The modules whose step failed.
    pub fn failed(&self) -> impl Iterator<Item = &'a StepOutcome> {
        self.outcomes.iter().filter(|o| o.result.is_err())
    }
}

/// What the runtime knows of one module.
#[derive(Clone, Debug)]
pub struct ModuleInfo<'a> {
    /// Its id.
    pub id: ModuleId,
    /// Its name.
    pub name: &'a str,
    /// Its state. While the runtime is stopped, a module that runs otherwise is Paused.
    pub state: ModuleState,
    /// Its policy.
    pub policy: &'a Policy,
    /// What it did so far.
    pub stats: &'a ModuleStats,
    /// Why it is Trapped or QuotaExceeded.
    pub failure: Option<Failure>,
    /// The events that wait for it.
    pub latch: EventMask,
    /// Its linear memory as it is now.
    pub memory: &'a [u8],
}

/// Runs modules under policies, step by step. It belongs to one thread at a time; its
/// [posters](Self::poster) belong to any.
///
/// ```
/// use fuse_edge::{LinuxPlatform, Policy, Runtime, RuntimeConfig};
/// # #[cfg(all(feature = "compiler", target_os = "linux"))] {
/// let mut runtime = Runtime::new(RuntimeConfig::default(), LinuxPlatform::new()?)?;
/// let module = runtime.load("hello", br#"(module (func (export "module_step")))"#, &Policy::default())?;
/// runtime.start(module)?;
/// let report = runtime.tick()?;
/// assert_eq!(report.outcomes().len(), 1);
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Runtime {
    /// With the runtime while no module runs; in the store of the one that does otherwise.
    host: Option<Box<Host>>,
    config: RuntimeConfig,
    imports: Imports,
    groups: Vec<crate::hal::GroupDecl>,
    linkers: Linkers,
    slots: Vec<Slot>,
    free: Vec<u32>,
    names: BTreeMap<String, u32>,
    schedule: Schedule,
    clock: SteadyClock,
    pool_used: u64,
    /// The last token that was given to a call.
    calls: u64,
    loads: u64,
    stopped: bool,
    outcomes: Vec<StepOutcome>,
    ledger: Option<&'static dyn MemoryLedger>,
    /// What native code is aligned to, in bytes.
    code_alignment: u64,
    /// The memory set aside for the runtime itself, its groups and engines. Last, as in [`Loaded`].
    memory: Option<Reservation>,
}

impl Runtime {
    /// Makes a runtime on a platform.
    ///
    /// # Errors
    /// [`InvalidArg`](ErrorKind::InvalidArg) when the configuration is not valid, or the platform cannot be set up;
    /// [`OutOfMemory`](ErrorKind::OutOfMemory) when the platform's memory does not suffice.
    pub fn new(config: RuntimeConfig, platform: impl Platform + 'static) -> Result<Self> {
        config.application.validate()?;
        if !(STACK_BYTES_MIN..=STACK_BYTES_LIMIT).contains(&config.stack_bytes_max) {
            return Err(Error::invalid(format!(
                "stack_bytes_max is {}; {STACK_BYTES_MIN} to {STACK_BYTES_LIMIT} are possible",
                config.stack_bytes_max
            )));
        }
        let settings = Settings { metering: config.application.metering, traps: config.traps };
        let mut platform: Box<dyn Platform> = Box::new(platform);
        let ledger = platform.memory_ledger();
        let memory = Reservation::take(ledger, "the runtime", runtime_bytes(&config))?;
        let code = platform.code_memory();
        let code_alignment = code.as_ref().map_or(1, |code| code.alignment()) as u64;
        let quota = QuotaCell::new(EngineTable::new(settings, code));
        platform
            .init(QuotaExpiry::new(quota.clone()))
            .map_err(|e| Error::invalid(format!("cannot set up the platform: {e}")))?;
        let clock = SteadyClock::new(platform.timestamp_us());
        let log = Log::new(usize::try_from(config.application.log_pool_bytes).unwrap_or(usize::MAX));
        let imports = Imports { built_in: config.application.hal_groups, ..Imports::default() };
        let mut runtime = Self {
            host: Some(Box::new(Host { hal: Hal::default(), log, platform, pending: Pending::new(), quota })),
            config,
            imports,
            groups: Vec::new(),
            linkers: Linkers::default(),
            slots: Vec::new(),
            free: Vec::new(),
            names: BTreeMap::new(),
            schedule: Schedule::new(),
            clock,
            pool_used: 0,
            calls: 0,
            loads: 0,
            stopped: false,
            outcomes: Vec::new(),
            ledger,
            code_alignment,
            memory,
        };
        if runtime.ledger.is_some() {
            runtime.make_room();
        }
        Ok(runtime)
    }

    /// Takes the memory of all `max_modules` places now, where memory is counted: later growth would need the old and
    /// the new at once.
    fn make_room(&mut self) {
        let places = self.config.application.max_modules as usize;
        self.slots.reserve_exact(places);
        self.free.reserve_exact(places);
        self.outcomes.reserve_exact(places);
        self.schedule.reserve(places);
    }

    /// The host's name of the group whose capability was missing.
    fn missing_group(groups: &[crate::hal::GroupDecl], failure: Failure) -> Option<&str> {
        let Failure::Violation(Violation::Capability { missing }) = failure else { return None };
        groups.iter().find(|group| group.capability() == missing).map(|group| group.name.as_str())
    }

    fn host_functions(&self) -> u64 {
        self.groups.iter().map(|group| group.functions.len() as u64).sum()
    }

    /// Sets memory aside for the engine with this index, unless it is there already.
    fn reserve_engine(&self, index: usize) -> Result<Option<Reservation>> {
        if self.host().quota.engines.get(index).is_some() {
            return Ok(None);
        }
        Reservation::take(self.ledger, "an engine for this stack size", engine_bytes(self.host_functions()))
    }

    /// Keeps memory for as long as the runtime lives.
    fn keep(&mut self, reservation: Option<Reservation>) {
        match &mut self.memory {
            Some(memory) => memory.absorb(reservation),
            None => self.memory = reservation,
        }
    }

    /// How the runtime was set up.
    #[must_use]
    pub const fn config(&self) -> &RuntimeConfig {
        &self.config
    }

    #[inline]
    fn host(&self) -> &Host {
        // It is away only inside `Instance::call`, which borrows the runtime mutably and brings it back.
        match &self.host {
            Some(host) => host,
            None => unreachable!("the host part is away only while a module runs"),
        }
    }

    #[inline]
    fn host_mut(&mut self) -> &mut Host {
        match &mut self.host {
            Some(host) => host,
            None => unreachable!("the host part is away only while a module runs"),
        }
    }

    /// Sets the temperature sensor: degrees Celsius.
    #[cfg(feature = "hal-temp")]
    pub fn set_temp(&mut self, callback: impl FnMut() -> HalResult<f32> + Send + 'static) {
        let callback: TempCallback = Box::new(callback);
        self.host_mut().hal.temp = Some(callback);
    }

    /// Sets the clock that modules read: monotonic microseconds.
    #[cfg(feature = "hal-timer")]
    pub fn set_timer(&mut self, callback: impl FnMut() -> HalResult<i64> + Send + 'static) {
        let callback: TimerCallback = Box::new(callback);
        self.host_mut().hal.timer = Some(callback);
    }

    /// Sets the camera: copies the newest frame into the buffer and returns how many bytes it wrote.
    #[cfg(feature = "hal-camera")]
    pub fn set_camera(&mut self, callback: impl FnMut(&mut [u8]) -> HalResult<usize> + Send + 'static) {
        let callback: CameraCallback = Box::new(callback);
        self.host_mut().hal.camera = Some(callback);
    }

    /// Registers a HAL group of the host. Modules loaded from now on may import its functions.
    ///
    /// # Errors
    /// [`InvalidArg`](ErrorKind::InvalidArg) when a name, bit or signature is not valid or is taken, or when the application
    /// declares a group of this name in another shape; [`OutOfMemory`](ErrorKind::OutOfMemory).
    pub fn register_group(&mut self, group: HalGroup) -> Result<()> {
        let decl = group.declaration();
        let declared = &self.config.application.custom_groups;
        if let Some(d) = declared.iter().find(|d| (d.name == decl.name || d.bit == decl.bit) && **d != decl) {
            return Err(Error::invalid(format!(
                "HAL group `{}` (bit {}) does not match the group `{}` (bit {}) that the application declares: \
                 names, bits, functions and their signatures must be equal",
                decl.name, decl.bit, d.name, d.bit
            )));
        }
        let bytes = group_bytes(decl.functions.len() as u64, self.host().quota.engines.made() as u64);
        let memory = Reservation::take(self.ledger, "a HAL group", bytes)?;
        self.groups.push(decl);
        if let Err(e) = check_groups(&self.groups, |i| format!("HAL group `{}`", self.groups[i].name)) {
            self.groups.pop();
            return Err(e);
        }
        self.keep(memory);
        let capability = Capabilities::custom(group.bit);
        for function in group.functions {
            let functions = &mut self.host_mut().hal.functions;
            let index = functions.len();
            functions.push(function.callback);
            let name = function.decl.name.clone();
            self.imports.custom.insert(name, CustomImport { decl: function.decl, capability, index });
        }
        Ok(())
    }

    /// A handle that posts events from any thread, signal handler or interrupt handler.
    #[must_use]
    pub fn poster(&self) -> EventPoster {
        EventPoster::new(self.host().pending.clone())
    }

    /// Posts an event: every loaded module that subscribes to it latches it. One atomic operation.
    #[inline]
    pub fn post_event(&self, event: EventId) {
        self.host().pending.post(event);
    }

    /// Takes an event back from the latches of all modules.
    pub fn clear_event(&mut self, event: EventId) {
        self.deliver_events();
        self.schedule.clear(event);
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.host().log
    }

    /// Calls `sink` with each log record as it is written, on the thread that steps; `None` ends that.
    pub fn set_log_sink(&mut self, sink: Option<LogSink>) {
        self.host_mut().log.set_sink(sink);
    }

    /// What is known of a module.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub fn module(&self, id: ModuleId) -> Result<ModuleInfo<'_>> {
        let loaded = self.loaded(id)?;
        Ok(self.info(id, loaded))
    }

    /// All modules, in the order of their slots.
    pub fn modules(&self) -> impl Iterator<Item = ModuleInfo<'_>> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let id = ModuleId::new(index as u32, slot.generation);
            slot.loaded.as_deref().map(|loaded| self.info(id, loaded))
        })
    }

    fn info<'a>(&'a self, id: ModuleId, loaded: &'a Loaded) -> ModuleInfo<'a> {
        ModuleInfo {
            id,
            name: &loaded.name,
            state: self.visible_state(loaded),
            policy: &loaded.policy,
            stats: &loaded.stats,
            failure: loaded.failure,
            latch: self.latch_with_pending(id),
            memory: loaded.instance.memory(),
        }
    }

    /// The latch as it would be if pending posts were delivered now.
    fn latch_with_pending(&self, id: ModuleId) -> EventMask {
        let subscribed = match self.loaded(id) {
            // A failed module latches nothing.
            Ok(Loaded { state: ModuleState::Trapped | ModuleState::QuotaExceeded, .. }) | Err(_) => {
                return EventMask::NONE;
            }
            Ok(loaded) => loaded.policy.event_subscribe.bits(),
        };
        let pending = self.host().pending.peek().bits() & subscribed;
        EventMask::from_bits(self.schedule.latch(id.slot() as u32).bits() | pending)
    }

    fn visible_state(&self, loaded: &Loaded) -> ModuleState {
        match loaded.state {
            ModuleState::Running if self.stopped => ModuleState::Paused,
            state => state,
        }
    }

    /// The id of the module with this name.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound).
    pub fn find(&self, name: &str) -> Result<ModuleId> {
        let slot = *self.names.get(name).ok_or_else(|| Error::NoSuchName { name: name.into() })?;
        Ok(ModuleId::new(slot, self.slots[slot as usize].generation))
    }

    #[inline]
    fn loaded(&self, id: ModuleId) -> Result<&Loaded> {
        match self.slots.get(id.slot()) {
            Some(Slot { generation, loaded: Some(loaded) }) if *generation == id.generation() => Ok(loaded),
            _ => Err(Error::NoSuchModule { module: id }),
        }
    }

    #[inline]
    fn loaded_mut(&mut self, id: ModuleId) -> Result<&mut Loaded> {
        match self.slots.get_mut(id.slot()) {
            Some(Slot { generation, loaded: Some(loaded) }) if *generation == id.generation() => Ok(loaded),
            _ => Err(Error::NoSuchModule { module: id }),
        }
    }

    #[inline]
    fn next_token(&mut self) -> QuotaToken {
        self.calls += 1;
        QuotaToken::new(self.calls)
    }

    /// The steady time, in µs.
    #[inline]
    fn now_us(&mut self) -> u64 {
        let raw = self.host().platform.timestamp_us();
        self.clock.read(raw)
    }

    /// Brings posts to the latches. Nothing but one load when there are none.
    #[inline]
    fn deliver_events(&mut self) {
        if self.host().pending.peek() != EventMask::NONE {
            let now = self.host().platform.timestamp_us();
            self.deliver_events_at(now);
        }
    }

    /// The same at a time, in µs of the platform's clock, that has just been read.
    #[inline]
    fn deliver_events_at(&mut self, now_us: u64) {
        let Some(host) = &self.host else { return };
        let events = host.pending.take();
        if events == EventMask::NONE {
            return;
        }
        let pending = &host.pending;
        self.schedule.deliver(events, |event| pending.take_time(event).unwrap_or(now_us).min(now_us));
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime")
            .field("modules", &self.names.keys())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}
