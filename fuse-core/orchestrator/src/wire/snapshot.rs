//! Snapshots on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Reason, checked, name, optional_name, page::one_of, problem, seconds, strange};
use crate::{
    Result,
    model::{
        self, Arch, Attempts, ReasonCode, SnapshotId, SnapshotMode, SnapshotRequest, SnapshotState, TaskId,
        Timestamp,
    },
};

/// The member of the metadata that names a snapshot.
const NAME: &str = "name";
/// Members of the metadata that keep fields of the wire that mean nothing here.
const LAYER_KEY: &str = "fuse.layer_key";
const EXPORT_REF: &str = "fuse.export_ref";
const EXPORT_STATUS: &str = "fuse.export_status";

/// Body of POST /v1/environments/{id}/snapshots; may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateSnapshot {
    /// Words for people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// `manual` (the default), `auto` or `build`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// Seconds that it is kept; 0 keeps it until it is deleted.
    #[serde(skip_serializing_if = "super::is_zero")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub retention_seconds: i64,
    /// The caller's own data. `name` names the snapshot; what begins with `fuse.` is ours.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Where the caller exports it to; only kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub export_ref: String,
    /// How that goes: `pending`, `ready` or `error`; only kept.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub export_status: String,
    /// The layer that it is, by the caller's reckoning.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub layer_key: String,
    /// With memory and processor state, where the provider can.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub live: bool,
}

/// A snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Snapshot {
    /// Its name.
    pub id: String,
    /// The environment that it was made of.
    #[serde(default)]
    pub vm_id: String,
    /// The task of that environment.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task_id: String,
    /// The snapshot that it stands on.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parent_snapshot_id: String,
    /// Who asked for it.
    #[serde(default)]
    pub mode: SnapshotMode,
    /// Where it stands.
    #[serde(default = "ready")]
    pub state: SnapshotState,
    /// Words for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    /// What its metadata calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The layer that it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub layer_key: String,
    /// The architecture of its host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub arch: String,
    /// SHA-256 of its bytes in hex, where the host says it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// Its size in bytes, where the host says it.
    #[serde(default, skip_serializing_if = "super::is_zero")]
    pub size_bytes: u64,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its state last changed.
    #[serde(default)]
    pub updated_at: Timestamp,
    /// Until when it is kept; left out: until it is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_until: Option<Timestamp>,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// Where the caller exports it to.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub export_ref: String,
    /// How that goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exports: Vec<SnapshotExport>,
    /// `live` with memory and processor state, else `disk`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The caller's own data.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Where its bytes are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_id: String,
    /// The other hosts that have its bytes, each with its own name of them: something boots, or booted, from it there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub copies: BTreeMap<String, String>,
    /// The VM that it was made of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub vm: String,
    /// Why it is in its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
}

fn ready() -> SnapshotState {
    SnapshotState::Ready
}

/// An export that the caller noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotExport {
    /// Where to.
    pub destination: String,
    /// `pending`, `ready` or `error`.
    pub status: String,
    /// When it was noted.
    pub requested_at: Timestamp,
    /// When the note last changed.
    pub updated_at: Timestamp,
}

/// A page of snapshots, newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SnapshotList {
    /// The snapshots.
    pub snapshots: Vec<Snapshot>,
    /// Where the next page begins; left out on the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// Answer of GET /v1/snapshots/resolve: the newest ready snapshot of a layer.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Resolved {
    /// Whether there is one.
    pub found: bool,
    /// The snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Snapshot>,
}

impl CreateSnapshot {
    /// The request.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) with every problem at once.
    pub fn request(self) -> Result<SnapshotRequest> {
        let mut problems = Vec::new();
        let mode = one_of("mode", &self.mode, &SnapshotMode::ALL, SnapshotMode::as_str, &mut problems);
        if !matches!(self.export_status.as_str(), "" | "pending" | "ready" | "error") {
            let text = format!("{:?} is not one of pending, ready, error", self.export_status);
            problem(&mut problems, "export_status", text);
        }
        let mut metadata = self.metadata;
        if let Some(name) = metadata.keys().find(|name| name.starts_with("fuse.")) {
            let text = format!("{name:?} begins with fuse., which is ours");
            problem(&mut problems, "metadata", text);
        }
        for (key, value) in
            [(LAYER_KEY, self.layer_key), (EXPORT_REF, self.export_ref), (EXPORT_STATUS, self.export_status)]
        {
            if !value.is_empty() {
                metadata.insert(key.to_owned(), value);
            }
        }
        let request = SnapshotRequest {
            comment: self.comment,
            mode: mode.unwrap_or_default(),
            retention_seconds: seconds("retention_seconds", self.retention_seconds, &mut problems),
            metadata,
            live: self.live,
        };
        checked(request, problems)
    }
}

impl From<&SnapshotRequest> for CreateSnapshot {
    fn from(request: &SnapshotRequest) -> Self {
        let mut metadata = request.metadata.clone();
        let mut take = |key: &str| metadata.remove(key).unwrap_or_default();
        let (layer_key, export_ref, export_status) = (take(LAYER_KEY), take(EXPORT_REF), take(EXPORT_STATUS));
        Self {
            comment: request.comment.clone(),
            mode: request.mode.as_str().to_owned(),
            retention_seconds: i64::try_from(request.retention_seconds).unwrap_or(i64::MAX),
            metadata,
            export_ref,
            export_status,
            layer_key,
            live: request.live,
        }
    }
}

