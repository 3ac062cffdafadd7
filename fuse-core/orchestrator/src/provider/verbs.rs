//! What goes to a host and what comes back.

use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::model::{
    Arch, Capacity, CertificatePin, EnvironmentId, Expose, OwnerId, Resources, Timestamp, VmName,
};

/// What a host says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// Processors, memory and disk; the number of VM slots where the host has its own limit, else 0.
    pub capacity: Capacity,
    /// The architecture, where the host says.
    pub arch: Option<Arch>,
    /// What runs its VMs, such as `qemu`; empty where the host does not say.
    pub backend: String,
    /// Whether the host keeps owner tags. Where it does not, VMs are told apart by the prefix of their names.
    pub keeps_owner: bool,
}

/// What a host says about a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmFacts {
    /// Its name.
    pub name: VmName,
    /// Where its agent is reached.
    pub url: String,
    /// Whose it is, where the host keeps owner tags.
    pub owner: Option<OwnerId>,
    /// The environment that it was made for, where the host keeps that.
    pub environment_id: Option<EnvironmentId>,
    /// Its size, where the host says.
    pub resources: Option<Resources>,
}

impl VmFacts {
    /// A VM of which no more is known.
    #[must_use]
    pub const fn new(name: VmName, url: String) -> Self {
        Self { name, url, owner: None, environment_id: None, resources: None }
    }
}

/// A VM to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateRequest {
    /// Its name.
    pub name: VmName,
    /// Whose it is.
    pub owner: OwnerId,
    /// The environment it is for; agents may keep it for people to see.
    pub environment_id: EnvironmentId,
    /// Its size.
    pub resources: Resources,
    /// The region that was asked for. Empty: none.
    pub region: String,
    /// A named root filesystem. Empty: the host's default.
    pub image: String,
    /// The host's name of a snapshot to boot from instead of an image.
    pub seed: Option<String>,
}

/// A file for a guest.
#[derive(Clone, PartialEq, Eq)]
pub struct FileUpload {
    /// Its absolute path.
    pub path: String,
    /// Its bytes.
    pub content: Vec<u8>,
    /// Its mode, such as `0o600`.
    pub mode: u32,
}

impl std::fmt::Debug for FileUpload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileUpload({:?}, {} bytes, {:o})", self.path, self.content.len(), self.mode)
    }
}

/// A command for a guest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecRequest {
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// How long it may take. Beyond, it is killed and its exit code is 124.
    pub timeout: Duration,
}

impl ExecRequest {
    /// A command line for the login shell: `sh -lc …`.
    #[must_use]
    pub fn shell(line: &str, timeout: Duration) -> Self {
        Self { argv: vec!["sh".to_owned(), "-lc".to_owned(), line.to_owned()], timeout }
    }
}

/// What a command left.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ExecOutput {
    /// Its exit code; 124 when it ran out of time.
    pub exit_code: i32,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
}

/// What comes out of a command that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecChunk {
    /// Bytes of its standard output.
    Stdout(Vec<u8>),
    /// Bytes of its standard error.
    Stderr(Vec<u8>),
    /// It ended, with this code; 124 when it ran out of time. Nothing follows.
    Exit(i32),
}

/// A command that runs. Dropping it stops the reading; the command goes on until its time is over.
///
/// It holds back: a reader that stops stops the command's output. A channel that ends without
/// [`ExecChunk::Exit`] broke off.
#[derive(Debug)]
pub struct ExecStream {
    /// What comes out, in the order in which it came.
    pub output: mpsc::Receiver<ExecChunk>,
}

impl ExecStream {
    /// The stream of a command that ended already.
    #[must_use]
    pub fn of(done: ExecOutput) -> Self {
        let (sender, output) = mpsc::channel(3);
        let parts =
            [ExecChunk::Stdout(done.stdout), ExecChunk::Stderr(done.stderr), ExecChunk::Exit(done.exit_code)];
        for part in parts {
            // There is room for three, and the receiver is here.
            let _ = sender.try_send(part);
        }
        Self { output }
    }
}

/// A part of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogChunk {
    /// Where the part begins: how many bytes the log had before it since the VM was made. More than was asked for
    /// when older bytes are kept no longer.
    pub start: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl LogChunk {
    /// Where the next part begins.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// How to start the guest agent. The files that it names are in the guest already.
#[derive(Debug, Clone)]
pub struct AgentStart {
    /// The token that the agent takes from now on.
    pub auth_token: SecretString,
    /// The workload, run with `sh -lc`. None: nothing.
    pub command: Option<String>,
    /// Where the guest fetches the agent from when its image has none.
    pub download_url: Option<String>,
    /// The gateway that the agent calls.
    pub gateway: Option<String>,
    /// The token for the gateway.
    pub gateway_token: Option<SecretString>,
    /// Guest ports to publish.
    pub expose: Vec<Expose>,
}

/// A snapshot to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotVmRequest {
    /// Kept with the snapshot. Begins with the control plane's own name of it, so that an answer that was lost can
    /// be found again.
    pub comment: String,
    /// With memory and processor state.
    pub live: bool,
}

/// What a host says about a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFacts {
    /// The host's name of it.
    pub artifact: String,
    /// The comment that it was made with.
    pub comment: String,
    /// When it was made, where the host says.
    pub created_at: Option<Timestamp>,
    /// SHA-256 in hex of its root filesystem. Empty where the host does not say.
    pub digest: String,
    /// Its size in bytes; 0 where the host does not say.
    pub size_bytes: u64,
    /// With memory and processor state.
    pub live: bool,
}

/// The right to fetch a snapshot from the host that has it, for some minutes.
#[derive(Debug, Clone)]
pub struct SnapshotOffer {
    /// Where other hosts reach that host.
    pub url: String,
    /// The certificate that it must show there; none: one that the system's authorities vouch for.
    pub certificate: Option<CertificatePin>,
    /// That host's name of the snapshot.
    pub artifact: String,
    /// SHA-256 that it is known by, in hex.
    pub digest: String,
    /// What that host wants to see, made with [`grant::new_grant`](super::grant::new_grant).
    pub grant: SecretString,
}

/// A fork to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForkVmRequest {
    /// The running VM.
    pub source: VmName,
    /// The host's name of the snapshot to use.
    pub artifact: String,
    /// The VM to make.
    pub create: CreateRequest,
}

/// A terminal to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachRequest {
    /// The program and its arguments; empty: a login shell.
    pub argv: Vec<String>,
    /// Rows of the terminal, 1 to 65535.
    pub rows: u16,
    /// Columns of the terminal, 1 to 65535.
    pub cols: u16,
}

/// What goes into a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachInput {
    /// Bytes typed.
    Stdin(Vec<u8>),
    /// A new size.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        cols: u16,
    },
}

/// What comes out of a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachOutput {
    /// Bytes to show.
    Stdout(Vec<u8>),
    /// The program ended. Nothing follows.
    Exit(i32),
}

/// An open terminal. Dropping it closes it. Both directions hold back: a reader that stops stops the writer.
#[derive(Debug)]
pub struct AttachSession {
    /// Towards the guest.
    pub input: mpsc::Sender<AttachInput>,
    /// From the guest.
    pub output: mpsc::Receiver<AttachOutput>,
}

/// The logs that a VM has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// What the guest wrote to its console.
    Console,
    /// What the startup script wrote.
    Startup,
    /// What the guest agent and its workload wrote.
    Agent,
}

impl LogSource {
    /// Every source.
    pub const ALL: [Self; 3] = [Self::Console, Self::Startup, Self::Agent];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Console => "console",
            Self::Startup => "startup",
            Self::Agent => "agent",
        }
    }
}
