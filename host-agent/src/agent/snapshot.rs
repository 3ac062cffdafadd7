//! Snapshots: a moment of a VM, kept.

use std::{
    path::Path,
    sync::{Arc, atomic::AtomicU32, atomic::Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuse_guest_protocol::verb::Sync as SyncDisks;
use fuse_orchestrator::model::{Timestamp, VmName};

use super::{
    HostAgent, Inner,
    create::{NewVm, finish},
    hold::Held,
    link,
    vm::{Vm, VmView},
};
use crate::{
    Error, ErrorKind, Result,
    driver::{Save, Saved, firecracker},
    store::{
        BASE, DISK, FileRecord, INITRD, KERNEL, SHARED, SnapshotKind, SnapshotName, SnapshotRecord, Staged,
        VmState, host_arch,
    },
    system::{Extents, blocking, clone_file, overlay_file, share_file},
};

/// The file of a difference that says which ranges of the memory it holds.
const RANGES: &str = "memory.map";
/// How long a guest may take to write what it holds in memory to its disk, before a disk snapshot.
const SYNC: Duration = Duration::from_secs(10);

/// What a snapshot keeps beside the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Memory {
    /// Nothing: a VM boots from the disk.
    #[default]
    None,
    /// Memory and processors: a VM goes on.
    Full,
    /// As [`Memory::Full`]; of the memory only what was written since the last live snapshot. Full where there is no last
    /// one or the VMM cannot.
    Diff,
}

/// A snapshot to make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewSnapshot {
    /// Kept with it; at most 4 KiB.
    pub comment: String,
    /// What is kept beside the disk.
    pub memory: Memory,
}

impl HostAgent {
    /// Takes a snapshot of a VM. The VM stands still while its memory is written and its disk is copied, and not while
    /// digests are computed. When the future is dropped, it goes on.
    ///
    /// # Errors
    /// Not found, busy (the VM is being made or removed), invalid, VMM, system.
    pub async fn snapshot(&self, vm: &VmName, new: NewSnapshot) -> Result<Arc<SnapshotRecord>> {
        let (inner, vm) = (Arc::clone(&self.inner), self.inner.vm(vm)?);
        let verb = match new.memory {
            Memory::None => "snapshot_disk",
            Memory::Full => "snapshot_full",
            Memory::Diff => "snapshot_diff",
        };
        finish("snapshot", async move { inner.pace.time(verb, Box::pin(inner.snapshot(&vm, new))).await })
            .await
    }

    /// Makes a VM that goes on where another one stands now. The other one goes on too.
    ///
    /// # Errors
    /// As [`HostAgent::snapshot`] and [`HostAgent::create`].
    pub async fn fork_running(&self, source: &VmName, new: NewVm) -> Result<VmView> {
        let (agent, source) = (self.clone(), source.clone());
        finish("fork", async move {
            let memory = Memory::Full;
            let comment = format!("for the fork {}", new.name);
            let snapshot = agent.snapshot(&source, NewSnapshot { comment, memory }).await?;
            let made = agent.create(NewVm { seed: Some(snapshot.id.clone()), ..new }).await;
            agent.delete_snapshot(&snapshot.id).await?;
            made
        })
        .await
    }

    /// Removes a snapshot. VMs that were made of it go on. Idempotent.
    ///
    /// # Errors
    /// System.
    pub async fn delete_snapshot(&self, id: &SnapshotName) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        blocking("delete a snapshot", move || inner.snapshots.delete(&id)).await
    }

    /// Stops the processors of a VM until [`HostAgent::resume`].
    ///
    /// # Errors
    /// Not found, busy, VMM.
    pub async fn pause(&self, vm: &VmName) -> Result<()> {
        let vm = self.inner.vm(vm)?;
        let _change = vm.change.lock().await;
        let state = vm.record().state;
        match state {
            VmState::Paused => return Ok(()),
            VmState::Running => {}
            _ => return Err(not_now(&vm, "pause")),
        }
        // What is saved of it while it is paused has its programs standing still.
        self.inner.hold_programs(&vm).await;
        if let Err(error) = self.inner.driver.pause(&vm.site).await {
            if self.inner.holds(&vm) {
                self.inner.release_programs(&vm).await;
            }
            return Err(error);
        }
        self.inner.keep(&vm, |record| record.state = VmState::Paused).await
    }

    /// Lets a paused VM go on, with the clock of now.
    ///
    /// # Errors
    /// Not found, busy, VMM.
    pub async fn resume(&self, vm: &VmName) -> Result<()> {
        let vm = self.inner.vm(vm)?;
        let _change = vm.change.lock().await;
        let state = vm.record().state;
        match state {
            VmState::Running => return Ok(()),
            VmState::Paused => {}
            _ => return Err(not_now(&vm, "resume")),
        }
        self.inner.driver.resume(&vm.site).await?;
        self.inner.keep(&vm, |record| record.state = VmState::Running).await?;
        match self.inner.holds(&vm) {
            true => self.inner.release_programs(&vm).await,
            false => self.inner.set_clock(&vm).await,
        }
        Ok(())
    }
}

