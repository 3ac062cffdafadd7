//! Sends an orchestration scenario to a driver, call by call, and compares what comes back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fuse_orchestrator::model::{
    EnvironmentFilter, ForkRequest, ProvisionRequest, SnapshotFilter, SnapshotId, SnapshotRequest,
};
use fuse_orchestrator::wire;
use serde_json::{Value, json};

mod calls;
mod look;
mod server;
mod step;

pub(crate) use calls::{Form, Reach};
pub(crate) use server::Server;

use calls::{Calls, Good as _};
use step::{Outcome, Step, as_request, expect};

/// Longer than anything takes: in virtual time, or until the guard of the test ends it.
const LONG_MS: &str = "3600000";

/// What only the process with the control plane in it can do.
const INSIDE: [&str; 11] = [
    "fault",
    "clear_faults",
    "cut_off",
    "connect",
    "reboot",
    "lose",
    "plant",
    "reconcile",
    "advance",
    "restart",
    "authenticate",
];

/// The scenarios, by name.
pub(crate) fn files() -> Result<Vec<(String, PathBuf)>, String> {
    let folder = fuse_abi::repository().join("tests/scenarios/orchestration");
    let entries = std::fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut files: Vec<(String, PathBuf)> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_stem().unwrap_or_default().to_string_lossy().into_owned(), path))
        .collect();
    files.sort();
    Ok(files)
}

pub(crate) fn read(path: &Path) -> Result<Value, String> {
    let cannot = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let text = std::fs::read(path).map_err(|e| cannot(&e))?;
    serde_json::from_slice(&text).map_err(|e| cannot(&e))
}

/// What a scenario needs that a caller over the network has not got.
pub(crate) fn needs(scenario: &Value) -> Option<String> {
    let steps = || scenario["steps"].as_array().into_iter().flatten();
    let mut inside: Vec<&str> =
        steps().filter_map(|step| step["do"].as_str()).filter(|name| INSIDE.contains(name)).collect();
    inside.sort_unstable();
    inside.dedup();
    if !inside.is_empty() {
        return Some(format!(
            "needs {}, which only the process of the control plane can do",
            inside.join(", ")
        ));
    }
    if scenario["config"].is_object() {
        return Some("needs a configuration of its own".into());
    }
    let hosts = scenario["hosts"].as_object().into_iter().flatten().map(|(_, host)| host);
    let registered = steps().filter(|step| step["do"] == "register").map(|step| &step["with"]);
    if hosts.chain(registered).any(|host| !host["has"].is_null()) {
        return Some("needs stub hosts of other sizes".into());
    }
    if scenario.to_string().contains("sleep 31") && std::env::var_os("FUSE_SOAK").is_none() {
        return Some("takes a minute of real time: set FUSE_SOAK".into());
    }
    None
}

/// Plays one scenario on one driver.
pub(crate) struct Player<'a> {
    calls: Calls,
    reach: Reach<'a>,
    /// What names stand for.
    names: BTreeMap<String, String>,
    /// API keys: id and secret.
    keys: BTreeMap<String, (String, String)>,
}

impl<'a> Player<'a> {
    /// Plays the scenario in this file.
    pub(crate) fn play(path: &Path, program: &Path, form: Form, reach: Reach<'a>) -> Result<(), String> {
        let scenario = read(path)?;
        let calls = Calls::start(program, form)?;
        let mut player = Player { calls, reach, names: BTreeMap::new(), keys: BTreeMap::new() };
        player.begin(&scenario)?;
        for (number, step) in scenario["steps"].as_array().into_iter().flatten().enumerate() {
            player.step(step).map_err(|why| format!("step {} {step}: {why}", number + 1))?;
        }
        player.calls.end()
    }

    fn begin(&mut self, scenario: &Value) -> Result<(), String> {
        match self.reach {
            Reach::Inside => self.calls.make("world", &[Some(&scenario["config"].to_string())])?.good()?,
            Reach::Server(server) => {
                self.calls.make("connect", &[Some(&server.url), Some(&server.token)])?.good()?;
                self.calls.make("remove_host", &[Some("default"), Some("0")])?.good()?
            }
        };
        for (name, host) in scenario["hosts"].as_object().into_iter().flatten() {
            self.register(name, host, true)?.good()?;
        }
        Ok(())
    }

