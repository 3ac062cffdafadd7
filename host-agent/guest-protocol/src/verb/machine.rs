//! The machine: clock, identity, network, disks, power.

use serde::{Deserialize, Serialize};

use super::base64_bytes;
use crate::Token;

/// Sets the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetTime {
    /// Nanoseconds since 1970-01-01 UTC.
    pub unix_ns: i64,
}

/// What the clock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TimeFacts {
    /// How far the clock was moved, in nanoseconds.
    pub moved_ns: i64,
}

/// Makes a guest that was restored from a snapshot one of its own. In this order, and before the answer: entropy, clock,
/// machine id, host name, addresses, token. Then the hooks in `/fuse/renew.d` run, and at last programs that stand still
/// since [`Freeze`] go on; they do not when entropy was given and not taken.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Renew {
    /// 32 to 512 random bytes for the kernel's generator, which is reseeded with them at once.
    #[serde(with = "base64_bytes")]
    pub entropy: Vec<u8>,
    /// The clock: nanoseconds since 1970-01-01 UTC. None: it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unix_ns: Option<i64>,
    /// The VM's name, and the host name. None: they stay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<String>,
    /// Whether `/etc/machine-id` is made anew.
    pub machine_id: bool,
    /// The network of the clone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The token from now on, as with `set_token`. None: it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<Token>,
}

/// Entropy and token are secrets.
impl std::fmt::Debug for Renew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renew")
            .field("unix_ns", &self.unix_ns)
            .field("vm_id", &self.vm_id)
            .field("machine_id", &self.machine_id)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// What became new.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RenewResult {
    /// The new machine id; empty when it stayed.
    pub machine_id: String,
    /// Whether the kernel's random generator took the entropy.
    pub reseeded: bool,
    /// How often the guest was renewed, this time included.
    pub generation: u64,
    /// What did not work, in words. The rest was done.
    pub warnings: Vec<String>,
}

/// Sets the address of an interface, brings it up, and sets the default route and the name servers. Addresses that it had
/// before are removed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Network {
    /// The interface; empty: the first that is not the loopback.
    pub interface: String,
    /// An IPv4 address with its prefix length, such as `10.200.1.2/30`.
    pub address: String,
    /// The IPv4 address of the router. None: there is no default route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// Name servers, at most 3, for `/etc/resolv.conf`. Empty: the file stays.
    pub nameservers: Vec<String>,
    /// The hardware address, such as `06:00:ac:10:00:02`. None: it stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// Writes everything that is in memory to the disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sync {}

/// What the disks have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncResult {
    /// Free bytes of the root file system.
    pub free_bytes: u64,
}

/// Has every program that the agent has started stand still, with all that those have started: none of them runs an
/// instruction from the answer until [`Thaw`], or until [`Renew`] in a clone. What is asked to be started meanwhile waits.
/// The agent itself goes on.
///
/// An agent that does not know the verb answers that it is unsupported; its clones are renewed while their programs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Freeze {
    /// Milliseconds, of the time that the machine runs, after which the programs go on by themselves: the host may have
    /// died. At most 4,000,000.
    pub limit_ms: u64,
}

impl Default for Freeze {
    fn default() -> Self {
        Self { limit_ms: 60_000 }
    }
}

/// What stands still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct FreezeResult {
    /// How many processes.
    pub processes: u64,
}

/// Lets programs go on that stand still since [`Freeze`]. Does nothing when none does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Thaw {}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ThawResult {
    /// Whether they stood still until now.
    pub was_frozen: bool,
}

/// How the machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PowerOff {
    /// Off.
    #[default]
    Off,
    /// Off and on again.
    Reboot,
}

/// Ends the machine: the workload first, then the disks are synced. The answer comes before the power goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Shutdown {
    /// How.
    pub mode: PowerOff,
    /// Milliseconds for the workload to end, at most 600,000.
    pub grace_ms: u64,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { mode: PowerOff::Off, grace_ms: 10_000 }
    }
}
