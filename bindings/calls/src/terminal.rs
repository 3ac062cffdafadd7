//! Terminals in environments.

use std::sync::{Arc, Mutex as Place, MutexGuard, OnceLock, PoisonError};

use fuse_orchestrator::model::EnvironmentId;
use fuse_orchestrator::provider::{AttachInput, AttachOutput, AttachRequest};
use fuse_orchestrator::{Error, Orchestrator, Problem, Result};
use serde::Deserialize;
use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::{Mutex, watch};

use crate::calls::{name, parse};

/// The most bytes that go to a guest in one piece: 1 MiB. More are cut into pieces.
const PIECE: usize = 1024 * 1024;

/// A terminal in an environment; a clone is the same terminal. It is closed by [`Terminal::close`] or with its last clone.
#[derive(Clone, Debug)]
pub struct Terminal {
    ends: Arc<Ends>,
}

#[derive(Debug)]
struct Ends {
    input: Place<Option<Sender<AttachInput>>>,
    output: Mutex<Option<Receiver<AttachOutput>>>,
    exit_code: OnceLock<i32>,
    closed: watch::Sender<bool>,
}

/// What a terminal is asked for with.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    id: String,
    cmd: Vec<String>,
    rows: u32,
    cols: u32,
}

impl Default for Arguments {
    fn default() -> Self {
        Self { id: String::new(), cmd: Vec::new(), rows: 24, cols: 80 }
    }
}

fn ended(why: &str) -> Error {
    Error::Closed { why: format!("the terminal {why}") }
}

/// A size of a terminal, 1 to 65535 each way.
fn size(rows: u32, cols: u32) -> Result<(u16, u16)> {
    let side = |size| u16::try_from(size).ok().filter(|size| *size > 0);
    if let (Some(rows), Some(cols)) = (side(rows), side(cols)) {
        return Ok((rows, cols));
    }
    let wrong = [("rows", rows), ("cols", cols)].into_iter().filter(|(_, size)| side(*size).is_none());
    Err(Error::Invalid(
        wrong.map(|(name, size)| Problem::new(name, format!("is 1 to 65535, not {size}"))).collect(),
    ))
}

impl Terminal {
    pub(crate) async fn open(fuse: Orchestrator, arguments: String) -> Result<Self> {
        let asked: Arguments = parse(&arguments)?;
        let id: EnvironmentId = name("id", &asked.id)?;
        let (rows, cols) = size(asked.rows, asked.cols)?;
        let session = fuse.attach(&id, AttachRequest { argv: asked.cmd, rows, cols }).await?;
        Ok(Self {
            ends: Arc::new(Ends {
                input: Place::new(Some(session.input)),
                output: Mutex::new(Some(session.output)),
                exit_code: OnceLock::new(),
                closed: watch::Sender::new(false),
            }),
        })
    }

    fn input(&self) -> MutexGuard<'_, Option<Sender<AttachInput>>> {
        self.ends.input.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the program shows next; `None` when it has ended, or the terminal was closed. One caller at a time reads; others
    /// wait.
    ///
    /// # Errors
    /// [`Error::Closed`] when the connection broke off: the program may still run.
    pub async fn read(self) -> Result<Option<Vec<u8>>> {
        let mut closed = self.ends.closed.subscribe();
        let mut output = self.ends.output.lock().await;
        let Some(receiver) = output.as_mut() else { return Ok(None) };
        let item = tokio::select! {
            biased;
            _ = closed.wait_for(|closed| *closed) => {
                *output = None;
                return Ok(None);
            }
            item = receiver.recv() => item,
        };
        match item {
            Some(AttachOutput::Stdout(bytes)) => return Ok(Some(bytes)),
            Some(AttachOutput::Exit(code)) => {
                // It ends once.
                let _ = self.ends.exit_code.set(code);
            }
            None => {}
        }
        *output = None;
        self.input().take();
        match self.exit_code() {
            Some(_) => Ok(None),
            None if *self.ends.closed.borrow() => Ok(None),
            None => Err(ended("broke off; the program may still run: attach again")),
        }
    }

    async fn send(&self, input: AttachInput) -> Result<()> {
        let sender = self.input().clone();
        let sender = sender.ok_or_else(|| ended("is closed"))?;
        sender.send(input).await.map_err(|_| ended("has ended"))
    }

    /// Types bytes. Waits while the guest does not read.
    ///
    /// # Errors
    /// [`Error::Closed`] when the program has ended, or the terminal is closed.
    pub async fn write(self, bytes: Vec<u8>) -> Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.send(AttachInput::Stdin(piece.to_vec())).await?;
        }
        Ok(())
    }

    /// Tells a new size of the terminal, 1 to 65535 rows and columns.
    ///
    /// # Errors
    /// [`Error::Invalid`]; as [`Terminal::write`].
    pub async fn resize(self, rows: u32, cols: u32) -> Result<()> {
        let (rows, cols) = size(rows, cols)?;
        self.send(AttachInput::Resize { rows, cols }).await
    }

    /// The exit code of the program, once [`Terminal::read`] has come to its end.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.ends.exit_code.get().copied()
    }

    /// Closes it: the program in the guest loses its terminal, and reads end. Twice does nothing.
    pub fn close(&self) {
        // Marked first: the program's end, which follows, is then none that a read is surprised by.
        self.ends.closed.send_replace(true);
        self.input().take();
        // A read that is under way sees the mark and lets go.
        if let Ok(mut output) = self.ends.output.try_lock() {
            output.take();
        }
    }
}
