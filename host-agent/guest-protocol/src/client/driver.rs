//! The two tasks of a connection: one writes what streams want to send, one hands to streams what comes.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};

use super::{ClientError, stream::Event};
use crate::{
    Channel, Frame, Kind, MAX_STREAMS, Verb, WINDOW, WireError, decode::HostDecoder, window::ReceiveWindow,
};

/// Encoded frames that wait for the writer, from all streams together.
const QUEUE: usize = 32;
/// Bytes that are written at once, if so many wait.
const BATCH: usize = 128 * 1024;

/// What the tasks and the streams share.
#[derive(Debug)]
pub(super) struct Shared {
    streams: Mutex<HashMap<u32, Entry>>,
    /// Opens and data: they hold back.
    frames: mpsc::Sender<Vec<u8>>,
    /// Credits and resets: bounded by what the streams have received and by their number, and never to wait for data.
    urgent: mpsc::UnboundedSender<Frame>,
    next: AtomicU32,
    slots: Arc<Semaphore>,
    pong: Notify,
    end: OnceLock<Arc<str>>,
    ended: Notify,
}

/// A stream that the guest has not answered yet.
#[derive(Debug)]
struct Entry {
    events: mpsc::UnboundedSender<Event>,
    credit: Arc<Semaphore>,
    window: Arc<Mutex<ReceiveWindow>>,
    _slot: OwnedSemaphorePermit,
}

/// What a new stream gets.
pub(super) struct Opened {
    pub(super) id: u32,
    pub(super) events: mpsc::UnboundedReceiver<Event>,
    pub(super) credit: Arc<Semaphore>,
    pub(super) window: Arc<Mutex<ReceiveWindow>>,
}

/// The tasks; they end with the connection, or when this is dropped.
#[derive(Debug)]
pub(super) struct Tasks {
    shared: Arc<Shared>,
    handles: [JoinHandle<()>; 2],
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.shared.finish("the client was dropped");
        for handle in &self.handles {
            handle.abort();
        }
    }
}

