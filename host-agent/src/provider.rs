//! The orchestrator's provider for this machine.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use fuse_guest_protocol::{
    client::Output,
    verb::{Attach, Exec, LogSource as GuestLog, Logs, Size, Upload},
};
use fuse_orchestrator::{
    model::{Arch, Capacity, EnvironmentId, GuestEndpoint, OwnerId, Resources, VmName, VmPrefix},
    provider::{
        AgentStart, AttachInput, AttachOutput, AttachRequest, AttachSession, Connector, CreateRequest,
        ExecChunk, ExecOutput, ExecRequest, ExecStream, FileUpload, ForkVmRequest, HostAddress, HostFacts,
        LogChunk, LogSource, Provider, ProviderError, ProviderErrorKind, ProviderResult, SnapshotFacts,
        SnapshotVmRequest, Verb, VmFacts,
    },
};
use tokio::sync::mpsc;

use crate::{
    Error, ErrorKind,
    agent::{EXEC_LONGEST, HostAgent, Memory, NewSnapshot, NewVm, VmView, WorkloadStart},
    store::{ImageName, SnapshotKind, SnapshotName, SnapshotRecord},
    system::host_capacity,
};

/// Parts of a stream that wait for their reader.
const WAITING: usize = 32;

/// Drives the VMs of this machine in process: an orchestrator needs no daemon.
#[derive(Debug, Clone)]
pub struct LocalProvider {
    agent: HostAgent,
    host: String,
}

impl LocalProvider {
    /// A provider over `agent`. `host` is how errors name this machine.
    #[must_use]
    pub fn new(agent: HostAgent, host: impl Into<String>) -> Self {
        Self { agent, host: host.into() }
    }

    /// The agent.
    #[must_use]
    pub const fn agent(&self) -> &HostAgent {
        &self.agent
    }

    fn error(&self, verb: Verb, target: &str, error: &Error) -> ProviderError {
        let kind = kind_of(error.kind);
        ProviderError::new(kind, verb, &self.host, target, error.to_string())
    }
}

/// What an error of the agent is to the control plane.
const fn kind_of(kind: ErrorKind) -> ProviderErrorKind {
    match kind {
        ErrorKind::NotFound => ProviderErrorKind::NotFound,
        ErrorKind::Exists => ProviderErrorKind::AlreadyExists,
        ErrorKind::Invalid | ErrorKind::TooLarge => ProviderErrorKind::Refused,
        ErrorKind::Unsupported => ProviderErrorKind::Unsupported,
        ErrorKind::Busy => ProviderErrorKind::Busy,
        ErrorKind::Corrupt | ErrorKind::Guest | ErrorKind::Vmm | ErrorKind::System => {
            ProviderErrorKind::Failed
        }
    }
}

/// What this agent says of itself.
pub(crate) fn facts_of(agent: &HostAgent) -> HostFacts {
    let host = host_capacity(&agent.config().data);
    let arch = if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 };
    let capacity = Capacity { vm_count: agent.config().max_vms, ..host };
    HostFacts { capacity, arch: Some(arch), backend: agent.backend().to_owned(), keeps_owner: true }
}

/// A request to make a VM, in the agent's terms.
fn new_vm(request: &CreateRequest) -> crate::Result<NewVm> {
    let image = (!request.image.is_empty()).then(|| ImageName::new(&request.image)).transpose()?;
    let seed = request.seed.as_deref().map(SnapshotName::new).transpose()?;
    Ok(NewVm {
        name: request.name.clone(),
        owner: Some(request.owner.clone()),
        environment_id: request.environment_id.to_string(),
        resources: request.resources,
        image,
        seed,
    })
}

fn vm_facts(view: VmView) -> VmFacts {
    VmFacts {
        name: view.name,
        url: view.url,
        owner: view.owner,
        environment_id: EnvironmentId::new(&view.environment_id).ok(),
        resources: Some(view.resources).filter(|resources| *resources != Resources::default()),
    }
}

