//! Sends a scenario to a driver, call by call.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use fuse_conformance::Target;
use fuse_conformance::host::to_hex;
use fuse_conformance::scenario::{Action, Answer, Damage, Function, Group, Need, Scenario, Source, Step};
use serde_json::{Value, json};

mod check;
mod driver;

use driver::{Driver, Reply};

/// How a call ended: outside `Err` is a mistake of the scenario or a mismatch; inside, the words of a good answer or the
/// error.
type Outcome = Result<Reply, String>;

/// Plays one scenario on one driver.
pub(crate) struct Player<'a> {
    scenario: &'a Scenario,
    folder: PathBuf,
    target: Target,
    driver: Driver,
    /// What compiles and reads JSON where the driver cannot.
    tools: Option<Driver>,
    metering: u32,
    handles: BTreeMap<String, u64>,
    /// The names that ids had, of unloaded modules too.
    known: Vec<(String, u64)>,
}

impl<'a> Player<'a> {
    /// Plays the scenario in this file. With `tools`, that driver does what the flight library cannot.
    pub(crate) fn play(
        path: &Path,
        program: &Path,
        target: Target,
        tools: Option<&Path>,
    ) -> Result<(), String> {
        let scenario = Scenario::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(".")).to_owned();
        let driver = Driver::start(program)?;
        let tools = tools.map(Driver::start).transpose()?;
        let mut player = Player {
            scenario: &scenario,
            folder,
            target,
            driver,
            tools,
            metering: 1,
            handles: BTreeMap::new(),
            known: Vec::new(),
        };
        player.begin()?;
        for (index, step) in scenario.steps.iter().enumerate() {
            for _ in 0..step.times {
                player.step(step).map_err(|e| format!("step {index}: {}\n    {e}", step.text))?;
            }
        }
        match player.driver.call("reentered")?.words()?.as_slice() {
            [none] if none == "0" => player.driver.end(),
            other => Err(format!("calls from inside callbacks were not refused: {other:?}")),
        }
    }

    fn begin(&mut self) -> Result<(), String> {
        let for_app = match &self.scenario.application {
            None => 0,
            Some(application) => {
                let mut application = application.clone();
                if let Some(fields) = application.as_object_mut() {
                    fields.entry("name").or_insert_with(|| "scenario".into());
                }
                self.metering = metering(&application);
                let config = json!({"application": application, "modules": []}).to_string();
                self.app_json(&config)?.words()?;
                1
            }
        };
        self.new_runtime(for_app)?.words().map(drop)
    }

    /// The driver that compiles and reads JSON.
    fn tools(&mut self) -> &mut Driver {
        self.tools.as_mut().unwrap_or(&mut self.driver)
    }

    /// Reads an application; where another driver does that, it is handed over in its binary form.
    fn app_json(&mut self, json: &str) -> Outcome {
        let read = self.tools().call(&format!("app_json {}", hex(json)))?;
        if let (Some(tools), Reply::Ok(_)) = (&mut self.tools, &read) {
            let bytes = tools.call("app_pack")?.words()?.concat();
            self.driver.call(&format!("app_binary {}", plain(&bytes)))?.words()?;
        }
        Ok(read)
    }

    /// Reads a policy; where another driver does that, its fields are handed over.
    fn policy_json(&mut self, json: &str) -> Outcome {
        let read = self.tools().call(&format!("policy_json {}", hex(json)))?;
        if let (Some(_), Reply::Ok(words)) = (&self.tools, &read) {
            let [bytes, fuel, order] = words.as_slice() else {
                return Err(format!("{words:?} is no policy"));
            };
            self.driver.call(&format!("policy_bytes {bytes}"))?.words()?;
            self.driver.call(&format!("policy_set {fuel} {order}"))?.words()?;
        }
        Ok(read)
    }

    fn new_runtime(&mut self, for_app: u32) -> Outcome {
        let s = self.scenario;
        let (compile, stack) = (u32::from(!s.compile_on_load), s.stack_bytes_max.unwrap_or(0));
        let timer = u32::from(s.needs.contains(&Need::QuotaTimer));
        self.handles.clear();
        self.known.clear();
        self.driver.call(&format!("new {for_app} {compile} {stack} {timer}"))
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        let reply = self.act(&step.action)?;
        match (&step.error, reply) {
            (None, Reply::Ok(_)) => Ok(()),
            (None, Reply::Err { kind, text }) => Err(format!("failed with {kind}: {text}")),
            (Some(kind), Reply::Ok(_)) => Err(format!("succeeded, {kind} was expected")),
            (Some(expected), Reply::Err { kind, text }) if *expected != kind => {
                Err(format!("failed with {kind}: {text}\n    {expected} was expected"))
            }
            (Some(_), Reply::Err { text, .. }) => {
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
            Action::Start { module } => self.on("start", module),
            Action::Pause { module } => self.on("pause", module),
            Action::RunStep { module } => self.on("run_step", module),
            Action::Unload { module } => self.on("unload", module),
            Action::RestartModule { module } => self.on("restart_module", module),
            Action::Update { module, with, damage } => {
                let artifact = match self.artifact(with, *damage)? {
                    Ok(artifact) => artifact,
                    Err(reply) => return Ok(reply),
                };
                let id = self.id(module)?;
                self.driver.call(&format!("update {id} {artifact}"))
            }
            Action::Tick { ran, failed } => self.tick(ran.as_deref(), failed),
            Action::Post { event, from_thread: false } => self.driver.call(&format!("post {event}")),
            Action::Post { event, from_thread: true } => {
                self.driver.call(&format!("post_from_thread {event}"))
            }
            Action::Clear { event } => self.driver.call(&format!("clear {event}")),
            Action::Stop => self.driver.call("stop"),
            Action::Restart => self.driver.call("restart"),
            Action::Clock { set_us, advance_us } => {
                if let Some(us) = set_us {
                    self.driver.call(&format!("clock {us}"))?;
                }
                self.driver.call(&format!("advance {}", advance_us.unwrap_or(0)))
            }
            Action::Callback { function, script } => {
                let script = answers(script, function);
                self.driver.call(&format!("callback {function} {script}"))
            }
            Action::Group(group) => self.register(group),
            Action::App { .. } => self.app(action),
            Action::Policy { .. } => self.policy(action),
            Action::Check(check) => self.check(check).map(|()| Reply::Ok(Vec::new())),
        }
    }

    fn id(&self, handle: &str) -> Result<u64, String> {
        self.handles.get(handle).copied().ok_or_else(|| format!("nothing was loaded as `{handle}`"))
    }

    fn on(&mut self, what: &str, handle: &str) -> Outcome {
        let id = self.id(handle)?;
        self.driver.call(&format!("{what} {id}"))
    }

    fn remember(&mut self, handle: &str, id: u64) {
        self.handles.insert(handle.into(), id);
        self.known.push((handle.into(), id));
    }

    /// The handle that an id was loaded as last.
    fn handle(&self, id: u64) -> String {
        let known = self.known.iter().rev().find(|(_, known)| *known == id);
        known.map_or_else(|| format!("?{id}"), |(handle, _)| handle.clone())
    }

    fn source(&self, key: &str) -> Result<&'a Source, String> {
        self.scenario.modules.get(key).ok_or_else(|| format!("there is no module `{key}`"))
    }

    /// The artifact of a module in hexadecimal, compiled by the driver and damaged as the scenario wants.
    fn artifact(&mut self, key: &str, damage: Option<Damage>) -> Result<Result<String, Reply>, String> {
        let source = self.source(key)?;
        if let Some(given) = &source.hex {
            return Ok(Ok(damaged(given.replace(' ', ""), damage)?));
        }
        let bytes = match &source.file {
            Some(file) => {
                let path = self.folder.join(file);
                std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?
            }
            None => source.wat.join("\n").into_bytes(),
        };
        let metering = source.compile.metering.as_deref().map_or(self.metering, metering_of);
        let target = source.compile.target.as_deref().unwrap_or(match self.target {
            Target::Native => "-",
            Target::Pulley64 => "pulley64",
        });
        let portable = u32::from(source.compile.portable);
        let reply =
            self.tools().call(&format!("compile {metering} {target} {portable} {}", to_hex(&bytes)))?;
        match reply {
            Reply::Ok(words) => Ok(Ok(damaged(words.concat(), damage)?)),
            reply => Ok(Err(reply)),
        }
    }

    fn load(&mut self, key: &str, handle: &str, name: &str, damage: Option<Damage>) -> Outcome {
        let source = self.source(key)?;
        let policy = match (&source.policy, &source.policy_hex) {
            (Some(json), _) => self.policy_json(&json.to_string()),
            (None, Some(bytes)) => self.driver.call(&format!("policy_bytes {}", plain(bytes))),
            (None, None) => self.driver.call("policy_default"),
        }?;
        if let Reply::Err { .. } = policy {
            return Ok(policy);
        }
        let artifact = match self.artifact(key, damage)? {
            Ok(artifact) => artifact,
            Err(reply) => return Ok(reply),
        };
        let reply = self.driver.call(&format!("load {} {}", hex(name), plain(&artifact)))?;
        if let Reply::Ok(words) = &reply {
            self.remember(handle, number(words.first())?);
        }
        Ok(reply)
    }

    fn tick(&mut self, ran: Option<&[String]>, failed: &BTreeMap<String, String>) -> Outcome {
        let reply = self.driver.call("tick")?;
        let Reply::Ok(words) = &reply else { return Ok(reply) };
        let (mut did_run, mut did_fail) = (Vec::new(), BTreeMap::new());
        for word in words {
            let (id, status) = word.split_once(':').ok_or("a tick's answer is not one")?;
            let handle = self.handle(number(Some(&id.to_owned()))?);
            did_run.push(handle.clone());
            if status != "0" {
                did_fail.insert(handle, driver::kind(status));
            }
        }
        if ran.is_some_and(|ran| ran != did_run) {
            return Err(format!("{did_run:?} ran"));
        }
        if *failed != did_fail {
            return Err(format!("{did_fail:?} failed"));
        }
        Ok(reply)
    }

    fn register(&mut self, group: &Group) -> Outcome {
        for function in &group.functions {
            self.driver.call(&function_line(function))?.words()?;
        }
        self.driver.call(&format!("group {} {}", hex(&group.name), group.bit))
    }

    fn app(&mut self, action: &Action) -> Outcome {
        let Action::App { config, text, packed, parse_only, groups, damage } = action else {
            return Err("not an application".into());
        };
        let source = config.as_ref().map_or_else(|| text.join("\n"), Value::to_string);
        let parsed = self.app_json(&source)?;
        if *parse_only || matches!(parsed, Reply::Err { .. }) {
            return Ok(parsed);
        }
        let parsed: Value = serde_json::from_str(&source).map_err(|e| e.to_string())?;
        self.metering = metering(&parsed["application"]);
        self.new_runtime(1)?.words()?;
        for group in groups {
            let reply = self.register(group)?;
            if let Reply::Err { .. } = reply {
                return Ok(reply);
            }
        }
        let modules = self.driver.call("app_modules")?.words()?;
        for (index, pair) in modules.chunks(2).enumerate() {
            let [_, binary] = pair else { return Err("a module without a binary".into()) };
            let artifact = match self.artifact(&driver::unhex(binary)?, None)? {
                Ok(artifact) => artifact,
                Err(reply) => return Ok(reply),
            };
            let artifact = plain(&artifact);
            match packed {
                true => self.tools().call(&format!("app_artifact {index} {artifact}"))?.words()?,
                false => self.driver.call(&format!("app_fetch {binary} {artifact}"))?.words()?,
            };
        }
        if *packed {
            let bytes = self.tools().call("app_pack")?.words()?.concat();
            let read =
                self.driver.call(&format!("app_binary {}", plain(&damaged(bytes.clone(), *damage)?)))?;
            if let Reply::Err { .. } = read {
                return Ok(read);
            }
            if self.driver.call("app_pack")?.words()?.concat() != bytes {
                return Err("the binary form does not read as it was written".into());
            }
        }
        let reply = self.driver.call("app_load")?;
        if let Reply::Ok(ids) = &reply {
            for (id, pair) in ids.iter().zip(modules.chunks(2)) {
                let name = driver::unhex(pair.first().map_or("", String::as_str))?;
                self.remember(&name, number(Some(id))?);
            }
        }
        Ok(reply)
    }

    fn policy(&mut self, action: &Action) -> Outcome {
        let Action::Policy { json, text, hex: bytes, binary, fuel_quota, priority } = action else {
            return Err("not a policy".into());
        };
        let reply = match (json, bytes) {
            (_, Some(bytes)) => self.driver.call(&format!("policy_bytes {}", plain(bytes))),
            (Some(json), None) => self.policy_json(&json.to_string()),
            (None, None) => self.policy_json(&text.join("\n")),
        }?;
        let Reply::Ok(words) = &reply else { return Ok(reply) };
        let [came, fuel, order] = words.as_slice() else { return Err(format!("{words:?} is no policy")) };
        if binary.as_ref().is_some_and(|binary| binary != came) {
            return Err(format!("its binary form is {came}"));
        }
        if fuel_quota.is_some_and(|quota| quota.to_string() != *fuel)
            || priority.is_some_and(|p| p.to_string() != *order)
        {
            return Err(format!("fuel_quota is {fuel}, priority {order}"));
        }
        Ok(reply)
    }
}

