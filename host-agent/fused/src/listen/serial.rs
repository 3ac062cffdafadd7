//! The virtio-serial port: one connection for ever, with hosts that come and go.

use std::{
    io,
    os::{
        fd::OwnedFd,
        unix::{fs::FileTypeExt, net::UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use fuse_guest_protocol::sync;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    time::{sleep, timeout},
};

use super::port::{Port, SOON};
use crate::{agent::Agent, session, stream::FdStream, tokens::Trust};

/// How often a port is looked at whose host has been gone for [`A_WHILE`].
const LATER: Duration = Duration::from_millis(50);
const A_WHILE: Duration = Duration::from_secs(5);
/// How long a host may be away and is the same one still: much longer than a machine that has hardly any processor takes
/// from one message of its port to the next. What ran for a host that has gone ends after this.
const ABSENCE: Duration = Duration::from_secs(1);
/// How long a host may take to read that the agent has started.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves the port for ever.
pub(crate) async fn serve(agent: Arc<Agent>, path: &Path) {
    let mut said = String::new();
    loop {
        match open(path) {
            Ok(port) => {
                agent.logs.say(&format!("listening on {}", path.display()));
                said.clear();
                let error = sessions(&agent, port).await;
                agent.logs.say(&format!("{}: {error}", path.display()));
            }
            // The kernel may find the port later.
            Err(error) if error.to_string() != said => {
                said = error.to_string();
                agent.logs.say(&format!("{}: {said}; trying again", path.display()));
            }
            Err(_) => {}
        }
        sleep(LATER).await;
    }
}

fn open(path: &Path) -> io::Result<OwnedFd> {
    let path = &device(path);
    let kind = std::fs::metadata(path)?.file_type();
    if kind.is_socket() {
        return Ok(UnixStream::connect(path)?.into());
    }
    Ok(rustix::fs::open(
        path,
        OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// The device of a named port. `/dev/virtio-ports` is made by udev, which small guests do not have; the kernel names the
/// ports in `/sys`.
fn device(path: &Path) -> PathBuf {
    let found = || {
        let wanted = path.strip_prefix("/dev/virtio-ports").ok()?.to_str()?;
        let ports = std::fs::read_dir("/sys/class/virtio-ports").ok()?;
        let named = |port: &std::fs::DirEntry| {
            std::fs::read_to_string(port.path().join("name")).is_ok_and(|name| name.trim() == wanted)
        };
        let port = ports.flatten().find(named)?;
        Some(Path::new("/dev").join(port.file_name()))
    };
    if path.exists() { path.to_owned() } else { found().unwrap_or_else(|| path.to_owned()) }
}

/// Serves one host after another, until the port itself is of no use.
async fn sessions(agent: &Arc<Agent>, port: OwnedFd) -> io::Error {
    let is_port = rustix::net::sockopt::socket_type(&port).is_err();
    if is_port && let Err(error) = announce(&port).await {
        return error;
    }
    loop {
        if is_port && let Err(error) = host(&port).await {
            return error;
        }
        // Each session has a registration of its own: one that has seen the host leave would see it leave for ever.
        let ended = match port.try_clone() {
            Ok(fd) if is_port => serve_one(agent, Port::new(fd, ABSENCE)).await,
            Ok(fd) => serve_one(agent, FdStream::new(fd)).await,
            Err(error) => return error,
        };
        match ended {
            Ok(()) if is_port => {}
            Ok(()) => return io::ErrorKind::UnexpectedEof.into(),
            Err(error)
                if !is_port
                    || !matches!(
                        error.kind(),
                        io::ErrorKind::BrokenPipe
                            | io::ErrorKind::InvalidData
                            | io::ErrorKind::PermissionDenied
                            | io::ErrorKind::WouldBlock
                    ) =>
            {
                return error;
            }
            Err(error) => agent.logs.say(&format!("the host's connection ended: {error}")),
        }
    }
}

async fn serve_one<S>(agent: &Arc<Agent>, stream: io::Result<S>) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    session::serve(agent, stream?, &[], Trust::Host).await
}

/// Tells a host that speaks to an agent before this one that this one knows nothing of it. Best effort: a host that does not
/// read finds out when it asks.
async fn announce(port: &OwnedFd) -> io::Result<()> {
    if !has_host(port)? {
        return Ok(());
    }
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
    let mut stream = FdStream::new(port.try_clone()?)?;
    let said = timeout(PATIENCE, stream.write_all(&sync::announcement(nonce))).await;
    said.unwrap_or(Ok(()))
}

fn has_host(port: &OwnedFd) -> io::Result<bool> {
    let mut state = [PollFd::new(port, PollFlags::IN)];
    poll(&mut state, Some(&Timespec::default()))?;
    Ok(!state[0].revents().contains(PollFlags::HUP))
}

/// Waits until the host has the other end of the port open.
async fn host(port: &OwnedFd) -> io::Result<()> {
    let began = Instant::now();
    loop {
        if has_host(port)? {
            return Ok(());
        }
        sleep(if began.elapsed() < A_WHILE { SOON } else { LATER }).await;
    }
}