/// A snapshot, for the control plane.
fn snapshot_facts(record: &SnapshotRecord) -> SnapshotFacts {
    SnapshotFacts {
        artifact: record.id.to_string(),
        comment: record.comment.clone(),
        created_at: Some(record.created_at),
        digest: record.digest().map(|digest| digest.to_string()).unwrap_or_default(),
        size_bytes: record.size(),
        live: record.kind == SnapshotKind::Live,
    }
}

/// A command, for the guest.
pub(crate) fn exec_of(argv: &[String], timeout: Duration) -> Exec {
    let timeout = timeout.min(EXEC_LONGEST).as_millis().max(1);
    Exec { timeout_ms: u64::try_from(timeout).unwrap_or(u64::MAX), ..Exec::argv(argv) }
}

#[async_trait]
impl Provider for LocalProvider {
    fn backend(&self) -> &str {
        self.agent.backend()
    }

    async fn probe(&self) -> ProviderResult<HostFacts> {
        Ok(facts_of(&self.agent))
    }

    async fn create(&self, request: &CreateRequest) -> ProviderResult<VmFacts> {
        let fail = |error: Error| self.error(Verb::Create, request.name.as_str(), &error);
        let made = self.agent.create(new_vm(request).map_err(fail)?).await;
        // An image or a snapshot that is not there is the request's fault.
        let refused = |error: Error| match error.kind {
            ErrorKind::NotFound => fail(Error { kind: ErrorKind::Invalid, ..error }),
            _ => fail(error),
        };
        made.map(vm_facts).map_err(refused)
    }

    async fn list(&self, owner: &OwnerId, prefix: &VmPrefix) -> ProviderResult<Vec<VmFacts>> {
        let _ = prefix;
        Ok(self.agent.list(Some(owner), None).into_iter().map(vm_facts).collect())
    }

    async fn get(&self, vm: &VmName) -> ProviderResult<VmFacts> {
        self.agent.get(vm).map(vm_facts).map_err(|error| self.error(Verb::Get, vm.as_str(), &error))
    }

    async fn destroy(&self, vm: &VmName) -> ProviderResult<()> {
        self.agent.destroy(vm).await.map_err(|error| self.error(Verb::Destroy, vm.as_str(), &error))
    }

    async fn upload(&self, vm: &VmName, file: &FileUpload) -> ProviderResult<()> {
        let upload =
            Upload { path: file.path.clone(), mode: file.mode, size: Some(file.content.len() as u64) };
        let written = self.agent.upload(vm, &upload, &mut file.content.as_slice()).await;
        written.map(drop).map_err(|error| self.error(Verb::Upload, vm.as_str(), &error))
    }

    async fn exec(&self, vm: &VmName, request: &ExecRequest) -> ProviderResult<ExecOutput> {
        let done = self.agent.exec(vm, &exec_of(&request.argv, request.timeout)).await;
        let done = done.map_err(|error| self.error(Verb::Exec, vm.as_str(), &error))?;
        Ok(ExecOutput { exit_code: done.result.exit_code, stdout: done.stdout, stderr: done.stderr })
    }

