//! Code that has been checked and can be made into instances, and one instance with its entry points.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use wasmtime::{Engine, ExternType, InstancePre, Linker, Module, Store, TypedFunc, UpdateDeadline};

use crate::artifact::Artifact;
use crate::budget::instance_bytes;
use crate::engine::{EngineTable, built_in_import};
use crate::error::{Entry, Failure, Quota, TrapCause};
use crate::hal::{Capabilities, FunctionDecl};
use crate::host::{Ctx, Host, MemoryBounds, TABLE_ELEMENTS_MAX, built_in_takes_pointer, func_type};
use crate::host::{link_built_in, link_custom, pages_to_bytes, stopped};
use crate::module::ModuleId;
use crate::policy::Policy;
use crate::quota::QuotaToken;

/// A function that the host registered: its shape, capability and place among the callbacks.
pub(crate) struct CustomImport {
    pub(crate) decl: FunctionDecl,
    pub(crate) capability: Capabilities,
    pub(crate) index: usize,
}

/// What modules may import.
#[derive(Default)]
pub(crate) struct Imports {
    pub(crate) built_in: Capabilities,
    pub(crate) custom: BTreeMap<String, CustomImport>,
}

/// One linker for each engine, with the imports that a module has asked for so far.
#[derive(Default)]
pub(crate) struct Linkers {
    by_engine: BTreeMap<usize, Linked>,
}

struct Linked {
    linker: Linker<Ctx>,
    names: Vec<String>,
}

impl Linkers {
    /// A linker that defines what `module` imports, or why that cannot be.
    fn prepare(
        &mut self,
        index: usize,
        engine: &Engine,
        module: &Module,
        imports: &Imports,
    ) -> Result<&Linker<Ctx>, String> {
        let linked = self
            .by_engine
            .entry(index)
            .or_insert_with(|| Linked { linker: Linker::new(engine), names: Vec::new() });
        let has_memory = matches!(module.get_export("memory"), Some(ExternType::Memory(_)));
        for import in module.imports() {
            let name = import.name();
            if import.module() != "env" {
                return Err(format!(
                    "it imports `{}.{name}`; only functions of `env` exist (no WASI, no other modules)",
                    import.module()
                ));
            }
            let ExternType::Func(ty) = import.ty() else {
                return Err(format!(
                    "it imports `env.{name}`, which is not a function; only functions can be imported"
                ));
            };
            if !linked.names.iter().any(|n| n == name) {
                linked.define(name, imports)?;
            }
            let custom = imports.custom.get(name);
            let wanted = custom.map(|c| func_type(engine, &c.decl)).transpose();
            let wanted = wanted.map_err(|e| format!("cannot link `env.{name}`: {e:#}"))?;
            if let (Some(custom), Some(wanted)) = (custom, wanted)
                && !wanted.matches(&ty)
            {
                return Err(format!(
                    "it imports `env.{name}` with type {ty}; the host registered {}",
                    custom.decl
                ));
            }
            let pointer = custom.map_or_else(
                || built_in_takes_pointer(name),
                |c| c.decl.params.iter().any(|p| p.is_buffer()),
            );
            if pointer && !has_memory {
                return Err(format!(
                    "it imports `env.{name}`, which takes a pointer, but exports no `memory`"
                ));
            }
        }
        Ok(&linked.linker)
    }
}

impl Linked {
    fn define(&mut self, name: &str, imports: &Imports) -> Result<(), String> {
        let explain = |e: wasmtime::Error| format!("cannot link `env.{name}`: {e:#}");
        if let Some(capability) = built_in_import(name) {
            if !imports.built_in.contains(capability)
                || !link_built_in(&mut self.linker, name).map_err(explain)?
            {
                return Err(format!(
                    "it imports `env.{name}`, whose HAL group ({capability}) is not enabled"
                ));
            }
        } else if let Some(custom) = imports.custom.get(name) {
            link_custom(&mut self.linker, &custom.decl, custom.capability, custom.index).map_err(explain)?;
        } else {
            return Err(format!("it imports `env.{name}`, which no enabled HAL group provides"));
        }
        self.names.push(name.to_owned());
        Ok(())
    }
}

