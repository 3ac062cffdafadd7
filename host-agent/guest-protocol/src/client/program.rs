//! Programs in the guest: exec and attach.

use super::{
    Client, ClientError,
    stream::{Incoming, Receiver, Sender, Stream},
};
use crate::{
    Channel,
    frame::Control,
    verb::{Attach, Exec, ExecResult, SignalRequest, Size},
};

/// What comes out of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of its standard output, or of its terminal.
    Stdout(Vec<u8>),
    /// Bytes of its standard error.
    Stderr(Vec<u8>),
    /// It ended. Nothing follows.
    Exit(ExecResult),
}

/// A running program. Dropping it kills the program.
#[derive(Debug)]
pub struct ExecStream {
    input: Sender,
    output: Receiver<ExecResult>,
}

/// All that a program left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecOutput {
    /// How it ended.
    pub result: ExecResult,
    /// Its standard output, up to the limit.
    pub stdout: Vec<u8>,
    /// Its standard error, up to the limit.
    pub stderr: Vec<u8>,
    /// Whether it wrote more than the limit; the rest was dropped.
    pub truncated: bool,
}

impl Client {
    /// Starts a program.
    ///
    /// # Errors
    /// The general ones. That the program does not exist is said by [`ExecStream::next`].
    pub async fn exec(&self, exec: &Exec) -> Result<ExecStream, ClientError> {
        let Stream { sender, receiver } = self.open(exec).await?;
        Ok(ExecStream { input: sender, output: receiver })
    }

    /// Runs a program and collects what it writes: up to `limit` bytes of standard output, and as many of standard error.
    ///
    /// # Errors
    /// [`crate::ErrorCode::NotFound`] when there is no such program, and the general ones.
    pub async fn exec_collect(&self, exec: &Exec, limit: usize) -> Result<ExecOutput, ClientError> {
        let mut stream = self.exec(exec).await?;
        if exec.stdin {
            stream.finish_input().await?;
        }
        let mut output = ExecOutput::default();
        loop {
            let (kept, bytes) = match stream.next().await? {
                Output::Exit(result) => return Ok(ExecOutput { result, ..output }),
                Output::Stdout(bytes) => (&mut output.stdout, bytes),
                Output::Stderr(bytes) => (&mut output.stderr, bytes),
            };
            let room = limit.saturating_sub(kept.len());
            output.truncated |= bytes.len() > room;
            kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// Starts a program on a terminal.
    ///
    /// # Errors
    /// The general ones. That the program does not exist is said by [`Attachment::next`].
    pub async fn attach(&self, attach: &Attach) -> Result<Attachment, ClientError> {
        let Stream { sender, receiver } = self.open(attach).await?;
        Ok(Attachment { input: sender, output: receiver })
    }
}

impl ExecStream {
    /// The next output, and in the end how the program ended. Cancel safe.
    ///
    /// # Errors
    /// What the guest answered instead, or that the connection ended.
    pub async fn next(&mut self) -> Result<Output, ClientError> {
        next(&mut self.output).await
    }

    /// The input on its own, to write while another task reads.
    #[must_use]
    pub fn input(&self) -> Sender {
        self.input.clone()
    }

    /// Writes to its standard input, if [`Exec::stdin`] was asked for.
    ///
    /// # Errors
    /// The program ended, or the connection did.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), ClientError> {
        self.input.send(bytes).await
    }

    /// Closes its standard input.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn finish_input(&self) -> Result<(), ClientError> {
        self.input.finish().await
    }

    /// Sends a signal to its process group.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn signal(&self, signal: i32) -> Result<(), ClientError> {
        self.input.control(Control::Signal, &SignalRequest { signal }).await
    }
}

/// A program on a terminal. Dropping it hangs up.
#[derive(Debug)]
pub struct Attachment {
    input: Sender,
    output: Receiver<ExecResult>,
}

impl Attachment {
    /// The next output ([`Output::Stdout`]), and in the end how the program ended. Cancel safe.
    ///
    /// # Errors
    /// What the guest answered instead, or that the connection ended.
    pub async fn next(&mut self) -> Result<Output, ClientError> {
        next(&mut self.output).await
    }

    /// The keyboard on its own, to type while another task reads.
    #[must_use]
    pub fn input(&self) -> Keyboard {
        Keyboard { input: self.input.clone() }
    }
}

/// The keyboard of a terminal.
#[derive(Debug, Clone)]
pub struct Keyboard {
    input: Sender,
}

impl Keyboard {
    /// Types.
    ///
    /// # Errors
    /// The program ended, or the connection did.
    pub async fn write(&self, bytes: &[u8]) -> Result<(), ClientError> {
        self.input.send(bytes).await
    }

    /// Gives the terminal another size.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn resize(&self, size: Size) -> Result<(), ClientError> {
        self.input.control(Control::Resize, &size).await
    }
}

async fn next(receiver: &mut Receiver<ExecResult>) -> Result<Output, ClientError> {
    loop {
        match receiver.next().await? {
            Incoming::Data(Channel::Error, bytes) => return Ok(Output::Stderr(bytes)),
            Incoming::Data(_, bytes) => return Ok(Output::Stdout(bytes)),
            Incoming::End => {}
            Incoming::Answer(result) => return Ok(Output::Exit(result)),
        }
    }
}
