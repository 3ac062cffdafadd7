//! The steps of a scenario.

use std::{collections::BTreeSet, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use fuse_orchestrator::{
    Delivery, Error, Removal,
    model::{
        Environment, EnvironmentFilter, EnvironmentId, ForkRequest, HostId, IdempotencyKey, OwnerId,
        ProvisionRequest, SnapshotFilter, SnapshotId, SnapshotRequest, Subject, VmName,
    },
    provider::{
        ExecRequest, FileUpload, LogSource, ProviderErrorKind, Verb,
        stub::{Effect, Fault, StubHost},
    },
    secrets::{ExposeSecret, Scope, SecretString},
};
use serde_json::{Value, json};

use super::world::World;

/// Either an answer of the library, or what is wrong with the scenario or its expectation.
type Outcome = Result<Result<(), Error>, String>;

/// Longer than anything takes in a scenario, in virtual time.
const LONG: Duration = Duration::from_secs(3_600);

struct Step<'a> {
    value: &'a Value,
    used: std::cell::RefCell<BTreeSet<String>>,
}

impl<'a> Step<'a> {
    fn get(&self, key: &str) -> &'a Value {
        self.used.borrow_mut().insert(key.to_owned());
        &self.value[key]
    }

    fn has(&self, key: &str) -> bool {
        !self.get(key).is_null()
    }

    fn text(&self, key: &str) -> Result<&'a str, String> {
        self.get(key).as_str().ok_or_else(|| format!("{key:?} is not a text"))
    }

    fn seconds(&self, key: &str) -> Duration {
        Duration::from_secs_f64(self.get(key).as_f64().unwrap_or(0.0))
    }

    fn read<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<T, String> {
        let value = self.get(key);
        let value = if value.is_null() { json!({}) } else { value.clone() };
        serde_json::from_value(value).map_err(|error| format!("{key}: {error}"))
    }

    fn unused(&self) -> Option<String> {
        let used = self.used.borrow();
        self.value.as_object()?.keys().find(|key| !used.contains(*key)).cloned()
    }
}

fn expect(what: &str, got: impl Into<Value>, want: &Value) -> Result<(), String> {
    let got = got.into();
    if want.is_null() || got == *want { Ok(()) } else { Err(format!("{what} is {got} and should be {want}")) }
}

macro_rules! attempt {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Ok(Err(Error::from(error))),
        }
    };
}