/// Code that loaded, with its imports resolved.
pub(crate) struct Code {
    pre: InstancePre<Ctx>,
    pub(crate) engine_index: usize,
    /// Initial size of the exported memory, in bytes; 0 without one.
    initial_memory: u64,
    /// Most bytes that an instance takes.
    pub(crate) instance_bytes: u64,
    has_init: bool,
    has_deinit: bool,
}

impl Code {
    /// Makes code from the engine's own format.
    ///
    /// # Safety
    /// The code must be what the engine's compiler wrote, unchanged: native code is trusted.
    pub(crate) unsafe fn deserialize(
        artifact: &Artifact<'_>,
        policy: &Policy,
        engines: &EngineTable,
        linkers: &mut Linkers,
        imports: &Imports,
    ) -> Result<Self, String> {
        let (engine_index, engine) =
            engines.for_stack(policy.stack_size, artifact.identity.target).map_err(|e| format!("{e}"))?;
        // SAFETY: the caller's.
        let module =
            unsafe { Module::deserialize(engine, artifact.code.bytes) }.map_err(|e| format!("{e:#}"))?;
        let linker = linkers.prepare(engine_index, engine, &module, imports)?;
        let (step, has_init) = (entry(&module, "module_step")?, entry(&module, "module_init")?);
        let has_deinit = entry(&module, "module_deinit")?;
        if !step {
            return Err("it does not export `module_step` () -> ()".into());
        }
        let initial_memory = initial_memory(&module, policy)?;
        let demand = artifact.demand;
        if demand.memory_pages.is_some_and(|pages| pages_to_bytes(pages.into()) < initial_memory) {
            return Err("its header names less memory than it starts with; compile it again".into());
        }
        let elements = demand.table_elements.map_or(TABLE_ELEMENTS_MAX as u64, u64::from);
        let instance_bytes =
            instance_bytes(artifact.code.bytes, policy.memory_budget(initial_memory), elements);
        let pre = linker.instantiate_pre(&module).map_err(|e| format!("{e:#}"))?;
        Ok(Self { pre, engine_index, initial_memory, instance_bytes, has_init, has_deinit })
    }

    /// Most bytes that the memory of an instance may reach.
    pub(crate) fn memory_budget(&self, policy: &Policy) -> u64 {
        policy.memory_budget(self.initial_memory)
    }
}

/// Whether the module exports this entry point; an export of another type is an error.
fn entry(module: &Module, name: &str) -> Result<bool, String> {
    match module.get_export(name) {
        None => Ok(false),
        Some(ExternType::Func(ty)) if ty.params().len() == 0 && ty.results().len() == 0 => Ok(true),
        Some(ExternType::Func(ty)) => Err(format!("it exports `{name}` with type {ty}; it must be (func)")),
        Some(_) => Err(format!("it exports `{name}`, which is not a function")),
    }
}

fn initial_memory(module: &Module, policy: &Policy) -> Result<u64, String> {
    let required = module.resources_required();
    let pages = required.max_initial_memory_size.unwrap_or(0);
    if required.num_memories > 1 {
        return Err(format!("it has {} memories; one is possible", required.num_memories));
    }
    if pages > u64::from(policy.memory_pages_max) {
        return Err(format!(
            "its memory starts with {pages} pages, memory_pages_max is {}",
            policy.memory_pages_max
        ));
    }
    let table = required.max_initial_table_size.unwrap_or(0);
    if table > TABLE_ELEMENTS_MAX as u64 {
        return Err(format!(
            "a table starts with {table} elements; at most {TABLE_ELEMENTS_MAX} are possible"
        ));
    }
    Ok(pages_to_bytes(pages))
}

/// One instance: its memory, and where to enter it.
pub(crate) struct Instance {
    pub(crate) store: Store<Ctx>,
    engine_index: usize,
    step: TypedFunc<(), ()>,
    init: Option<TypedFunc<(), ()>>,
    deinit: Option<TypedFunc<(), ()>>,
    has_wall: bool,
    has_fuel: bool,
    wall_us: u32,
    /// What a call is given: one more than the quota, so that using all of the quota is not yet too much.
    fuel: u64,
    /// 0 = unlimited.
    fuel_quota: u64,
}

/// Lends the shared part to the store of a module for as long as guest code runs, and arms its quotas.
/// However the call ends, by a panic of a callback too, the part goes back and the timer is stopped.
struct Lease<'a> {
    store: &'a mut Store<Ctx>,
    home: &'a mut Option<Box<Host>>,
    armed: bool,
}

