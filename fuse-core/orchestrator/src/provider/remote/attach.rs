//! Streams of frames: terminals, and commands that show their output as it comes.

use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use tokio::{sync::mpsc, time::timeout};

use super::client::{Call, Client};
use crate::{
    attach::{Frame, FrameReader, PROTOCOL},
    provider::{AttachSession, ExecChunk, ExecStream, ProviderErrorKind, ProviderResult},
    terminal,
};

/// How many pieces wait for a reader.
const WAITING: usize = 32;

/// Opens a terminal.
pub(super) async fn open_terminal(client: &Client, call: &Call<'_>) -> ProviderResult<AttachSession> {
    let upgrade = |request: reqwest::RequestBuilder| {
        request.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, PROTOCOL)
    };
    let response = client.stream(call, upgrade).await?;
    let named = response.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if response.status() != StatusCode::SWITCHING_PROTOCOLS
        || !named.is_some_and(|name| name.eq_ignore_ascii_case(PROTOCOL))
    {
        let message = format!("it answers {} and does not switch to {PROTOCOL}", response.status());
        return Err(client.error(call, ProviderErrorKind::Failed, &message));
    }
    let upgraded = timeout(client.limits.query, response.upgrade()).await;
    let stream = match upgraded {
        Ok(Ok(stream)) => stream,
        _ => return Err(client.senseless(call, "the connection broke while it switched protocols")),
    };
    Ok(terminal::open(stream))
}

/// Reads the output of a command as it comes, for at most `limit`.
pub(super) fn output(mut response: Response, limit: Duration) -> ExecStream {
    let (to_user, output) = mpsc::channel(WAITING);
    let work = async move {
        let mut frames = FrameReader::default();
        while let Ok(Some(piece)) = response.chunk().await {
            frames.push(&piece);
            loop {
                let chunk = match frames.next_frame() {
                    Ok(Some(Frame::Stdout(data))) => ExecChunk::Stdout(data),
                    Ok(Some(Frame::Stderr(data))) => ExecChunk::Stderr(data),
                    Ok(Some(Frame::Exit(code))) => ExecChunk::Exit(code),
                    Ok(Some(_)) => continue,
                    Ok(None) => break,
                    Err(_) => return,
                };
                let last = matches!(chunk, ExecChunk::Exit(_));
                if to_user.send(chunk).await.is_err() || last {
                    return;
                }
            }
        }
    };
    tokio::spawn(async move {
        // A stream that ends without an exit code broke off.
        let _ = timeout(limit, work).await;
    });
    ExecStream { output }
}
