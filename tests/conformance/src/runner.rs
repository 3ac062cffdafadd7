//! Plays a scenario on a runtime whose clock is the scenario's.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fuse_edge::artifact::{self, CompileOptions};
use fuse_edge::{
    AppConfig, Application, Error, EventId, LinuxPlatform, ManualClock, ManualPlatform, Metering, ModuleId,
    Policy, Runtime, RuntimeConfig,
};
use serde_json::{Value, json};

use crate::host::{Calls, Host, build_group, from_hex, set_callback, to_hex};
use crate::scenario::{Action, Check, Damage, Group, LogEntry, Need, Scenario, Source, Step};

mod check;

/// What the modules of a run are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The processor that the test runs on.
    Native,
    /// The interpreter.
    Pulley64,
}

impl Target {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Native, Self::Pulley64];

    /// The name, as results show it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Pulley64 => "pulley64",
        }
    }

    const fn artifact(self) -> artifact::Target {
        match self {
            Self::Native => artifact::Target::default_here(),
            Self::Pulley64 => artifact::Target::Pulley64,
        }
    }
}

/// How a call into the runtime ended: `Err` outside is a mistake of the scenario or a mismatch.
type Outcome = Result<Result<(), Error>, String>;

/// Plays one scenario.
pub struct Runner<'a> {
    scenario: &'a Scenario,
    folder: PathBuf,
    target: Target,
    rt: Runtime,
    host: Host,
    handles: BTreeMap<String, ModuleId>,
    /// The names that ids had, of unloaded modules too.
    known: Vec<(String, ModuleId)>,
    log_read: u64,
}

