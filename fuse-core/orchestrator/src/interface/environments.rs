//! Environments: from a request to their end.

use std::{sync::Arc, time::Duration};

use super::{Orchestrator, backend};
use crate::{
    Page, Result, Subscription,
    model::{
        Environment, EnvironmentFilter, EnvironmentId, ForkRequest, IdempotencyKey, ProvisionRequest, Subject,
    },
};

impl Orchestrator {
    /// Accepts a request: checks it, chooses a host, reserves the capacity, and makes all of it durable.
    ///
    /// The answer is the environment in state `provisioning`; it comes up in the background. Wait for it with
    /// [`Orchestrator::wait_running`], or follow its events.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid), [`Error::TooLarge`](crate::Error::TooLarge);
    /// [`Error::TaskTaken`](crate::Error::TaskTaken) when the task has a live environment;
    /// [`Error::Placement`](crate::Error::Placement) when no host can take it;
    /// [`Error::Store`](crate::Error::Store).
    pub async fn provision(&self, request: ProvisionRequest) -> Result<Arc<Environment>> {
        backend!(self, plane => plane.provision(request).await, connection => connection.provision(None, &request).await)
    }

    /// The same, once for each key: an equal request with the same key gets the environment that the first one made.
    ///
    /// # Errors
    /// As [`Orchestrator::provision`], and [`Error::KeyReused`](crate::Error::KeyReused) when the key was used for
    /// another request.
    pub async fn provision_once(
        &self,
        key: &IdempotencyKey,
        request: ProvisionRequest,
    ) -> Result<Arc<Environment>> {
        backend!(
            self,
            plane => plane.provision_once(key, request).await,
            connection => connection.provision(Some(key), &request).await
        )
    }

    /// Waits until an environment runs, at most `limit`.
    ///
    /// # Errors
    /// [`Error::BootFailed`](crate::Error::BootFailed) when it failed or was destroyed instead,
    /// [`Error::Timeout`](crate::Error::Timeout) when it takes longer (it goes on),
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn wait_running(&self, id: &EnvironmentId, limit: Duration) -> Result<Arc<Environment>> {
        backend!(
            self,
            plane => plane.wait_running(id, limit).await,
            connection => connection.wait_running(id, limit).await
        )
    }

    /// One environment; also one that ended, while its record is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn get(&self, id: &EnvironmentId) -> Result<Arc<Environment>> {
        backend!(self, plane => plane.get(id), connection => connection.environment(id).await)
    }

    /// A page of environments, by id. The default filter leaves out those that ended. A page has at most 200
    /// entries, 50 when nothing is said.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a cursor that no list gave out.
    pub async fn list(
        &self,
        filter: &EnvironmentFilter,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Result<Page<Arc<Environment>>> {
        backend!(
            self,
            plane => plane.list(filter, limit, cursor),
            connection => connection.environments(filter, limit, cursor).await
        )
    }

    /// Tells a running environment to end its work: it becomes `draining`, and its drain command runs.
    ///
    /// It is not destroyed for that; one that drains for longer than the limit is.
    ///
    /// # Errors
    /// [`Error::EnvironmentTransition`](crate::Error::EnvironmentTransition) when it does not run;
    /// [`Error::Provider`](crate::Error::Provider) when the drain command failed: it is draining all the same, and
    /// its reason says so.
    pub async fn drain(&self, id: &EnvironmentId) -> Result<Arc<Environment>> {
        backend!(self, plane => plane.drain(id).await, connection => connection.drain(id).await)
    }

    /// Destroys an environment, whatever it is doing.
    ///
    /// # Errors
    /// As [`ControlPlane::destroy`](crate::ControlPlane::destroy).
    pub async fn destroy(&self, id: &EnvironmentId) -> Result<()> {
        backend!(self, plane => plane.destroy(id).await, connection => connection.destroy(id).await)
    }

    /// Forks a running environment: the new one begins with the disk of the source, on the same host, with
    /// credentials of its own. It is accepted when this returns and comes up in the background.
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning), [`Error::NotFound`](crate::Error::NotFound);
    /// [`Error::Placement`](crate::Error::Placement) when the host of the source has no room;
    /// [`Error::ForeignSnapshot`](crate::Error::ForeignSnapshot),
    /// [`Error::SnapshotNotReady`](crate::Error::SnapshotNotReady) for a snapshot to reuse;
    /// [`Error::Provider`](crate::Error::Provider).
    pub async fn fork(&self, id: &EnvironmentId, request: ForkRequest) -> Result<Arc<Environment>> {
        backend!(self, plane => plane.fork(id, request).await, connection => connection.fork(id, &request).await)
    }

    /// Events from after the sequence number `after` on, for ever: 0 replays everything that is kept.
    #[must_use]
    pub fn events(&self, after: u64) -> Subscription {
        backend!(self, plane => plane.events(after), connection => connection.events(after, None).into())
    }

    /// Events about one thing, from after the sequence number `after` on.
    #[must_use]
    pub fn events_about(&self, subject: Subject, after: u64) -> Subscription {
        backend!(
            self,
            plane => plane.events_about(subject, after),
            connection => connection.events(after, Some(subject)).into()
        )
    }

    /// Events about one environment, from now on.
    ///
    /// # Errors
    /// Only over the network: [`Error::NoAnswer`](crate::Error::NoAnswer) and what else the server says.
    pub async fn events_of(&self, id: &EnvironmentId) -> Result<Subscription> {
        let newest = self.newest_event().await?;
        Ok(self.events_about(Subject::Environment(id.clone()), newest))
    }

    /// The sequence number of the newest event; 0 when there is none.
    ///
    /// # Errors
    /// As [`Orchestrator::events_of`].
    pub async fn newest_event(&self) -> Result<u64> {
        backend!(self, plane => Ok(plane.newest_event()), connection => connection.newest_event().await)
    }
}
