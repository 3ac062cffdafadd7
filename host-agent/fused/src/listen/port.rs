//! A port as a byte stream that outlasts a host's absence of a moment.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::stream::FdStream;

/// How often a port without a host is looked at.
pub(super) const SOON: Duration = Duration::from_millis(2);

/// A virtio-serial port.
///
/// The kernel hears on one queue that a host has come or gone, and gets what it sends from another one. In a machine that
/// was restored, the new host's first bytes may be read, and even answered, before the kernel hears that the old host has
/// gone and, at once after that, that there is one. If that ended the connection, the new host would wait for an answer
/// to what nobody remembers. So it counts as gone when it is away for a while.
#[derive(Debug)]
pub(super) struct Port {
    stream: FdStream,
    /// How long a host may be away.
    absence: Duration,
    reading: Patience,
    writing: Patience,
}

impl Port {
    /// Takes `fd`, which from now on does not block.
    pub(super) fn new(fd: OwnedFd, absence: Duration) -> io::Result<Self> {
        let stream = FdStream::new(fd)?;
        Ok(Self { stream, absence, reading: Patience::default(), writing: Patience::default() })
    }
}

/// One direction's wait for a host.
#[derive(Debug, Default)]
struct Patience {
    /// Since when there has been none, and when it is looked for again.
    absent: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patience {
    /// Waits until it is time for another look.
    fn poll_look(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.absent.as_mut().map_or(Poll::Ready(()), |(_, pause)| pause.as_mut().poll(cx))
    }

    /// There is no host: whether it has been so for longer than `absence`.
    fn is_over(&mut self, absence: Duration) -> bool {
        let since = self.absent.as_ref().map_or_else(Instant::now, |(since, _)| *since);
        let over = since.elapsed() >= absence;
        self.absent = (!over).then(|| (since, Box::pin(sleep(SOON))));
        over
    }

    /// There is a host.
    fn reset(&mut self) {
        self.absent = None;
    }
}

impl AsyncRead for Port {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, absence, reading, .. } = &mut *self;
        let before = buf.filled().len();
        loop {
            ready!(reading.poll_look(cx));
            let read = Pin::new(&mut *stream).poll_read(cx, buf);
            let nobody = matches!(read, Poll::Ready(Ok(()))) && buf.filled().len() == before;
            if !nobody {
                reading.reset();
            } else if !reading.is_over(*absence) {
                continue;
            }
            return read;
        }
    }
}

impl AsyncWrite for Port {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, absence, writing, .. } = &mut *self;
        loop {
            ready!(writing.poll_look(cx));
            let written = Pin::new(&mut *stream).poll_write(cx, bytes);
            match &written {
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                    if !writing.is_over(*absence) {
                        continue;
                    }
                }
                _ => writing.reset(),
            }
            return written;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::timeout,
    };

    use super::*;
    use crate::stream::terminal::Terminal;

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn a_host_that_is_away_for_a_moment_is_the_same_one() {
        let terminal = Terminal::open();
        let mut port = Port::new(terminal.agents_end(), LONG).unwrap();
        let host = terminal.programs_end();
        rustix::io::write(&host, b"he").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(timeout(LONG, port.read(&mut buffer)).await.unwrap().unwrap(), 2);
        drop(host);
        timeout(SHORT, port.read(&mut buffer)).await.expect_err("nobody is there");
        let host = terminal.programs_end();
        timeout(SHORT, port.read(&mut buffer)).await.expect_err("nothing was said");
        rustix::io::write(&host, b"llo").unwrap();
        assert_eq!(timeout(LONG, port.read(&mut buffer)).await.unwrap().unwrap(), 3);
        port.write_all(b"good day").await.unwrap();
        assert_eq!(rustix::io::read(&host, &mut buffer).unwrap(), 8);
    }

    #[tokio::test]
    async fn what_is_written_waits_for_a_host() {
        let terminal = Terminal::open();
        let mut port = Port::new(terminal.agents_end(), LONG).unwrap();
        drop(terminal.programs_end());
        // The runtime hears of it, and the terminal takes no more.
        timeout(SHORT, port.write_all(&[b'x'; 1 << 20])).await.expect_err("nobody is there");
        let host = terminal.programs_end();
        let writer = tokio::spawn(async move { port.write_all(b"good day").await });
        let (mut taken, mut buffer) = (Vec::new(), vec![0; 65536]);
        timeout(LONG, async {
            while !taken.ends_with(b"good day") {
                match rustix::io::read(&host, &mut buffer) {
                    Ok(count) => taken.extend_from_slice(&buffer[..count]),
                    Err(_) => sleep(SOON).await,
                }
            }
        })
        .await
        .unwrap();
        writer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_host_that_stays_away_has_gone() {
        let terminal = Terminal::open();
        let mut port = Port::new(terminal.agents_end(), SHORT).unwrap();
        drop(terminal.programs_end());
        let began = Instant::now();
        assert_eq!(timeout(LONG, port.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
        assert!(began.elapsed() >= SHORT);
        let written = timeout(LONG, port.write_all(&[b'x'; 1 << 20])).await.unwrap();
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
