//! The host agent: the verbs over a driver, the stores and the network.
//!
//! **One lock for each VM** is held by what changes it: create, snapshot, restore, destroy. What goes on *in* the guest
//! (exec, files, terminals, logs) takes no lock, so a long command delays nothing, least of all destroy. VMs do not wait
//! for each other.
//!
//! **The record is written first.** A VM is in its store before its process starts, and its process is in its record
//! before the guest runs. So after any crash [`HostAgent::open`] finds everything: VMs whose process is alive are taken
//! over without touching them, the rest is removed.

mod adopt;
mod create;
mod destroy;
mod guest;
mod hold;
mod link;
mod pace;
mod restore;
mod snapshot;
mod turns;
mod vm;
mod warm;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fuse_orchestrator::model::{OwnerId, VmName};

use crate::{
    Config, Error, ErrorKind, NetworkConfig, Result,
    driver::Driver,
    net::{AddressPool, Networks},
    store::{DataDir, DigestCache, ImageStore, SnapshotStore, VmRecord, VmStore},
    system::{blocking, cgroup::Cgroups},
};

pub use create::NewVm;
pub use guest::{EXEC_LONGEST, EXEC_OUTPUT, WorkloadStart};
pub use pace::{Counted, Figures};
pub use snapshot::{Memory, NewSnapshot};
pub use vm::VmView;

use pace::Pace;
use vm::Vm;

/// Runs the VMs of one data directory. Cheap to clone; the last clone ends the background work, and no VM.
#[derive(Debug, Clone)]
pub struct HostAgent {
    inner: Arc<Inner>,
    _watch: Arc<watch::Watch>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    config: Config,
    driver: Arc<dyn Driver>,
    version: String,
    vms: VmStore,
    snapshots: SnapshotStore,
    images: ImageStore,
    networks: Option<Networks>,
    cgroups: Cgroups,
    table: Mutex<BTreeMap<VmName, Arc<Vm>>>,
    ports: Mutex<BTreeSet<u16>>,
    pace: Pace,
    turns: turns::Turns,
    data: DataDir,
}

impl HostAgent {
    /// Opens the data directory, takes over the VMs that run, removes what a crash left behind, and watches over the rest.
    ///
    /// # Errors
    /// Busy when another agent has the directory open; unsupported for a VMM of another version; system.
    pub async fn open(config: Config) -> Result<Self> {
        let driver = config.driver.driver(config.vmm_user)?;
        Self::with_driver(config, driver).await
    }

    /// Opens the data directory with a driver of the caller's.
    ///
    /// # Errors
    /// As [`HostAgent::open`].
    pub async fn with_driver(config: Config, driver: Arc<dyn Driver>) -> Result<Self> {
        if config.network == NetworkConfig::User && !driver.abilities().user_network {
            let why = "its VMM has no network of its own; use the mode `tap` (as root) or `none`";
            return Err(Error::invalid(
                "use",
                format!("the network mode `user` with {}", driver.backend()),
                why,
            ));
        }
        let version = driver.version().await?;
        let root = config.data.clone();
        let data = blocking("open", move || {
            let data = DataDir::open(&root)?;
            crate::transfer::sweep(&data.part("pulls"));
            Ok(data)
        })
        .await?;
        let digests = Arc::new(DigestCache::default());
        let vms = VmStore::new(data.part("vms"), data.part("ended"));
        let images = ImageStore::new(data.part("images"), Arc::clone(&digests));
        images.sweep();
        let snapshots = SnapshotStore::open(data.part("snapshots"), data.part("staging"), digests)?;
        let networks = match &config.network {
            NetworkConfig::Tap { pool, tag, egress, .. } => {
                Some(Networks::new(AddressPool::new(*pool, tag)?, egress.clone())?)
            }
            NetworkConfig::None | NetworkConfig::User => None,
        };
        let cgroups = if config.cgroups { Cgroups::of_host() } else { Cgroups::None };
        let turns = turns::Turns::with(driver.accelerator());
        let inner = Arc::new(Inner {
            config,
            driver,
            version,
            vms,
            snapshots,
            images,
            networks,
            cgroups,
            table: Mutex::default(),
            ports: Mutex::default(),
            pace: Pace::default(),
            turns,
            data,
        });
        inner.take_over().await?;
        let watch = Arc::new(watch::Watch::start(&inner));
        Ok(Self { inner, _watch: watch })
    }