    fn step(&mut self, value: &Value) -> Result<(), String> {
        let step = Step::new(value);
        let outcome = self.act(&step)?;
        let (fails, message) = (step.get("fails").as_str(), step.get("message").as_str().unwrap_or_default());
        match (outcome, fails) {
            (Ok(_), None) => match step.unused() {
                Some(key) => Err(format!("the member {key:?} means nothing here")),
                None => Ok(()),
            },
            (Ok(_), Some(code)) => Err(format!("did not fail with {code}")),
            (Err(error), None) => Err(format!("failed with {}: {}", error.code, error.message)),
            (Err(error), Some(code)) if error.code != code => {
                Err(format!("failed with {} and not {code}: {}", error.code, error.message))
            }
            (Err(error), Some(_)) if !error.message.contains(message) => {
                Err(format!("the message is {:?}", error.message))
            }
            (Err(_), Some(_)) => Ok(()),
        }
    }

    fn act(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let host = |step: &Step<'_>| step.text("host").map(ToOwned::to_owned);
        match step.text("do")? {
            "provision" => self.provision(step),
            "wait" => {
                let id = self.id(step)?;
                self.call("wait_running", &[&id, LONG_MS])
            }
            "drain" => self.on("drain", step),
            "destroy" => self.on("destroy", step),
            "rotate" => self.rotate(step),
            "fork" => self.fork(step),
            "exec" => self.exec(step),
            "upload" => {
                let id = self.id(step)?;
                let text = step.get("text").as_str().unwrap_or_default();
                self.call("upload", &[&id, step.text("path")?, "420", text])
            }
            "logs" => self.logs(step),
            "check" => self.check(step),
            "list" => self.list(step),
            "snapshot" => self.snapshot(step),
            "restore" => self.on_snapshot("restore_snapshot", step),
            "delete_snapshot" => self.on_snapshot("delete_snapshot", step),
            "check_snapshot" => self.check_snapshot(step),
            "snapshots" => self.snapshots(step),
            "register" => {
                let (name, with) = (host(step)?, step.get("with").clone());
                let known = self.call("host", &[&name])?.is_ok();
                self.register(&name, &with, !known)
            }
            "cordon" => self.call("cordon", &[&host(step)?]),
            "uncordon" => self.call("uncordon", &[&host(step)?]),
            "remove_host" => {
                let force = u32::from(step.get("force").as_bool().unwrap_or(false)).to_string();
                self.call("remove_host", &[&host(step)?, &force])
            }
            "check_host" => self.check_host(step),
            "events" => self.events(step),
            "dead_letters" => self.dead_letters(step),
            "retry" => self.call("retry_dead_letter", &[step.text("letter")?]),
            "dismiss" => self.call("dismiss_dead_letter", &[step.text("letter")?]),
            "create_key" => self.create_key(step),
            "revoke_key" => {
                let name = step.text("key")?;
                let id = self.keys.get(name).map_or_else(|| name.to_owned(), |(id, _)| id.clone());
                self.call("revoke_api_key", &[&id])
            }
            "restart" => self.calls.make("restart", &[])?.good().map(Ok),
            name if INSIDE.contains(&name) => self.inside(step),
            other => Err(format!("the step {other:?} is not known")),
        }
    }

    /// Makes a call whose arguments are all there.
    fn call(&mut self, name: &str, args: &[&str]) -> Result<Outcome, String> {
        let args: Vec<Option<&str>> = args.iter().copied().map(Some).collect();
        self.calls.make(name, &args).map(|reply| reply.outcome())
    }

    /// Asks the world: what is not a call.
    fn ask(&mut self, step: &Value) -> Result<Value, String> {
        let text = self.calls.make("step", &[Some(&step.to_string())])?.good()?;
        serde_json::from_str(&text).map_err(|e| format!("{text}: {e}"))
    }

    fn is_inside(&self) -> bool {
        matches!(self.reach, Reach::Inside)
    }

