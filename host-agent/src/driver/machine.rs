//! What a VMM is told.

use std::path::{Path, PathBuf};

use fuse_orchestrator::model::VmName;
use serde::{Deserialize, Serialize};

/// How the bytes of a disk are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskFormat {
    /// As they are.
    #[default]
    Raw,
    /// As QEMU keeps them, with differences to another file.
    Qcow2,
}

/// A limit on what passes in a second, kept by the VMM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RateLimit {
    /// Bytes; 0: no limit.
    pub bytes_per_second: u64,
    /// Operations or packets; 0: no limit.
    pub operations_per_second: u64,
}

/// The root disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Its name in the VM's directory.
    pub name: String,
    /// How it is kept.
    pub format: DiskFormat,
    /// Its limit.
    #[serde(default)]
    pub limit: RateLimit,
}

/// The network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Nic {
    /// A tap device in a network namespace.
    Tap {
        /// The device.
        tap: String,
        /// The namespace, as `ip netns` names it.
        netns: String,
        /// The hardware address.
        mac: String,
        /// The limit in each direction.
        limit: RateLimit,
    },
    /// A network inside the VMM, for users without root: nothing goes out, published ports come in.
    User {
        /// The hardware address.
        mac: String,
        /// The published ports: of this machine's loopback, of the guest.
        forwards: Vec<(u16, u16)>,
    },
}

/// What a VMM is told about its machine.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Processors, 1 to 32.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u32,
    /// The kernel, an absolute path.
    pub kernel: PathBuf,
    /// The initial file system, an absolute path.
    #[serde(default)]
    pub initrd: Option<PathBuf>,
    /// What is added to the kernel's command line. Anybody in the guest can read it: no secrets.
    #[serde(default)]
    pub arguments: String,
    /// The root disk.
    #[serde(default)]
    pub disk: Option<Disk>,
    /// The network interface.
    #[serde(default)]
    pub nic: Option<Nic>,
    /// Whether the VMM keeps note of the memory that the guest writes, for differences.
    #[serde(default)]
    pub track_writes: bool,
}

/// Memory and processors that were saved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    /// Where the files are that [`Driver::save`](super::Driver::save) named.
    pub dir: PathBuf,
    /// The memory, where it is not among them: differences that were laid over what they build on.
    pub memory: Option<PathBuf>,
}

/// Where a VM lives on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Its name.
    pub name: VmName,
    /// Its directory.
    pub dir: PathBuf,
}

impl Site {
    /// A file in it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The file of its console.
    #[must_use]
    pub fn console(&self) -> PathBuf {
        self.dir.join("console.log")
    }

    /// The log of its VMM.
    #[must_use]
    pub fn vmm_log(&self) -> PathBuf {
        self.dir.join("vmm.log")
    }

    /// The end of the log of its VMM, on one line.
    #[must_use]
    pub fn vmm_complaint(&self) -> String {
        complaint(&self.vmm_log())
    }
}

fn complaint(path: &Path) -> String {
    let bytes = crate::system::tail_of(path, 600).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