fn metering(application: &Value) -> u32 {
    metering_of(application["metering"].as_str().unwrap_or("wall"))
}

fn metering_of(name: &str) -> u32 {
    match name {
        "fuel" => 2,
        "both" => 3,
        _ => 1,
    }
}

fn hex(text: &str) -> String {
    plain(&to_hex(text.as_bytes()))
}

/// Hexadecimal as the driver reads it: without spaces, `-` for nothing.
fn plain(hex: &str) -> String {
    let hex = hex.replace(' ', "");
    if hex.is_empty() { "-".into() } else { hex }
}

fn number(word: Option<&String>) -> Result<u64, String> {
    word.and_then(|w| w.parse().ok()).ok_or_else(|| format!("{word:?} is not a number"))
}

fn damaged(hex: String, damage: Option<Damage>) -> Result<String, String> {
    Ok(match damage {
        None => hex,
        Some(damage) => to_hex(&damage.apply(fuse_conformance::host::from_hex(&hex)?)),
    })
}

fn function_line(function: &Function) -> String {
    let result = function.results.first().map_or("none", String::as_str);
    let params = function.params.join(" ");
    let mut line = format!("function {} {result} {}", hex(&function.name), function.params.len());
    for part in [params, answers(&function.script, &function.name)] {
        if !part.is_empty() {
            line = format!("{line} {part}");
        }
    }
    line
}

