//! Bringing modules in: load, update, unload.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Loaded, Runtime, Slot};
use crate::app::{AppConfig, ModuleDecl, NAME_BYTES_MAX, cannot_meter};
use crate::artifact::{Artifact, ArtifactError};
use crate::budget::{ModuleBudget, Reservation};
use crate::error::{Entry, Error, Explained, Result};
use crate::instance::{Code, Instance};
use crate::module::{ModuleId, ModuleState};
use crate::policy::Policy;
use crate::stats::ModuleStats;

/// What was set aside for a load.
struct Memory {
    /// For the engine, when there was none yet.
    engine: Option<Reservation>,
    /// The engine's index.
    index: usize,
    module: Option<Reservation>,
}

impl Runtime {
    /// Loads a module from an artifact (or, with [`compile_on_load`](crate::RuntimeConfig::compile_on_load), from
    /// .wasm or .wat): hashes checked, imports resolved, memory made, start function run. Its state is
    /// [`Loaded`](ModuleState::Loaded).
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) for a name that is taken or a policy that the runtime cannot enforce,
    /// [`ModuleLimit`](crate::ErrorKind::ModuleLimit) when it is full, [`OutOfMemory`](crate::ErrorKind::OutOfMemory) when
    /// what it takes at most is not left, [`LoadFailed`](crate::ErrorKind::LoadFailed) for everything about the artifact. Each refusal is logged as a security record; nothing else changes on an error.
    pub fn load(&mut self, name: &str, artifact: &[u8], policy: &Policy) -> Result<ModuleId> {
        self.try_load(name, artifact, policy).map_err(|e| self.refuse(None, e))
    }

    fn try_load(&mut self, name: &str, artifact: &[u8], policy: &Policy) -> Result<ModuleId> {
        self.check_name(name)?;
        self.check_policy(name, policy)?;
        if self.names.len() >= self.config.application.max_modules as usize {
            return Err(Error::ModuleLimit { name: name.into(), limit: self.config.application.max_modules });
        }
        let memory = self.reserve(artifact, policy)?;
        // Posts that were made before this module existed are not for it.
        self.deliver_events();
        let id = self.free_slot();
        let made = self.make(name, id, artifact, policy);
        let memory = self.settle(memory);
        let loaded = match made {
            Ok(loaded) => Loaded { memory, ..loaded },
            Err(e) => {
                self.free.push(id.slot() as u32);
                return Err(e);
            }
        };
        self.names.insert(name.into(), id.slot() as u32);
        self.schedule.insert(id.slot() as u32, policy, self.loads);
        self.loads += 1;
        self.slots[id.slot()].loaded = Some(Box::new(loaded));
        self.outcomes.reserve(self.slots.len());
        Ok(id)
    }

    /// [`load`](Self::load) from a file. The file is read once and checked in memory, so that nobody can change it
    /// between the check and the use.
    ///
    /// # Errors
    /// As [`load`](Self::load); [`LoadFailed`](crate::ErrorKind::LoadFailed) when the file cannot be read.
    #[cfg(feature = "std")]
    pub fn load_file(
        &mut self,
        name: &str,
        path: impl AsRef<std::path::Path>,
        policy: &Policy,
    ) -> Result<ModuleId> {
        let path = path.as_ref();
        match std::fs::read(path) {
            Ok(artifact) => self.load(name, &artifact, policy),
            Err(e) => {
                let error = Error::load(name, format!("cannot read {}: {e}", path.display()));
                Err(self.refuse(None, error))
            }
        }
    }

    /// Loads all modules of an application, in order. `fetch` gives the artifact of a module that does not carry
    /// it; it gets the declaration, whose `binary` says where to look. On an error, what this call loaded is
    /// unloaded again.
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) when the application is not the one that the runtime was made for, or declares a
    /// group that the host did not register; else as [`load`](Self::load), or what `fetch` returned.
    pub fn load_app<'a>(
        &mut self,
        app: &'a AppConfig,
        mut fetch: impl FnMut(&'a ModuleDecl) -> Result<Cow<'a, [u8]>>,
    ) -> Result<Vec<ModuleId>> {
        app.validate()?;
        if app.application != self.config.application {
            return Err(Error::invalid(
                "the application is not the one that this runtime was made for; make the runtime with \
                 RuntimeConfig::new(app.application.clone())",
            ));
        }
        if let Some(missing) = app.application.custom_groups.iter().find(|g| !self.groups.contains(g)) {
            return Err(Error::invalid(format!(
                "the application declares the HAL group `{}`, which the host has not registered",
                missing.name
            )));
        }
        let mut loaded = Vec::with_capacity(app.modules.len());
        for module in &app.modules {
            let result = match &module.artifact {
                Some(artifact) => self.load(&module.name, artifact, &module.policy),
                None => fetch(module).and_then(|artifact| self.load(&module.name, &artifact, &module.policy)),
            };
            match result {
                Ok(id) => loaded.push(id),
                Err(e) => {
                    for id in loaded {
                        self.unload(id)?;
                    }
                    return Err(e);
                }
            }
        }
        Ok(loaded)
    }

    /// Replaces a module's artifact between steps. The new one is loaded, checked and (if the module was started)
    /// initialised before the old one is deinitialised and dropped; its memory is fresh. A failed module runs again. Name, id, policy,
    /// statistics and waiting events stay.
    ///
    /// # Errors
    /// As [`load`](Self::load), and the failure of the new `module_init`. The old one then goes on as if nothing
    /// had happened.
    pub fn update(&mut self, id: ModuleId, artifact: &[u8]) -> Result<()> {
        let (name, policy, state, started, old_reserved) = {
            let old = self.loaded(id)?;
            (old.name.clone(), old.policy.clone(), old.state, old.started, old.reserved)
        };
        let failed = matches!(state, ModuleState::Trapped | ModuleState::QuotaExceeded);
        if started && self.stopped {
            return Err(self.is_stopped("update"));
        }
        let memory = self.reserve(artifact, &policy).map_err(|e| self.refuse(Some(id), e))?;
        let made = self.make(&name, id, artifact, &policy);
        let memory = self.settle(memory);
        let mut new = match made {
            Ok(new) => new,
            Err(e) => return Err(self.refuse(Some(id), e)),
        };
        if started || failed {
            let token = self.next_token();
            if let Err(stop) = new.instance.call(Entry::Init, token, &mut self.host) {
                self.pool_used -= new.reserved;
                let failure = stop.failure;
                let group = Self::missing_group(&self.groups, failure).map(String::from);
                let error = Error::Failed { name, module: id, entry: Entry::Init, failure, group };
                return Err(self.refuse(Some(id), error));
            }
        }
        self.deinit(id);
        let old = self.loaded_mut(id)?;
        (old.code, old.instance, old.reserved) = (new.code, new.instance, new.reserved);
        old.memory = memory;
        old.stats.memory_peak_bytes = old.stats.memory_peak_bytes.max(new.stats.memory_peak_bytes);
        if failed {
            (old.state, old.started, old.failure) = (ModuleState::Running, true, None);
            self.schedule.reset(id.slot() as u32);
            self.schedule.activate(id.slot() as u32);
        }
        self.pool_used -= old_reserved;
        Ok(())
    }

    /// Unloads a module, whatever its state. Its `module_deinit` runs under its quota if it was ever started and
    /// has not failed; a failure there is logged and not returned.
    ///
    /// # Errors
    /// [`NotFound`](crate::ErrorKind::NotFound).
    pub fn unload(&mut self, id: ModuleId) -> Result<()> {
        self.loaded(id)?;
        self.deliver_events();
        self.deinit(id);
        let slot = id.slot() as u32;
        self.schedule.remove(slot);
        let place = &mut self.slots[id.slot()];
        if let Some(loaded) = place.loaded.take() {
            self.pool_used -= loaded.reserved;
            self.names.remove(&loaded.name);
        }
        // A slot whose generations are used up is not used again: ids stay unique.
        if let Some(next) = place.generation.checked_add(1) {
            place.generation = next;
            self.free.push(slot);
        }
        Ok(())
    }

    /// Runs `module_deinit` where it is owed.
    fn deinit(&mut self, id: ModuleId) {
        let token = self.next_token();
        let Some(Slot { loaded: Some(loaded), .. }) = self.slots.get_mut(id.slot()) else { return };
        let healthy = matches!(loaded.state, ModuleState::Running | ModuleState::Paused);
        if !loaded.started || !healthy {
            return;
        }
        if let Err(stop) = loaded.instance.call(Entry::Deinit, token, &mut self.host) {
            super::step::count(&mut loaded.stats, stop.failure);
            if let Some(host) = &mut self.host {
                let name = &loaded.name;
                let failure = Explained(stop.failure, Self::missing_group(&self.groups, stop.failure));
                host.security(Some(id), format_args!("`{name}` in module_deinit: {failure}"));
            }
        }
    }

    /// Logs a refusal and passes it on.
    fn refuse(&mut self, module: Option<ModuleId>, error: Error) -> Error {
        self.host_mut().security(module, format_args!("{error}"));
        error
    }

    fn check_name(&self, name: &str) -> Result<()> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "a module's name is 1 to {NAME_BYTES_MAX} bytes without control characters"
            )));
        }
        if self.names.contains_key(name) {
            return Err(Error::invalid(format!(
                "a module named `{name}` is loaded already; unload or update it"
            )));
        }
        Ok(())
    }

    /// Whether the runtime can enforce the policy.
    fn check_policy(&self, name: &str, policy: &Policy) -> Result<()> {
        let invalid = |why: String| Err(Error::invalid(format!("the policy of `{name}`: {why}")));
        policy.validate().or_else(|e| invalid(format!("{e}")))?;
        if policy.stack_size > self.config.stack_bytes_max {
            return invalid(format!(
                "stack_size is {} bytes, the runtime's stack_bytes_max is {}",
                policy.stack_size, self.config.stack_bytes_max
            ));
        }
        let metering = self.config.application.metering;
        if policy.fuel_quota != 0 && !metering.has_fuel() {
            return invalid(cannot_meter("fuel_quota", metering));
        }
        if policy.cpu_quota_us != 0 && !metering.has_wall() {
            return invalid(cannot_meter("cpu_quota_us", metering));
        }
        if policy.cpu_quota_us != 0 && !self.host().platform.enforces_quota() {
            return invalid("cpu_quota_us cannot be enforced: this platform has no quota timer".into());
        }
        let enabled = self.groups.iter().fold(self.imports.built_in, |all, group| all | group.capability());
        let foreign = policy.capabilities.without(enabled);
        if !foreign.is_empty() {
            return invalid(format!("it grants {foreign}, which no enabled HAL group has"));
        }
        Ok(())
    }

    /// Sets memory aside for all that loading this artifact takes, and for its engine.
    fn reserve(&self, artifact: &[u8], policy: &Policy) -> Result<Memory> {
        let none = Memory { engine: None, index: 0, module: None };
        let Some(ledger) = self.ledger else { return Ok(none) };
        // What is no artifact is refused before anything is made of it.
        let Some(budget) = ModuleBudget::of(artifact, policy, self.code_alignment) else { return Ok(none) };
        let engine = self.reserve_engine(budget.engine)?;
        let module = Reservation::take(Some(ledger), "the module", budget.bytes())?;
        Ok(Memory { engine, index: budget.engine, module })
    }

    /// After a load: an engine that was made stays, and so does its memory.
    fn settle(&mut self, memory: Memory) -> Option<Reservation> {
        if self.host().quota.engines.get(memory.index).is_some() {
            self.keep(memory.engine);
        }
        memory.module
    }

    /// A slot for a new module; the caller gives it back if the load fails.
    fn free_slot(&mut self) -> ModuleId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 1, loaded: None });
            (self.slots.len() - 1) as u32
        });
        ModuleId::new(slot, self.slots[slot as usize].generation)
    }

    /// Makes a module from an artifact, without putting it anywhere. Takes its memory from the pool.
    fn make(&mut self, name: &str, id: ModuleId, artifact: &[u8], policy: &Policy) -> Result<Loaded> {
        let code = self.code(artifact, policy).map_err(|why| Error::load(name, why))?;
        let reserved = code.memory_budget(policy);
        let pool = self.config.application.memory_pool_bytes;
        if pool != 0 && self.pool_used.saturating_add(reserved) > pool {
            return Err(Error::load(
                name,
                format!(
                    "it may reach {reserved} bytes of memory, and {} of the pool's {pool} are left (memory_pool_bytes)",
                    pool.saturating_sub(self.pool_used)
                ),
            ));
        }
        let token = self.next_token();
        let instance = Instance::new(&code, policy, id, token, &mut self.host).map_err(|stop| {
            let why = match stop.failure {
                crate::error::Failure::Trap(crate::error::TrapCause::Other) => format!("{:#}", stop.engine),
                failure => {
                    let group = Self::missing_group(&self.groups, failure);
                    format!("{} ended: {}", Entry::Start, Explained(failure, group))
                }
            };
            Error::load(name, why)
        })?;
        self.pool_used += reserved;
        let stats =
            ModuleStats { memory_peak_bytes: instance.memory().len() as u64, ..ModuleStats::default() };
        Ok(Loaded {
            name: name.into(),
            policy: policy.clone(),
            state: ModuleState::Loaded,
            started: false,
            code,
            instance,
            reserved,
            stats,
            failure: None,
            memory: None,
        })
    }

    /// Checked code for this runtime's engine.
    fn code(&mut self, bytes: &[u8], policy: &Policy) -> core::result::Result<Code, String> {
        let settings = self.host().quota.engines.settings();
        if !Artifact::is_artifact(bytes)
            && !Artifact::parse(bytes).is_err_and(|e| matches!(e, ArtifactError::Truncated { .. }))
        {
            return self.compile_here(bytes, policy, &format!("{}", ArtifactError::NotAnArtifact));
        }
        let artifact = Artifact::parse(bytes).map_err(|e| format!("{e}"))?;
        if let Some(obstacle) = artifact.identity.obstacle(settings, artifact.metering) {
            return match artifact.portable {
                Some(portable) => self.compile_here(portable.bytes, policy, &obstacle),
                None => Err(format!("{obstacle}; it carries no portable module to compile again")),
            };
        }
        self.deserialize(&artifact, policy)
    }

    fn deserialize(
        &mut self,
        artifact: &Artifact<'_>,
        policy: &Policy,
    ) -> core::result::Result<Code, String> {
        let host = match &self.host {
            Some(host) => host,
            None => return Err("the runtime is in a call".into()),
        };
        // SAFETY: `Artifact::parse` has checked the SHA-256 of the code, so it is what the compiler wrote for the
        // identity in the header, which `obstacle` has compared; whoever signs off the artifact is trusted.
        unsafe { Code::deserialize(artifact, policy, &host.quota.engines, &mut self.linkers, &self.imports) }
    }

    #[cfg(feature = "compiler")]
    fn compile_here(
        &mut self,
        source: &[u8],
        policy: &Policy,
        why: &str,
    ) -> core::result::Result<Code, String> {
        if !self.config.compile_on_load {
            return Err(format!("{why}; the runtime is set not to compile (compile_on_load)"));
        }
        let options = crate::artifact::CompileOptions {
            metering: self.config.application.metering,
            traps: self.config.traps,
            portable: false,
            ..crate::artifact::CompileOptions::default()
        };
        let compiled = crate::artifact::compile(source, &options).map_err(|e| format!("{e}"))?;
        let artifact = Artifact::parse(&compiled).map_err(|e| format!("{e}"))?;
        self.deserialize(&artifact, policy)
    }

    #[cfg(not(feature = "compiler"))]
    fn compile_here(&mut self, _: &[u8], _: &Policy, why: &str) -> core::result::Result<Code, String> {
        Err(format!("{why}; this build has no compiler"))
    }
}
