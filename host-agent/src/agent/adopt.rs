//! Start: what runs is taken over without touching it, what a crash left behind is removed.

use std::{sync::Arc, time::Duration};

use super::{Inner, vm::Vm};
use crate::{
    Error, Result,
    driver::{Activity, Site},
    net::{Guest, Lease},
    store::{VmRecord, VmState},
    system::{blocking, processes_below},
};

/// How long the agent's start waits for VMs that are busy: with what they were saving, or with a restore that goes on. The
/// others are taken over while the agent serves.
const START: Duration = Duration::from_secs(10);

impl Inner {
    pub(super) async fn take_over(self: &Arc<Self>) -> Result<()> {
        let inner = Arc::clone(self);
        let (records, strays) = blocking("read the VMs", move || inner.vms.load()).await?;
        for record in &records {
            self.ports().extend(record.published.iter().map(|port| port.host));
        }
        self.end_strays(&records).await?;
        for dir in strays {
            tracing::warn!(path = %dir.display(), "removing a directory without the record of a VM");
            self.pace.swept();
            blocking("remove", move || {
                std::fs::remove_dir_all(&dir).map_err(|error| Error::system("remove", dir.display(), error))
            })
            .await?;
        }
        if let Some(networks) = &self.networks {
            networks.start(&guests(&records)).await?;
        }
        let mut vms = Vec::new();
        for record in records {
            let site = Site { name: record.name.clone(), dir: self.vms.dir(&record.name) };
            let vm = Arc::new(Vm::new(site, record));
            self.table().insert(vm.name().clone(), Arc::clone(&vm));
            vms.push(vm);
        }
        let mut looks = tokio::task::JoinSet::new();
        for vm in vms {
            let inner = Arc::clone(self);
            looks.spawn(async move {
                let taken = inner.take_over_one(&vm).await;
                if let Err(error) = taken
                    && !vm.is_doomed()
                {
                    tracing::error!(vm = %vm.name(), %error, "a VM cannot be taken over or removed yet");
                }
            });
        }
        let all = async {
            while let Some(look) = looks.join_next().await {
                if let Err(error) = look {
                    tracing::error!(%error, "a look at a VM broke off");
                }
            }
        };
        if tokio::time::timeout(START, all).await.is_err() {
            tracing::warn!(vms = looks.len(), "still taking over VMs that are busy");
            looks.detach_all();
        }
        self.remove_old_groups()
    }

    /// Ends processes below our VMs that are on no record.
    async fn end_strays(&self, records: &[VmRecord]) -> Result<()> {
        let root = self.vms.root().to_owned();
        let found = blocking("look for processes", move || {
            processes_below(&root).map_err(|error| Error::system("read", "/proc", error))
        });
        for (process, place) in found.await? {
            let known = records.iter().any(|record| record.process.as_ref() == Some(&process));
            if !known {
                tracing::warn!(%process, path = %place.display(), "ending a VMM that is on no record");
                self.pace.swept();
                process.kill().await;
            }
        }
        Ok(())
    }

    async fn take_over_one(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        let _change = vm.change.lock().await;
        let (state, process) = {
            let record = vm.record();
            (record.state, record.process.clone())
        };
        match state {
            VmState::Creating | VmState::Destroying => {
                tracing::info!(vm = %vm.name(), ?state, "removing a VM whose making or removal a crash ended");
                self.pace.swept();
                return self.unmake(vm).await;
            }
            VmState::Restoring => return self.restore_again(vm).await,
            VmState::Running | VmState::Paused => {}
        }
        if !process.is_some_and(|process| process.is_alive()) {
            return self.bury(vm, "its VMM ended while the agent was away").await;
        }
        let activity = tokio::select! {
            biased;
            // Whoever removes it waits for this to be over.
            () = vm.doomed() => return Ok(()),
            activity = self.driver.settle(&vm.site) => activity,
        };
        // A snapshot that nobody kept may have been saved: what was written until then, the VMM counts no more.
        if vm.record().memory_base.is_some() {
            self.keep(vm, |record| record.memory_base = None).await?;
        }
        match (activity, state) {
            (Ok(Activity::Running), VmState::Running) => {}
            // A resume was under way.
            (Ok(Activity::Running), _) => self.keep(vm, |record| record.state = VmState::Running).await?,
            // A snapshot was under way; nobody is left to let it go on.
            (Ok(Activity::Paused), VmState::Running) => self.let_go_on(vm).await?,
            (Ok(Activity::Paused), _) => {}
            (Ok(Activity::Other), _) => return self.bury(vm, "its VMM has no machine that could run").await,
            (Err(error), _) => return self.bury(vm, &format!("its VMM does not answer: {error}")).await,
        }
        self.pace.adopted();
        tracing::info!(vm = %vm.name(), "took over a VM");
        if vm.record().state == VmState::Running && self.holds(vm) {
            tracing::info!(vm = %vm.name(), "letting its programs go on, which a crash left standing still");
            self.release_programs(vm).await;
        }
        Ok(())
    }

    fn remove_old_groups(&self) -> Result<()> {
        let prefix = self.group_prefix();
        for group in self.cgroups.groups() {
            let Some(name) = group.strip_prefix(&prefix) else { continue };
            if !self.table().contains_key(name) {
                self.pace.swept();
                self.cgroups.remove(&group)?;
            }
        }
        Ok(())
    }
}

fn guests(records: &[VmRecord]) -> Vec<(fuse_orchestrator::model::VmName, Guest)> {
    let of = |record: &VmRecord| match &record.net {
        Some(Lease::Tap(lease)) => {
            let published = super::vm::forwards(&record.published);
            Some((record.name.clone(), Guest { lease: lease.clone(), published }))
        }
        _ => None,
    };
    records.iter().filter_map(of).collect()
}
