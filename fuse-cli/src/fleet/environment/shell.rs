//! `fuse environment shell`: a terminal in a guest.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use clap::Args;
use fuse_orchestrator::model::EnvironmentId;
use fuse_orchestrator::provider::{AttachInput, AttachOutput, AttachRequest, AttachSession};
use rustix::termios::{self, OptionalActions, Termios};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::signal::unix::{SignalKind, signal};

use crate::fleet::Session;
use crate::outcome::{Failure, Outcome, Verdict};

/// How much is read from the keyboard at once.
const READ: usize = 4 * 1024;

/// Open a terminal in an environment, and end with the exit code of what ran in it
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with the exit code of the shell, or with 125 when there was no terminal to be had.

Examples:
  fuse environment shell fuse-t1
  fuse environment shell fuse-t1 -- top")]
pub(crate) struct Shell {
    /// The environment
    id: EnvironmentId,
    /// The program and its arguments; a login shell when nothing is said
    #[arg(last = true)]
    command: Vec<String>,
}

impl Shell {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            let id = &self.id;
            return Err(Failure::Usage(format!(
                "a shell needs a terminal; without one, use `fuse environment exec {id} -- COMMAND`"
            )));
        }
        let (rows, cols) = size();
        let request = AttachRequest { argv: self.command, rows, cols };
        let guest =
            session.fuse.attach(&self.id, request).await.map_err(|error| Failure::from(error).of_guest())?;
        let raw = Raw::enter().map_err(|error| Failure::Io {
            tried: "set up",
            path: "the terminal".into(),
            source: error.into(),
        })?;
        let code = carry(guest).await;
        drop(raw);
        match code {
            Some(code) => Ok(Verdict::of_guest(code)),
            None => {
                let what = format!("terminal in {}", self.id);
                let why = "the connection broke before the shell ended".to_owned();
                Err(Failure::Refused { what, why }.of_guest())
            }
        }
    }
}

/// Carries what is typed and what is shown, until the program ends.
async fn carry(guest: AttachSession) -> Option<i32> {
    let AttachSession { input, mut output } = guest;
    let typed = input.clone();
    // Ends with the program: a read of the keyboard cannot be taken back.
    tokio::spawn(async move {
        let mut keyboard = tokio::io::stdin();
        let mut buffer = vec![0; READ];
        while let Ok(count @ 1..) = keyboard.read(&mut buffer).await {
            let bytes = buffer.get(..count).unwrap_or_default().to_vec();
            if typed.send(AttachInput::Stdin(bytes)).await.is_err() {
                return;
            }
        }
        // The keyboard is gone, not the wish to see what comes.
        std::future::pending::<()>().await;
    });
    let mut resized = signal(SignalKind::window_change()).ok();
    let mut screen = tokio::io::stdout();
    loop {
        let size_changed = async {
            match &mut resized {
                Some(resized) => resized.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            item = output.recv() => match item? {
                AttachOutput::Stdout(bytes) => {
                    if screen.write_all(&bytes).await.is_err() || screen.flush().await.is_err() {
                        return None;
                    }
                }
                AttachOutput::Exit(code) => return Some(code),
            },
            _ = size_changed => {
                let (rows, cols) = size();
                // When it cannot be told, the output ends too.
                let _ = input.send(AttachInput::Resize { rows, cols }).await;
            }
        }
    }
}

/// The size of the terminal; 24 rows of 80 when it does not say.
fn size() -> (u16, u16) {
    match termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_row > 0 && size.ws_col > 0 => (size.ws_row, size.ws_col),
        _ => (24, 80),
    }
}

/// The terminal without its own editing and signals, until this is dropped.
struct Raw {
    before: Termios,
}

impl Raw {
    fn enter() -> Result<Self, rustix::io::Errno> {
        let stdin = io::stdin();
        let terminal: BorrowedFd<'_> = stdin.as_fd();
        let before = termios::tcgetattr(terminal)?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(terminal, OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no care.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}