impl World {
    pub async fn step(&mut self, value: &Value) -> Result<(), String> {
        let step = Step { value, used: Default::default() };
        let outcome = self.act(&step).await?;
        let fails = step.get("fails");
        let message = step.get("message").as_str().unwrap_or_default();
        if let Some(key) = step.unused() {
            return Err(format!("the member {key:?} means nothing here"));
        }
        match (outcome, fails.as_str()) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(code)) => Err(format!("did not fail with {code}")),
            (Err(error), None) => Err(format!("failed with {}: {error}", error.code().as_str())),
            (Err(error), Some(code)) => {
                expect("the error code", error.code().as_str(), &json!(code))?;
                let text = error.to_string();
                if text.contains(message) { Ok(()) } else { Err(format!("the message is {text:?}")) }
            }
        }
    }

    async fn act(&mut self, step: &Step<'_>) -> Outcome {
        match step.text("do")? {
            "provision" => self.provision(step).await,
            "wait" => self.wait(step).await,
            "drain" => self.drain(step).await,
            "destroy" => Ok(self.fuse.destroy(&self.environment(step)?).await),
            "rotate" => self.rotate(step).await,
            "fork" => self.fork(step).await,
            "exec" => self.exec(step).await,
            "upload" => self.upload(step).await,
            "logs" => self.logs(step).await,
            "check" => self.check(step).await,
            "list" => self.list(step).await,
            "snapshot" => self.snapshot(step).await,
            "restore" => Ok(self.fuse.restore_snapshot(&self.snapshot_id(step)?).await),
            "delete_snapshot" => Ok(self.fuse.delete_snapshot(&self.snapshot_id(step)?).await),
            "check_snapshot" => self.check_snapshot(step).await,
            "snapshots" => self.snapshots(step).await,
            "register" => {
                let name = step.text("host")?.to_owned();
                let mut with = step.get("with").clone();
                if self.fuse.host(&HostId::new(&name).map_err(|e| e.to_string())?).await.is_ok() {
                    if with.is_null() {
                        with = json!({});
                    }
                    with["again"] = json!(true);
                }
                self.try_register(&name, &with).await
            }
            "cordon" => Ok(self.fuse.cordon(&self.host_id(step)?).await),
            "uncordon" => Ok(self.fuse.uncordon(&self.host_id(step)?).await),
            "remove_host" => {
                let forced = step.get("force").as_bool().unwrap_or(false);
                let removal = if forced { Removal::Forced } else { Removal::Empty };
                Ok(self.fuse.remove_host(&self.host_id(step)?, removal).await)
            }
            "check_host" => self.check_host(step).await,
            "reconcile" => self.reconcile(step).await,
            "advance" => {
                tokio::time::sleep(step.seconds("seconds")).await;
                Ok(Ok(()))
            }
            "restart" => self.restart().await.map(Ok),
            "events" => self.events(step).await,
            "dead_letters" => {
                let keys: Vec<_> =
                    attempt!(self.fuse.dead_letters().await).iter().map(|letter| letter.key()).collect();
                expect("the dead letters", keys, step.get("are")).map(Ok)
            }
            "retry" => Ok(self.fuse.retry_dead_letter(step.text("letter")?).await),
            "dismiss" => Ok(self.fuse.dismiss_dead_letter(step.text("letter")?).await),
            "create_key" => self.create_key(step).await,
            "authenticate" => self.authenticate(step),
            "revoke_key" => {
                let key = self.api_keys.get(step.text("key")?).ok_or("no such key")?;
                Ok(self.fuse.revoke_api_key(&key.record.id).await)
            }
            "fault" => self.fault(step),
            "clear_faults" => self.stub_host(step).map(|host| {
                host.clear_faults();
                Ok(())
            }),
            "cut_off" => self.stub_host(step).map(|host| {
                host.set_down(true);
                Ok(())
            }),
            "connect" => self.stub_host(step).map(|host| {
                host.set_down(false);
                Ok(())
            }),
            "reboot" => self.stub_host(step).map(|host| {
                host.reboot();
                Ok(())
            }),
            "lose" => {
                let vm = self.fuse.get(&self.environment(step)?).await.map_err(|e| e.to_string())?;
                let host = self.stub.host(vm.host_id.as_str());
                if host.vanish(&vm.vm) { Ok(Ok(())) } else { Err("its VM is not there".to_owned()) }
            }
            "plant" => {
                let vm = VmName::new(step.text("vm")?).map_err(|error| error.to_string())?;
                let owner = OwnerId::new(step.text("owner")?).map_err(|error| error.to_string())?;
                self.stub_host(step).map(|host| {
                    host.plant(&vm, &owner);
                    Ok(())
                })
            }
            other => Err(format!("the step {other:?} is not known")),
        }
    }

    fn named(&self, name: &str) -> String {
        self.names.get(name).cloned().unwrap_or_else(|| name.to_owned())
    }

    fn environment(&self, step: &Step<'_>) -> Result<EnvironmentId, String> {
        EnvironmentId::new(self.named(step.text("id")?)).map_err(|error| error.to_string())
    }

    fn snapshot_id(&self, step: &Step<'_>) -> Result<SnapshotId, String> {
        SnapshotId::new(self.named(step.text("snapshot")?)).map_err(|error| error.to_string())
    }

    fn host_id(&self, step: &Step<'_>) -> Result<HostId, String> {
        HostId::new(step.text("host")?).map_err(|error| error.to_string())
    }

    fn stub_host(&self, step: &Step<'_>) -> Result<StubHost, String> {
        Ok(self.stub.host(step.text("host")?))
    }

    async fn provision(&mut self, step: &Step<'_>) -> Outcome {
        let mut request = step.get("with").clone();
        if request.is_null() {
            request = json!({});
        }
        request["task_id"] = step.get("task").clone();
        if let Some(seed) = request["seed_snapshot_id"].as_str() {
            request["seed_snapshot_id"] = json!(self.named(seed));
        }
        let files = request.get_mut("files").and_then(Value::as_object_mut);
        for (_, content) in files.into_iter().flatten() {
            // Files are written as text in scenarios.
            *content = json!(BASE64_STANDARD.encode(content.as_str().unwrap_or_default()));
        }
        if let Some(manifest) = request.get_mut("manifest") {
            let text = manifest.take().to_string();
            request["manifest_inline"] = json!(BASE64_STANDARD.encode(text));
        }
        let until = step.get("until").as_str().unwrap_or("running");
        let (key, name) = (step.get("key").as_str(), step.get("as").as_str());
        let request: ProvisionRequest = match serde_json::from_value(request) {
            Ok(request) => request,
            // What does not even parse is an invalid argument on every interface.
            Err(error) => {
                let problem = fuse_orchestrator::Problem::new("body", error.to_string());
                return Ok(Err(Error::Invalid(vec![problem])));
            }
        };
        let accepted = match key {
            None => self.fuse.provision(request).await,
            Some(key) => {
                let key = IdempotencyKey::new(key).map_err(|error| error.to_string())?;
                self.fuse.provision_once(&key, request).await
            }
        };
        let accepted = attempt!(accepted);
        if let Some(name) = name {
            self.names.insert(name.to_owned(), accepted.vm.to_string());
        }
        if until == "accepted" {
            return Ok(Ok(()));
        }
        Ok(self.fuse.wait_running(&accepted.id, LONG).await.map(drop))
    }

    async fn wait(&mut self, step: &Step<'_>) -> Outcome {
        Ok(self.fuse.wait_running(&self.environment(step)?, LONG).await.map(drop))
    }

    async fn drain(&mut self, step: &Step<'_>) -> Outcome {
        Ok(self.fuse.drain(&self.environment(step)?).await.map(drop))
    }

    async fn rotate(&mut self, step: &Step<'_>) -> Outcome {
        let id = self.environment(step)?;
        let before = self.plane.credentials(&id).await.ok();
        attempt!(self.fuse.rotate_token(&id).await);
        let environment = attempt!(self.fuse.get(&id).await);
        let host = self.stub.host(environment.host_id.as_str());
        let after = attempt!(self.plane.credentials(&id).await);
        let old = before.ok_or("there were no credentials")?;
        if host.takes_token(&environment.vm, old.token().expose_secret()) {
            return Err("the old token works in the guest".to_owned());
        }
        if !host.takes_token(&environment.vm, after.token().expose_secret()) {
            return Err("the new token does not work in the guest".to_owned());
        }
        Ok(Ok(()))
    }

    async fn fork(&mut self, step: &Step<'_>) -> Outcome {
        let id = self.environment(step)?;
        let reuse = match step.get("reuse").as_str() {
            None => None,
            Some(name) => Some(SnapshotId::new(self.named(name)).map_err(|error| error.to_string())?),
        };
        let request = ForkRequest { reuse_snapshot_id: reuse, comment: String::new() };
        let name = step.get("as").as_str();
        let forked = attempt!(self.fuse.fork(&id, request).await);
        if let Some(name) = name {
            self.names.insert(name.to_owned(), forked.id.to_string());
        }
        Ok(self.fuse.wait_running(&forked.id, LONG).await.map(drop))
    }

    async fn exec(&mut self, step: &Step<'_>) -> Outcome {
        let id = self.environment(step)?;
        let timeout = if step.has("timeout") { step.seconds("timeout") } else { Duration::from_secs(60) };
        let request = match step.get("line").as_str() {
            Some(line) => ExecRequest::shell(line, timeout),
            None => ExecRequest { argv: step.read("argv")?, timeout },
        };
        let (code, stdout, stderr) = (step.get("exit_code"), step.get("stdout"), step.get("stderr"));
        let output = attempt!(self.fuse.exec(&id, request).await);
        let zero = json!(0);
        expect("the exit code", output.exit_code, if code.is_null() { &zero } else { code })?;
        expect("stdout", String::from_utf8_lossy(&output.stdout).into_owned(), stdout)?;
        expect("stderr", String::from_utf8_lossy(&output.stderr).into_owned(), stderr)?;
        Ok(Ok(()))
    }

    async fn upload(&mut self, step: &Step<'_>) -> Outcome {
        let content = step.get("text").as_str().unwrap_or_default().as_bytes().to_vec();
        let file = FileUpload { path: step.text("path")?.to_owned(), content, mode: 0o644 };
        Ok(self.fuse.upload(&self.environment(step)?, file).await)
    }

    async fn logs(&mut self, step: &Step<'_>) -> Outcome {
        let name = step.text("source")?;
        let source =
            LogSource::ALL.into_iter().find(|source| source.as_str() == name).ok_or("no such source")?;
        let want = step.get("are");
        let text = attempt!(self.fuse.logs(&self.environment(step)?, source).await);
        expect("the log", text, want)?;
        Ok(Ok(()))
    }

    async fn check(&mut self, step: &Step<'_>) -> Outcome {
        let id = self.environment(step)?;
        let names = ["state", "reason", "text", "observed", "on", "timed", "vm_is", "warnings", "boots"];
        let [state, reason, text, observed, on, timed, vm_is, warnings, boots] =
            names.map(|name| step.get(name));
        let environment = attempt!(self.fuse.get(&id).await);
        let fact = serde_json::to_value(&*environment).map_err(|error| error.to_string())?;
        expect("the state", fact["state"].clone(), state)?;
        expect("the reason", fact["reason"]["code"].clone(), reason)?;
        expect("observed", fact["observed"].clone(), observed)?;
        expect("the host", fact["host_id"].clone(), on)?;
        expect("the warnings", fact["warnings"].clone(), warnings)?;
        expect("the boots", fact["boots"].clone(), boots)?;
        if let Some(part) = text.as_str()
            && !environment.reason.text.contains(part)
        {
            return Err(format!("the reason is {:?}", environment.reason.text));
        }
        if let Some(name) = vm_is.as_str() {
            expect("the VM", environment.vm.to_string(), &json!(self.named(name)))?;
        }
        for phase in timed.as_array().into_iter().flatten() {
            if fact["timings"][phase.as_str().unwrap_or_default()].is_null() {
                return Err(format!("the phase {phase} was not timed"));
            }
        }
        Ok(Ok(()))
    }

    async fn list(&mut self, step: &Step<'_>) -> Outcome {
        let filter: EnvironmentFilter = step.read("filter")?;
        let page = step.get("page").as_u64().map(|page| page as usize);
        let want = step.get("ids");
        let (mut ids, mut cursor) = (Vec::<String>::new(), step.get("cursor").as_str().map(str::to_owned));
        loop {
            let found = attempt!(self.fuse.list(&filter, page, cursor.as_deref()).await);
            if page.is_some_and(|page| found.items.len() > page) {
                return Err("the page is too long".to_owned());
            }
            ids.extend(
                found
                    .items
                    .iter()
                    .map(|environment: &std::sync::Arc<Environment>| environment.id.to_string()),
            );
            cursor = found.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        expect("the list", ids, want).map(Ok)
    }

    async fn snapshot(&mut self, step: &Step<'_>) -> Outcome {
        let id = self.environment(step)?;
        let request: SnapshotRequest = step.read("with")?;
        let name = step.get("as").as_str();
        let made = attempt!(self.fuse.create_snapshot(&id, request).await);
        if let Some(name) = name {
            self.names.insert(name.to_owned(), made.id.to_string());
        }
        Ok(Ok(()))
    }

    async fn check_snapshot(&mut self, step: &Step<'_>) -> Outcome {
        let id = self.snapshot_id(step)?;
        let (state, parent, lineage) = (step.get("state"), step.get("parent"), step.get("lineage"));
        let (mode, reason) = (step.get("mode"), step.get("reason"));
        let snapshot = attempt!(self.fuse.snapshot(&id).await);
        let fact = serde_json::to_value(&*snapshot).map_err(|error| error.to_string())?;
        expect("the state", fact["state"].clone(), state)?;
        expect("the mode", fact["mode"].clone(), mode)?;
        expect("the reason", fact["reason"]["code"].clone(), reason)?;
        if let Some(name) = parent.as_str() {
            expect("the parent", fact["parent_snapshot_id"].clone(), &json!(self.named(name)))?;
        }
        if let Some(names) = lineage.as_array() {
            let want: Vec<_> =
                names.iter().map(|name| self.named(name.as_str().unwrap_or_default())).collect();
            let line = attempt!(self.fuse.lineage(&id).await);
            let got: Vec<_> = line.iter().map(|snapshot| snapshot.id.to_string()).collect();
            expect("the lineage", got, &json!(want))?;
        }
        Ok(Ok(()))
    }

    async fn snapshots(&mut self, step: &Step<'_>) -> Outcome {
        let filter: SnapshotFilter = step.read("filter")?;
        let (states, bytes) = (step.get("states"), step.get("on_hosts"));
        let found = attempt!(self.fuse.snapshots(&filter, Some(200), None).await).items;
        let got: Vec<_> = found.iter().map(|snapshot| snapshot.state.as_str()).collect();
        expect("the snapshots", got, states)?;
        let hosts = attempt!(self.fuse.hosts(Some(200), None).await).items;
        let kept: usize = hosts.iter().map(|host| self.stub.host(host.id.as_str()).snapshot_count()).sum();
        expect("what hosts keep", kept, bytes).map(Ok)
    }

    async fn check_host(&mut self, step: &Step<'_>) -> Outcome {
        let id = self.host_id(step)?;
        let names = ["state", "liveness", "taken", "vms", "warnings"];
        let [state, liveness, taken, vms, warnings] = names.map(|name| step.get(name));
        let host = attempt!(self.fuse.host(&id).await);
        expect("the state", host.state.as_str(), state)?;
        expect("the liveness", host.liveness.state.as_str(), liveness)?;
        expect("the number of VMs", self.stub.host(id.as_str()).vms().len(), vms)?;
        expect("the warnings", host.warnings.len(), warnings)?;
        let allocated = serde_json::to_value(host.allocated).map_err(|error| error.to_string())?;
        for (key, want) in taken.as_object().into_iter().flatten() {
            expect(&format!("taken {key}"), allocated[key].clone(), want)?;
        }
        Ok(Ok(()))
    }

    /// Looks at all hosts as often as is said, 30 s apart.
    async fn reconcile(&mut self, step: &Step<'_>) -> Outcome {
        let times = step.get("times").as_u64().unwrap_or(1);
        let foreign = step.get("foreign");
        let mut seen = 0;
        for time in 0..times {
            if time > 0 {
                tokio::time::sleep(Duration::from_secs(30)).await;
            }
            let reports = attempt!(self.plane.reconcile().await);
            seen = reports.iter().map(|(_, report)| report.foreign).sum();
        }
        expect("the VMs of others", seen, foreign).map(Ok)
    }

    async fn events(&mut self, step: &Step<'_>) -> Outcome {
        let about = self.named(step.text("about")?);
        let after = step.get("after").as_u64().unwrap_or(0);
        let mut events = self.fuse.events(after);
        let mut got = Vec::new();
        let mut last = after;
        while let Some(delivery) = attempt!(events.try_next().await) {
            let Delivery::Event(event) = delivery else { return Err("events were lost".to_owned()) };
            if event.sequence != last + 1 {
                return Err(format!("event {} follows event {last}", event.sequence));
            }
            last = event.sequence;
            let is_about = match &event.subject {
                Subject::Environment(id) => id.as_str() == about,
                other => other.id() == about,
            };
            if is_about {
                got.push(event.event.as_str());
            }
        }
        expect("the events", got, step.get("are")).map(Ok)
    }

    async fn create_key(&mut self, step: &Step<'_>) -> Outcome {
        let scopes: BTreeSet<Scope> = if step.has("scopes") { step.read("scopes")? } else { BTreeSet::new() };
        let name = step.text("as")?.to_owned();
        let label = step.get("label").as_str().unwrap_or_default();
        let key = attempt!(self.fuse.create_api_key(label, scopes).await);
        self.api_keys.insert(name, key);
        Ok(Ok(()))
    }

    fn authenticate(&mut self, step: &Step<'_>) -> Outcome {
        let shown = match step.get("text").as_str() {
            Some(text) => SecretString::from(text),
            None => self.api_keys.get(step.text("key")?).ok_or("no such key")?.secret.clone(),
        };
        let allows = step.get("allows");
        let record = self.plane.authenticate(&shown);
        let mut allowed = Vec::new();
        for (scope, name) in [(Scope::Read, "read"), (Scope::Write, "write"), (Scope::Admin, "admin")] {
            if record.as_ref().is_some_and(|record| record.allows(scope)) {
                allowed.push(name);
            }
        }
        expect("what the key allows", allowed, allows).map(Ok)
    }

    fn fault(&mut self, step: &Step<'_>) -> Outcome {
        let verb = Verb::parse(step.text("verb")?).ok_or("no such verb")?;
        let kind = match step.get("kind").as_str().unwrap_or("failed") {
            "failed" => ProviderErrorKind::Failed,
            "busy" => ProviderErrorKind::Busy,
            "unreachable" => ProviderErrorKind::Unreachable,
            "timed_out" => ProviderErrorKind::TimedOut,
            "unsupported" => ProviderErrorKind::Unsupported,
            "not_found" => ProviderErrorKind::NotFound,
            other => return Err(format!("the kind {other:?} is not known")),
        };
        let said = step.get("says").as_str().unwrap_or("injected").to_owned();
        let effect = match step.text("effect")? {
            "delay" => Effect::Delay(step.seconds("seconds")),
            "slow_answer" => Effect::SlowAnswer(step.seconds("seconds")),
            "fail" => Effect::Fail(kind, said),
            "fail_after" => Effect::FailAfter(kind, said),
            "fail_then_happen" => Effect::FailThenHappen(kind, step.seconds("seconds")),
            "hang" => Effect::Hang,
            "twice" => Effect::Twice,
            other => return Err(format!("the effect {other:?} is not known")),
        };
        let times = step.get("times").as_u64().map_or(1, |times| times as u32);
        let skip = step.get("skip").as_u64().unwrap_or(0) as u32;
        self.stub_host(step)?.inject(Fault { times, skip, ..Fault::once(verb, effect) });
        Ok(Ok(()))
    }
}