impl Snapshot {
    /// The layer that a snapshot of the model was noted as; empty for none.
    #[must_use]
    pub fn layer_of(snapshot: &model::Snapshot) -> &str {
        snapshot.metadata.get(LAYER_KEY).map_or("", String::as_str)
    }
}

impl From<&model::Snapshot> for Snapshot {
    fn from(snapshot: &model::Snapshot) -> Self {
        let mut metadata = snapshot.metadata.clone();
        let mut take = |key: &str| metadata.remove(key).unwrap_or_default();
        let (layer_key, export_ref, export_status) = (take(LAYER_KEY), take(EXPORT_REF), take(EXPORT_STATUS));
        let status = if export_status.is_empty() { "pending".to_owned() } else { export_status };
        let exports = (!export_ref.is_empty()).then(|| SnapshotExport {
            destination: export_ref.clone(),
            status,
            requested_at: snapshot.created_at,
            updated_at: snapshot.created_at,
        });
        let failed = snapshot.state == SnapshotState::Error;
        let last_error =
            if failed { snapshot.reason.text.clone() } else { snapshot.removal.last_error.clone() };
        Self {
            id: snapshot.id.to_string(),
            vm_id: snapshot.environment_id.to_string(),
            task_id: snapshot.task_id.to_string(),
            parent_snapshot_id: snapshot
                .parent_snapshot_id
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            mode: snapshot.mode,
            state: snapshot.state,
            comment: snapshot.comment.clone(),
            name: metadata.get(NAME).cloned().unwrap_or_default(),
            layer_key,
            arch: snapshot.arch.as_str().to_owned(),
            digest: snapshot.digest.clone(),
            size_bytes: snapshot.size_bytes,
            created_at: snapshot.created_at,
            updated_at: snapshot.updated_at,
            retention_until: snapshot.retention_until,
            last_error,
            export_ref,
            exports: exports.into_iter().collect(),
            kind: if snapshot.live { "live" } else { "disk" }.to_owned(),
            metadata,
            host_id: snapshot.host_id.to_string(),
            copies: snapshot.copies.iter().map(|(host, name)| (host.to_string(), name.clone())).collect(),
            vm: snapshot.vm.to_string(),
            reason: Some(Reason::from(&snapshot.reason)),
        }
    }
}

impl TryFrom<Snapshot> for model::Snapshot {
    type Error = crate::Error;

    /// The snapshot as far as the wire tells it: without the host's own name of it.
    fn try_from(wire: Snapshot) -> Result<Self> {
        let problems = &mut Vec::new();
        let or_unknown = |text: &str| if text.is_empty() { "unknown".to_owned() } else { text.to_owned() };
        let id: Option<SnapshotId> = name("id", &wire.id, problems);
        let environment_id = name("vm_id", &or_unknown(&wire.vm_id), problems);
        let task_id: Option<TaskId> = name("task_id", &or_unknown(&wire.task_id), problems);
        let vm = name("vm", &or_unknown(&wire.vm), problems);
        let host_id = name("host_id", &or_unknown(&wire.host_id), problems);
        let parent_snapshot_id = optional_name("parent_snapshot_id", &wire.parent_snapshot_id, problems);
        let arch = super::page::arch("arch", &wire.arch, problems);
        let copies =
            wire.copies.into_iter().filter_map(|(host, at)| Some((name("copies", &host, problems)?, at)));
        let copies = copies.collect();
        let (Some(id), Some(environment_id), Some(task_id), Some(vm), Some(host_id), None) =
            (id, environment_id, task_id, vm, host_id, problems.first())
        else {
            return Err(strange("snapshot", crate::Error::Invalid(std::mem::take(problems))));
        };
        let mut metadata = wire.metadata;
        let status = wire.exports.into_iter().next().map(|export| export.status).unwrap_or_default();
        for (key, value) in [
            (LAYER_KEY, wire.layer_key),
            (EXPORT_REF, wire.export_ref),
            (EXPORT_STATUS, status),
            (NAME, wire.name),
        ] {
            if !value.is_empty() {
                metadata.insert(key.to_owned(), value);
            }
        }
        let reason = match wire.reason {
            Some(reason) => reason.into(),
            None => model::Reason::new(ReasonCode::Unknown, wire.last_error.clone()),
        };
        Ok(Self {
            id,
            environment_id,
            vm,
            task_id,
            host_id,
            parent_snapshot_id,
            mode: wire.mode,
            state: wire.state,
            reason,
            comment: wire.comment,
            metadata,
            copies,
            artifact: String::new(),
            digest: wire.digest,
            size_bytes: wire.size_bytes,
            live: wire.kind == "live",
            arch: arch.unwrap_or(Arch::Amd64),
            retention_until: wire.retention_until,
            removal: Attempts { last_error: wire.last_error, ..Attempts::default() },
            created_at: wire.created_at,
            updated_at: wire.updated_at,
        })
    }
}
