//! Runs a program on a terminal.

use std::{os::fd::OwnedFd, process::Stdio};

use fuse_guest_protocol::{
    Channel, GuestError, MAX_PAYLOAD,
    frame::Control,
    verb::{Attach, ExecResult, SignalRequest, Size},
};
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::Child,
};

use super::{Group, command, result, signal_of, spawn};
use crate::{
    session::{Arrival, Input, Output},
    stream::FdStream,
    verbs::Context,
};

/// The program when none is named.
const SHELL: &str = "exec \"${SHELL:-$(command -v bash || command -v sh)}\" -l";

/// Runs a program on a terminal. When the stream is given up, the terminal hangs up and the program's group is killed.
pub(crate) async fn run(context: Context<'_>, attach: Attach) -> Result<ExecResult, GuestError> {
    let Context { agent, output, input, .. } = context;
    let shell = attach.argv.is_empty().then_some(SHELL);
    let mut command = command(agent, &attach.argv, shell, &attach.env, attach.cwd.as_deref())?;
    if !attach.env.contains_key("TERM") {
        command.env("TERM", "xterm-256color");
    }
    let terminal = |error: rustix::io::Errno| GuestError::io("opening a terminal", &error.into());
    let (ours, theirs) = open(attach.size).map_err(terminal)?;
    let copy = || theirs.try_clone().map_err(|error| GuestError::io("opening a terminal", &error));
    command.stdin(Stdio::from(copy()?)).stdout(Stdio::from(copy()?)).stderr(Stdio::from(theirs));
    lead_session(&mut command);
    let (mut child, mut group) = spawn(agent, command).await?;
    // The command holds the program's side of the terminal; without it, the end of the program is the end of output.
    let ours = FdStream::new(ours).map_err(|error| GuestError::io("opening a terminal", &error))?;
    let size = ours.fd().try_clone().map_err(|error| GuestError::io("opening a terminal", &error))?;
    let (mut screen, keyboard) = tokio::io::split(ours);

    let running = async {
        tokio::select! {
            status = show(&mut child, &mut screen, &output) => status,
            never = type_in(input, keyboard, &size, &group) => match never {},
        }
    };
    let status = running.await.map_err(|error| GuestError::io("waiting for the program", &error))?;
    group.release();
    output.end(Channel::Output).await;
    Ok(result(status))
}

/// A terminal: our side and the program's.
fn open(size: Size) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&ours)?;
    unlockpt(&ours)?;
    let name = ptsname(&ours, Vec::new())?;
    use rustix::fs::{Mode, OFlags};
    let theirs = rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty())?;
    resize(&ours, size);
    Ok((ours, theirs))
}

fn resize(terminal: &OwnedFd, size: Size) {
    let size = Winsize { ws_row: size.rows.max(1), ws_col: size.cols.max(1), ws_xpixel: 0, ws_ypixel: 0 };
    // The kernel takes any size for a terminal that is open.
    let _ = tcsetwinsize(terminal, size);
}

/// The program will lead a session whose terminal is its standard input.
#[allow(unsafe_code)]
fn lead_session(command: &mut tokio::process::Command) {
    // SAFETY: between fork and exec, the closure makes two system calls through rustix, which are async-signal-safe, and
    // neither allocates nor touches a lock.
    unsafe {
        command.pre_exec(|| {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
            Ok(())
        });
    }
}

/// From the terminal to the stream, until the program has ended and its output is out.
async fn show(
    child: &mut Child,
    screen: &mut (impl AsyncReadExt + Unpin),
    output: &Output,
) -> std::io::Result<std::process::ExitStatus> {
    let mut buffer = vec![0; MAX_PAYLOAD];
    let mut ended = None;
    loop {
        tokio::select! {
            biased;
            count = screen.read(&mut buffer) => match count {
                Ok(count) if count > 0 => {
                    if output.send(Channel::Output, &buffer[..count]).await.is_err() {
                        return child.wait().await;
                    }
                }
                _ => return match ended { Some(status) => Ok(status), None => child.wait().await },
            },
            status = child.wait(), if ended.is_none() => ended = Some(status?),
            () = tokio::time::sleep(std::time::Duration::from_millis(100)), if ended.is_some() => {
                // Something that the program left behind keeps the terminal open.
                return ended.ok_or_else(|| std::io::ErrorKind::Other.into());
            }
        }
    }
}

/// From the stream to the terminal; never ends by itself.
async fn type_in(
    mut input: Input,
    mut keyboard: tokio::io::WriteHalf<FdStream>,
    terminal: &OwnedFd,
    group: &Group,
) -> std::convert::Infallible {
    loop {
        match input.next().await {
            Arrival::Data(bytes) => {
                let _ = keyboard.write_all(&bytes).await;
                input.consumed(bytes.len());
            }
            Arrival::End => {
                // The end of a keyboard is the character that says so.
                let _ = keyboard.write_all(&[4]).await;
            }
            Arrival::Control(Control::Resize, arguments) => {
                if let Ok(size) = serde_json::from_slice::<Size>(&arguments) {
                    resize(terminal, size);
                }
            }
            Arrival::Control(Control::Signal, arguments) => {
                let signal = serde_json::from_slice::<SignalRequest>(&arguments).ok();
                if let Some(signal) = signal.and_then(|request| signal_of(request.signal)) {
                    group.signal(signal);
                }
            }
        }
    }
}
