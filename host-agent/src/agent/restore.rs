//! Restore: a VM set back to one of its snapshots, in place.

use std::{fs, sync::Arc};

use fuse_orchestrator::model::VmName;

use super::{
    HostAgent, Inner,
    create::{finish, with_console},
    link::{new_token, write_token},
    snapshot::not_now,
    vm::Vm,
};
use crate::{
    Error, ErrorKind, Result,
    driver::DiskFormat,
    store::{DISK, SnapshotKind, SnapshotName, SnapshotRecord, VmState},
    system::blocking,
};

/// Where the disk of before is kept until the restore is done.
const BEFORE: &str = "disk.before";

impl HostAgent {
    /// Sets a VM back to one of its snapshots. The snapshot is checked first, and a VM whose restore fails is booted anew
    /// from the disk that it had. When the future is dropped, it goes on.
    ///
    /// # Errors
    /// Not found (VM or snapshot), invalid (the snapshot is of another VM), corrupt, busy, VMM, guest.
    pub async fn restore(&self, vm: &VmName, snapshot: &SnapshotName) -> Result<()> {
        let (inner, vm, id) = (Arc::clone(&self.inner), self.inner.vm(vm)?, snapshot.clone());
        finish("restore", async move { inner.pace.time("restore", Box::pin(inner.restore(&vm, &id))).await })
            .await
    }
}

impl Inner {
    async fn restore(self: &Arc<Self>, vm: &Arc<Vm>, id: &SnapshotName) -> Result<()> {
        let seed = self.checked(id).await?;
        if seed.vm != *vm.name() {
            let why = format!("snapshot {id} is of {}; make a new VM from it instead", seed.vm);
            return Err(Error::invalid("restore", vm.name(), why));
        }
        let runs = seed.runs_on(self.driver.backend());
        runs.map_err(|why| Error::invalid("restore", vm.name(), why))?;
        let _change = vm.change.lock().await;
        let state = vm.record().state;
        if !matches!(state, VmState::Running | VmState::Paused) {
            return Err(not_now(vm, "restore"));
        }
        let _ = fs::remove_file(vm.site.file(BEFORE));
        let restoring = Some(id.clone());
        self.keep(vm, |record| (record.state, record.restoring) = (VmState::Restoring, restoring)).await?;
        let result = self.set_back(vm, &seed).await;
        Box::pin(self.conclude(vm, result)).await
    }

    /// Begins a restore anew that a crash of the agent ended.
    pub(super) async fn restore_again(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        let id = vm.record().restoring.clone();
        let again = async {
            let id = id.ok_or_else(|| {
                let why = "a crash ended its restore, and its record does not say of which snapshot";
                Error::new(ErrorKind::Corrupt, "restore", vm.name(), why)
            })?;
            tracing::info!(vm = %vm.name(), snapshot = %id, "beginning a restore anew that a crash ended");
            self.set_back(vm, &self.checked(&id).await?).await
        };
        let result = again.await;
        let concluded = Box::pin(self.conclude(vm, result)).await;
        if vm.record().state != VmState::Running {
            return concluded;
        }
        self.pace.adopted();
        if let Err(error) = concluded {
            tracing::error!(vm = %vm.name(), %error, "a restore that a crash ended is given up");
        }
        Ok(())
    }

    /// A snapshot, with all that it builds on checked.
    async fn checked(self: &Arc<Self>, id: &SnapshotName) -> Result<Arc<SnapshotRecord>> {
        let (inner, id) = (Arc::clone(self), id.clone());
        let chain = blocking("check a snapshot", move || inner.snapshots.verify(&id)).await?;
        // The last one is the one that was asked for.
        let last = chain.last().cloned();
        last.ok_or_else(|| Error::new(ErrorKind::Corrupt, "check", "a snapshot", "it is of nothing"))
    }

