//! Fork: a running environment, twice.

use std::{sync::Arc, time::Duration};

use super::{ControlPlane, Inner, change::Change, provision, vault::Vault};
use crate::{
    Error, Result,
    model::{
        Environment, EnvironmentId, EnvironmentSpec, Event, EventKind, ForkRequest, Seed, Snapshot,
        SnapshotId, SnapshotMode, SnapshotRequest, SnapshotState, Subject, TaskId,
    },
    scheduler::Demand,
};

/// How long a snapshot is kept that was made for a fork.
const KEEP_SEED: Duration = Duration::from_secs(24 * 3600);

impl ControlPlane {
    /// Forks a running environment: the new one begins with the disk of the source, on the same host, with
    /// credentials of its own. It is accepted when this returns and comes up in the background.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NotFound`]; [`Error::Placement`] when the host of the source has no room;
    /// [`Error::ForeignSnapshot`], [`Error::SnapshotNotReady`] for a snapshot to reuse; [`Error::Provider`].
    pub async fn fork(&self, id: &EnvironmentId, request: ForkRequest) -> Result<Arc<Environment>> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        self.inner.finish(async move { inner.fork(&id, request).await }).await
    }
}

impl Inner {
    async fn fork(self: &Arc<Self>, id: &EnvironmentId, request: ForkRequest) -> Result<Arc<Environment>> {
        let source = self.running(id, "fork")?;
        // Where the bytes are; a fork that does not fit there is refused before anything is made.
        let demand = Demand {
            need: source.spec.resources,
            host_id: Some(source.host_id.clone()),
            ..Demand::default()
        };
        self.fleet().scheduler.place(&demand)?;
        let snapshot = match &request.reuse_snapshot_id {
            Some(reuse) => self.reusable(reuse, &source)?,
            None => {
                let request = SnapshotRequest {
                    comment: request.comment.clone(),
                    mode: SnapshotMode::Auto,
                    retention_seconds: KEEP_SEED.as_secs(),
                    ..SnapshotRequest::default()
                };
                self.create_snapshot(id, request).await?
            }
        };
        let task_id = TaskId::new(self.fresh("fork-")?)?;
        let fork_id = self.config.prefix.environment(&task_id);
        let vm = self.config.prefix.vm(&fork_id, &self.fresh("")?);
        let now = self.now();
        let of_source = self.vault(&source.vm).await?;
        let vault = Vault {
            credentials: self.secrets.credentials(&vm, None, now)?,
            next: None,
            secrets: of_source.secrets.clone(),
            gateway_token: of_source.gateway_token.clone(),
            boot: None,
        };
        let environment = Environment {
            seed: Some(Seed { snapshot_id: snapshot.id.clone(), forked_from: Some(id.clone()) }),
            spec: EnvironmentSpec { host_id: None, labels: Default::default(), ..source.spec.clone() },
            ..provision::fresh_copy(&source, fork_id, task_id, vm, now)
        };
        let forked = match self.accept(environment, vault, &demand, None).await {
            Ok(forked) => forked,
            Err(refused) => {
                if request.reuse_snapshot_id.is_none() {
                    // Made for this fork alone. One that cannot be deleted now is deleted by reconcile.
                    let _ = self.delete_snapshot(&snapshot.id, EventKind::SnapshotDeleted).await;
                }
                return Err(refused);
            }
        };
        let event = Event::new(self.now(), EventKind::VmForked, Subject::Environment(id.clone()))
            .with("fork", &forked.id)
            .with("snapshot_id", &snapshot.id);
        self.commit(Change::new().event(event)).await?;
        Ok(forked)
    }

    fn reusable(&self, id: &SnapshotId, source: &Environment) -> Result<Arc<Snapshot>> {
        let snapshot = self.snapshot(id)?.value;
        if snapshot.vm != source.vm {
            return Err(Error::ForeignSnapshot {
                id: id.clone(),
                owner: snapshot.environment_id.clone(),
                asked: source.id.clone(),
            });
        }
        if snapshot.state != SnapshotState::Ready {
            let state = snapshot.state;
            return Err(Error::SnapshotNotReady { operation: "fork from", id: id.clone(), state });
        }
        Ok(snapshot)
    }
}
