//! The verbs, over HTTP.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use reqwest::Method;
use secrecy::ExposeSecret;
use tokio::time::Instant;

use super::{
    attach,
    client::{Call, Client},
    translate::{self, Abilities},
};
use crate::{
    model::{GuestEndpoint, OwnerId, VmName, VmPrefix},
    provider::{
        AgentStart, AttachRequest, AttachSession, CreateRequest, ExecOutput, ExecRequest, ExecStream,
        FileUpload, ForkVmRequest, HostFacts, LogChunk, LogSource, Provider, ProviderError,
        ProviderErrorKind as Kind, ProviderResult, SnapshotFacts, SnapshotOffer, SnapshotVmRequest, Verb,
        VmFacts,
        agent_api::{
            AgentCapacity, AgentSnapshot, Done, Fork, LOG_START, Pull, Pulled, Restore, SnapshotList,
            StartAgentAnswer, TakeSnapshot, Vm, VmList,
        },
    },
};

/// A host behind an agent.
#[derive(Debug)]
pub struct RemoteHost {
    client: Client,
    backend: String,
    /// What the agent can do, and when it said so.
    abilities: Mutex<Option<(Abilities, Instant)>>,
}

impl RemoteHost {
    pub(super) fn new(client: Client, backend: &str) -> Self {
        let backend = if backend.is_empty() { "firecracker" } else { backend };
        Self { client, backend: backend.to_owned(), abilities: Mutex::default() }
    }

    fn learn(&self, abilities: Abilities) {
        let mut known = self.abilities.lock().unwrap_or_else(PoisonError::into_inner);
        *known = Some((abilities, Instant::now()));
    }

    /// What the agent can do: as it said lately, else as it says now.
    async fn abilities(&self) -> ProviderResult<Abilities> {
        {
            let known = self.abilities.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((abilities, at)) = *known
                && at.elapsed() < self.client.limits.abilities
            {
                return Ok(abilities);
            }
        }
        match self.capacity().await {
            Ok(capacity) => Ok(Abilities::of(&capacity)),
            // The oldest agents do not have the route.
            Err(error) if error.kind == Kind::NotFound => {
                self.learn(Abilities::original());
                Ok(Abilities::original())
            }
            Err(error) => Err(error),
        }
    }

    async fn capacity(&self) -> ProviderResult<AgentCapacity> {
        let call = self.query(Verb::Probe, "", &["v1", "capacity"]);
        let capacity: AgentCapacity = self.client.json(&call).await?;
        self.learn(Abilities::of(&capacity));
        Ok(capacity)
    }