pub(super) fn start<R, W>(read: R, write: W, decoder: HostDecoder) -> (Arc<Shared>, Tasks)
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (frames, frames_out) = mpsc::channel(QUEUE);
    let (urgent, urgent_out) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        streams: Mutex::default(),
        frames,
        urgent,
        next: AtomicU32::new(1),
        slots: Arc::new(Semaphore::new(MAX_STREAMS)),
        pong: Notify::new(),
        end: OnceLock::new(),
        ended: Notify::new(),
    });
    let (reading, writing) = (Arc::clone(&shared), Arc::clone(&shared));
    let reader = tokio::spawn(async move {
        let why = reading.read(read, decoder).await;
        reading.finish(&why);
    });
    let writer = tokio::spawn(async move {
        if let Err(error) = write_all(write, frames_out, urgent_out).await {
            writing.finish(&format!("writing: {error}"));
        }
    });
    let tasks = Tasks { shared: Arc::clone(&shared), handles: [reader, writer] };
    (shared, tasks)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Registers a stream and sends its OPEN.
    pub(super) async fn open(&self, verb: Verb, arguments: &[u8]) -> Result<Opened, ClientError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await.map_err(|_| self.gone())?;
        let place = self.frames.reserve().await.map_err(|_| self.gone())?;
        // From here on nothing waits, so a dropped future leaves either no stream or a whole one.
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (events, incoming) = mpsc::unbounded_channel();
        let credit = Arc::new(Semaphore::new(WINDOW as usize));
        let window = Arc::new(Mutex::new(ReceiveWindow::default()));
        let entry = Entry { events, credit: Arc::clone(&credit), window: Arc::clone(&window), _slot: slot };
        lock(&self.streams).insert(id, entry);
        if let Some(why) = self.end() {
            lock(&self.streams).remove(&id);
            return Err(ClientError::Closed(why));
        }
        let mut bytes = Vec::new();
        for frame in Frame::open(id, verb, arguments) {
            frame.encode(&mut bytes);
        }
        place.send(bytes);
        Ok(Opened { id, events: incoming, credit, window })
    }

    /// Sends a frame when there is room.
    pub(super) async fn send(&self, frame: &Frame) -> Result<(), ClientError> {
        let mut bytes = Vec::new();
        frame.encode(&mut bytes);
        self.frames.send(bytes).await.map_err(|_| self.gone())
    }

    /// Sends a credit or a reset. After the end there is nobody to send it to.
    pub(super) fn send_urgent(&self, frame: Frame) {
        let _ = self.urgent.send(frame);
    }

    /// Whether the guest has not answered this stream yet.
    pub(super) fn is_open(&self, id: u32) -> bool {
        lock(&self.streams).contains_key(&id)
    }

    pub(super) async fn ping(&self) -> Result<(), ClientError> {
        let pong = self.pong.notified();
        self.send(&Frame::ping(Vec::new())).await?;
        tokio::select! {
            () = pong => Ok(()),
            error = self.closed() => Err(error),
        }
    }

    pub(super) fn end(&self) -> Option<Arc<str>> {
        self.end.get().cloned()
    }

    /// The error of a request that finds the connection ended.
    pub(super) fn gone(&self) -> ClientError {
        ClientError::Closed(self.end().unwrap_or_else(|| "it is closing".into()))
    }

    pub(super) async fn closed(&self) -> ClientError {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if let Some(why) = self.end() {
                return ClientError::Closed(why);
            }
            ended.await;
        }
    }

    /// The connection ends: whoever waits for it is told.
    fn finish(&self, why: &str) {
        let _ = self.end.set(why.into());
        self.slots.close();
        for (_, entry) in lock(&self.streams).drain() {
            entry.credit.close();
        }
        self.ended.notify_waiters();
    }

    /// Reads until the connection ends; returns why it did.
    async fn read(&self, mut read: impl AsyncRead + Unpin, mut decoder: HostDecoder) -> String {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            loop {
                match decoder.take().and_then(|frame| frame.map(|frame| self.take(frame)).transpose()) {
                    Ok(Some(())) => {}
                    Ok(None) => break,
                    Err(error) => return format!("the guest agent broke the protocol: {error}"),
                }
            }
            match read.read(&mut buffer).await {
                Ok(0) => return "the guest agent closed it".to_owned(),
                Ok(count) => decoder.feed(&buffer[..count]),
                Err(error) => return format!("reading: {error}"),
            }
        }
    }

    /// Hands a frame to its stream. Frames of streams that have ended are nothing.
    fn take(&self, frame: Frame) -> Result<(), WireError> {
        match frame.kind {
            Kind::Ping => self.send_urgent(Frame::pong(frame.payload)),
            Kind::Pong => self.pong.notify_waiters(),
            Kind::Open | Kind::Control | Kind::Reset => return Err(WireError::Direction(frame.kind)),
            Kind::Result => {
                let entry = lock(&self.streams).remove(&frame.stream);
                if let Some(entry) = entry {
                    entry.credit.close();
                    let _ = entry.events.send(Event::Result(frame));
                }
            }
            Kind::Data | Kind::End | Kind::Credit => {
                if let Some(entry) = lock(&self.streams).get(&frame.stream) {
                    return entry.take(frame);
                }
            }
        }
        Ok(())
    }
}

impl Entry {
    fn take(&self, frame: Frame) -> Result<(), WireError> {
        if frame.kind == Kind::Credit {
            let bytes = frame.granted()? as usize;
            if bytes > WINDOW as usize || self.credit.available_permits() + bytes > WINDOW as usize {
                return Err(WireError::Window(frame.stream));
            }
            self.credit.add_permits(bytes);
            return Ok(());
        }
        let channel = Channel::from_number(frame.channel).ok_or(WireError::Payload(frame.kind))?;
        let event = if frame.kind == Kind::End {
            Event::End(channel)
        } else {
            if !lock(&self.window).received(frame.payload.len()) {
                return Err(WireError::Window(frame.stream));
            }
            Event::Data(channel, frame.payload)
        };
        // A handle that was dropped has sent a reset; what still comes is nothing.
        let _ = self.events.send(event);
        Ok(())
    }
}

/// Writes until the streams and the clients are gone.
async fn write_all(
    mut write: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Vec<u8>>,
    mut urgent: mpsc::UnboundedReceiver<Frame>,
) -> std::io::Result<()> {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            biased;
            Some(frame) = urgent.recv() => frame.encode(&mut batch),
            Some(bytes) = frames.recv() => batch.extend_from_slice(&bytes),
            else => return Ok(()),
        }
        while batch.len() < BATCH {
            if let Ok(frame) = urgent.try_recv() {
                frame.encode(&mut batch);
            } else if let Ok(bytes) = frames.try_recv() {
                batch.extend_from_slice(&bytes);
            } else {
                break;
            }
        }
        write.write_all(&batch).await?;
        write.flush().await?;
        batch.clear();
        batch.shrink_to(BATCH);
    }
}