    async fn exec_stream(&self, vm: &VmName, request: &ExecRequest) -> ProviderResult<ExecStream> {
        let started = self.agent.exec_stream(vm, &exec_of(&request.argv, request.timeout)).await;
        let mut stream = started.map_err(|error| self.error(Verb::Exec, vm.as_str(), &error))?;
        let (sender, output) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            loop {
                let (chunk, ends) = match stream.next().await {
                    Ok(Output::Stdout(bytes)) => (ExecChunk::Stdout(bytes), false),
                    Ok(Output::Stderr(bytes)) => (ExecChunk::Stderr(bytes), false),
                    Ok(Output::Exit(result)) => (ExecChunk::Exit(result.exit_code), true),
                    Err(error) if error.code() == Some(fuse_guest_protocol::ErrorCode::NotFound) => {
                        let _ = sender.send(ExecChunk::Stderr(format!("{error}\n").into_bytes())).await;
                        (ExecChunk::Exit(127), true)
                    }
                    // A stream that ends without an exit broke off.
                    Err(_) => return,
                };
                // Without a reader the command goes on until its time is over.
                let _ = sender.send(chunk).await;
                if ends {
                    return;
                }
            }
        });
        Ok(ExecStream { output })
    }

    async fn start_agent(&self, vm: &VmName, start: &AgentStart) -> ProviderResult<Vec<GuestEndpoint>> {
        let request = WorkloadStart {
            token: Some(start.auth_token.clone()),
            command: start.command.clone(),
            gateway: start.gateway.clone(),
            gateway_token: start.gateway_token.clone(),
            expose: start.expose.iter().map(|expose| (expose.port, expose.name.clone())).collect(),
        };
        let published = self.agent.start_workload(vm, &request).await;
        let published = published.map_err(|error| self.error(Verb::StartAgent, vm.as_str(), &error))?;
        let endpoint = |port: &crate::store::Published| GuestEndpoint {
            name: port.name.clone(),
            url: self.agent.public_url(port),
            port: port.guest,
        };
        Ok(published.iter().map(endpoint).collect())
    }

    async fn attach(&self, vm: &VmName, request: &AttachRequest) -> ProviderResult<AttachSession> {
        let size = Size { rows: request.rows.max(1), cols: request.cols.max(1) };
        let attach = Attach { argv: request.argv.clone(), size, ..Attach::default() };
        let opened = self.agent.attach(vm, &attach).await;
        let mut terminal = opened.map_err(|error| self.error(Verb::Attach, vm.as_str(), &error))?;
        let keyboard = terminal.input();
        let (input, mut typed) = mpsc::channel(WAITING);
        let (shown, output) = mpsc::channel(WAITING);
        tokio::spawn(async move {
            let typing = async {
                while let Some(item) = typed.recv().await {
                    let done = match item {
                        AttachInput::Stdin(bytes) => keyboard.write(&bytes).await,
                        AttachInput::Resize { rows, cols } => {
                            keyboard.resize(Size { rows: rows.max(1), cols: cols.max(1) }).await
                        }
                    };
                    if done.is_err() {
                        break;
                    }
                }
            };
            let showing = async {
                loop {
                    let item = match terminal.next().await {
                        Ok(Output::Stdout(bytes) | Output::Stderr(bytes)) => AttachOutput::Stdout(bytes),
                        Ok(Output::Exit(result)) => AttachOutput::Exit(result.exit_code),
                        Err(_) => return,
                    };
                    let ends = matches!(item, AttachOutput::Exit(_));
                    if shown.send(item).await.is_err() || ends {
                        return;
                    }
                }
            };
            // Whoever goes first closes it: the program by its end, the caller by dropping the session.
            tokio::select! {
                () = showing => {}
                () = async { typing.await; shown.closed().await } => {}
            }
        });
        Ok(AttachSession { input, output })
    }

    async fn logs(&self, vm: &VmName, source: LogSource, limit: usize) -> ProviderResult<Vec<u8>> {
        let read = read_log(&self.agent, vm, source, limit).await;
        read.map_err(|error| self.error(Verb::Logs, vm.as_str(), &error))
    }

    async fn read_log(
        &self,
        vm: &VmName,
        source: LogSource,
        after: u64,
        limit: usize,
    ) -> ProviderResult<LogChunk> {
        let read = read_log_after(&self.agent, vm, source, after, limit).await;
        read.map_err(|error| self.error(Verb::Logs, vm.as_str(), &error))
    }

    async fn snapshot(&self, vm: &VmName, request: &SnapshotVmRequest) -> ProviderResult<SnapshotFacts> {
        let memory = if request.live { Memory::Full } else { Memory::None };
        let new = NewSnapshot { comment: request.comment.clone(), memory };
        let made = self.agent.snapshot(vm, new).await;
        made.map(|record| snapshot_facts(&record))
            .map_err(|error| self.error(Verb::Snapshot, vm.as_str(), &error))
    }

    async fn snapshots(&self, vm: &VmName) -> ProviderResult<Vec<SnapshotFacts>> {
        Ok(self.agent.snapshots().of_vm(vm).iter().map(|record| snapshot_facts(record)).collect())
    }

    async fn restore(&self, vm: &VmName, artifact: &str) -> ProviderResult<()> {
        let fail = |error: Error| self.error(Verb::Restore, vm.as_str(), &error);
        // A name that no snapshot can have is that of none.
        let id = SnapshotName::new(artifact)
            .map_err(|error| fail(Error { kind: ErrorKind::NotFound, ..error }))?;
        self.agent.restore(vm, &id).await.map_err(fail)
    }

    async fn fork(&self, request: &ForkVmRequest) -> ProviderResult<VmFacts> {
        let name = request.create.name.as_str();
        let fail = |error: Error| self.error(Verb::Fork, name, &error);
        self.agent.get(&request.source).map_err(fail)?;
        let seed = Some(request.artifact.clone());
        let new = new_vm(&CreateRequest { seed, ..request.create.clone() });
        let new = new.map_err(|error| fail(Error { kind: ErrorKind::NotFound, ..error }))?;
        self.agent.create(new).await.map(vm_facts).map_err(fail)
    }

    async fn delete_snapshot(&self, _: &VmName, artifact: &str) -> ProviderResult<()> {
        let Ok(id) = SnapshotName::new(artifact) else { return Ok(()) };
        let deleted = self.agent.delete_snapshot(&id).await;
        deleted.map_err(|error| self.error(Verb::DeleteSnapshot, artifact, &error))
    }
}