impl Drop for Lease<'_> {
    #[inline]
    fn drop(&mut self) {
        core::mem::swap(self.home, &mut self.store.data_mut().host);
        if self.armed
            && let Some(host) = self.home
        {
            host.platform.quota_cancel();
        }
    }
}

/// A failed call, before it is put into words.
pub(crate) struct Stop {
    pub(crate) failure: Failure,
    /// What the engine said, for traps that have no class of their own.
    pub(crate) engine: wasmtime::Error,
}

impl Instance {
    /// Instantiates code; its start function, if it has one, runs under the policy.
    pub(crate) fn new(
        code: &Code,
        policy: &Policy,
        module: ModuleId,
        token: QuotaToken,
        home: &mut Option<Box<Host>>,
    ) -> Result<Self, Stop> {
        let Some(quota) = home.as_ref().map(|host| host.quota.clone()) else {
            return Err(Stop { failure: Failure::Trap(TrapCause::Other), engine: stopped() });
        };
        let settings = quota.engines.settings();
        let budget = code.memory_budget(policy);
        let ctx = Ctx {
            host: None,
            module,
            capabilities: policy.capabilities,
            token: QuotaToken::NONE,
            memory: None,
            bounds: MemoryBounds { budget, peak: 0 },
            failure: None,
            out_of_time: false,
        };
        let (has_wall, has_fuel) = (settings.metering.has_wall(), settings.metering.has_fuel());
        let mut store = Store::try_new(code.pre.module().engine(), ctx)
            .map_err(|engine| Stop { failure: Failure::Trap(TrapCause::Other), engine })?;
        store.limiter(|ctx| &mut ctx.bounds);
        if has_wall {
            store.set_epoch_deadline(1);
            let cell = quota.clone();
            store.epoch_deadline_callback(move |mut context| {
                let ctx = context.data_mut();
                if cell.is_killed_after_epoch(ctx.token) {
                    ctx.out_of_time = true;
                    return Err(stopped());
                }
                Ok(UpdateDeadline::Continue(1))
            });
        }
        quota.engines.reserve.set(usize::try_from(budget).unwrap_or(usize::MAX));
        let wall_us = if has_wall { policy.cpu_quota_us } else { 0 };
        let fuel_quota = policy.fuel_quota;
        let fuel = if fuel_quota == 0 { u64::MAX } else { fuel_quota.saturating_add(1) };
        let run = Run { engine_index: code.engine_index, wall_us, token, fuel: None };
        // Copying data segments is charged too; it is bounded by the initial memory, and is not the module's work.
        let run = Run { fuel: has_fuel.then(|| fuel.saturating_add(code.initial_memory)), ..run };
        let made = run.enter(&mut store, home, |store| {
            let instance = code.pre.instantiate(&mut *store)?;
            store.data_mut().memory = instance.get_memory(&mut *store, "memory");
            let mut entry = |name: &str, there: bool| {
                there.then(|| instance.get_typed_func::<(), ()>(&mut *store, name)).transpose()
            };
            let (init, deinit) =
                (entry("module_init", code.has_init)?, entry("module_deinit", code.has_deinit)?);
            Ok((instance.get_typed_func(&mut *store, "module_step")?, init, deinit))
        });
        match made {
            Ok((step, init, deinit)) => {
                let engine_index = code.engine_index;
                Ok(Self {
                    store,
                    engine_index,
                    step,
                    init,
                    deinit,
                    has_wall,
                    has_fuel,
                    wall_us,
                    fuel,
                    fuel_quota,
                })
            }
            Err(engine) => Err(classify(&mut store, engine, wall_us, fuel_quota)),
        }
    }

