//! Guests: their logs, and files that go into them.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Response, StatusCode, header},
};
use fuse_orchestrator::{
    Error, LogStream,
    model::EnvironmentId,
    provider::FileUpload,
    wire::{FileQuery, LogQuery},
};
use futures_util::stream;
use tokio_util::sync::CancellationToken;

use super::{
    names::{Named, Params},
    openapi::Refusals,
};
use crate::{
    answer::{Answer, empty},
    api::Api,
    body,
};

/// The most bytes of one uploaded file: 48 MiB.
const UPLOAD_MOST: usize = 48 * 1024 * 1024;

#[utoipa::path(put, path = "/v1/environments/{vmId}/files", tag = "guests",
    params(("vmId" = String, Path, description = "The environment."), FileQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The file, at most 48 MiB."),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "The file is there."), Refusals))]
/// Writes a file in a running environment.
pub(super) async fn upload(
    State(api): State<Arc<Api>>,
    Named(id): Named<EnvironmentId>,
    Params(query): Params<FileQuery>,
    request: Request,
) -> Answer {
    let mode = query.mode()?;
    let content = body::bytes(&api, request, UPLOAD_MOST).await?.to_vec();
    api.orchestrator.upload(&id, FileUpload { path: query.path, content, mode }).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[utoipa::path(get, path = "/v1/environments/{vmId}/logs", tag = "guests",
    params(("vmId" = String, Path, description = "The environment."), LogQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "The end of the log, at most 64 KiB; with `follow`, and what is written from then on.", body = String, content_type = "text/plain"), Refusals))]
/// The end of a log of an environment; secrets are replaced.
pub(super) async fn logs(
    State(api): State<Arc<Api>>,
    Named(id): Named<EnvironmentId>,
    Params(query): Params<LogQuery>,
) -> Answer {
    let (source, follow) = query.parts()?;
    let body = if follow {
        let log = api.orchestrator.follow_logs(&id, source).await?;
        Body::from_stream(stream::unfold((log, api.stop.clone()), read_on))
    } else {
        Body::from(api.orchestrator.logs(&id, source).await?)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// The next piece of a log. Where it cannot be read any more the answer breaks off, which callers can tell from its end.
async fn read_on(
    (mut log, stop): (LogStream, CancellationToken),
) -> Option<(Result<String, Error>, (LogStream, CancellationToken))> {
    let next = stop.run_until_cancelled(log.next()).await?;
    Some((next.transpose()?, (log, stop)))
}
