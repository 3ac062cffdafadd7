//! Snapshots.

use std::sync::Arc;

use super::{Orchestrator, backend};
use crate::{
    Page, Result,
    model::{Arch, EnvironmentId, Snapshot, SnapshotFilter, SnapshotId, SnapshotRequest},
};

impl Orchestrator {
    /// Takes a snapshot of a running environment, and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning), [`Error::NotFound`](crate::Error::NotFound);
    /// [`Error::Provider`](crate::Error::Provider): when the answer was lost, the record stays `creating` and
    /// reconcile finds out what became of it.
    pub async fn create_snapshot(
        &self,
        id: &EnvironmentId,
        request: SnapshotRequest,
    ) -> Result<Arc<Snapshot>> {
        backend!(
            self,
            plane => plane.create_snapshot(id, request).await,
            connection => connection.create_snapshot(id, &request).await
        )
    }

    /// One snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn snapshot(&self, id: &SnapshotId) -> Result<Arc<Snapshot>> {
        backend!(self, plane => plane.snapshot(id), connection => connection.snapshot(id).await)
    }

    /// A page of snapshots, newest first.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a cursor that no list gave out.
    pub async fn snapshots(
        &self,
        filter: &SnapshotFilter,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Result<Page<Arc<Snapshot>>> {
        backend!(
            self,
            plane => plane.snapshots(filter, limit, cursor),
            connection => connection.snapshots(filter, limit, cursor).await
        )
    }

    /// The ancestors of a snapshot, its parent first. At most 1,000.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn lineage(&self, id: &SnapshotId) -> Result<Vec<Arc<Snapshot>>> {
        backend!(self, plane => plane.lineage(id), connection => connection.lineage(id).await)
    }

    /// The newest ready snapshot of a layer of a build, for an architecture.
    ///
    /// # Errors
    /// Only over the network: [`Error::NoAnswer`](crate::Error::NoAnswer) and what else the server says.
    pub async fn resolve_snapshot(&self, layer_key: &str, arch: Arch) -> Result<Option<Arc<Snapshot>>> {
        backend!(
            self,
            plane => Ok(plane.resolve_snapshot(layer_key, arch)),
            connection => connection.resolve_snapshot(layer_key, arch).await
        )
    }

    /// Sets the environment that a snapshot was made of back to it, in place.
    ///
    /// Its credentials stay those of now, whatever the snapshot holds.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::SnapshotNotReady`](crate::Error::SnapshotNotReady),
    /// [`Error::NotRunning`](crate::Error::NotRunning); [`Error::ForeignSnapshot`](crate::Error::ForeignSnapshot)
    /// when the environment is another one by now; [`Error::Provider`](crate::Error::Provider).
    pub async fn restore_snapshot(&self, id: &SnapshotId) -> Result<()> {
        backend!(
            self,
            plane => plane.restore_snapshot(id).await,
            connection => connection.restore_snapshot(id).await
        )
    }

    /// Deletes a snapshot, bytes and record.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::HasChildren`](crate::Error::HasChildren),
    /// [`Error::SnapshotInUse`](crate::Error::SnapshotInUse);
    /// [`Error::SnapshotTransition`](crate::Error::SnapshotTransition) while it is being made or restored;
    /// [`Error::Provider`](crate::Error::Provider): it is `deleting` then, and is tried again until it succeeds.
    pub async fn delete_snapshot(&self, id: &SnapshotId) -> Result<()> {
        backend!(
            self,
            plane => plane.delete_snapshot(id).await,
            connection => connection.delete_snapshot(id).await
        )
    }
}