impl<'a> Runner<'a> {
    /// What this runner cannot do and the scenario needs.
    ///
    /// A callback that would call the runtime that calls it does not compile, because the runtime would have to be
    /// borrowed for as long as the callback lives:
    ///
    /// ```compile_fail,E0499
    /// use fuse_edge::{ManualPlatform, ModuleId, Runtime, RuntimeConfig};
    /// fn reenter(runtime: &mut Runtime, module: ModuleId) {
    ///     runtime.set_temp(|| {
    ///         runtime.unload(module).ok();
    ///         Ok(0.0)
    ///     });
    /// }
    /// ```
    #[must_use]
    pub fn lacks(scenario: &Scenario) -> Option<&'static str> {
        scenario.needs.contains(&Need::Reentry).then_some(
            "a Rust callback cannot call the runtime that called it: the borrow checker refuses the program",
        )
    }

    /// Plays the scenario in this file for this target.
    ///
    /// # Errors
    /// The first step that did not do what the scenario says, and how it differed.
    pub fn play(path: &Path, target: Target) -> Result<(), String> {
        let scenario = Scenario::read(path)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut runner = Runner::new(&scenario, folder, target)?;
        for (index, step) in scenario.steps.iter().enumerate() {
            for _ in 0..step.times {
                runner.step(step).map_err(|e| format!("step {index}: {}\n    {e}", step.text))?;
            }
        }
        Ok(())
    }

    fn new(scenario: &'a Scenario, folder: &Path, target: Target) -> Result<Self, String> {
        let application = match &scenario.application {
            None => Application::default(),
            Some(application) => {
                parse_app(&application_json(application))
                    .map_err(|e| format!("the scenario's application: {e}"))?
                    .application
            }
        };
        let (rt, clock) = new_runtime(scenario, application)?;
        let host = Host { calls: Calls::default(), clock, poster: rt.poster() };
        let handles = BTreeMap::new();
        Ok(Self {
            scenario,
            folder: folder.into(),
            target,
            rt,
            host,
            handles,
            known: Vec::new(),
            log_read: 0,
        })
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let result = self.act(&step.action)?;
        match (&step.error, result) {
            (None, Ok(())) => Ok(()),
            (None, Err(e)) => Err(format!("failed with {}: {e}", e.kind())),
            (Some(kind), Ok(())) => Err(format!("succeeded, {kind} was expected")),
            (Some(kind), Err(e)) if e.kind().name() != kind => {
                Err(format!("failed with {}: {e}\n    {kind} was expected", e.kind()))
            }
            (Some(_), Err(e)) => {
                let text = e.to_string();
                match step.message.iter().find(|part| !text.contains(part.as_str())) {
                    Some(part) => Err(format!("its message lacks `{part}`: {text}")),
                    None => Ok(()),
                }
            }
        }
    }

    fn act(&mut self, action: &Action) -> Outcome {
        match action {
            Action::Load { module, handle, name, damage } => {
                let handle = handle.as_ref().unwrap_or(module);
                self.load(module, handle, name.as_ref().unwrap_or(handle), *damage)
            }
            Action::Start { module } => self.with(module, Runtime::start),
            Action::Pause { module } => self.with(module, Runtime::pause),
            Action::RunStep { module } => self.with(module, |rt, id| rt.run_step(id)),
            Action::Unload { module } => self.with(module, Runtime::unload),
            Action::RestartModule { module } => self.with(module, Runtime::restart_module),
            Action::Update { module, with, damage } => {
                let artifact = match self.artifact(with, *damage)? {
                    Ok(artifact) => artifact,
                    Err(e) => return Ok(Err(e)),
                };
                self.with(module, |rt, id| rt.update(id, &artifact))
            }
            Action::Tick { ran, failed } => self.tick(ran.as_deref(), failed),
            Action::Post { event, from_thread } => {
                Ok(EventId::new(*event).map(|id| self.post(id, *from_thread)))
            }
            Action::Clear { event } => Ok(EventId::new(*event).map(|id| self.rt.clear_event(id))),
            Action::Stop => Ok(self.rt.stop()),
            Action::Restart => Ok(self.rt.restart()),
            Action::Clock { set_us, advance_us } => {
                set_us.iter().for_each(|us| self.host.clock.set_us(*us));
                advance_us.iter().for_each(|us| self.host.clock.advance_us(*us));
                Ok(Ok(()))
            }
            Action::Callback { function, script } => {
                set_callback(&mut self.rt, &self.host, function, script.clone()).map(Ok)
            }
            Action::Group(group) => self.register(group),
            Action::App { .. } => self.app(action),
            Action::Policy { .. } => policy(action),
            Action::Check(check) => self.check(check).map(Ok),
        }
    }

    fn id(&self, handle: &str) -> Result<ModuleId, String> {
        self.handles.get(handle).copied().ok_or_else(|| format!("nothing was loaded as `{handle}`"))
    }

    fn with(
        &mut self,
        handle: &str,
        call: impl FnOnce(&mut Runtime, ModuleId) -> Result<(), Error>,
    ) -> Outcome {
        let id = self.id(handle)?;
        Ok(call(&mut self.rt, id))
    }

    fn post(&self, event: EventId, from_thread: bool) {
        if from_thread {
            let poster = self.rt.poster();
            std::thread::scope(|s| {
                s.spawn(move || poster.post(event));
            });
        } else {
            self.rt.post_event(event);
        }
    }

    fn register(&mut self, group: &Group) -> Outcome {
        let built = build_group(&self.host, group)?;
        Ok(self.rt.register_group(built))
    }

    fn source(&self, key: &str) -> Result<&'a Source, String> {
        self.scenario.modules.get(key).ok_or_else(|| format!("there is no module `{key}`"))
    }

    /// The artifact of a module, as the scenario wants it compiled and damaged.
    fn artifact(&self, key: &str, damage: Option<Damage>) -> Result<Result<Vec<u8>, Error>, String> {
        let source = self.source(key)?;
        let bytes = match (&source.hex, &source.file) {
            (Some(hex), _) => from_hex(hex)?,
            (None, Some(file)) => {
                let path = self.folder.join(file);
                let text =
                    std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
                match artifact::compile(&text, &self.options(source)?) {
                    Ok(bytes) => bytes,
                    Err(e) => return Ok(Err(e)),
                }
            }
            (None, None) => match artifact::compile(source.wat.join("\n").as_bytes(), &self.options(source)?)
            {
                Ok(bytes) => bytes,
                Err(e) => return Ok(Err(e)),
            },
        };
        Ok(Ok(match damage {
            Some(damage) => damage.apply(bytes),
            None => bytes,
        }))
    }

    fn options(&self, source: &Source) -> Result<CompileOptions, String> {
        let wanted = &source.compile;
        let metering = match &wanted.metering {
            None => self.rt.config().application.metering,
            Some(name) => Metering::from_name(name).ok_or_else(|| format!("unknown metering `{name}`"))?,
        };
        let target = match &wanted.target {
            None => self.target.artifact(),
            Some(name) => {
                artifact::Target::from_name(name).ok_or_else(|| format!("unknown target `{name}`"))?
            }
        };
        Ok(CompileOptions { metering, target, portable: wanted.portable, ..CompileOptions::default() })
    }

    fn load(&mut self, key: &str, handle: &str, name: &str, damage: Option<Damage>) -> Outcome {
        let source = self.source(key)?;
        let policy = match (&source.policy, &source.policy_hex) {
            (Some(json), _) => Policy::from_json(&json.to_string()),
            (None, Some(hex)) => Policy::from_bytes(&from_hex(hex)?),
            (None, None) => Ok(Policy::default()),
        };
        let policy = match policy {
            Ok(policy) => policy,
            Err(e) => return Ok(Err(e)),
        };
        let artifact = match self.artifact(key, damage)? {
            Ok(artifact) => artifact,
            Err(e) => return Ok(Err(e)),
        };
        Ok(self.rt.load(name, &artifact, &policy).map(|id| self.remember(handle, id)))
    }

    fn remember(&mut self, handle: &str, id: ModuleId) {
        self.handles.insert(handle.into(), id);
        self.known.push((handle.into(), id));
    }

    /// The handle that an id was loaded as last.
    fn handle(&self, id: ModuleId) -> String {
        let known = self.known.iter().rev().find(|(_, known)| *known == id);
        known.map_or_else(|| format!("?{id}"), |(handle, _)| handle.clone())
    }

    fn tick(&mut self, ran: Option<&[String]>, failed: &BTreeMap<String, String>) -> Outcome {
        let outcomes = match self.rt.tick() {
            Ok(report) => report.outcomes().to_vec(),
            Err(e) => return Ok(Err(e)),
        };
        let did_run: Vec<String> = outcomes.iter().map(|o| self.handle(o.module)).collect();
        if ran.is_some_and(|ran| ran != did_run) {
            return Err(format!("{did_run:?} ran"));
        }
        let did_fail: BTreeMap<String, String> = outcomes
            .iter()
            .filter_map(|o| o.result.err().map(|kind| (self.handle(o.module), kind.name().to_string())))
            .collect();
        if *failed != did_fail {
            return Err(format!("{did_fail:?} failed"));
        }
        Ok(Ok(()))
    }

    fn app(&mut self, action: &Action) -> Outcome {
        let Action::App { config, text, packed, parse_only, groups, damage } = action else {
            return Err("not an application".into());
        };
        let source = config.as_ref().map_or_else(|| text.join("\n"), Value::to_string);
        let mut app = match parse_app(&source) {
            Ok(app) if !parse_only => app,
            Ok(_) => return Ok(Ok(())),
            Err(e) => return Ok(Err(e)),
        };
        let (rt, clock) = new_runtime(self.scenario, app.application.clone())?;
        self.host = Host { calls: Calls::default(), clock, poster: rt.poster() };
        (self.rt, self.log_read) = (rt, 0);
        self.handles.clear();
        self.known.clear();
        for group in groups {
            if let Err(e) = self.register(group)? {
                return Ok(Err(e));
            }
        }
        let mut artifacts = BTreeMap::new();
        for module in &app.modules {
            let artifact = match self.artifact(&module.binary, None)? {
                Ok(artifact) => artifact,
                Err(e) => return Ok(Err(e)),
            };
            artifacts.insert(module.binary.clone(), artifact);
        }
        if *packed {
            for module in &mut app.modules {
                module.artifact = artifacts.remove(&module.binary);
            }
            let mut bytes = match app.to_binary() {
                Ok(bytes) => bytes,
                Err(e) => return Ok(Err(e)),
            };
            if let Some(damage) = damage {
                bytes = damage.apply(bytes);
            }
            app = match AppConfig::from_binary(&bytes) {
                Ok(unpacked) if unpacked == app => unpacked,
                Ok(unpacked) => return Err(format!("the binary form reads as {unpacked:?}, it was {app:?}")),
                Err(e) => return Ok(Err(e)),
            };
        }
        let fetch = |module: &fuse_edge::ModuleDecl| match artifacts.get(&module.binary) {
            Some(artifact) => Ok(Cow::Owned(artifact.clone())),
            None => Ok(Cow::Owned(Vec::new())),
        };
        let loaded = match self.rt.load_app(&app, fetch) {
            Ok(loaded) => loaded,
            Err(e) => return Ok(Err(e)),
        };
        for (id, module) in loaded.into_iter().zip(&app.modules) {
            self.remember(&module.name, id);
        }
        Ok(Ok(()))
    }
}