    /// Runs an entry point under the policy's quotas. An optional one that is not there succeeds.
    #[inline]
    pub(crate) fn call(
        &mut self,
        entry: Entry,
        token: QuotaToken,
        home: &mut Option<Box<Host>>,
    ) -> Result<(), Stop> {
        let function = match entry {
            Entry::Init => self.init.as_ref(),
            Entry::Deinit => self.deinit.as_ref(),
            Entry::Step | Entry::Start => Some(&self.step),
        };
        let Some(function) = function else {
            if self.has_fuel {
                // Nothing ran: what an earlier call left must not count as used by this one.
                self.store.set_fuel(self.fuel).map_err(|engine| self.stop(engine))?;
            }
            return Ok(());
        };
        let run = Run {
            engine_index: self.engine_index,
            wall_us: self.wall_us,
            token,
            fuel: if self.has_fuel { Some(self.fuel) } else { None },
        };
        match run.enter(&mut self.store, home, |store| function.call(store, ())) {
            // The engine looks at fuel at function entries and loop headers only; straight code can run past it.
            Ok(()) if self.has_fuel && self.store.get_fuel().is_ok_and(|left| left == 0) => {
                Err(self.stop(wasmtime::Trap::OutOfFuel.into()))
            }
            Ok(()) => Ok(()),
            Err(engine) => Err(self.stop(engine)),
        }
    }

    #[cold]
    fn stop(&mut self, engine: wasmtime::Error) -> Stop {
        let quota = self.fuel_quota;
        classify(&mut self.store, engine, self.wall_us, quota)
    }

    /// Whether a call has a wall quota to be armed.
    #[inline]
    pub(crate) const fn has_wall_quota(&self) -> bool {
        self.wall_us != 0 && self.has_wall
    }

    /// Instructions that the last call used; at most the quota.
    #[inline]
    pub(crate) fn fuel_used(&self) -> u64 {
        let left = self.store.get_fuel().unwrap_or(self.fuel);
        let used = self.fuel.saturating_sub(left);
        if self.fuel_quota == 0 { used } else { used.min(self.fuel_quota) }
    }

    pub(crate) const fn has_fuel(&self) -> bool {
        self.has_fuel
    }

    /// Size of linear memory now, in bytes.
    pub(crate) fn memory(&self) -> &[u8] {
        self.store.data().memory.map_or(&[], |memory| memory.data(&self.store))
    }
}

/// How one call is entered.
#[derive(Clone, Copy)]
struct Run {
    engine_index: usize,
    /// 0 = none.
    wall_us: u32,
    token: QuotaToken,
    fuel: Option<u64>,
}

impl Run {
    #[inline]
    fn enter<T>(
        self,
        store: &mut Store<Ctx>,
        home: &mut Option<Box<Host>>,
        call: impl FnOnce(&mut Store<Ctx>) -> wasmtime::Result<T>,
    ) -> wasmtime::Result<T> {
        if let Some(fuel) = self.fuel {
            store.set_fuel(fuel)?;
        }
        let host = home.as_mut().ok_or_else(stopped)?;
        let armed = self.wall_us != 0;
        let ctx = store.data_mut();
        if armed {
            // The token and the engine first, then the timer: an expiry finds the call that it is for.
            ctx.token = self.token;
            host.quota.enter(self.engine_index);
            host.platform.quota_arm(self.wall_us, self.token);
        } else {
            ctx.token = QuotaToken::NONE;
        }
        // Both ways by swapping: no value can be lost, so none has to be dropped.
        core::mem::swap(home, &mut ctx.host);
        let lease = Lease { store, home, armed };
        call(&mut *lease.store)
    }
}

/// Why a call ended.
fn classify(store: &mut Store<Ctx>, engine: wasmtime::Error, wall_us: u32, fuel: u64) -> Stop {
    let ctx = store.data_mut();
    let out_of_time = core::mem::take(&mut ctx.out_of_time);
    let failure = match ctx.failure.take() {
        Some(failure) => failure,
        None if out_of_time => Failure::Quota(Quota::Wall { quota_us: u64::from(wall_us) }),
        None => trap_failure(engine.downcast_ref::<wasmtime::Trap>(), fuel),
    };
    Stop { failure, engine }
}

fn trap_failure(trap: Option<&wasmtime::Trap>, fuel: u64) -> Failure {
    use wasmtime::Trap;
    Failure::Trap(match trap {
        Some(Trap::OutOfFuel) => return Failure::Quota(Quota::Fuel { quota: fuel }),
        Some(Trap::StackOverflow) => TrapCause::StackOverflow,
        Some(Trap::MemoryOutOfBounds | Trap::HeapMisaligned) => TrapCause::MemoryOutOfBounds,
        Some(Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature) => TrapCause::Table,
        Some(Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger) => {
            TrapCause::Arithmetic
        }
        Some(Trap::UnreachableCodeReached) => TrapCause::Unreachable,
        _ => TrapCause::Other,
    })
}
