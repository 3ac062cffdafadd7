//! Snapshots that move: from the host that has one to the host that is to boot from it.
//!
//! What is copied is noted in the record before it is asked for, so that it is deleted with the snapshot whatever happens
//! in between.

use super::{Inner, change::Change};
use crate::{
    Error, Problem, RecordKind, Result,
    model::{HostId, Liveness, Snapshot},
    provider::{ProviderErrorKind, Verb},
    scheduler::Demand,
};

/// Hexadecimal digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;

impl Inner {
    /// Says where an environment that boots from `snapshot` can go: to the host that has it; to another one when that was
    /// asked for by name, or when the first takes nothing now, as long as the snapshot can move there.
    pub(super) fn place_seed(&self, snapshot: &Snapshot, demand: &mut Demand) -> Result<()> {
        let holder = &snapshot.host_id;
        if let Some(asked) = demand.host_id.clone().filter(|asked| asked != holder) {
            return self.movable(snapshot, &asked).map_err(|why| {
                let text = format!(
                    "snapshot {} is on host {holder} and does not move to {asked}: {why}",
                    snapshot.id
                );
                Error::Invalid(vec![Problem::new("spec.host_id", text)])
            });
        }
        let elsewhere = {
            let fleet = self.fleet();
            let takes = |host: &HostId| {
                fleet.scheduler.place(&Demand { host_id: Some(host.clone()), ..demand.clone() }).is_ok()
            };
            if demand.host_id.is_some() || takes(holder) {
                None
            } else if let Some(copied) = snapshot.copies.keys().find(|host| takes(host)) {
                Some(copied.clone())
            } else {
                let arch = Some(demand.arch.unwrap_or(snapshot.arch));
                fleet.scheduler.place(&Demand { arch, ..demand.clone() }).ok()
            }
        };
        let elsewhere =
            elsewhere.filter(|host| self.look_alike(holder, host) && self.movable(snapshot, host).is_ok());
        demand.host_id = Some(elsewhere.unwrap_or_else(|| holder.clone()));
        Ok(())
    }

    /// Whether a snapshot can move to a host; else why not.
    fn movable(&self, snapshot: &Snapshot, to: &HostId) -> Result<(), String> {
        let fleet = self.fleet();
        // Nobody can be placed on a host that is not there; placing says so.
        let Some(to) = fleet.hosts.get(to) else { return Ok(()) };
        let gone = || format!("host {} was removed", snapshot.host_id);
        let from = fleet.hosts.get(&snapshot.host_id).ok_or_else(gone)?;
        let target = &to.host.value;
        let stays = [from, to].into_iter().find(|entry| !entry.provider.moves_snapshots());
        if let Some(entry) = stays {
            return Err(format!("snapshots of host {} stay there", entry.host.value.id));
        }
        let holder = &from.host.value;
        if holder.liveness.state != Liveness::Ready && !snapshot.copies.contains_key(&target.id) {
            return Err(format!("host {} does not answer", holder.id));
        }
        if snapshot.digest.len() != DIGEST_DIGITS {
            return Err("its host did not tell its digest".to_owned());
        }
        if target.arch != snapshot.arch {
            return Err(format!("it is of {}, and that host is {}", snapshot.arch, target.arch));
        }
        Ok(())
    }

    /// Whether two hosts are registered as running the same VMM. They themselves know better: one that was not registered
    /// with its own answers a fetch of what it cannot run with a refusal.
    fn look_alike(&self, one: &HostId, other: &HostId) -> bool {
        let fleet = self.fleet();
        let backend = |id: &HostId| fleet.hosts.get(id).map(|entry| &entry.host.value.backend);
        backend(one) == backend(other)
    }

    /// The name of a snapshot on `host`. Where the host does not have it, it fetches it.
    pub(super) async fn bring(&self, snapshot: &Snapshot, host: &HostId) -> Result<String> {
        if snapshot.host_id == *host {
            return Ok(snapshot.artifact.clone());
        }
        // Whoever needs it there at the same time waits, and finds it.
        let _turn = self.locks.hold(RecordKind::Snapshot, &format!("{} on {host}", snapshot.id)).await;
        let (from, to) = (self.provider(&snapshot.host_id)?, self.provider(host)?);
        let name = snapshot.id.to_string();
        let noted = self.snapshot(&snapshot.id)?.value.copies.contains_key(host);
        if !noted {
            let note = |snapshot: &mut Snapshot, _| {
                snapshot.copies.insert(host.clone(), name.clone());
                Ok(Change::new())
            };
            self.change_snapshot(&snapshot.id, note).await?;
        }
        let offer = from.offer_snapshot(&snapshot.artifact, &snapshot.digest)?;
        let limit = self.config.timeouts.pull;
        let call = to.fetch_snapshot(&name, &offer);
        self.call(host, Verb::FetchSnapshot, &name, limit, call).await?;
        Ok(name)
    }

    /// Deletes what was copied of a snapshot.
    pub(super) async fn delete_copies(&self, snapshot: &Snapshot) -> Result<()> {
        // As the record is now: a copy may have been made since.
        let copies = self.snapshot(&snapshot.id)?.value.copies.clone();
        for (host, name) in copies {
            // A host that was removed took the bytes with it.
            let Ok(provider) = self.provider(&host) else { continue };
            let call = provider.delete_snapshot(&snapshot.vm, &name);
            let limit = self.config.timeouts.destroy;
            match self.call(&host, Verb::DeleteSnapshot, &name, limit, call).await {
                Ok(()) => {}
                Err(error) if error.kind == ProviderErrorKind::Unsupported => {}
                Err(error) => {
                    self.note_not_deleted(&snapshot.id, &error.to_string()).await?;
                    return Err(error.into());
                }
            }
        }
        Ok(())
    }
}
