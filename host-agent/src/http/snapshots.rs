//! Routes about snapshots, and their way between hosts.

use std::sync::Arc;

use axum::{
    Json,
    body::Body as Stream,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use fuse_orchestrator::provider::agent_api::{AgentSnapshot, CreateVm, Restore, Vm};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Api,
    answer::{Answer, Body, Failure, bad, not_found},
    query::{parts, value},
    vms::{asked, name_in_path, shown},
};
use crate::{
    agent::{Memory, NewSnapshot},
    store::{Sha256Hex, SnapshotKind, SnapshotName, SnapshotRecord},
    transfer::{self, GRANT_HEADER, PullRequest, Pulled},
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

/// Lets a request pass that carries a grant for `digest`, signed with this agent's own token.
fn granted(api: &Api, headers: &HeaderMap, digest: &str) -> Result<Sha256Hex, Failure> {
    let forbidden = || Failure(StatusCode::FORBIDDEN, "forbidden".to_owned());
    let grant = headers.get(GRANT_HEADER).and_then(|value| value.to_str().ok()).ok_or_else(forbidden)?;
    let digest: Sha256Hex = digest.parse().map_err(|_| forbidden())?;
    if transfer::is_granted(grant, &digest, &api.token, std::time::SystemTime::now()) {
        return Ok(digest);
    }
    Err(forbidden())
}

/// The snapshot that a grant for `digest` opens: the one that `snapshot=` of the query names, else the newest.
fn opened(api: &Api, digest: &Sha256Hex, query: Option<&str>) -> Result<Arc<SnapshotRecord>, Failure> {
    let snapshots = api.agent.snapshots();
    let found = match value(&parts(query), "snapshot") {
        None => snapshots.by_digest(digest),
        Some(name) => {
            let named = snapshots.get(&SnapshotName::new(name)?).ok();
            named.filter(|record| record.digest() == Some(*digest))
        }
    };
    found.ok_or_else(not_found)
}

pub(super) async fn artifact(
    State(api): State<Api>,
    Path(digest): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let digest = granted(&api, &headers, &digest)?;
    let record = opened(&api, &digest, query.as_deref())?;
    let first = record.files.iter().find(|file| file.sha256 == digest).ok_or_else(not_found)?;
    serve(&api, &record, &first.name, &headers).await
}

pub(super) async fn manifest(
    State(api): State<Api>,
    Path(digest): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer<SnapshotRecord> {
    let digest = granted(&api, &headers, &digest)?;
    let record = opened(&api, &digest, query.as_deref())?;
    Ok(Json((*record).clone()))
}

pub(super) async fn file(
    State(api): State<Api>,
    Path((digest, name)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let digest = granted(&api, &headers, &digest)?;
    let record = opened(&api, &digest, query.as_deref())?;
    serve(&api, &record, &name, &headers).await
}

/// Streams a file of a snapshot, from the place that a `Range: bytes=N-` names.
async fn serve(
    api: &Api,
    record: &SnapshotRecord,
    name: &str,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    use tokio::io::AsyncSeekExt;
    // Only names that the record has: no path comes from the request.
    let file = record.file(name).ok_or_else(not_found)?;
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let from = match range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')) {
        Some(text) => text.parse::<u64>().map_err(|_| bad("only ranges `bytes=N-` are served"))?,
        None => 0,
    };
    if from > file.size {
        return Err(Failure(StatusCode::RANGE_NOT_SATISFIABLE, "the range begins beyond the end".to_owned()));
    }
    let path = api.agent.snapshots().dir(&record.id).join(&file.name);
    let fail = |error: std::io::Error| Failure::from(crate::Error::system("serve", path.display(), error));
    let mut source = tokio::fs::File::open(&path).await.map_err(fail)?;
    source.seek(std::io::SeekFrom::Start(from)).await.map_err(fail)?;
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let body = Stream::from_stream(tokio_util::io::ReaderStream::with_capacity(source, 256 * 1024));
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH.as_str(), (file.size - from).to_string()),
        (transfer::DIGEST_HEADER, file.sha256.to_string()),
    ];
    Ok((status, headers, body).into_response())
}

pub(super) async fn pull(
    State(api): State<Api>,
    Path(digest): Path<String>,
    Body(body): Body<PullRequest>,
) -> Answer<Pulled> {
    let digest: Sha256Hex = digest.parse()?;
    let pulled = api.pulls.pull(digest, body).await;
    // Whatever went wrong: nothing was kept of it.
    pulled.map(Json).map_err(|error| Failure(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}