    /// What drives the VMs: `firecracker` or `qemu`.
    #[must_use]
    pub fn backend(&self) -> &'static str {
        self.inner.driver.backend()
    }

    /// The version of the VMM.
    #[must_use]
    pub fn vmm_version(&self) -> &str {
        &self.inner.version
    }

    /// What runs the guests' instructions: `kvm`, `tcg`.
    #[must_use]
    pub fn accelerator(&self) -> &'static str {
        self.inner.driver.accelerator()
    }

    /// The images of this host.
    #[must_use]
    pub fn images(&self) -> &ImageStore {
        &self.inner.images
    }

    /// The snapshots of this host.
    #[must_use]
    pub fn snapshots(&self) -> &SnapshotStore {
        &self.inner.snapshots
    }

    /// What it was told.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The VMs, those that are being made or removed included, by name. With an owner or a prefix, those that have either.
    #[must_use]
    pub fn list(&self, owner: Option<&OwnerId>, prefix: Option<&str>) -> Vec<VmView> {
        let vms: Vec<Arc<Vm>> = self.inner.table().values().cloned().collect();
        let views = vms.iter().map(|vm| vm.view(&self.inner.config.public_host));
        let wanted = |view: &VmView| match (owner, prefix) {
            (None, None) => true,
            (owner, prefix) => {
                owner.is_some_and(|owner| view.owner.as_ref() == Some(owner))
                    || prefix.is_some_and(|prefix| view.name.as_str().starts_with(prefix))
            }
        };
        views.filter(wanted).collect()
    }

    /// One VM.
    ///
    /// # Errors
    /// Not found, with what ended it where that is known.
    pub fn get(&self, vm: &VmName) -> Result<VmView> {
        Ok(self.inner.vm(vm)?.view(&self.inner.config.public_host))
    }

    /// Figures of this agent since it was opened.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.inner.pace.figures()
    }

    /// The memory of each VMM in bytes: resident, and its own alone. Blocks the thread.
    #[must_use]
    pub fn memory(&self) -> Vec<(VmName, u64, u64)> {
        let vms: Vec<Arc<Vm>> = self.inner.table().values().cloned().collect();
        let of = |vm: &Arc<Vm>| {
            let process = vm.record().process.clone()?;
            let (resident, own) = process.memory();
            Some((vm.name().clone(), resident, own))
        };
        vms.iter().filter_map(of).collect()
    }

    /// A directory for what came of pulls so far.
    pub(crate) fn pulls(&self) -> std::path::PathBuf {
        self.inner.data.part("pulls")
    }
}

impl Inner {
    pub(crate) fn table(&self) -> MutexGuard<'_, BTreeMap<VmName, Arc<Vm>>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ports(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A VM that is there.
    pub(crate) fn vm(&self, name: &VmName) -> Result<Arc<Vm>> {
        let found = self.table().get(name).cloned();
        found.ok_or_else(|| {
            let why = match self.vms.ended(name) {
                Ok(Some(ended)) => format!("it is gone since {}: {}", ended.at, ended.reason),
                _ => "there is no such VM".to_owned(),
            };
            Error::new(ErrorKind::NotFound, "use", name, why)
        })
    }

    /// Writes a changed record, and then shows it.
    async fn keep(self: &Arc<Self>, vm: &Arc<Vm>, change: impl FnOnce(&mut VmRecord)) -> Result<()> {
        let mut record = vm.record().clone();
        change(&mut record);
        let (inner, kept) = (Arc::clone(self), record.clone());
        blocking("write the record of a VM", move || inner.vms.write(&kept)).await?;
        *vm.record() = record;
        Ok(())
    }
}
