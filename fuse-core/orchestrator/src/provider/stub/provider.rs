//! The verbs of the stub.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::mpsc, time};

use super::{Effect, StubHost, guest, guest::Files, host::State};
use crate::{
    model::{Arch, GuestEndpoint, OwnerId, VmName, VmPrefix},
    provider::{
        AgentStart, AttachInput, AttachOutput, AttachRequest, AttachSession, Connector, CreateRequest,
        ExecOutput, ExecRequest, FileUpload, ForkVmRequest, HostAddress, HostFacts, LogChunk, LogSource,
        Provider, ProviderError, ProviderErrorKind as Kind, ProviderResult, SnapshotFacts, SnapshotOffer,
        SnapshotVmRequest, Verb, VmFacts,
    },
};

impl StubHost {
    fn error(&self, kind: Kind, verb: Verb, target: &str, message: &str) -> ProviderError {
        ProviderError::new(kind, verb, &self.name, target, message)
    }

    fn no_vm(&self, verb: Verb, vm: &VmName) -> ProviderError {
        self.error(Kind::NotFound, verb, vm.as_str(), "there is no such VM")
    }

    /// Does `verb`, as the faults have it.
    async fn act<T: Send + 'static>(
        &self,
        verb: Verb,
        vm: Option<&VmName>,
        effect: impl Fn(&Self, &mut State) -> ProviderResult<T> + Send + Sync + 'static,
    ) -> ProviderResult<T> {
        let target = vm.map(VmName::as_str).unwrap_or_default();
        let struck = {
            let mut state = self.lock();
            *state.calls.entry(verb.as_str()).or_default() += 1;
            if state.down {
                return Err(self.error(Kind::Unreachable, verb, target, "the host is down"));
            }
            state.faults.strike(verb, vm)
        };
        match struck {
            None => effect(self, &mut self.lock()),
            Some(Effect::Delay(wait)) => {
                time::sleep(wait).await;
                effect(self, &mut self.lock())
            }
            Some(Effect::SlowAnswer(wait)) => {
                let answer = effect(self, &mut self.lock());
                time::sleep(wait).await;
                answer
            }
            Some(Effect::Fail(kind, message)) => Err(self.error(kind, verb, target, &message)),
            Some(Effect::FailAfter(kind, message)) => {
                let _ = effect(self, &mut self.lock());
                Err(self.error(kind, verb, target, &message))
            }
            Some(Effect::FailThenHappen(kind, wait)) => {
                let host = self.clone();
                tokio::spawn(async move {
                    time::sleep(wait).await;
                    let _ = effect(&host, &mut host.lock());
                });
                Err(self.error(kind, verb, target, "the answer was lost"))
            }
            Some(Effect::Hang) => std::future::pending().await,
            Some(Effect::Twice) => {
                let _ = effect(self, &mut self.lock());
                effect(self, &mut self.lock())
            }
        }
    }

    /// Runs a command in a guest that is there, waiting where it sleeps.
    async fn run(&self, vm: &VmName, request: &ExecRequest) -> ProviderResult<ExecOutput> {
        let mut run = guest::Run::new(&request.argv);
        let mut left = request.timeout;
        loop {
            let step = {
                let mut state = self.lock();
                let guest = state.vms.get_mut(vm).ok_or_else(|| self.no_vm(Verb::Exec, vm))?;
                run.step(&mut guest.files)
            };
            match step {
                guest::Step::Done(output) => return Ok(output),
                guest::Step::Sleep(wait) if wait > left => {
                    time::sleep(left).await;
                    return Ok(run.time_out());
                }
                guest::Step::Sleep(wait) => {
                    time::sleep(wait).await;
                    left -= wait;
                }
            }
        }
    }
}

#[async_trait]
impl Provider for StubHost {
    fn backend(&self) -> &str {
        "stub"
    }

    async fn probe(&self) -> ProviderResult<HostFacts> {
        self.act(Verb::Probe, None, |host, _| {
            Ok(HostFacts {
                capacity: host.capacity,
                arch: Some(Arch::Amd64),
                backend: "stub".to_owned(),
                keeps_owner: true,
            })
        })
        .await
    }