/// A configuration of this application alone; a name is given to one that has none.
fn application_json(application: &Value) -> String {
    let mut application = application.clone();
    if let Some(fields) = application.as_object_mut() {
        fields.entry("name").or_insert_with(|| "scenario".into());
    }
    json!({"application": application, "modules": []}).to_string()
}

fn parse_app(text: &str) -> Result<AppConfig, Error> {
    AppConfig::from_json(text)
}

fn new_runtime(scenario: &Scenario, application: Application) -> Result<(Runtime, ManualClock), String> {
    let mut config = RuntimeConfig::new(application);
    config.compile_on_load = scenario.compile_on_load;
    config.stack_bytes_max = scenario.stack_bytes_max.unwrap_or(config.stack_bytes_max);
    config.step_timing = fuse_edge::StepTiming::Every;
    let platform = if scenario.needs.contains(&Need::QuotaTimer) {
        let linux = LinuxPlatform::new().map_err(|e| format!("no quota timer: {e}"))?;
        ManualPlatform::with_quota_timer(linux)
    } else {
        ManualPlatform::new()
    };
    let clock = platform.clock();
    let rt = Runtime::new(config, platform).map_err(|e| format!("cannot make the runtime: {e}"))?;
    Ok((rt, clock))
}

fn policy(action: &Action) -> Outcome {
    let Action::Policy { json, text, hex, binary, fuel_quota, priority } = action else {
        return Err("not a policy".into());
    };
    let parsed = match (json, hex) {
        (_, Some(hex)) => Policy::from_bytes(&from_hex(hex)?),
        (Some(json), None) => Policy::from_json(&json.to_string()),
        (None, None) => Policy::from_json(&text.join("\n")),
    };
    let policy = match parsed {
        Ok(policy) => policy,
        Err(e) => return Ok(Err(e)),
    };
    let bytes = to_hex(&policy.to_bytes());
    if binary.as_ref().is_some_and(|binary| *binary != bytes) {
        return Err(format!("its binary form is {bytes}"));
    }
    if fuel_quota.is_some_and(|fuel| fuel != policy.fuel_quota)
        || priority.is_some_and(|p| p != policy.priority)
    {
        return Err(format!("fuel_quota is {}, priority {}", policy.fuel_quota, policy.priority));
    }
    Ok(Ok(()))
}
