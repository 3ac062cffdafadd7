//! Routes about snapshots.

use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use fuse_orchestrator::provider::agent_api::{AgentSnapshot, CreateVm, Restore, Vm};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Api,
    answer::{Answer, Body, Failure},
    vms::{asked, name_in_path, shown},
};
use crate::{
    agent::{Memory, NewSnapshot},
    store::{SnapshotKind, SnapshotName, SnapshotRecord},
};

/// A snapshot, as the contract has it and beyond.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    #[serde(flatten)]
    snapshot: AgentSnapshot,
    /// Extension: whether the guest's programs stood still when its memory was saved, so that none of them runs in a clone
    /// before the clone has an identity of its own.
    programs_held: bool,
    /// Extension: the snapshot that its memory builds on.
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct ShownList {
    snapshots: Vec<Shown>,
}

fn described(record: &SnapshotRecord) -> Shown {
    let snapshot = AgentSnapshot {
        snapshot_id: record.id.to_string(),
        comment: Some(record.comment.clone()),
        created_at: Some(record.created_at.to_string()),
        origin_vm_id: Some(record.vm.to_string()),
        digest: record.digest().map(|digest| digest.to_string()),
        kind: Some(if record.kind == SnapshotKind::Live { "live" } else { "disk" }.to_owned()),
        size_bytes: Some(record.size()),
    };
    let parent = record.parent.as_ref().map(ToString::to_string);
    Shown { snapshot, programs_held: record.held_ms > 0, parent }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Take {
    comment: String,
    live: bool,
    /// Extension: of the memory only what was written since the last live snapshot.
    diff: bool,
}

pub(super) async fn take(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(body): Body<Take>,
) -> Answer<Shown> {
    let memory = match (body.live, body.diff) {
        (false, _) => Memory::None,
        (true, false) => Memory::Full,
        (true, true) => Memory::Diff,
    };
    let new = NewSnapshot { comment: body.comment, memory };
    let made = api.agent.snapshot(&name_in_path(&id)?, new).await?;
    Ok(Json(described(&made)))
}

pub(super) async fn list(State(api): State<Api>, Path(id): Path<String>) -> Answer<ShownList> {
    let found = api.agent.snapshots().of_vm(&name_in_path(&id)?);
    Ok(Json(ShownList { snapshots: found.iter().map(|record| described(record)).collect() }))
}

pub(super) async fn remove(
    State(api): State<Api>,
    Path((_, sid)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    let id = SnapshotName::new(&sid)?;
    api.agent.snapshots().get(&id)?;
    api.agent.delete_snapshot(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn restore(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(body): Body<Restore>,
) -> Answer<Value> {
    api.agent.restore(&name_in_path(&id)?, &SnapshotName::new(&body.snapshot_id)?).await?;
    Ok(Json(json!({ "ok": true })))
}

#[derive(Debug, Deserialize)]
pub(super) struct ForkBody {
    /// Extension: without it the VM is forked as it stands now, memory and all.
    #[serde(default)]
    snapshot_id: Option<String>,
    #[serde(flatten)]
    vm: CreateVm,
}

pub(super) async fn fork(
    State(api): State<Api>,
    Path(id): Path<String>,
    Body(body): Body<ForkBody>,
) -> Answer<Vm> {
    let source = name_in_path(&id)?;
    api.agent.get(&source)?;
    let made = match body.snapshot_id.filter(|id| !id.is_empty()) {
        Some(id) => api.agent.create(asked(&body.vm, Some(SnapshotName::new(&id)?))?).await?,
        None => api.agent.fork_running(&source, asked(&body.vm, None)?).await?,
    };
    Ok(Json(shown(made)))
}