    fn query<'a>(&self, verb: Verb, target: &'a str, path: &[&'a str]) -> Call<'a> {
        Call::new(verb, target, Method::GET, path, self.client.limits.query).repeatable()
    }

    fn post<'a>(&self, verb: Verb, target: &'a str, path: &[&'a str]) -> Call<'a> {
        let limits = &self.client.limits;
        let limit = match verb {
            Verb::Create | Verb::Fork | Verb::Snapshot | Verb::Restore | Verb::FetchSnapshot => limits.create,
            _ => limits.change,
        };
        Call::new(verb, target, Method::POST, path, limit)
    }

    /// Asks for a VM, and believes only an answer about that one.
    async fn one_vm(&self, call: &Call<'_>, name: &VmName) -> ProviderResult<VmFacts> {
        let vm: Vm = self.client.json(call).await?;
        let facts = translate::vm_facts(&vm, false).filter(|facts| facts.name == *name);
        facts.ok_or_else(|| {
            let told: String = vm.vm_id.chars().take(100).collect();
            self.client.senseless(call, &format!("the answer is about another VM, {told:?}"))
        })
    }

    /// Asks for something whose answer says no more than that it is done.
    async fn done(&self, call: &Call<'_>) -> ProviderResult<()> {
        match self.client.json::<Done>(call).await? {
            Done { ok: true } => Ok(()),
            Done { ok: false } => Err(self.client.senseless(call, "the answer does not say that it is done")),
        }
    }

    fn snapshot_of(&self, call: &Call<'_>, answer: AgentSnapshot) -> ProviderResult<SnapshotFacts> {
        if answer.snapshot_id.is_empty() {
            return Err(self.client.senseless(call, "the answer names no snapshot"));
        }
        Ok(translate::snapshot_facts(answer))
    }

    fn unsupported(&self, verb: Verb, target: impl std::fmt::Display, message: &str) -> ProviderError {
        ProviderError::new(Kind::Unsupported, verb, self.client.host(), target, message)
    }

    async fn log(
        &self,
        vm: &VmName,
        source: LogSource,
        after: Option<u64>,
        limit: usize,
    ) -> ProviderResult<LogChunk> {
        let can = self.abilities().await?.logs;
        if !can {
            return Err(self.unsupported(Verb::Logs, vm, "the agent of this host tells no logs"));
        }
        let name = vm.as_str();
        let mut call = self
            .query(Verb::Logs, name, &["v1", "vm", name, "logs"])
            .query("source", source.as_str())
            .query("limit", limit)
            .at_most(limit);
        if let Some(after) = after {
            call = call.query("after", after);
        }
        let answer = self.client.send(&call).await?;
        let start = answer.headers.get(LOG_START).and_then(|value| value.to_str().ok()?.parse().ok());
        match (after, start) {
            (Some(_), None) => Err(self.client.senseless(&call, "the answer does not say where it begins")),
            (_, start) => Ok(LogChunk { start: start.unwrap_or(0), bytes: answer.body }),
        }
    }
}

#[async_trait]
impl Provider for RemoteHost {
    fn backend(&self) -> &str {
        &self.backend
    }

    async fn starts_workloads(&self) -> bool {
        self.abilities().await.is_ok_and(|abilities| abilities.command)
    }

    async fn starts_services(&self) -> bool {
        self.abilities().await.is_ok_and(|abilities| abilities.services)
    }

    async fn probe(&self) -> ProviderResult<HostFacts> {
        match self.capacity().await {
            Ok(capacity) => Ok(translate::host_facts(&capacity)),
            Err(error) if error.kind == Kind::NotFound => {
                self.learn(Abilities::original());
                Ok(HostFacts::default())
            }
            Err(error) => Err(error),
        }
    }

    async fn create(&self, request: &CreateRequest) -> ProviderResult<VmFacts> {
        let call = self.post(Verb::Create, request.name.as_str(), &["v1", "vm"]);
        self.one_vm(&call.json(&translate::create(request)), &request.name).await
    }

    async fn list(&self, owner: &OwnerId, prefix: &VmPrefix) -> ProviderResult<Vec<VmFacts>> {
        let call = self.query(Verb::List, "", &["v1", "vm"]).query("prefix", prefix).query("owner", owner);
        let list: VmList = self.client.json(&call).await?;
        let mut vms: Vec<VmFacts> = list
            .vms
            .iter()
            // Names that no control plane gives are not ours.
            .filter_map(|vm| translate::vm_facts(vm, list.keeps_owner))
            .filter(|vm| vm.owner.as_ref() == Some(owner) || vm.name.as_str().starts_with(prefix.as_str()))
            .collect();
        vms.sort_by(|a, b| a.name.cmp(&b.name));
        vms.dedup_by(|a, b| a.name == b.name);
        Ok(vms)
    }

    async fn get(&self, vm: &VmName) -> ProviderResult<VmFacts> {
        let name = vm.as_str();
        self.one_vm(&self.query(Verb::Get, name, &["v1", "vm", name]), vm).await
    }

    async fn destroy(&self, vm: &VmName) -> ProviderResult<()> {
        let name = vm.as_str();
        let limit = self.client.limits.change;
        let call = Call::new(Verb::Destroy, name, Method::DELETE, &["v1", "vm", name], limit).repeatable();
        match self.client.send(&call).await {
            Err(error) if error.kind != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn upload(&self, vm: &VmName, file: &FileUpload) -> ProviderResult<()> {
        let name = vm.as_str();
        let body = translate::upload(file);
        let call = self
            .post(Verb::Upload, name, &["v1", "vm", name, "upload"])
            .json(&body)
            .hide(translate::secrets_of(file, &body))
            .repeatable();
        self.done(&call).await
    }

    async fn exec(&self, vm: &VmName, request: &ExecRequest) -> ProviderResult<ExecOutput> {
        let name = vm.as_str();
        let limit = request.timeout.saturating_add(self.client.limits.exec_margin);
        let path = ["v1", "vm", name, "exec"];
        let call = Call::new(Verb::Exec, name, Method::POST, &path, limit)
            .json(&translate::exec(request))
            .at_most(self.client.limits.output);
        let answer = self.client.json(&call).await?;
        translate::exec_output(&answer).map_err(|why| self.client.senseless(&call, &why))
    }

    async fn exec_stream(&self, vm: &VmName, request: &ExecRequest) -> ProviderResult<ExecStream> {
        if !self.abilities().await?.exec_stream {
            return Ok(ExecStream::of(self.exec(vm, request).await?));
        }
        let name = vm.as_str();
        let path = ["v1", "vm", name, "exec", "stream"];
        let call = self.post(Verb::Exec, name, &path).json(&translate::exec(request));
        let response = self.client.stream(&call, |request| request).await?;
        Ok(attach::output(response, request.timeout.saturating_add(self.client.limits.exec_margin)))
    }

    async fn start_agent(&self, vm: &VmName, start: &AgentStart) -> ProviderResult<Vec<GuestEndpoint>> {
        let abilities = self.abilities().await?;
        let name = vm.as_str();
        let secrets = || [Some(start.auth_token.clone()), start.gateway_token.clone()].into_iter().flatten();
        let ask = |route: &'static str| {
            let call = self.post(Verb::StartAgent, name, &["v1", "vm", name, route]);
            call.json(&translate::start(start)).hide(secrets())
        };
        let answer: ProviderResult<StartAgentAnswer> = self.client.json(&ask("start-agent")).await;
        let answer = match answer {
            // The oldest agents know the route under its first name.
            Err(error) if error.kind == Kind::NotFound && abilities == Abilities::original() => {
                self.client.json(&ask("start-surfd")).await?
            }
            answer => answer?,
        };
        if !answer.ok {
            return Err(self
                .client
                .senseless(&ask("start-agent"), "the answer does not say that it is done"));
        }
        let endpoints = answer.endpoints.into_iter();
        Ok(endpoints.map(|e| GuestEndpoint { name: e.name, url: e.url, port: e.port }).collect())
    }

    async fn attach(&self, vm: &VmName, request: &AttachRequest) -> ProviderResult<AttachSession> {
        let name = vm.as_str();
        let path = ["v1", "vm", name, "attach"];
        let mut call = Call::new(Verb::Attach, name, Method::GET, &path, self.client.limits.query)
            .query("tty", 1)
            .query("rows", request.rows.max(1))
            .query("cols", request.cols.max(1));
        for word in &request.argv {
            call = call.query("cmd", word);
        }
        attach::open_terminal(&self.client, &call).await
    }

    async fn logs(&self, vm: &VmName, source: LogSource, limit: usize) -> ProviderResult<Vec<u8>> {
        Ok(self.log(vm, source, None, limit).await?.bytes)
    }

    async fn read_log(
        &self,
        vm: &VmName,
        source: LogSource,
        after: u64,
        limit: usize,
    ) -> ProviderResult<LogChunk> {
        self.log(vm, source, Some(after), limit).await
    }

    async fn snapshot(&self, vm: &VmName, request: &SnapshotVmRequest) -> ProviderResult<SnapshotFacts> {
        let name = vm.as_str();
        let body = TakeSnapshot { comment: request.comment.clone(), include_ram: false, live: request.live };
        let call = self.post(Verb::Snapshot, name, &["v1", "vm", name, "snapshot"]).json(&body);
        let answer = self.client.json(&call).await?;
        let facts = self.snapshot_of(&call, answer)?;
        // The answer of a create need not repeat what was asked.
        Ok(SnapshotFacts { comment: request.comment.clone(), ..facts })
    }

    async fn snapshots(&self, vm: &VmName) -> ProviderResult<Vec<SnapshotFacts>> {
        let name = vm.as_str();
        let call = self.query(Verb::Snapshots, name, &["v1", "vm", name, "snapshots"]);
        let list: SnapshotList = match self.client.json(&call).await {
            // The VM is gone, and so is what this agent kept with it.
            Err(error) if error.kind == Kind::NotFound => return Ok(Vec::new()),
            list => list?,
        };
        list.snapshots.into_iter().map(|snapshot| self.snapshot_of(&call, snapshot)).collect()
    }

    async fn restore(&self, vm: &VmName, artifact: &str) -> ProviderResult<()> {
        let name = vm.as_str();
        let body = Restore { snapshot_id: artifact.to_owned(), include_ram: false };
        let call = self.post(Verb::Restore, name, &["v1", "vm", name, "restore"]).json(&body);
        self.done(&call).await
    }

    async fn fork(&self, request: &ForkVmRequest) -> ProviderResult<VmFacts> {
        let (source, name) = (request.source.as_str(), &request.create.name);
        let body = Fork { snapshot_id: request.artifact.clone(), vm: translate::create(&request.create) };
        let call = self.post(Verb::Fork, name.as_str(), &["v1", "vm", source, "fork"]).json(&body);
        self.one_vm(&call, name).await
    }

    async fn delete_snapshot(&self, vm: &VmName, artifact: &str) -> ProviderResult<()> {
        if !self.abilities().await?.delete_snapshot {
            let message = "the agent of this host keeps the bytes of snapshots for ever";
            return Err(self.unsupported(Verb::DeleteSnapshot, artifact, message));
        }
        let path = ["v1", "vm", vm.as_str(), "snapshots", artifact];
        let limit = self.client.limits.change;
        let call = Call::new(Verb::DeleteSnapshot, artifact, Method::DELETE, &path, limit).repeatable();
        match self.client.send(&call).await {
            Err(error) if error.kind != Kind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn moves_snapshots(&self) -> bool {
        true
    }

    fn offer_snapshot(&self, artifact: &str, digest: &str) -> ProviderResult<SnapshotOffer> {
        self.client.offer(artifact, digest)
    }

    async fn fetch_snapshot(&self, name: &str, offer: &SnapshotOffer) -> ProviderResult<()> {
        let body = Pull {
            peer_url: offer.url.clone(),
            grant: offer.grant.expose_secret().to_owned(),
            snapshot_id: Some(name.to_owned()),
            peer_snapshot_id: Some(offer.artifact.clone()),
            peer_certificate_sha256: offer.certificate,
        };
        let call = self
            .post(Verb::FetchSnapshot, name, &["v1", "artifacts", &offer.digest, "pull"])
            .json(&body)
            .hide([offer.grant.clone()]);
        let pulled: Pulled = self.client.json(&call).await?;
        // An agent that knows another snapshot of this digest answers with that one, which may have another memory.
        if pulled.snapshot_id == name && pulled.digest == offer.digest {
            return Ok(());
        }
        let told: String = pulled.snapshot_id.chars().take(100).collect();
        Err(self.client.senseless(&call, &format!("the answer is about another snapshot, {told:?}")))
    }
}