fn answers(script: &[Answer], function: &str) -> String {
    script.iter().map(|answer| self::answer(answer, function)).collect::<Vec<_>>().join(" ")
}

fn answer(answer: &Answer, function: &str) -> String {
    let mut parts = vec!["none".to_owned()];
    if let Some(value) = &answer.value {
        // A clock that gives no integer gives the least one, as the runner in Rust does.
        let odd = if function == "timer_get_timestamp" { i64::MIN } else { 0 };
        parts.push(format!("i={}", value.as_i64().unwrap_or(odd)));
        parts.push(format!("f={:?}", value.as_f64().unwrap_or_default()));
    }
    parts.extend(answer.clock.then(|| "clock".into()));
    parts.extend(answer.return_wrong_type.then(|| "wrong".into()));
    parts.extend(answer.bytes.as_ref().map(|bytes| format!("bytes={}", plain(bytes))));
    parts.extend(answer.claim.map(|claim| format!("claim={claim}")));
    parts.extend(answer.fail.map(|code| format!("fail={code}")));
    parts.push(format!("advance={}", answer.advance_us));
    parts.push(format!("spin={}", answer.spin_us));
    parts.extend(answer.post.iter().map(|event| format!("post={event}")));
    parts.extend(answer.reenter.as_ref().map(|call| format!("reenter={call}")));
    parts.join(";")
}