/// The most bytes of a log that are asked of a guest.
const LOG_MOST: usize = 256 * 1024;

fn guest_source(source: LogSource) -> Option<GuestLog> {
    match source {
        LogSource::Console => None,
        LogSource::Startup => Some(GuestLog::Startup),
        LogSource::Agent => Some(GuestLog::Workload),
    }
}

/// The last bytes of a log of a VM.
pub(crate) async fn read_log(
    agent: &HostAgent,
    vm: &VmName,
    source: LogSource,
    limit: usize,
) -> crate::Result<Vec<u8>> {
    let Some(source) = guest_source(source) else { return agent.console(vm, limit).await };
    let limit = limit.min(LOG_MOST);
    let mut stream = agent.guest_log(vm, &Logs { max_bytes: limit as u64, ..Logs::of(source) }).await?;
    let mut bytes = Vec::new();
    let broken = |error| Error::new(ErrorKind::Guest, "read a log of", vm, error);
    while let Some(part) = stream.next().await.map_err(broken)? {
        bytes.extend_from_slice(&part);
        if bytes.len() >= limit {
            break;
        }
    }
    bytes.truncate(limit);
    Ok(bytes)
}

/// A log of a VM from a place on.
pub(crate) async fn read_log_after(
    agent: &HostAgent,
    vm: &VmName,
    source: LogSource,
    after: u64,
    limit: usize,
) -> crate::Result<LogChunk> {
    let (start, all) = match source {
        LogSource::Console => agent.console_after(vm, after, limit).await?,
        _ => (0, read_log(agent, vm, source, LOG_MOST).await?),
    };
    let skip = usize::try_from(after.saturating_sub(start)).unwrap_or(usize::MAX).min(all.len());
    let bytes: Vec<u8> = all.get(skip..).unwrap_or_default().iter().copied().take(limit).collect();
    Ok(LogChunk { start: start + skip as u64, bytes })
}

/// Gives every host that it is asked for the provider of this machine: for URLs such as `local://default`.
#[derive(Debug, Clone)]
pub struct LocalConnector(HostAgent);

impl LocalConnector {
    /// A connector to `agent`.
    #[must_use]
    pub const fn new(agent: HostAgent) -> Self {
        Self(agent)
    }
}

impl Connector for LocalConnector {
    fn connect(&self, host: &HostAddress) -> ProviderResult<Arc<dyn Provider>> {
        Ok(Arc::new(LocalProvider::new(self.0.clone(), host.id.to_string())))
    }
}
