//! The way of snapshots between hosts.

use std::sync::Arc;

use axum::{
    Json,
    body::Body as Stream,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use fuse_orchestrator::provider::agent_api::{Pull, Pulled};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{
    Api,
    answer::{Answer, Body, Failure, bad, not_found},
    query::{parts, value},
};
use crate::{
    store::{FileRecord, Sha256Hex, SnapshotName, SnapshotRecord},
    system::{Extents, blocking},
    transfer::{self, GRANT_HEADER},
};

/// Bytes that are read at once.
const PIECE: usize = 256 * 1024;

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
    // Only names that the record has: no path comes from the request.
    let file = record.file(name).ok_or_else(not_found)?;
    let from = from_where(headers, file.size)?;
    let path = api.agent.snapshots().dir(&record.id).join(&file.name);
    let fail = |error: std::io::Error| Failure::from(crate::Error::system("serve", path.display(), error));
    let mut source = tokio::fs::File::open(&path).await.map_err(fail)?;
    source.seek(std::io::SeekFrom::Start(from)).await.map_err(fail)?;
    Ok(streamed(source, file, from, file.size - from))
}

/// The place that a `Range: bytes=N-` names, in something of `size` bytes.
fn from_where(headers: &HeaderMap, size: u64) -> Result<u64, Failure> {
    let range = headers.get(header::RANGE).and_then(|value| value.to_str().ok());
    let from = match range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')) {
        Some(text) => text.parse::<u64>().map_err(|_| bad("only ranges `bytes=N-` are served"))?,
        None => 0,
    };
    if from > size {
        return Err(Failure(StatusCode::RANGE_NOT_SATISFIABLE, "the range begins beyond the end".to_owned()));
    }
    Ok(from)
}

/// The rest of something, `length` bytes of it, from a place on.
fn streamed(
    source: impl tokio::io::AsyncRead + Send + 'static,
    file: &FileRecord,
    from: u64,
    length: u64,
) -> Response {
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let body = Stream::from_stream(tokio_util::io::ReaderStream::with_capacity(source, PIECE));
    let headers = [
        (header::CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH.as_str(), length.to_string()),
        (transfer::DIGEST_HEADER, file.sha256.to_string()),
    ];
    (status, headers, body).into_response()
}

/// The chain of the snapshot that a grant is for.
fn granted_chain(
    api: &Api,
    headers: &HeaderMap,
    digest: &str,
    query: Option<&str>,
) -> Result<Vec<Arc<SnapshotRecord>>, Failure> {
    let digest = granted(api, headers, digest)?;
    let record = opened(api, &digest, query)?;
    Ok(api.agent.snapshots().chain(&record.id)?)
}

pub(super) async fn chain(
    State(api): State<Api>,
    Path(digest): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer<Vec<SnapshotRecord>> {
    // Whether it is kept for others only is nobody else's business.
    let shown = |record: &Arc<SnapshotRecord>| SnapshotRecord { deleted: false, ..(**record).clone() };
    Ok(Json(granted_chain(&api, &headers, &digest, query.as_deref())?.iter().map(shown).collect()))
}

pub(super) async fn file_of_chain(
    State(api): State<Api>,
    Path((digest, index, name)): Path<(String, usize, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let chain = granted_chain(&api, &headers, &digest, query.as_deref())?;
    let record = chain.get(index).ok_or_else(not_found)?;
    serve(&api, record, &name, &headers).await
}

/// Streams the ranges of a file that a difference has, one after the other.
pub(super) async fn packed(
    State(api): State<Api>,
    Path((digest, index, name)): Path<(String, usize, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let chain = granted_chain(&api, &headers, &digest, query.as_deref())?;
    let record = chain.get(index).ok_or_else(not_found)?;
    let (file, map) =
        (record.file(&name).ok_or_else(not_found)?, record.ranges_of(&name).ok_or_else(not_found)?);
    let dir = api.agent.snapshots().dir(&record.id);
    let (path, map, size) = (dir.join(&file.name), dir.join(&map.name), file.size);
    let ranges = blocking("read ranges", move || Extents::read(&map, size)).await?;
    let from = from_where(&headers, ranges.total())?;
    let length = ranges.total() - from;
    let fail = |error: std::io::Error| Failure::from(crate::Error::system("serve", path.display(), error));
    let mut source = tokio::fs::File::open(&path).await.map_err(fail)?;
    let (mut writer, reader) = tokio::io::duplex(PIECE);
    tokio::spawn(async move {
        let mut skip = from;
        for (start, length) in ranges.iter() {
            let skipped = skip.min(length);
            skip -= skipped;
            // A reader that went away ends it, and a file that cannot be read cuts the answer short.
            if source.seek(std::io::SeekFrom::Start(start + skipped)).await.is_err()
                || tokio::io::copy(&mut (&mut source).take(length - skipped), &mut writer).await.is_err()
            {
                return;
            }
        }
    });
    Ok(streamed(reader, file, from, length))
}

pub(super) async fn pull(
    State(api): State<Api>,
    Path(digest): Path<String>,
    Body(body): Body<Pull>,
) -> Answer<Pulled> {
    let digest: Sha256Hex = digest.parse()?;
    let pulled = api.pulls.pull(digest, body).await;
    // Whatever went wrong: nothing was kept of it.
    pulled.map(Json).map_err(|error| Failure(StatusCode::UNPROCESSABLE_ENTITY, error.to_string()))
}
