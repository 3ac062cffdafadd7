//! File descriptors that are byte streams: vsock connections, ports, terminals.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
};
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

    /// Goes on after a hang-up with a descriptor that has nothing to read, or no room: whether anybody is there.
    ///
    /// The runtime never forgets that the other side hung up. On a port or a terminal another one may have come since,
    /// and without a registration of its own it would be looked at for ever, with nothing to read. Nobody waits for the
    /// registration of before: a hang-up wakes readers and writers, and after it they find it ready.
    fn go_on(&mut self) -> io::Result<bool> {
        let mut state = [PollFd::new(self.fd(), PollFlags::IN)];
        poll(&mut state, Some(&Timespec::default()))?;
        if state[0].revents().contains(PollFlags::HUP) {
            return Ok(false);
        }
        self.0 = watch(self.fd().try_clone()?)?;
        Ok(true)
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

impl AsyncRead for FdStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
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
            if let Ok(read) = read {
                buf.advance(read?);
                return Poll::Ready(Ok(()));
            }
            if hung_up && !self.go_on()? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for FdStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(cx))?;
            let hung_up = ready.ready().is_write_closed();
            if let Ok(written) = ready.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(written);
            }
            if hung_up && !self.go_on()? {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
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

/// A terminal in the place of a port: programs open and close the other side as hosts do.
#[cfg(test)]
pub(crate) mod terminal {
    use std::os::fd::OwnedFd;

    use rustix::{
        fs::{Mode, OFlags},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
        termios::{OptionalActions, tcgetattr, tcsetattr},
    };

    pub(crate) struct Terminal(OwnedFd);

    impl Terminal {
        pub(crate) fn open() -> Self {
            let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&terminal).unwrap();
            unlockpt(&terminal).unwrap();
            let mut plain = tcgetattr(&terminal).unwrap();
            plain.make_raw();
            tcsetattr(&terminal, OptionalActions::Now, &plain).unwrap();
            Self(terminal)
        }

        pub(crate) fn agents_end(&self) -> OwnedFd {
            self.0.try_clone().unwrap()
        }

        /// Another program's; the last one that is closed hangs up.
        pub(crate) fn programs_end(&self) -> OwnedFd {
            let name = ptsname(&self.0, Vec::new()).unwrap();
            let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK;
            rustix::fs::open(name.as_c_str(), flags, Mode::empty()).unwrap()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, time::Duration};

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, split},
        time::{sleep, timeout},
    };

    use super::{terminal::Terminal, *};

    const LONG: Duration = Duration::from_secs(20);
    const SHORT: Duration = Duration::from_millis(200);

    /// A terminal from which a program went, and to which another one came before that was noticed.
    async fn left_and_come() -> (FdStream, OwnedFd) {
        let terminal = Terminal::open();
        let first = terminal.programs_end();
        let stream = FdStream::new(terminal.agents_end()).unwrap();
        drop(first);
        // The runtime hears of it.
        sleep(Duration::from_millis(50)).await;
        (stream, terminal.programs_end())
    }

    #[tokio::test]
    async fn one_that_came_after_a_hang_up_is_waited_for_and_read() {
        let (mut stream, program) = left_and_come().await;
        let (mut buffer, mut looks) = ([0; 16], 0);
        {
            let mut read = pin!(stream.read(&mut buffer));
            let counted = poll_fn(|cx| {
                looks += 1;
                read.as_mut().poll(cx)
            });
            timeout(SHORT, counted).await.expect_err("nothing is there");
        }
        assert!(looks < 10, "it was looked at {looks} times");
        rustix::io::write(&program, b"hello").unwrap();
        assert_eq!(timeout(LONG, stream.read(&mut buffer)).await.unwrap().unwrap(), 5);
        drop(program);
        assert_eq!(timeout(LONG, stream.read(&mut buffer)).await.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn both_directions_go_on() {
        let (stream, program) = left_and_come().await;
        let (mut read, mut write) = split(stream);
        // More than a terminal keeps.
        const BYTES: usize = 1 << 20;
        let writer = tokio::spawn(async move { write.write_all(&vec![b'x'; BYTES]).await });
        sleep(SHORT).await;
        let reader = tokio::spawn(async move { read.read(&mut [0; 16]).await });
        sleep(SHORT).await;
        let (mut taken, mut buffer) = (0, vec![0; 65536]);
        timeout(LONG, async {
            while taken < BYTES {
                match rustix::io::read(&program, &mut buffer) {
                    Ok(count) => taken += count,
                    Err(_) => sleep(Duration::from_millis(1)).await,
                }
            }
        })
        .await
        .unwrap();
        writer.await.unwrap().unwrap();
        drop(program);
        assert_eq!(timeout(LONG, reader).await.unwrap().unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn nobody_there_is_the_end() {
        let (mut stream, program) = left_and_come().await;
        drop(program);
        let written = timeout(LONG, stream.write_all(&[b'x'; 1 << 20])).await;
        assert_eq!(written.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(timeout(LONG, stream.read(&mut [0; 16])).await.unwrap().unwrap(), 0);
    }
}
