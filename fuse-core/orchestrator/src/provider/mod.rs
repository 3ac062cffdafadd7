//! The narrow trait through which one host is driven.
//!
//! A [`Provider`] speaks for one host: an in-memory one ([`stub`]), a host agent over HTTP, or the drivers of this
//! machine. All of them pass one conformance suite; this page is what they promise.
//!
//! # What every provider promises
//! - **Names are given.** The control plane names every VM, once and for all time. `create` of a name that exists
//!   is [`ProviderErrorKind::AlreadyExists`]; a provider never makes up a name and never reuses one.
//! - **Verbs are independent.** A long `exec` delays no other verb, least of all `destroy`. Creates of different
//!   VMs run side by side.
//! - **Gone is a claim.** [`ProviderErrorKind::NotFound`] means that the host answered and has no such VM. A host
//!   that did not answer is [`ProviderErrorKind::Unreachable`], a late one [`ProviderErrorKind::TimedOut`]; after
//!   either the verb may have happened, may happen yet, or never.
//! - **`destroy` and `delete_snapshot` are idempotent.** What is not there is removed already: `Ok`.
//! - **`list` is complete.** It names every VM of the host with the owner or the prefix that was asked for,
//!   including those that are half made, or it fails.
//! - **A dropped future is a lost answer.** The verb may still happen.
//! - **No secrets in errors.** Messages never repeat file contents, tokens or environment values.
//!
//! Limits, timeouts and retries are the caller's: the orchestrator puts a limit on every verb, and retries only what
//! is safe to repeat.

mod absent;
pub mod agent_api;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
pub mod grant;
#[cfg(feature = "remote")]
pub mod remote;
pub mod stub;
mod verbs;

use std::{fmt::Debug, sync::Arc};

use async_trait::async_trait;
use secrecy::SecretString;

use crate::model::{CertificatePin, GuestEndpoint, HostId, OwnerId, VmName, VmPrefix};

pub(crate) use absent::AbsentProvider;
pub use error::{ProviderError, ProviderErrorKind, Verb};
pub use verbs::{
    AgentStart, AttachInput, AttachOutput, AttachRequest, AttachSession, CreateRequest, ExecChunk,
    ExecOutput, ExecRequest, ExecStream, FileUpload, ForkVmRequest, HostFacts, LogChunk, LogSource,
    SnapshotFacts, SnapshotOffer, SnapshotVmRequest, VmFacts,
};

/// The result of a verb.
pub type ProviderResult<T> = Result<T, ProviderError>;

