//! Guests: their logs, and files that go into them.

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    http::{HeaderValue, Response, StatusCode, header},
};
use bytes::Bytes;
use fuse_orchestrator::{
    ControlPlane,
    model::EnvironmentId,
    provider::{FileUpload, LogSource},
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
/// How often a log that is followed is read.
const LOG_PERIOD: Duration = Duration::from_secs(1);

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
    let text = api.orchestrator.logs(&id, source).await?;
    let body = if follow {
        let follower = LogFollower {
            orchestrator: api.orchestrator.clone(),
            id,
            source,
            seen: text.clone(),
            ready: VecDeque::from([Bytes::from(text)]),
            ended: false,
            stop: api.stop.clone(),
        };
        Body::from_stream(stream::unfold(follower, LogFollower::next))
    } else {
        Body::from(text)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// A log that is read on.
struct LogFollower {
    orchestrator: ControlPlane,
    id: EnvironmentId,
    source: LogSource,
    /// The end of the log when it was last read.
    seen: String,
    ready: VecDeque<Bytes>,
    ended: bool,
    stop: CancellationToken,
}

impl LogFollower {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Some((Ok(part), self));
            }
            if self.ended {
                return None;
            }
            let stop = self.stop.clone();
            stop.run_until_cancelled(tokio::time::sleep(LOG_PERIOD)).await?;
            // Looked at before the log, so that the last words are not missed.
            self.ended =
                self.orchestrator.get(&self.id).is_ok_and(|environment| environment.state.is_ended());
            match self.orchestrator.logs(&self.id, self.source).await {
                Ok(now) => {
                    let new = after(&self.seen, &now);
                    if !new.is_empty() {
                        self.ready.push_back(Bytes::copy_from_slice(new.as_bytes()));
                    }
                    self.seen = now;
                }
                // The record is gone, or its host is away: the stream ends, and can be asked for again.
                Err(_) => self.ended = true,
            }
        }
    }
}

/// What `now` has after what was `seen`: both are the end of the same growing text, cut at its front.
fn after<'a>(seen: &str, now: &'a str) -> &'a str {
    if let Some(rest) = now.strip_prefix(seen) {
        return rest;
    }
    // The longest end of what was seen that is the beginning of what is there now.
    let starts = seen.char_indices().map(|(at, _)| at);
    starts.filter_map(|at| now.strip_prefix(seen.get(at..)?)).next().unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::after;

    #[test]
    fn logs_go_on_where_they_were() {
        assert_eq!(after("", "abc"), "abc");
        assert_eq!(after("abc", "abcdef"), "def");
        assert_eq!(after("abc", "abc"), "");
        assert_eq!(after("abcdef", "defghi"), "ghi");
        assert_eq!(after("abc", "xyz"), "xyz");
        assert_eq!(after("aé", "éb"), "b");
    }
}