pub(super) fn not_now(vm: &Vm, doing: &'static str) -> Error {
    let why = format!("it is {:?} now", vm.record().state).to_lowercase();
    Error::new(ErrorKind::Busy, doing, vm.name(), why)
}

impl Inner {
    async fn snapshot(self: &Arc<Self>, vm: &Arc<Vm>, new: NewSnapshot) -> Result<Arc<SnapshotRecord>> {
        if new.comment.len() > 4096 {
            let why = format!("its comment has {} bytes, and 4096 are the most", new.comment.len());
            return Err(Error::invalid("take a snapshot of", vm.name(), why));
        }
        let _change = vm.change.lock().await;
        let state = vm.record().state;
        if !matches!(state, VmState::Running | VmState::Paused) {
            return Err(not_now(vm, "take a snapshot of"));
        }
        let id = new_name()?;
        let (inner, stage_id) = (Arc::clone(self), id.clone());
        let staged = blocking("stage a snapshot", move || inner.snapshots.stage(&stage_id)).await?;
        if new.memory == Memory::None && state == VmState::Running {
            self.sync_guest(vm).await;
        }
        let live = new.memory != Memory::None;
        let held = match state {
            VmState::Running if live => self.hold_programs(vm).await,
            _ => (live && self.holds(vm)).then(|| self.longest_hold()),
        };
        let written = self.write_still(vm, state, &staged, new.memory).await;
        if live && self.driver.abilities().many_streams {
            // A vsock is reset when its machine is saved: the guest has forgotten the connection.
            vm.link.close();
        }
        if held.is_some() && vm.record().state == VmState::Running {
            self.release_programs(vm).await;
        }
        let parent = match written {
            Ok(parent) => parent,
            Err(error) => {
                // What the VMM noted as written may be forgotten by now.
                self.keep(vm, |record| record.memory_base = None).await?;
                return Err(error);
            }
        };
        let record = self.describe(vm, &staged, (id, parent), held, &new).await;
        let kept = match record {
            Ok(record) => {
                let inner = Arc::clone(self);
                blocking("keep a snapshot", move || inner.snapshots.commit(staged, record)).await
            }
            Err(error) => Err(error),
        };
        match &kept {
            Ok(kept) if live => self.keep(vm, |record| record.memory_base = Some(kept.id.clone())).await?,
            Err(_) if live => self.keep(vm, |record| record.memory_base = None).await?,
            _ => {}
        }
        kept
    }

    /// Asks the guest to write to its disk. A guest that does not answer has the snapshot of a machine that lost power.
    async fn sync_guest(&self, vm: &Vm) {
        let synced = async {
            let client = vm.link.client(&*self.driver, &vm.site, SYNC).await?;
            client.call(&SyncDisks {}).await.map_err(|error| link::guest_error("sync", &vm.site, &error))
        };
        if !matches!(tokio::time::timeout(SYNC, synced).await, Ok(Ok(_))) {
            tracing::warn!(vm = %vm.name(), "the guest did not sync before a disk snapshot");
        }
    }

    /// Has a VM stand still while it is written. Gives the snapshot that its memory builds on.
    async fn write_still(
        self: &Arc<Self>,
        vm: &Arc<Vm>,
        state: VmState,
        staged: &Staged,
        memory: Memory,
    ) -> Result<Option<SnapshotName>> {
        if state == VmState::Running {
            self.driver.pause(&vm.site).await?;
        }
        let base = vm.record().memory_base.clone();
        let written = self.write(vm, staged, memory, base).await;
        if state == VmState::Running {
            self.let_go_on(vm).await?;
        }
        written
    }

    /// Lets a VM go on that stands still for a while only. One that does not is paused, and on record as that.
    pub(super) async fn let_go_on(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        let Err(error) = self.driver.resume(&vm.site).await else { return Ok(()) };
        self.keep(vm, |record| record.state = VmState::Paused).await?;
        let why = format!("{}; it is paused now, and can be resumed or destroyed", error.why);
        Err(Error { why, ..error })
    }

    /// Writes what a VM that stands still is. Gives the snapshot that its memory builds on.
    async fn write(
        self: &Arc<Self>,
        vm: &Arc<Vm>,
        staged: &Staged,
        memory: Memory,
        base: Option<SnapshotName>,
    ) -> Result<Option<SnapshotName>> {
        let into = staged.path().to_owned();
        let base = base.filter(|base| self.snapshots.get(base).is_ok());
        let (what, parent) = match (memory, base) {
            (Memory::Diff, Some(base))
                if self.driver.abilities().diff && vm.record().machine.track_writes =>
            {
                (Save::Diff, Some(base))
            }
            _ => (Save::Full, None),
        };
        if memory != Memory::None {
            self.driver.save(&vm.site, &into, what).await?;
        }
        let site = vm.site.clone();
        let difference = parent.is_some();
        blocking("copy the disk of", move || {
            if difference {
                let (file, map) = (into.join(firecracker::MEMORY), into.join(RANGES));
                let ranges = Extents::of(&file)?.to_bytes();
                std::fs::write(&map, ranges).map_err(|error| Error::system("write", map.display(), error))?;
            }
            if site.file(DISK).exists() {
                clone_file(&site.file(DISK), &into.join(DISK), 0o600)?;
            }
            for name in SHARED {
                if site.file(name).exists() {
                    share_file(&site.file(name), &into.join(name))?;
                }
            }
            if memory != Memory::None {
                share_file(&site.file(link::TOKEN), &into.join(link::TOKEN))?;
            }
            Ok(())
        })
        .await?;
        Ok(parent)
    }