/// Drives one host.
#[async_trait]
pub trait Provider: Debug + Send + Sync + 'static {
    /// What runs the VMs: `firecracker`, `qemu`, `stub`, …
    fn backend(&self) -> &str;

    /// Whether [`Provider::start_agent`] starts the workload of the agent spec. An environment with a command that
    /// nobody starts gets a warning.
    async fn starts_workloads(&self) -> bool {
        true
    }

    /// Whether [`Provider::start_agent`] runs the services of `/fuse/compose.yaml`. Where it does not, the control
    /// plane runs them with podman.
    async fn starts_services(&self) -> bool {
        false
    }

    /// Asks the host what it is and has. Also the heartbeat: cheap, and safe to repeat.
    ///
    /// # Errors
    /// Unreachable, timed out, unauthorized.
    async fn probe(&self) -> ProviderResult<HostFacts>;

    /// Makes and boots a VM. When it returns `Ok`, the guest takes exec and upload.
    ///
    /// # Errors
    /// Already exists, refused (no such image or snapshot, too large), busy, and the general ones.
    async fn create(&self, request: &CreateRequest) -> ProviderResult<VmFacts>;

    /// Lists the VMs with this owner tag; a provider that keeps no tags lists those whose name begins with `prefix`.
    /// One that keeps tags may also list VMs of others, with their tags.
    ///
    /// # Errors
    /// The general ones.
    async fn list(&self, owner: &OwnerId, prefix: &VmPrefix) -> ProviderResult<Vec<VmFacts>>;

    /// Looks at one VM.
    ///
    /// # Errors
    /// Not found, and the general ones.
    async fn get(&self, vm: &VmName) -> ProviderResult<VmFacts>;

    /// Removes a VM and everything of it but its snapshots. Idempotent.
    ///
    /// # Errors
    /// The general ones; never "not found".
    async fn destroy(&self, vm: &VmName) -> ProviderResult<()>;

    /// Writes a file in the guest, replacing what is there; missing directories are made.
    ///
    /// # Errors
    /// Not found (the VM), and the general ones.
    async fn upload(&self, vm: &VmName, file: &FileUpload) -> ProviderResult<()>;

    /// Runs a command in the guest and waits for it. A command that fails, or that runs out of its time (exit code
    /// 124), is an `Ok`.
    ///
    /// # Errors
    /// Not found (the VM), unsupported, and the general ones.
    async fn exec(&self, vm: &VmName, request: &ExecRequest) -> ProviderResult<ExecOutput>;

    /// Runs a command in the guest and shows its output as it comes. A provider that cannot shows it at the end.
    ///
    /// # Errors
    /// As [`Provider::exec`].
    async fn exec_stream(&self, vm: &VmName, request: &ExecRequest) -> ProviderResult<ExecStream> {
        Ok(ExecStream::of(self.exec(vm, request).await?))
    }

    /// Starts the guest agent, or starts it anew when it runs: the token and certificate that it finds then are the
    /// only ones that it takes.
    ///
    /// # Errors
    /// Not found (the VM), and the general ones.
    async fn start_agent(&self, vm: &VmName, start: &AgentStart) -> ProviderResult<Vec<GuestEndpoint>>;

    /// Opens a terminal in the guest.
    ///
    /// # Errors
    /// Not found (the VM), unsupported, and the general ones.
    async fn attach(&self, vm: &VmName, request: &AttachRequest) -> ProviderResult<AttachSession>;

    /// Reads the end of a log of the VM, at most `limit` bytes.
    ///
    /// # Errors
    /// Not found (the VM), unsupported, and the general ones.
    async fn logs(&self, vm: &VmName, source: LogSource, limit: usize) -> ProviderResult<Vec<u8>>;

    /// Reads on in a log: at most `limit` bytes from the place `after` on (see [`LogChunk::start`]). Empty when there
    /// is nothing new. A place beyond the end counts as the end.
    ///
    /// # Errors
    /// Not found (the VM), unsupported, and the general ones.
    async fn read_log(
        &self,
        vm: &VmName,
        source: LogSource,
        after: u64,
        limit: usize,
    ) -> ProviderResult<LogChunk> {
        let _ = (source, after, limit);
        let message = "logs cannot be followed here; read the end of the log instead";
        Err(ProviderError::new(ProviderErrorKind::Unsupported, Verb::Logs, self.backend(), vm, message))
    }

    /// Takes a snapshot of a running VM.
    ///
    /// # Errors
    /// Not found (the VM), unsupported, and the general ones.
    async fn snapshot(&self, vm: &VmName, request: &SnapshotVmRequest) -> ProviderResult<SnapshotFacts>;

    /// Lists the snapshots that were made of `vm`, oldest first, also when the VM is gone.
    ///
    /// # Errors
    /// Unsupported, and the general ones.
    async fn snapshots(&self, vm: &VmName) -> ProviderResult<Vec<SnapshotFacts>>;

    /// Sets a VM back to one of its snapshots, in place.
    ///
    /// # Errors
    /// Not found (the VM or the snapshot), unsupported, and the general ones.
    async fn restore(&self, vm: &VmName, artifact: &str) -> ProviderResult<()>;

    /// Makes a VM from a snapshot of a running one.
    ///
    /// # Errors
    /// Not found (the VM or the snapshot), already exists, unsupported, and the general ones.
    async fn fork(&self, request: &ForkVmRequest) -> ProviderResult<VmFacts>;

    /// Removes the bytes of a snapshot. Idempotent.
    ///
    /// # Errors
    /// Unsupported (the host keeps them for ever), and the general ones; never "not found".
    async fn delete_snapshot(&self, vm: &VmName, artifact: &str) -> ProviderResult<()>;

    /// Whether snapshots move from and to this host: [`Provider::offer_snapshot`], [`Provider::fetch_snapshot`].
    fn moves_snapshots(&self) -> bool {
        false
    }

    /// Lets other hosts fetch a snapshot of this one for some minutes. Does not speak to the host. `digest` is what it
    /// is known by, as [`SnapshotFacts::digest`].
    ///
    /// # Errors
    /// Unsupported; failed, when there is no entropy.
    fn offer_snapshot(&self, artifact: &str, digest: &str) -> ProviderResult<SnapshotOffer> {
        let _ = digest;
        let message = "snapshots of this host stay there";
        let kind = ProviderErrorKind::Unsupported;
        Err(ProviderError::new(kind, Verb::FetchSnapshot, self.backend(), artifact, message))
    }

    /// Has this host fetch a snapshot from another, check every byte of it, and keep it under `name`. One that is there
    /// under that name already is not fetched again.
    ///
    /// # Errors
    /// Unsupported; refused, when the host does not reach the other, is of another kind, or what it got is not what was
    /// offered: nothing is kept then; and the general ones.
    async fn fetch_snapshot(&self, name: &str, offer: &SnapshotOffer) -> ProviderResult<()> {
        let _ = offer;
        let message = "this host takes no snapshots of others";
        let kind = ProviderErrorKind::Unsupported;
        Err(ProviderError::new(kind, Verb::FetchSnapshot, self.backend(), name, message))
    }
}

/// Where a host is and how to speak to it.
#[derive(Debug, Clone)]
pub struct HostAddress {
    /// The host.
    pub id: HostId,
    /// Its URL.
    pub url: String,
    /// What runs its VMs, as registered.
    pub backend: String,
    /// The bearer token of its agent.
    pub token: Option<SecretString>,
    /// The certificate that its agent must show; none: one that the system's authorities vouch for.
    pub certificate: Option<CertificatePin>,
}

/// Makes providers for hosts. One connector serves the URL schemes that it was given for.
pub trait Connector: Debug + Send + Sync + 'static {
    /// A provider for the host. Does not speak to it yet, so an unreachable host is not an error here.
    ///
    /// # Errors
    /// [`ProviderErrorKind::Refused`] when the URL is not one that this connector takes.
    fn connect(&self, host: &HostAddress) -> ProviderResult<Arc<dyn Provider>>;
}
