//! What a connection sends.

use std::{
    io,
    sync::{Arc, Mutex},
};

use fuse_guest_protocol::Frame;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{Notify, mpsc, oneshot},
    task::JoinHandle,
};

use super::lock;

/// Frames of all streams that wait.
const QUEUE: usize = 8;
/// Credits, resets and pongs that wait; a host that lets more wait is cut off.
const URGENT: usize = 1024;
/// Bytes that are written at once, if so many wait.
const BATCH: usize = 128 * 1024;

/// Towards the writer, from one SYNC to the next.
#[derive(Debug, Clone)]
pub(crate) struct Outlet {
    frames: mpsc::Sender<Vec<u8>>,
    urgent: mpsc::Sender<Vec<u8>>,
}

impl Outlet {
    /// Sends a frame when there is room. After another SYNC it goes nowhere.
    pub(crate) async fn send(&self, frame: &Frame) {
        let _ = self.frames.send(encoded(frame)).await;
    }

    /// Sends a frame before all others.
    pub(crate) fn urgent(&self, frame: &Frame) -> io::Result<()> {
        match self.urgent.try_send(encoded(frame)) {
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(io::Error::new(io::ErrorKind::WouldBlock, "the host does not read what it asks for"))
            }
            _ => Ok(()),
        }
    }
}

fn encoded(frame: &Frame) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame.encode(&mut bytes);
    bytes
}

/// What is to be written since a SYNC.
struct Epoch {
    first: Vec<u8>,
    frames: mpsc::Receiver<Vec<u8>>,
    urgent: mpsc::Receiver<Vec<u8>>,
}

/// The task that writes.
pub(super) struct Writer {
    newest: Arc<Newest>,
    failed: oneshot::Receiver<io::Error>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Newest {
    epoch: Mutex<Option<Epoch>>,
    there: Notify,
}

impl Writer {
    pub(super) fn start(write: impl AsyncWrite + Send + Unpin + 'static) -> Self {
        let newest = Arc::new(Newest::default());
        let (failure, failed) = oneshot::channel();
        let inbox = Arc::clone(&newest);
        let task = tokio::spawn(async move {
            let error = write_all(write, &inbox).await;
            let _ = failure.send(error);
        });
        Self { newest, failed, task }
    }

    /// Drops what waits, and begins anew with `first`. A frame that is half written is written to its end before.
    pub(super) fn begin(&self, first: &[u8]) -> Outlet {
        let (frames, frames_out) = mpsc::channel(QUEUE);
        let (urgent, urgent_out) = mpsc::channel(URGENT);
        let epoch = Epoch { first: first.to_vec(), frames: frames_out, urgent: urgent_out };
        *lock(&self.newest.epoch) = Some(epoch);
        self.newest.there.notify_one();
        Outlet { frames, urgent }
    }

    /// Why it cannot write any more.
    pub(super) async fn failed(&mut self) -> io::Error {
        match (&mut self.failed).await {
            Ok(error) => error,
            Err(_) => io::ErrorKind::BrokenPipe.into(),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn write_all(mut write: impl AsyncWrite + Unpin, newest: &Newest) -> io::Error {
    let mut current: Option<Epoch> = None;
    loop {
        let mut batch = tokio::select! {
            biased;
            () = newest.there.notified() => {
                current = lock(&newest.epoch).take();
                current.as_mut().map(|epoch| std::mem::take(&mut epoch.first)).unwrap_or_default()
            }
            bytes = next(current.as_mut()) => bytes,
        };
        if let Some(epoch) = &mut current {
            while batch.len() < BATCH {
                let Ok(bytes) = epoch.urgent.try_recv().or_else(|_| epoch.frames.try_recv()) else { break };
                batch.extend_from_slice(&bytes);
            }
        }
        let written = async {
            write.write_all(&batch).await?;
            write.flush().await
        };
        if let Err(error) = written.await {
            return error;
        }
    }
}

async fn next(epoch: Option<&mut Epoch>) -> Vec<u8> {
    let Some(epoch) = epoch else { return std::future::pending().await };
    tokio::select! {
        biased;
        Some(bytes) = epoch.urgent.recv() => bytes,
        Some(bytes) = epoch.frames.recv() => bytes,
        else => std::future::pending().await,
    }
}