    /// The record of a staged snapshot, with the digests of its files.
    async fn describe(
        self: &Arc<Self>,
        vm: &Arc<Vm>,
        staged: &Staged,
        (id, parent): (SnapshotName, Option<SnapshotName>),
        held: Option<Held>,
        new: &NewSnapshot,
    ) -> Result<SnapshotRecord> {
        let (dir, inner) = (staged.path().to_owned(), Arc::clone(self));
        let files = blocking("read a snapshot", move || inner.digests_of(&dir)).await?;
        let guest_agent = vm.link.agent();
        let record = vm.record();
        Ok(SnapshotRecord {
            id,
            vm: vm.name().clone(),
            kind: if new.memory == Memory::None { SnapshotKind::Disk } else { SnapshotKind::Live },
            parent,
            held_ms: held.map_or(0, Held::millis),
            comment: new.comment.clone(),
            created_at: Timestamp::from(SystemTime::now()),
            backend: record.backend.clone(),
            vmm_version: self.version.clone(),
            cpu: super::guest::host_cpu(),
            arch: host_arch(),
            guest_agent,
            image: record.image.clone(),
            resources: record.resources,
            machine: record.machine.clone(),
            files,
            deleted: false,
        })
    }

    /// The files of a staged snapshot, the disk first. Files that are shared with an image are known already.
    fn digests_of(&self, dir: &Path) -> Result<Vec<FileRecord>> {
        let order = [
            DISK,
            crate::driver::qemu::STATE,
            firecracker::STATE,
            firecracker::MEMORY,
            RANGES,
            BASE,
            KERNEL,
            INITRD,
            link::TOKEN,
        ];
        let there = order.into_iter().filter(|name| dir.join(name).exists());
        std::thread::scope(|scope| {
            // On its way to the disk while it is read. Whether it got there is seen when the snapshot is kept.
            for memory in [firecracker::MEMORY, crate::driver::qemu::STATE].map(|name| dir.join(name)) {
                scope.spawn(move || std::fs::File::open(memory).and_then(|file| file.sync_all()));
            }
            there.map(|name| self.snapshots.record_of(dir, name)).collect()
        })
    }

    /// Saved memory that a driver can load: differences are laid over what they build on, in the VM's directory.
    pub(super) async fn saved(self: &Arc<Self>, vm: &Arc<Vm>, seed: &SnapshotRecord) -> Result<Saved> {
        let dir = self.snapshots.dir(&seed.id);
        if seed.parent.is_none() {
            return Ok(Saved { dir, memory: None });
        }
        let (inner, id, memory) = (Arc::clone(self), seed.id.clone(), vm.site.file("memory"));
        let target = memory.clone();
        blocking("lay the memory of", move || {
            let chain = inner.snapshots.chain(&id)?;
            let _ = std::fs::remove_file(&target);
            for (index, record) in chain.iter().enumerate() {
                let dir = inner.snapshots.dir(&record.id);
                let (layer, map) = (dir.join(firecracker::MEMORY), record.ranges_of(firecracker::MEMORY));
                let size = record.file(firecracker::MEMORY).map_or(0, |file| file.size);
                match (index, map) {
                    (0, _) => clone_file(&layer, &target, 0o600)?,
                    (_, None) => overlay_file(&layer, &target, None)?,
                    (_, Some(map)) => {
                        let ranges = Extents::read(&dir.join(&map.name), size)?;
                        overlay_file(&layer, &target, Some(&ranges))?;
                    }
                }
            }
            use std::os::unix::fs::PermissionsExt;
            let readable = std::fs::set_permissions(&target, std::fs::Permissions::from_mode(0o444));
            readable.map_err(|error| Error::system("lay", target.display(), error))
        })
        .await?;
        Ok(Saved { dir, memory: Some(memory) })
    }
}

/// A name for a snapshot: unique on this host, and in the order of time.
fn new_name() -> Result<SnapshotName> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut random = [0; 3];
    getrandom::fill(&mut random).map_err(|error| Error::system("name", "a snapshot", error))?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed) % 0x1000;
    SnapshotName::new(&format!("snap-{seconds}-{}{count:03x}", hex::encode(random)))
}