    async fn create(&self, request: &CreateRequest) -> ProviderResult<VmFacts> {
        let wanted = request.clone();
        self.act(Verb::Create, Some(&request.name), move |host, state| {
            if state.vms.contains_key(&wanted.name) {
                let message = "a VM of this name exists";
                return Err(host.error(Kind::AlreadyExists, Verb::Create, wanted.name.as_str(), message));
            }
            let files = match &wanted.seed {
                None => Files::new(),
                Some(seed) => match state.snapshot_of(seed) {
                    Some((_, snapshot)) => snapshot.files.clone(),
                    None => return Err(host.error(Kind::Refused, Verb::Create, seed, "no such snapshot")),
                },
            };
            Ok(state.boot(&wanted, files))
        })
        .await
    }

    async fn list(&self, owner: &OwnerId, _prefix: &VmPrefix) -> ProviderResult<Vec<VmFacts>> {
        let owner = owner.clone();
        self.act(Verb::List, None, move |_, state| {
            let ours = state.vms.iter().filter(|(_, vm)| vm.owner == owner);
            Ok(ours.map(|(name, vm)| vm.facts(name)).collect())
        })
        .await
    }

    async fn get(&self, vm: &VmName) -> ProviderResult<VmFacts> {
        let name = vm.clone();
        self.act(Verb::Get, Some(vm), move |host, state| {
            state.vms.get(&name).map(|vm| vm.facts(&name)).ok_or_else(|| host.no_vm(Verb::Get, &name))
        })
        .await
    }

    async fn destroy(&self, vm: &VmName) -> ProviderResult<()> {
        let name = vm.clone();
        self.act(Verb::Destroy, Some(vm), move |_, state| {
            state.vms.remove(&name);
            Ok(())
        })
        .await
    }

    async fn upload(&self, vm: &VmName, file: &FileUpload) -> ProviderResult<()> {
        let (name, file) = (vm.clone(), file.clone());
        self.act(Verb::Upload, Some(vm), move |host, state| {
            let guest = state.vms.get_mut(&name).ok_or_else(|| host.no_vm(Verb::Upload, &name))?;
            guest.files.insert(file.path.clone(), file.content.clone());
            Ok(())
        })
        .await
    }

    async fn exec(&self, vm: &VmName, request: &ExecRequest) -> ProviderResult<ExecOutput> {
        self.act(Verb::Exec, Some(vm), |_, _| Ok(())).await?;
        self.run(vm, request).await
    }

    async fn start_agent(&self, vm: &VmName, start: &AgentStart) -> ProviderResult<Vec<GuestEndpoint>> {
        let (name, start) = (vm.clone(), start.clone());
        self.act(Verb::StartAgent, Some(vm), move |host, state| {
            let guest = state.vms.get_mut(&name).ok_or_else(|| host.no_vm(Verb::StartAgent, &name))?;
            guest.token = Some(start.auth_token.clone());
            guest.command.clone_from(&start.command);
            guest.agent_starts += 1;
            let line = match &start.command {
                Some(command) => format!("agent started, workload: {command}\n"),
                None => "agent started\n".to_owned(),
            };
            guest.agent_log.extend_from_slice(line.as_bytes());
            let endpoint = |expose: &crate::model::Expose| GuestEndpoint {
                name: expose.name.clone(),
                url: format!("fc://{name}:{}", expose.port),
                port: expose.port,
            };
            Ok(start.expose.iter().map(endpoint).collect())
        })
        .await
    }

    async fn attach(&self, vm: &VmName, request: &AttachRequest) -> ProviderResult<AttachSession> {
        let name = vm.clone();
        self.act(Verb::Attach, Some(vm), move |host, state| {
            state.vms.get(&name).map(|_| ()).ok_or_else(|| host.no_vm(Verb::Attach, &name))
        })
        .await?;
        let (input, from_user) = mpsc::channel(32);
        let (to_user, output) = mpsc::channel(32);
        tokio::spawn(terminal(self.clone(), vm.clone(), request.argv.clone(), from_user, to_user));
        Ok(AttachSession { input, output })
    }

