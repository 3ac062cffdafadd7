//! The JSON of the host agent's HTTP interface, for both of its sides.
//!
//! # Routes
//! Every request carries `Authorization: Bearer TOKEN`. Answers are JSON; errors are text.
//!
//! | Method and path | Body | Answer |
//! |---|---|---|
//! | GET /v1/capacity | | [`AgentCapacity`] |
//! | POST /v1/vm | [`CreateVm`] | 200 [`Vm`]; 409 the name is taken; 404 no such snapshot; 400 |
//! | GET /v1/vm?prefix=&owner= | | [`VmList`] |
//! | GET /v1/vm/{id} | | [`Vm`]; 404 |
//! | DELETE /v1/vm/{id} | | 204; 404 |
//! | POST /v1/vm/{id}/upload | [`Upload`] | [`Done`] |
//! | POST /v1/vm/{id}/exec | [`Exec`] | [`ExecAnswer`] |
//! | POST /v1/vm/{id}/exec/stream * | [`Exec`] | 200 frames of [`crate::attach`]: stdout, stderr, exit |
//! | POST /v1/vm/{id}/start-agent | [`StartAgent`] | [`StartAgentAnswer`] |
//! | GET /v1/vm/{id}/attach?tty=1&rows=&cols=&cmd=… | `Upgrade: fuse-attach/1` | 101, frames |
//! | GET /v1/vm/{id}/logs?source=&limit=&after= * | | bytes; header [`LOG_START`] says where they begin |
//! | POST /v1/vm/{id}/snapshot | [`TakeSnapshot`] | [`AgentSnapshot`] |
//! | GET /v1/vm/{id}/snapshots | | [`SnapshotList`], oldest first, also when the VM is gone |
//! | DELETE /v1/vm/{id}/snapshots/{sid} * | | 204; 404 |
//! | POST /v1/vm/{id}/restore | [`Restore`] | [`Done`] |
//! | POST /v1/vm/{id}/fork | [`Fork`] | [`Vm`] |
//! | POST /v1/artifacts/{digest}/pull | [`Pull`] | [`Pulled`]; 422 whatever went wrong |
//!
//! # Extensions
//! What is marked * is not in the original interface, and neither are the members that the types below mark so. An
//! agent names what it has of it in `extensions` of its capacity; who does not know a member ignores it, so either side
//! works with an older one. [`extension`] has the names.
//!
//! Without `after`, logs answer the last `limit` bytes. With it, the bytes from there on; a place beyond the end counts
//! as the end, and a place whose bytes are kept no longer as the oldest that are.

use serde::{Deserialize, Serialize};

use crate::model::CertificatePin;

/// The header of a log answer: how many bytes the log had before the first one of the answer.
pub const LOG_START: &str = "x-fuse-log-start";

/// Names of extensions.
pub mod extension {
    /// VMs keep an owner tag and the id of their environment; lists tell them and filter by owner.
    pub const OWNER: &str = "owner";
    /// start-agent starts `command`.
    pub const COMMAND: &str = "command";
    /// Uploads keep `mode`.
    pub const FILE_MODE: &str = "file-mode";
    /// Commands stream their output.
    pub const EXEC_STREAM: &str = "exec-stream";
    /// Logs are read, from the end or from a place on.
    pub const LOGS: &str = "logs";
    /// Snapshots are deleted.
    pub const DELETE_SNAPSHOT: &str = "delete-snapshot";
    /// start-agent runs the services of `/fuse/compose.yaml`.
    pub const SERVICES: &str = "services";
    /// All of them but [`SERVICES`].
    pub const ALL: [&str; 6] = [OWNER, COMMAND, FILE_MODE, EXEC_STREAM, LOGS, DELETE_SNAPSHOT];
}

/// What an agent has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentCapacity {
    /// Processors of the host.
    pub cpus: u32,
    /// Memory of the host in MiB.
    pub ram_mb: u32,
    /// Free disk in GiB.
    pub storage_gb: u32,
    /// Its architecture, `amd64` or `arm64`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// Extension: its own limit of VMs; absent or 0: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_count: Option<u32>,
    /// Extension: the extensions that it has, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<String>,
    /// Extension: what runs its VMs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Extension: its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A VM to make. Sizes that are left out are the agent's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CreateVm {
    /// Its name.
    pub name: String,
    /// Virtual processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Disk in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_gb: Option<u32>,
    /// The region that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// A named root filesystem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A snapshot to boot from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed_snapshot: Option<String>,
    /// Extension: whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Extension: the environment that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Vm {
    /// Its name.
    pub vm_id: String,
    /// Where its agent is reached.
    #[serde(default)]
    pub url: String,
    /// Extension: whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Extension: the environment that it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
    /// Extension: virtual processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Extension: memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<u32>,
    /// Extension: disk in GiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_gb: Option<u32>,
}

