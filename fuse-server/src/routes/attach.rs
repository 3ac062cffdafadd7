//! A terminal in a guest, over an upgraded connection.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::{RawQuery, Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use fuse_orchestrator::{
    model::EnvironmentId,
    provider::{AttachOutput, AttachSession},
    wire::attach::{Frame, FrameReader, PROTOCOL, request as attach_request},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;

use super::{actions::refuse_stub, names::Named, openapi::Refusals};
use crate::{
    answer::{Answer, Failure, empty},
    api::Api,
};

/// How much is read from the caller at once, in bytes.
const READ: usize = 16 * 1024;

#[utoipa::path(get, path = "/v1/environments/{vmId}/attach", tag = "guests",
    params(
        ("vmId" = String, Path, description = "The environment."),
        ("tty" = String, Query, description = "Must be 1 or true."),
        ("rows" = Option<u16>, Query, description = "Rows of the terminal."),
        ("cols" = Option<u16>, Query, description = "Columns of the terminal."),
        ("cmd" = Option<Vec<String>>, Query, description = "The program and its arguments; none: a login shell."),
    ),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 101, description = "The connection speaks `fuse-attach/1` from now on."), Refusals))]
/// Opens a terminal. Needs the header `Upgrade: fuse-attach/1`.
pub(super) async fn attach(
    State(api): State<Arc<Api>>,
    Named(id): Named<EnvironmentId>,
    RawQuery(query): RawQuery,
    mut request: Request,
) -> Answer {
    let query = query.unwrap_or_default();
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let asked = attach_request(pairs.iter().map(|(name, value)| (&**name, &**value)))?;
    check_upgrade(request.headers())?;
    refuse_stub(&api, &id, "attach")?;
    let Some(upgrade) = request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>() else {
        return Err(Failure::invalid("this connection cannot be upgraded; use HTTP/1.1"));
    };
    // Opened before the answer, so that what goes wrong is an ordinary error.
    let session = api.orchestrator.attach(&id, asked).await?;
    let stop = api.stop.clone();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => pump(TokioIo::new(upgraded), session, stop).await,
            Err(error) => tracing::debug!("an attach was not taken up: {error}"),
        }
    });
    Ok(switching())
}

fn switching() -> Response<Body> {
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    response
}

fn check_upgrade(headers: &HeaderMap) -> Answer<()> {
    let asked = headers.get(header::UPGRADE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if asked.trim().eq_ignore_ascii_case(PROTOCOL) {
        return Ok(());
    }
    Err(Failure::invalid(format!("attach needs the headers Connection: Upgrade and Upgrade: {PROTOCOL}")))
}

/// Carries frames both ways until either side ends.
async fn pump(io: impl AsyncRead + AsyncWrite, session: AttachSession, stop: CancellationToken) {
    let (mut from_caller, mut to_caller) = tokio::io::split(io);
    let AttachSession { input, mut output } = session;
    let inward = async {
        let (mut frames, mut buffer) = (FrameReader::default(), vec![0; READ]);
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => {
                    if let Some(item) = frame.into_input()
                        && input.send(item).await.is_err()
                    {
                        // The guest has ended; what it had to say still goes out.
                        return std::future::pending().await;
                    }
                }
                Ok(None) => match from_caller.read(&mut buffer).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => frames.push(buffer.get(..count).unwrap_or_default()),
                },
                Err(error) => {
                    tracing::debug!("an attach ends: {error}");
                    return;
                }
            }
        }
    };
    let outward = async {
        while let Some(item) = output.recv().await {
            let is_last = matches!(item, AttachOutput::Exit(_));
            let bytes = Frame::from(item).encode();
            if to_caller.write_all(&bytes).await.is_err() || to_caller.flush().await.is_err() || is_last {
                break;
            }
        }
        // Nothing is left to do for a caller that is gone.
        let _ = to_caller.shutdown().await;
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
        () = stop.cancelled() => {}
    }
}
