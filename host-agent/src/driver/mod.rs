//! How a VMM is driven.
//!
//! A [`Driver`] knows one VMM and nothing of records, locks, networks or snapshots as a store: it starts a process in a
//! VM's directory, tells it what machine it is, and takes it through pause, save, load and end. What the caller
//! promises: one verb at a time for each VM, except [`Driver::dial`], which may come at any time.

pub mod firecracker;
mod machine;
pub mod qemu;

use std::{fmt::Debug, path::Path};

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Result,
    system::{Process, cgroup::Group},
};

pub use machine::{Disk, DiskFormat, Machine, Nic, RateLimit, Saved, Site};

/// A byte stream to the guest agent.
pub trait GuestStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> GuestStream for T {}

/// What a VMM is about to do, told when its process starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Boot a kernel.
    Boot,
    /// Go on from saved memory.
    Load,
}

/// What is saved of a paused machine beside its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Save {
    /// All of its memory.
    Full,
    /// The memory that it wrote since it was loaded or last saved.
    Diff,
}

/// What a VMM says its machine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Its processors run.
    Running,
    /// Its processors stand still.
    Paused,
    /// It waits to be told what it is, or it is ending.
    Other,
}

/// What a driver can do beyond the verbs that all have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// [`Save::Diff`].
    pub diff: bool,
    /// Without root, through [`Nic::User`].
    pub user_network: bool,
    /// Several guest streams at once. Otherwise a new one replaces the one before.
    pub many_streams: bool,
    /// How its disks are kept.
    pub disk: DiskFormat,
}

/// Drives one kind of VMM.
#[async_trait]
pub trait Driver: Debug + Send + Sync + 'static {
    /// `firecracker` or `qemu`.
    fn backend(&self) -> &'static str;

    /// What it can do.
    fn abilities(&self) -> Abilities;

    /// The version of the VMM, checked to be one that this driver knows.
    ///
    /// # Errors
    /// System when it cannot be run; unsupported, with the versions that are supported.
    async fn version(&self) -> Result<String>;

    /// What runs the guest's processors, such as `kvm` or `tcg`.
    fn accelerator(&self) -> &'static str;

    /// Makes the disk of a machine that boots from `base`, a file in the same directory: a difference to it where the
    /// format can, else a copy. `size` is the least size in bytes; 0 is that of `base`.
    ///
    /// # Errors
    /// System.
    async fn make_disk(&self, base: &Path, format: DiskFormat, disk: &Path, size: u64) -> Result<()>;

    /// Starts the VMM of a machine, in `group` where that takes what is born. No instruction of the guest runs yet, and
    /// nothing may be asked of it before [`Driver::ready`].
    ///
    /// # Errors
    /// System or VMM, with what the VMM said.
    async fn spawn(&self, site: &Site, machine: &Machine, purpose: Purpose, group: &Group)
    -> Result<Process>;

    /// Waits until a VMM that was started takes requests.
    ///
    /// # Errors
    /// VMM, with what it said. The process has ended then.
    async fn ready(&self, site: &Site, process: &Process) -> Result<()>;

    /// Tells the VMM what machine it is, before [`Driver::boot`]. No instruction of the guest runs yet.
    ///
    /// # Errors
    /// VMM.
    async fn configure(&self, site: &Site, machine: &Machine) -> Result<()>;

    /// Boots the machine.
    ///
    /// # Errors
    /// VMM.
    async fn boot(&self, site: &Site, machine: &Machine) -> Result<()>;

    /// Goes on from what [`Driver::save`] left. The processors run when this returns.
    ///
    /// # Errors
    /// VMM. The process is of no further use then.
    async fn load(&self, site: &Site, machine: &Machine, from: &Saved) -> Result<()>;

    /// Stops the processors.
    ///
    /// # Errors
    /// VMM.
    async fn pause(&self, site: &Site) -> Result<()>;

    /// Lets the processors go on.
    ///
    /// # Errors
    /// VMM.
    async fn resume(&self, site: &Site) -> Result<()>;

    /// Saves memory and processors of a paused machine into files in `into`, and gives their names. The disk is
    /// consistent with them when this returns, and stays so until the machine is resumed.
    ///
    /// # Errors
    /// VMM; unsupported.
    async fn save(&self, site: &Site, into: &Path, what: Save) -> Result<Vec<String>>;

    /// Asks the guest's kernel to turn the machine off, as a power button does. The guest may ignore it.
    ///
    /// # Errors
    /// VMM; unsupported.
    async fn power_button(&self, site: &Site) -> Result<()>;

    /// Has the VMM end what a host agent that is gone had it save, and says what its machine does then. It may take as long
    /// as saving does.
    ///
    /// # Errors
    /// VMM: it does not answer.
    async fn settle(&self, site: &Site) -> Result<Activity>;

    /// Publishes `guest` at `host` on the loopback of this machine, for [`Nic::User`].
    ///
    /// # Errors
    /// VMM; unsupported.
    async fn forward(&self, site: &Site, host: u16, guest: u16) -> Result<()>;

    /// A byte stream to the guest agent.
    ///
    /// # Errors
    /// Guest when nobody listens there; VMM.
    async fn dial(&self, site: &Site) -> Result<Box<dyn GuestStream>>;

    /// Removes what the VMM left outside of the VM's directory. Idempotent.
    ///
    /// # Errors
    /// System.
    async fn clean(&self, site: &Site) -> Result<()>;

    /// Whether the VMM's own log says that the guest ended it, and with which words: exit codes lie.
    fn epitaph(&self, site: &Site) -> Option<String>;
}