/// VMs: those of the owner that was asked for and those whose name begins with the prefix that was asked for; all when
/// neither was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VmList {
    /// The VMs.
    pub vms: Vec<Vm>,
    /// Extension: whether owners are kept, so that a VM without one is nobody's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub keeps_owner: bool,
}

/// A file for a guest.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its absolute path.
    pub path: String,
    /// Its bytes in standard base64.
    pub content_b64: String,
    /// Extension: its mode, as a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<u32>,
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upload({:?}, {} bytes of base64)", self.path, self.content_b64.len())
    }
}

/// The answer of what has nothing else to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Done {
    /// Always true.
    pub ok: bool,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The program and its arguments.
    pub cmd: Vec<String>,
    /// Milliseconds that it may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecAnswer {
    /// Its exit code; 124 when it ran out of time.
    pub exit_code: i32,
    /// Its standard output in base64.
    #[serde(default)]
    pub stdout: String,
    /// Its standard error in base64.
    #[serde(default)]
    pub stderr: String,
}

/// How to start the guest agent.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StartAgent {
    /// Where the manifest is in the guest.
    pub manifest_path: String,
    /// Where the secrets are in the guest.
    pub secrets_path: String,
    /// Where the certificate is in the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_cert_path: Option<String>,
    /// Where the key is in the guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_key_path: Option<String>,
    /// The token that the agent takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth_token: Option<String>,
    /// The gateway that it calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The token for the gateway. The original agent ignores it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_token: Option<String>,
    /// Where the guest fetches the agent from when its image has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub download_url: Option<String>,
    /// Guest ports to publish.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub expose: Vec<crate::model::Expose>,
    /// Extension: the workload, run with `sh -lc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl std::fmt::Debug for StartAgent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let secret = |value: &Option<String>| value.as_ref().map(|_| "[REDACTED]");
        f.debug_struct("StartAgent")
            .field("auth_token", &secret(&self.auth_token))
            .field("gateway", &self.gateway)
            .field("gateway_token", &secret(&self.gateway_token))
            .field("download_url", &self.download_url)
            .field("expose", &self.expose)
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// What starting an agent came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StartAgentAnswer {
    /// Always true.
    #[serde(default)]
    pub ok: bool,
    /// The published ports.
    #[serde(default)]
    pub endpoints: Vec<Endpoint>,
}

/// A published guest port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The name that it is published under.
    #[serde(rename = "as", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is reached.
    pub url: String,
    /// The port in the guest.
    pub port: u16,
    /// The port of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_port: Option<u16>,
}

/// A snapshot to make.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TakeSnapshot {
    /// Kept with it.
    pub comment: String,
    /// The original agent ignores it.
    pub include_ram: bool,
    /// With memory and processor state.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AgentSnapshot {
    /// The agent's name of it.
    pub snapshot_id: String,
    /// The comment that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// When it was made, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<String>,
    /// The VM that it was made of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin_vm_id: Option<String>,
    /// SHA-256 of its root filesystem in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// `disk` or `live`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its size in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// Snapshots, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SnapshotList {
    /// The snapshots.
    pub snapshots: Vec<AgentSnapshot>,
}

/// A snapshot to go back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restore {
    /// The agent's name of it.
    pub snapshot_id: String,
    /// The original agent ignores it.
    #[serde(default)]
    pub include_ram: bool,
}

/// A snapshot to fetch from another host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// Where that host is reached, `http` or `https`.
    pub peer_url: String,
    /// The [grant](super::grant) that the control plane signed with the token of that host.
    pub grant: String,
    /// What it is to be called here. None: the agent finds a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// Extension: what that host calls it. Several snapshots can have one digest: that of a disk that nobody wrote to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_snapshot_id: Option<String>,
    /// Extension: SHA-256 of the certificate that that host must show; none: one that the system's authorities vouch for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_certificate_sha256: Option<CertificatePin>,
}

/// Grants are secrets while they are good.
impl std::fmt::Debug for Pull {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pull").field("peer_url", &self.peer_url).finish_non_exhaustive()
    }
}

/// A snapshot that was fetched.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Pulled {
    /// What it is called here.
    pub snapshot_id: String,
    /// SHA-256 that it is known by, in hex.
    pub digest: String,
    /// The bytes that it has; fewer may have been fetched.
    pub bytes: u64,
    /// When it was made, RFC 3339.
    pub created_at: String,
    /// Where it came from.
    pub source_peer: String,
}

/// A fork to make of the VM in the path. Sizes that are left out are the source's.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Fork {
    /// The snapshot to use.
    pub snapshot_id: String,
    /// The VM to make.
    #[serde(flatten)]
    pub vm: CreateVm,
}