    /// After a restore: the VM runs, as it should or as it was.
    async fn conclude(self: &Arc<Self>, vm: &Arc<Vm>, result: Result<()>) -> Result<()> {
        let result = match result {
            Ok(()) => Ok(()),
            // Whoever destroys it waits for this to be over.
            Err(error) if vm.is_doomed() => return Err(error),
            Err(error) => {
                // Before the boot that follows adds to it.
                let error = with_console(error, &vm.console());
                self.boot_as_before(vm).await.map_err(|also| Error {
                    why: format!(
                        "{}; and the VM is gone, for it did not boot from its disk: {also}",
                        error.why
                    ),
                    ..error.clone()
                })?;
                let why = format!("{}; the VM was booted anew from the disk that it had", error.why);
                Err(Error { why, ..error })
            }
        };
        let _ = fs::remove_file(vm.site.file(BEFORE));
        self.keep(vm, |record| (record.state, record.restoring) = (VmState::Running, None)).await?;
        result
    }

    async fn set_back(self: &Arc<Self>, vm: &Arc<Vm>, seed: &Arc<SnapshotRecord>) -> Result<()> {
        vm.link.close();
        self.end_process(vm).await?;
        let (disk, before) = (vm.site.file(DISK), vm.site.file(BEFORE));
        // It is there already when this begins anew.
        if disk.exists() && !before.exists() {
            fs::rename(&disk, &before).map_err(|error| Error::system("put aside", disk.display(), error))?;
        }
        let (inner, site, origin) = (Arc::clone(self), vm.site.clone(), Arc::clone(seed));
        let furnished = blocking("furnish", move || inner.place_snapshot(&site, &origin)).await?;
        // Only now: who removes a file that is not there yet leaves it behind.
        self.unless_doomed(vm, Box::pin(self.start_again(vm, seed, furnished))).await
    }

    /// Starts a VM that has the files of a snapshot.
    async fn start_again(
        self: &Arc<Self>,
        vm: &Arc<Vm>,
        seed: &SnapshotRecord,
        furnished: (DiskFormat, String),
    ) -> Result<()> {
        let mut machine = self.machine(vm, Some(furnished));
        match seed.kind {
            SnapshotKind::Disk => {
                write_token(&vm.site.dir, &new_token()?)?;
                self.forget_hold(vm);
                self.keep(vm, |record| (record.machine, record.memory_base) = (machine, None)).await?;
                self.boot(vm, &self.limits(vm).await?).await
            }
            SnapshotKind::Live => {
                (machine.vcpus, machine.memory_mib) = (seed.machine.vcpus, seed.machine.memory_mib);
                let saved = self.saved(vm, seed).await?;
                let base = Some(seed.id.clone());
                self.keep(vm, |record| (record.machine, record.memory_base) = (machine, base)).await?;
                self.go_on(vm, &self.limits(vm).await?, &saved, false, seed.held_ms).await
            }
        }
    }

    /// After a restore that failed.
    async fn boot_as_before(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        tracing::warn!(vm = %vm.name(), "a restore failed; booting from the disk of before");
        let again = async {
            vm.link.close();
            self.end_process(vm).await?;
            let (disk, before) = (vm.site.file(DISK), vm.site.file(BEFORE));
            if before.exists() {
                fs::rename(&before, &disk)
                    .map_err(|error| Error::system("put back", disk.display(), error))?;
            }
            write_token(&vm.site.dir, &new_token()?)?;
            self.forget_hold(vm);
            self.keep(vm, |record| record.memory_base = None).await?;
            self.boot(vm, &self.limits(vm).await?).await
        };
        match self.unless_doomed(vm, Box::pin(again)).await {
            Err(error) if !vm.is_doomed() => {
                self.bury(vm, &format!("a restore failed, and so did the boot after it: {error}")).await?;
                Err(error)
            }
            result => result,
        }
    }

    /// Does `work`, unless the VM is to go.
    async fn unless_doomed(&self, vm: &Vm, work: impl Future<Output = Result<()>>) -> Result<()> {
        tokio::select! {
            biased;
            () = vm.doomed() => Err(Error::new(ErrorKind::Busy, "restore", vm.name(), "it is being destroyed")),
            result = work => result,
        }
    }
}