    async fn logs(&self, vm: &VmName, source: LogSource, limit: usize) -> ProviderResult<Vec<u8>> {
        let name = vm.clone();
        self.act(Verb::Logs, Some(vm), move |host, state| {
            let guest = state.vms.get(&name).ok_or_else(|| host.no_vm(Verb::Logs, &name))?;
            let log = guest.log(source);
            Ok(log.get(log.len().saturating_sub(limit)..).unwrap_or_default().to_vec())
        })
        .await
    }

    async fn read_log(
        &self,
        vm: &VmName,
        source: LogSource,
        after: u64,
        limit: usize,
    ) -> ProviderResult<LogChunk> {
        let name = vm.clone();
        self.act(Verb::Logs, Some(vm), move |host, state| {
            let guest = state.vms.get(&name).ok_or_else(|| host.no_vm(Verb::Logs, &name))?;
            let log = guest.log(source);
            let start = usize::try_from(after).unwrap_or(usize::MAX).min(log.len());
            let bytes = log.iter().skip(start).take(limit).copied().collect();
            Ok(LogChunk { start: start as u64, bytes })
        })
        .await
    }

    async fn snapshot(&self, vm: &VmName, request: &SnapshotVmRequest) -> ProviderResult<SnapshotFacts> {
        let (name, request) = (vm.clone(), request.clone());
        self.act(Verb::Snapshot, Some(vm), move |host, state| {
            state
                .take_snapshot(&name, &request.comment, request.live)
                .ok_or_else(|| host.no_vm(Verb::Snapshot, &name))
        })
        .await
    }

    async fn snapshots(&self, vm: &VmName) -> ProviderResult<Vec<SnapshotFacts>> {
        let name = vm.clone();
        self.act(Verb::Snapshots, Some(vm), move |_, state| {
            let of_vm = state.snapshots.values().filter(|snapshot| snapshot.vm == name);
            Ok(of_vm.map(|snapshot| snapshot.facts.clone()).collect())
        })
        .await
    }

    async fn restore(&self, vm: &VmName, artifact: &str) -> ProviderResult<()> {
        let (name, artifact) = (vm.clone(), artifact.to_owned());
        self.act(Verb::Restore, Some(vm), move |host, state| {
            let files = match state.snapshot_of(&artifact) {
                Some((_, snapshot)) if snapshot.vm == name => snapshot.files.clone(),
                _ => return Err(host.error(Kind::NotFound, Verb::Restore, &artifact, "no such snapshot")),
            };
            let guest = state.vms.get_mut(&name).ok_or_else(|| host.no_vm(Verb::Restore, &name))?;
            guest.files = files;
            guest.console.extend_from_slice(b"stub: restored\n");
            Ok(())
        })
        .await
    }

    async fn fork(&self, request: &ForkVmRequest) -> ProviderResult<VmFacts> {
        let wanted = request.clone();
        self.act(Verb::Fork, Some(&request.create.name), move |host, state| {
            let name = wanted.create.name.as_str();
            if state.vms.contains_key(&wanted.create.name) {
                return Err(host.error(Kind::AlreadyExists, Verb::Fork, name, "a VM of this name exists"));
            }
            let files = match state.snapshot_of(&wanted.artifact) {
                Some((_, snapshot)) if snapshot.vm == wanted.source => snapshot.files.clone(),
                _ => {
                    return Err(host.error(Kind::NotFound, Verb::Fork, &wanted.artifact, "no such snapshot"));
                }
            };
            Ok(state.boot(&wanted.create, files))
        })
        .await
    }

    async fn delete_snapshot(&self, vm: &VmName, artifact: &str) -> ProviderResult<()> {
        let artifact = artifact.to_owned();
        self.act(Verb::DeleteSnapshot, Some(vm), move |_, state| {
            if let Some((number, _)) = state.snapshot_of(&artifact) {
                state.snapshots.remove(&number);
            }
            Ok(())
        })
        .await
    }

    fn moves_snapshots(&self) -> bool {
        self.peers.strong_count() > 0
    }

    fn offer_snapshot(&self, artifact: &str, digest: &str) -> ProviderResult<SnapshotOffer> {
        Ok(SnapshotOffer {
            url: format!("stub://{}", self.name),
            certificate: None,
            artifact: artifact.to_owned(),
            digest: digest.to_owned(),
            grant: "stubs ask for nothing".into(),
        })
    }

