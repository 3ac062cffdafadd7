//! File descriptors that are byte streams: vsock connections, ports, terminals.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, unix::AsyncFd};

/// A byte stream over a descriptor that does not block.
#[derive(Debug)]
pub(crate) struct FdStream(AsyncFd<OwnedFd>);

impl FdStream {
    /// Takes `fd`, which from now on does not block.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self(watch(fd)?))
    }

    /// The descriptor.
    pub(crate) fn fd(&self) -> &OwnedFd {
        self.0.get_ref()
    }
}

/// Has the runtime watch a descriptor.
#[allow(unsafe_code)]
pub(crate) fn watch<T: AsFd + AsRawFd + Into<OwnedFd>>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the owner is a type that holds one open descriptor (it can be turned into an `OwnedFd`), names the same one
    // each time, and closes it only when dropped. `AsyncFd` owns it and takes it out of the runtime before dropping it;
    // nobody gets it mutably.
    Ok(unsafe { AsyncFd::register(owner) }?)
}

/// The runtime never forgets that the other side hung up, also when another one is there since, as on a port or a terminal:
/// a stream that has seen it is over. Without that it would be looked at for ever, with nothing to read.
impl AsyncRead for FdStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(cx))?;
            let hung_up = ready.ready().is_read_closed();
            let read = ready.try_io(|fd| {
                let room = buf.initialize_unfilled();
                match rustix::io::read(fd.get_ref(), room) {
                    // A terminal whose program ended says so with an error.
                    Err(Errno::IO) => Ok(0),
                    other => Ok(other?),
                }
            });
            match read {
                Ok(read) => {
                    buf.advance(read?);
                    return Poll::Ready(Ok(()));
                }
                Err(_) if hung_up => return Poll::Ready(Ok(())),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for FdStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            let hung_up = ready.ready().is_write_closed();
            match ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                Ok(written) => return Poll::Ready(written),
                Err(_) if hung_up => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Err(_) => {}
            }
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
    use std::time::Duration;

    use rustix::{
        fs::{Mode, OFlags},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        time::{sleep, timeout},
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A terminal from which a program went, and to which another one came before that was noticed.
    async fn left_and_come() -> (FdStream, OwnedFd) {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let open = || {
            rustix::fs::open(name.as_c_str(), OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap()
        };
        let first = open();
        let stream = FdStream::new(terminal).unwrap();
        drop(first);
        // The runtime hears of it.
        sleep(Duration::from_millis(50)).await;
        (stream, open())
    }

    #[tokio::test]
    async fn who_hung_up_has_hung_up_for_a_reader() {
        let (mut stream, _program) = left_and_come().await;
        let read = timeout(LONG, stream.read(&mut [0; 16])).await;
        assert_eq!(read.expect("it ends").unwrap(), 0);
    }

    #[tokio::test]
    async fn who_hung_up_has_hung_up_for_a_writer() {
        let (mut stream, _program) = left_and_come().await;
        // More than a terminal takes that nobody reads.
        let written = timeout(LONG, stream.write_all(&[b'x'; 1 << 20])).await;
        assert_eq!(written.expect("it ends").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
