//! What stands in for a provider that cannot be made.

use async_trait::async_trait;

use super::{
    AgentStart, AttachRequest, AttachSession, CreateRequest, ExecOutput, ExecRequest, FileUpload,
    ForkVmRequest, HostFacts, LogSource, Provider, ProviderError, ProviderErrorKind, ProviderResult,
    SnapshotFacts, SnapshotVmRequest, Verb, VmFacts,
};
use crate::model::{GuestEndpoint, HostId, OwnerId, VmName, VmPrefix};

/// Stands for a host whose provider cannot be made, such as one of a scheme that this program lacks.
#[derive(Debug)]
pub(crate) struct AbsentProvider {
    /// The host.
    pub(crate) host: HostId,
    /// Why there is no provider.
    pub(crate) why: String,
}

impl AbsentProvider {
    fn refuse<T>(&self, verb: Verb, target: impl std::fmt::Display) -> ProviderResult<T> {
        Err(ProviderError::new(ProviderErrorKind::Unreachable, verb, &self.host, target, self.why.as_str()))
    }
}

#[async_trait]
impl Provider for AbsentProvider {
    fn backend(&self) -> &str {
        "none"
    }

    async fn probe(&self) -> ProviderResult<HostFacts> {
        self.refuse(Verb::Probe, "")
    }

    async fn create(&self, request: &CreateRequest) -> ProviderResult<VmFacts> {
        self.refuse(Verb::Create, &request.name)
    }

    async fn list(&self, _: &OwnerId, _: &VmPrefix) -> ProviderResult<Vec<VmFacts>> {
        self.refuse(Verb::List, "")
    }

    async fn get(&self, vm: &VmName) -> ProviderResult<VmFacts> {
        self.refuse(Verb::Get, vm)
    }

    async fn destroy(&self, vm: &VmName) -> ProviderResult<()> {
        self.refuse(Verb::Destroy, vm)
    }

    async fn upload(&self, vm: &VmName, _: &FileUpload) -> ProviderResult<()> {
        self.refuse(Verb::Upload, vm)
    }

    async fn exec(&self, vm: &VmName, _: &ExecRequest) -> ProviderResult<ExecOutput> {
        self.refuse(Verb::Exec, vm)
    }

    async fn start_agent(&self, vm: &VmName, _: &AgentStart) -> ProviderResult<Vec<GuestEndpoint>> {
        self.refuse(Verb::StartAgent, vm)
    }

    async fn attach(&self, vm: &VmName, _: &AttachRequest) -> ProviderResult<AttachSession> {
        self.refuse(Verb::Attach, vm)
    }

    async fn logs(&self, vm: &VmName, _: LogSource, _: usize) -> ProviderResult<Vec<u8>> {
        self.refuse(Verb::Logs, vm)
    }

    async fn snapshot(&self, vm: &VmName, _: &SnapshotVmRequest) -> ProviderResult<SnapshotFacts> {
        self.refuse(Verb::Snapshot, vm)
    }

    async fn snapshots(&self, vm: &VmName) -> ProviderResult<Vec<SnapshotFacts>> {
        self.refuse(Verb::Snapshots, vm)
    }

    async fn restore(&self, vm: &VmName, _: &str) -> ProviderResult<()> {
        self.refuse(Verb::Restore, vm)
    }

    async fn fork(&self, request: &ForkVmRequest) -> ProviderResult<VmFacts> {
        self.refuse(Verb::Fork, &request.create.name)
    }

    async fn delete_snapshot(&self, vm: &VmName, _: &str) -> ProviderResult<()> {
        self.refuse(Verb::DeleteSnapshot, vm)
    }
}
