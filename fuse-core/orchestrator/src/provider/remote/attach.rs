//! Streams of frames: terminals, and commands that show their output as it comes.

use std::time::Duration;

use reqwest::{Response, StatusCode, header};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::timeout,
};

use super::client::{Call, Client};
use crate::{
    attach::{Frame, FrameReader, PROTOCOL},
    provider::{
        AttachInput, AttachOutput, AttachSession, ExecChunk, ExecStream, ProviderErrorKind, ProviderResult,
    },
};

/// How many pieces wait for a reader.
const WAITING: usize = 32;
/// The most bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// Opens a terminal.
pub(super) async fn terminal(client: &Client, call: &Call<'_>) -> ProviderResult<AttachSession> {
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
    let (input, from_user) = mpsc::channel(WAITING);
    let (to_user, output) = mpsc::channel(WAITING);
    let (reader, writer) = tokio::io::split(stream);
    tokio::spawn(async move {
        // The terminal ends when either direction does, and takes the other with it.
        tokio::select! {
            () = show(reader, &to_user) => {}
            () = type_in(writer, from_user) => {}
            () = to_user.closed() => {}
        }
    });
    Ok(AttachSession { input, output })
}

async fn show(mut reader: impl tokio::io::AsyncRead + Unpin, to_user: &mpsc::Sender<AttachOutput>) {
    let mut frames = FrameReader::default();
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = reader.read(&mut piece).await {
        frames.push(piece.get(..count).unwrap_or_default());
        while let Ok(Some(frame)) = frames.next_frame() {
            let (item, last) = match frame {
                Frame::Stdout(data) | Frame::Stderr(data) => (AttachOutput::Stdout(data), false),
                Frame::Exit(code) => (AttachOutput::Exit(code), true),
                Frame::Stdin(_) | Frame::Resize { .. } => continue,
            };
            if to_user.send(item).await.is_err() || last {
                return;
            }
        }
        if frames.next_frame().is_err() {
            return;
        }
    }
}

async fn type_in(mut writer: impl tokio::io::AsyncWrite + Unpin, mut from_user: mpsc::Receiver<AttachInput>) {
    while let Some(item) = from_user.recv().await {
        let frame = match item {
            AttachInput::Stdin(data) => Frame::Stdin(data),
            AttachInput::Resize { rows, cols } => Frame::Resize { rows, cols },
        };
        if writer.write_all(&frame.encode()).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
    // The user types no more; what the program prints is shown until it ends.
    std::future::pending().await
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
