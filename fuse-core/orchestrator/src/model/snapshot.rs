//! Snapshots of environments.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Arch, Attempts, EnvironmentId, HostId, Reason, SnapshotId, TaskId, Timestamp, VmName,
    lifecycle::{enters, states},
};

states! {
    /// The states of a snapshot. A snapshot that is gone has no record.
    SnapshotState {
        /// The host makes it.
        Creating = "creating",
        /// It can be used.
        Ready = "ready",
        /// Its environment is being set back to it.
        Restoring = "restoring",
        /// The host removes it.
        Deleting = "deleting",
        /// It cannot be used; the reason says why.
        Error = "error",
    }
    arrows {
        Creating => Ready | Error,
        Ready => Restoring | Deleting | Error,
        Restoring => Ready | Error,
        Deleting => Error,
        Error => Deleting,
    }
}

/// Who asked for a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum SnapshotMode {
    /// A caller.
    #[default]
    Manual,
    /// The control plane, for a fork.
    Auto,
    /// A build. Retention does not touch it.
    Build,
}

impl SnapshotMode {
    /// Every mode.
    pub const ALL: [Self; 3] = [Self::Manual, Self::Auto, Self::Build];

    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Auto => "auto",
            Self::Build => "build",
        }
    }
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub id: SnapshotId,
    /// The environment it was made of.
    #[serde(rename = "vm_id")]
    pub environment_id: EnvironmentId,
    /// The VM it was made of.
    pub vm: VmName,
    /// The task of that environment.
    pub task_id: TaskId,
    /// Where its bytes are.
    pub host_id: HostId,
    /// The newest ready snapshot of the same VM when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_snapshot_id: Option<SnapshotId>,
    /// Who asked for it.
    pub mode: SnapshotMode,
    /// Where it stands.
    pub state: SnapshotState,
    /// Why it stands there.
    pub reason: Reason,
    /// Words for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// The caller's own data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// The host's own name of it. Empty until it is made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub artifact: String,
    /// Its names on hosts that it was copied to, so that something boots from it there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<HostId, String>,
    /// SHA-256 of its bytes in hex, as the host reports it. Empty where the host does not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Its size in bytes; 0 where the host does not say.
    #[serde(default)]
    pub size_bytes: u64,
    /// With memory and processor state.
    #[serde(default)]
    pub live: bool,
    /// The architecture of its host.
    #[serde(default)]
    pub arch: Arch,
    /// Until when it is kept; none means until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_until: Option<Timestamp>,
    /// How its removal goes, while it is deleting.
    #[serde(default)]
    pub removal: Attempts,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

enters!(Snapshot, SnapshotState);

impl Snapshot {
    /// The member of the metadata that says which layer of a build a snapshot is.
    pub const LAYER_KEY: &'static str = "fuse.layer_key";

    /// The layer of a build that it is, by the reckoning of whoever made it; empty for none.
    #[must_use]
    pub fn layer_key(&self) -> &str {
        self.metadata.get(Self::LAYER_KEY).map_or("", String::as_str)
    }
}

/// Which snapshots a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotFilter {
    /// Only of this environment.
    #[serde(rename = "vm_id")]
    pub environment_id: Option<EnvironmentId>,
    /// Only of this task.
    pub task_id: Option<TaskId>,
    /// Only in this state.
    pub state: Option<SnapshotState>,
    /// Only of this mode.
    pub mode: Option<SnapshotMode>,
    /// Only those whose metadata has this `name`.
    pub name: Option<String>,
    /// Only of this architecture.
    pub arch: Option<Arch>,
    /// Only of this layer of a build.
    pub layer_key: Option<String>,
}

impl SnapshotFilter {
    /// Whether `snapshot` passes.
    #[must_use]
    pub fn matches(&self, snapshot: &Snapshot) -> bool {
        self.environment_id.as_ref().is_none_or(|id| *id == snapshot.environment_id)
            && self.task_id.as_ref().is_none_or(|id| *id == snapshot.task_id)
            && self.state.is_none_or(|state| state == snapshot.state)
            && self.mode.is_none_or(|mode| mode == snapshot.mode)
            && self.arch.is_none_or(|arch| arch == snapshot.arch)
            && self.layer_key.as_ref().is_none_or(|key| snapshot.layer_key() == key)
            && self.name.as_ref().is_none_or(|name| snapshot.metadata.get("name") == Some(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ready_snapshots_are_restored() {
        for from in SnapshotState::ALL {
            assert_eq!(from.may_become(SnapshotState::Restoring), from == SnapshotState::Ready, "{from}");
            assert!(!from.may_become(SnapshotState::Creating), "{from}");
        }
    }
}