    async fn fetch_snapshot(&self, name: &str, offer: &SnapshotOffer) -> ProviderResult<()> {
        let (name, offer, peers) = (name.to_owned(), offer.clone(), self.peers.clone());
        // Its state is not locked yet when the other host's is.
        let found = peers.upgrade().and_then(|peers| {
            let peers = peers.lock().unwrap_or_else(PoisonError::into_inner);
            let state = peers.get(offer.url.strip_prefix("stub://")?)?.lock();
            let there = (!state.down).then(|| state.snapshot_of(&offer.artifact))?;
            there.map(|(_, snapshot)| snapshot.clone()).filter(|there| there.facts.digest == offer.digest)
        });
        self.act(Verb::FetchSnapshot, None, move |host, state| {
            let Some(snapshot) = found.clone() else {
                let message = "the other host does not give it";
                return Err(host.error(Kind::Refused, Verb::FetchSnapshot, &name, message));
            };
            state.keep(&name, snapshot);
            Ok(())
        })
        .await
    }
}

/// The terminal of a guest: it echoes what is typed, runs each line, and ends at `exit` or when its user leaves.
async fn terminal(
    host: StubHost,
    vm: VmName,
    argv: Vec<String>,
    mut input: mpsc::Receiver<AttachInput>,
    output: mpsc::Sender<AttachOutput>,
) {
    const LIMIT: Duration = Duration::from_secs(600);
    if !argv.is_empty() {
        let result = host.run(&vm, &ExecRequest { argv, timeout: LIMIT }).await;
        let done = result.unwrap_or(ExecOutput { exit_code: 255, ..ExecOutput::default() });
        let _ = output.send(AttachOutput::Stdout([done.stdout, done.stderr].concat())).await;
        let _ = output.send(AttachOutput::Exit(done.exit_code)).await;
        return;
    }
    let mut line = Vec::new();
    while let Some(item) = input.recv().await {
        let AttachInput::Stdin(bytes) = item else { continue };
        for byte in bytes {
            if byte != b'\n' && byte != b'\r' {
                // A line longer than this is not typed by anybody.
                if line.len() < 65_536 {
                    line.push(byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&std::mem::take(&mut line)).trim().to_owned();
            if let Some(code) = text.strip_prefix("exit") {
                let _ = output.send(AttachOutput::Exit(code.trim().parse().unwrap_or(0))).await;
                return;
            }
            let shown = match host.run(&vm, &ExecRequest::shell(&text, LIMIT)).await {
                Ok(done) => [done.stdout, done.stderr].concat(),
                Err(_) => {
                    let _ = output.send(AttachOutput::Exit(255)).await;
                    return;
                }
            };
            if output.send(AttachOutput::Stdout(shown)).await.is_err() {
                return;
            }
        }
    }
}

/// Makes stub hosts for `stub://NAME` (or `fc://NAME`) URLs; the same name is the same host.
#[derive(Debug, Default)]
pub struct StubConnector {
    hosts: Arc<Mutex<BTreeMap<String, StubHost>>>,
}

impl StubConnector {
    /// A connector without hosts; they come into being when they are asked for.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts `host` there under its own name.
    pub fn add(&self, host: StubHost) {
        let name = host.name.as_ref().to_owned();
        let host = StubHost { peers: Arc::downgrade(&self.hosts), ..host };
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner).insert(name, host);
    }

    /// The host with this name, made with the standard capacity when it is not there.
    pub fn host(&self, name: &str) -> StubHost {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        let peers = Arc::downgrade(&self.hosts);
        let new = || StubHost { peers, ..StubHost::new(name, StubHost::standard_capacity()) };
        hosts.entry(name.to_owned()).or_insert_with(new).clone()
    }
}

impl Connector for StubConnector {
    fn connect(&self, host: &HostAddress) -> ProviderResult<Arc<dyn Provider>> {
        match host.url.split_once("://") {
            Some((_, name)) if !name.is_empty() => Ok(Arc::new(self.host(name))),
            _ => {
                let message = format!("{:?} is not a stub URL; write stub://NAME", host.url);
                Err(ProviderError::new(Kind::Refused, Verb::Probe, &host.id, "", message))
            }
        }
    }
}
