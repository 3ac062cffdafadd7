//! Destroy: whatever state a VM is in.

use std::sync::Arc;

use fuse_orchestrator::model::{Timestamp, VmName};

use super::{HostAgent, Inner, create::finish, vm::Vm};
use crate::{
    Error, ErrorKind, Result,
    net::Lease,
    store::{Ended, VmState},
    system::{blocking, processes_below},
};

/// How much of a console is kept of a VM that is gone, in bytes.
const CONSOLE_KEPT: usize = 8 * 1024;

impl HostAgent {
    /// Removes a VM and everything of it but its snapshots. Does not wait for what goes on in the guest, and ends a create
    /// or restore that is under way. Idempotent. When the future is dropped, it goes on.
    ///
    /// # Errors
    /// System; the VM stays on record as being destroyed then, and the next attempt goes on.
    pub async fn destroy(&self, vm: &VmName) -> Result<()> {
        let Some(vm) = self.inner.table().get(vm).cloned() else { return Ok(()) };
        let inner = Arc::clone(&self.inner);
        finish("destroy", async move { inner.pace.time("destroy", Box::pin(inner.destroy(&vm))).await }).await
    }
}

impl Inner {
    async fn destroy(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        vm.doom();
        let _change = vm.change.lock().await;
        let ours = self.table().get(vm.name()).is_some_and(|now| Arc::ptr_eq(now, vm));
        if !ours {
            return Ok(());
        }
        self.keep(vm, |record| record.state = VmState::Destroying).await?;
        self.unmake(vm).await
    }

    /// Removes everything of a VM: its process, network, limits, files, and at last its name.
    pub(super) async fn unmake(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        vm.link.close();
        self.end_process(vm).await?;
        self.driver.clean(&vm.site).await?;
        let net = vm.record().net.clone();
        if let (Some(Lease::Tap(lease)), Some(networks)) = (net, &self.networks) {
            networks.detach(vm.name(), &lease).await?;
        }
        for port in std::mem::take(&mut vm.record().published) {
            self.ports().remove(&port.host);
        }
        let (inner, name, group) = (Arc::clone(self), vm.name().clone(), self.group(vm.name()));
        blocking("remove", move || {
            inner.cgroups.remove(&group)?;
            inner.vms.remove(&name)
        })
        .await?;
        self.table().remove(vm.name());
        Ok(())
    }

    /// Ends the VMM of a VM, and whatever else runs in its directory.
    pub(super) async fn end_process(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        let mut processes: Vec<_> = vm.record().process.clone().into_iter().collect();
        let dir = vm.site.dir.clone();
        // A create that was given up may have started one that is not on record.
        let strays = blocking("look for processes of", move || {
            processes_below(&dir).map_err(|error| Error::system("read", "/proc", error))
        });
        processes.extend(strays.await?.into_iter().map(|(process, _)| process));
        for process in processes {
            if !process.kill().await {
                let why = format!("{process} does not end; it may wait for a disk or a device");
                return Err(Error::new(ErrorKind::Vmm, "end", vm.name(), why));
            }
        }
        vm.record().process = None;
        Ok(())
    }

    /// Removes a VM that has ended by itself, and keeps a note of why.
    pub(super) async fn bury(self: &Arc<Self>, vm: &Arc<Vm>, reason: &str) -> Result<()> {
        let console = vm.console().tail(CONSOLE_KEPT).unwrap_or_default();
        let ended = Ended {
            name: vm.name().clone(),
            at: Timestamp::from(std::time::SystemTime::now()),
            reason: reason.to_owned(),
            console: String::from_utf8_lossy(&console).into_owned(),
        };
        tracing::warn!(vm = %vm.name(), reason, "a VM has ended by itself");
        let inner = Arc::clone(self);
        blocking("note the end of", move || inner.vms.note_ended(&ended)).await?;
        self.pace.death();
        self.unmake(vm).await
    }
}