    fn named(&self, name: &str) -> String {
        self.names.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn id(&self, step: &Step<'_>) -> Result<String, String> {
        step.text("id").map(|name| self.named(name))
    }

    fn on(&mut self, call: &str, step: &Step<'_>) -> Result<Outcome, String> {
        let id = self.id(step)?;
        self.call(call, &[&id])
    }

    fn on_snapshot(&mut self, call: &str, step: &Step<'_>) -> Result<Outcome, String> {
        let id = self.named(step.text("snapshot")?);
        self.call(call, &[&id])
    }

    /// A step of the world itself, in which names stand for what they are.
    fn inside(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let mut value = step.whole();
        if let Some(name) = value["id"].as_str() {
            value["id"] = self.named(name).into();
        }
        if let Some((_, secret)) = value["key"].as_str().and_then(|name| self.keys.get(name)) {
            value["text"] = secret.as_str().into();
            if let Some(members) = value.as_object_mut() {
                members.remove("key");
            }
        }
        self.ask(&value).map(|_| Ok(String::new()))
    }

    fn register(&mut self, name: &str, host: &Value, is_new: bool) -> Result<Outcome, String> {
        if self.is_inside() && is_new {
            self.ask(&json!({"do": "add_host", "host": name, "has": host["has"]}))?;
        }
        let mut capacity = host["declared"].as_object().cloned().unwrap_or_default();
        if !host["arch"].is_null() {
            capacity.insert("arch".into(), host["arch"].clone());
        }
        let mut request = json!({"id": name, "url": format!("stub://{name}"), "capacity": capacity});
        for key in ["url", "region", "labels"] {
            if !host[key].is_null() {
                request[key] = host[key].clone();
            }
        }
        self.call("register_host", &[&request.to_string()])
    }

    fn provision(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let mut request = step.get("with").clone();
        if request.is_null() {
            request = json!({});
        }
        request["task_id"] = step.get("task").clone();
        if let Some(seed) = request["seed_snapshot_id"].as_str() {
            request["seed_snapshot_id"] = self.named(seed).into();
        }
        let files = request.get_mut("files").and_then(Value::as_object_mut);
        for (_, content) in files.into_iter().flatten() {
            // Files are written as text in scenarios.
            *content = BASE64_STANDARD.encode(content.as_str().unwrap_or_default()).into();
        }
        if let Some(manifest) = request.get_mut("manifest") {
            let text = manifest.take().to_string();
            request["manifest_inline"] = BASE64_STANDARD.encode(text).into();
        }
        // What the model does not know is sent as it is: C is to refuse it.
        let body = match serde_json::from_value::<ProvisionRequest>(request.clone()) {
            Ok(request) => as_request(&wire::CreateEnvironment::from(&request))?,
            Err(_) => request.to_string(),
        };
        let (until, name) = (step.get("until").as_str().unwrap_or("running"), step.get("as").as_str());
        let reply = self.calls.make("provision", &[Some(&body), step.get("key").as_str()])?;
        let made = match reply.outcome() {
            Ok(text) => step::json_of(&text)?,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(name) = name {
            self.names.insert(name.to_owned(), step::text_of(&made, "vm")?);
        }
        if until == "accepted" {
            return Ok(Ok(String::new()));
        }
        self.call("wait_running", &[&step::text_of(&made, "id")?, LONG_MS])
    }

    fn rotate(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let id = self.id(step)?;
        if self.is_inside() {
            self.ask(&json!({"do": "keep_token", "id": id}))?;
        }
        let rotated = self.call("rotate_token", &[&id])?;
        if self.is_inside() && rotated.is_ok() {
            let taken = self.ask(&json!({"do": "check_tokens", "id": id}))?;
            expect("what the guest takes", taken, &json!({"old": false, "new": true}))?;
        }
        Ok(rotated)
    }

    fn fork(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let id = self.id(step)?;
        let reuse = step.get("reuse").as_str().map(|name| SnapshotId::new(self.named(name)));
        let reuse = reuse.transpose().map_err(|e| e.to_string())?;
        let request = ForkRequest { reuse_snapshot_id: reuse, comment: String::new() };
        let body = as_request(&wire::ForkEnvironment::from(&request))?;
        let name = step.get("as").as_str();
        let forked = match self.call("fork", &[&id, &body])? {
            Ok(text) => step::text_of(&step::json_of(&text)?, "id")?,
            Err(error) => return Ok(Err(error)),
        };
        if let Some(name) = name {
            self.names.insert(name.to_owned(), forked.clone());
        }
        self.call("wait_running", &[&forked, LONG_MS])
    }

    fn exec(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let id = self.id(step)?;
        let timeout = step.get("timeout").as_f64().map_or(60_000.0, |seconds| seconds * 1_000.0);
        let mut request = json!({"timeout_ms": timeout as u64});
        for (key, member) in [("line", "shell"), ("argv", "cmd")] {
            if !step.get(key).is_null() {
                request[member] = step.get(key).clone();
            }
        }
        let wanted = ["exit_code", "stdout", "stderr"].map(|key| (key, step.get(key)));
        let result = match self.call("exec", &[&id, &request.to_string()])? {
            Ok(text) => step::json_of(&text)?,
            Err(error) => return Ok(Err(error)),
        };
        for (key, want) in wanted {
            let none = json!(0);
            let want = if key == "exit_code" && want.is_null() { &none } else { want };
            expect(key, result[key].clone(), want)?;
        }
        Ok(Ok(String::new()))
    }

    fn snapshot(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let id = self.id(step)?;
        let request: SnapshotRequest = step.read("with")?;
        let body = as_request(&wire::CreateSnapshot::from(&request))?;
        let name = step.get("as").as_str();
        let made = self.call("create_snapshot", &[&id, &body])?;
        if let (Some(name), Ok(text)) = (name, &made) {
            self.names.insert(name.to_owned(), step::text_of(&step::json_of(text)?, "id")?);
        }
        Ok(made)
    }

    fn create_key(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let label = step.get("label").as_str().unwrap_or_default();
        let mut request = json!({"label": label});
        if !step.get("scopes").is_null() {
            request["scopes"] = step.get("scopes").clone();
        }
        let name = step.text("as")?;
        let made = self.call("create_api_key", &[&request.to_string()])?;
        if let Ok(text) = &made {
            let key = step::json_of(text)?;
            let parts = (step::text_of(&key, "id")?, step::text_of(&key, "key")?);
            self.keys.insert(name.to_owned(), parts);
        }
        Ok(made)
    }

    fn list(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let filter: EnvironmentFilter = step.read("filter")?;
        let page = step.get("page").as_u64().map(|page| page as usize);
        let want = step.get("ids");
        let (mut ids, mut cursor) = (Vec::new(), step.get("cursor").as_str().map(ToOwned::to_owned));
        loop {
            let query = as_request(&wire::EnvironmentQuery::new(&filter, page, cursor.as_deref()))?;
            let found: wire::EnvironmentList = match self.call("list", &[&query])? {
                Ok(text) => step::typed(&text)?,
                Err(error) => return Ok(Err(error)),
            };
            if page.is_some_and(|page| found.environments.len() > page) {
                return Err("the page is too long".into());
            }
            ids.extend(found.environments.into_iter().map(|environment| environment.id));
            cursor = found.next_cursor;
            if cursor.is_none() {
                return expect("the list", ids, want).map(|()| Ok(String::new()));
            }
        }
    }

    fn snapshots(&mut self, step: &Step<'_>) -> Result<Outcome, String> {
        let filter: SnapshotFilter = step.read("filter")?;
        let (states, kept) = (step.get("states"), step.get("on_hosts"));
        let query = as_request(&wire::SnapshotQuery::new(&filter, Some(200), None))?;
        let found = match self.call("snapshots", &[&query])? {
            Ok(text) => step::json_of(&text)?,
            Err(error) => return Ok(Err(error)),
        };
        let got: Vec<Value> =
            found["snapshots"].as_array().into_iter().flatten().map(|s| s["state"].clone()).collect();
        expect("the snapshots", got, states)?;
        if self.is_inside() {
            let seen = self.ask(&json!({"do": "kept_snapshots"}))?;
            expect("what hosts keep", seen, kept)?;
        }
        Ok(Ok(String::new()))
    }
}
