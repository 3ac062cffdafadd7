//! Finding the snapshot of a layer.

use std::sync::Arc;

use super::ControlPlane;
use crate::model::{Arch, Snapshot, SnapshotFilter, SnapshotState};

impl ControlPlane {
    /// The newest ready snapshot of a layer of a build, for an architecture.
    #[must_use]
    pub fn resolve_snapshot(&self, layer_key: &str, arch: Arch) -> Option<Arc<Snapshot>> {
        if layer_key.is_empty() {
            return None;
        }
        let ready = SnapshotFilter {
            state: Some(SnapshotState::Ready),
            arch: Some(arch),
            layer_key: Some(layer_key.to_owned()),
            ..SnapshotFilter::default()
        };
        let (found, _) = self.inner.fleet().snapshots(&ready, None, 1);
        found.into_iter().next()
    }
}
