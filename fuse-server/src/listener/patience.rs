//! The deadlines of a connection, below HTTP: a client that trickles its header, sends nothing, or takes nothing of
//! its answer is cut off.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

/// How long a client may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadlines {
    /// For the header of a request, from its first byte on; for the first one, from the connection on. 5 s.
    pub header: Duration,
    /// To take anything of an answer. 60 s. An event stream that is read has no end.
    pub write: Duration,
    /// Between two requests. 120 s.
    pub idle: Duration,
    /// For a TLS handshake. 10 s.
    pub handshake: Duration,
    /// The size of a header, in bytes. 64 KiB.
    pub max_header_bytes: usize,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            header: Duration::from_secs(5),
            write: Duration::from_secs(60),
            idle: Duration::from_secs(120),
            handshake: Duration::from_secs(10),
            max_header_bytes: 65_536,
        }
    }
}

const FIRST: u8 = 0;
const SERVING: u8 = 1;
const IDLE: u8 = 2;
const HEADER: u8 = 3;
const UPGRADED: u8 = 4;

/// What a connection is busy with. Shared between the layer above, which knows requests, and the one below, which
/// knows bytes.
#[derive(Debug, Clone)]
pub(super) struct Phase(Arc<AtomicU8>);

impl Phase {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU8::new(FIRST)))
    }

    /// A request is being answered.
    pub(super) fn serving(&self) {
        self.0.store(SERVING, Ordering::Relaxed);
    }

    /// The request was answered.
    pub(super) fn idle(&self) {
        // What was upgraded stays so.
        let _ = self.0.compare_exchange(SERVING, IDLE, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The connection speaks another protocol from now on, and may be silent.
    pub(super) fn upgraded(&self) {
        self.0.store(UPGRADED, Ordering::Relaxed);
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A stream with deadlines.
pub(super) struct Patient<S> {
    stream: S,
    deadlines: Deadlines,
    phase: Phase,
    /// The phase that the reading deadline belongs to.
    armed: Option<u8>,
    reading: Pin<Box<Sleep>>,
    /// Whether a write waits for the client.
    stalled: bool,
    writing: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    pub(super) fn new(stream: S, deadlines: Deadlines, phase: Phase) -> Self {
        let sleep = || Box::pin(tokio::time::sleep(deadlines.header));
        let (reading, writing) = (sleep(), sleep());
        Self { stream, deadlines, phase, armed: Some(FIRST), reading, stalled: false, writing }
    }

    /// Fails when the deadline of the present phase is over.
    fn check_reading(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let phase = self.phase.get();
        if phase == SERVING || phase == UPGRADED {
            self.armed = None;
            return Ok(());
        }
        if self.armed != Some(phase) {
            let limit = if phase == IDLE { self.deadlines.idle } else { self.deadlines.header };
            self.reading.as_mut().reset(Instant::now() + limit);
            self.armed = Some(phase);
        }
        match self.reading.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "no whole request within its time"))
            }
        }
    }

    /// What became of a write: one that waits has a deadline.
    fn check_writing<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = false;
            return result;
        }
        if !self.stalled {
            self.writing.as_mut().reset(Instant::now() + self.deadlines.write);
            self.stalled = true;
        }
        match self.writing.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check_reading(context)?;
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before && self.phase.get() == IDLE {
            // Whoever parses it asks for more at once, unless the header is whole: then it needs no deadline.
            self.phase.0.store(HEADER, Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.check_writing(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.check_writing(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.check_writing(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.check_writing(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
