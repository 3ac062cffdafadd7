//! The camera's interrupt: a signal whose handler posts CAMERA_FRAME_READY, as an interrupt
//! service routine of a flight computer would.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;

use fuse_edge::{EventId, EventPoster};
use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::SIGUSR1;
use signal_hook::low_level;

/// The signal, with its handler in place.
pub(crate) struct Interrupt {
    wake: UnixStream,
}

impl Interrupt {
    /// From now on the signal posts `event`, and ends [`wait`](Self::wait).
    pub(crate) fn install(poster: EventPoster, event: EventId) -> io::Result<Self> {
        #[allow(unsafe_code, reason = "a signal handler cannot be installed without")]
        // SAFETY: the handler posts, which is one atomic operation: it takes no lock and allocates nothing.
        let installed = unsafe { low_level::register(SIGUSR1, move || poster.post(event)) };
        installed?;
        // The host, other than a module, must be woken from its sleep: handlers run in this order.
        let (wake, bell) = UnixStream::pair()?;
        low_level::pipe::register(SIGUSR1, bell)?;
        Ok(Self { wake })
    }

    /// Sends the signal to this process: what the camera's hardware does.
    pub(crate) fn raise() -> io::Result<()> {
        kill_process(getpid(), Signal::USR1).map_err(io::Error::from)
    }

    /// Sleeps until the signal came at least once since the last call.
    pub(crate) fn wait(&mut self) -> io::Result<()> {
        let mut bells = [0; 64];
        loop {
            match self.wake.read(&mut bells) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => return Ok(()),
                // By a signal, most likely this one.
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}
