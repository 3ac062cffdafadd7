//! A terminal at the far end of a connection that speaks [`crate::attach`].

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};

use crate::{
    attach::{Frame, FrameReader},
    provider::{AttachInput, AttachOutput, AttachSession},
};

/// How many pieces wait for a reader.
const WAITING: usize = 32;
/// The most bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// Carries frames both ways over `stream`, until either side ends or the session is dropped.
pub(crate) fn open(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> AttachSession {
    let (input, from_user) = mpsc::channel(WAITING);
    let (to_user, output) = mpsc::channel(WAITING);
    let (reader, writer) = tokio::io::split(stream);
    tokio::spawn(async move {
        // The terminal ends with its output, or with the user who does not look any more.
        tokio::select! {
            () = show(reader, &to_user) => {}
            () = type_in(writer, from_user) => {}
            () = to_user.closed() => {}
        }
    });
    AttachSession { input, output }
}

async fn show(mut reader: impl AsyncRead + Unpin, to_user: &mpsc::Sender<AttachOutput>) {
    let mut frames = FrameReader::default();
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = reader.read(&mut piece).await {
        frames.push(piece.get(..count).unwrap_or_default());
        loop {
            let item = match frames.next_frame() {
                Ok(Some(frame)) => frame.into_output(),
                Ok(None) => break,
                Err(_) => return,
            };
            let Some(item) = item else { continue };
            let last = matches!(item, AttachOutput::Exit(_));
            if to_user.send(item).await.is_err() || last {
                return;
            }
        }
    }
}

async fn type_in(mut writer: impl AsyncWrite + Unpin, mut from_user: mpsc::Receiver<AttachInput>) {
    while let Some(item) = from_user.recv().await {
        let bytes = Frame::from(item).encode();
        if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
            break;
        }
    }
    // The user types no more, or the program takes no more: what it printed is shown until that ends.
    std::future::pending().await
}
