//! The host's side: many requests at once over one byte stream.
//!
//! [`Client::connect`] takes a stream that is connected already and does the handshake. A [`Client`] is cheap to clone; all
//! clones share the connection. When the connection ends, every request that is under way fails with
//! [`ClientError::Closed`], and [`Client::closed`] returns; making a new connection is the caller's.
//!
//! **Cancel safety.** Every future may be dropped. A request whose future or handle is dropped is given up: the guest
//! ends what it ran for it.
//!
//! ```no_run
//! # async fn example(socket: tokio::io::DuplexStream, token: fuse_guest_protocol::Token)
//! # -> Result<(), fuse_guest_protocol::client::ClientError> {
//! use fuse_guest_protocol::{client::{Client, Transport}, verb::Exec};
//!
//! let client = Client::connect(socket, Transport::Serial).await?;
//! client.hello(Some(token)).await?;
//! let output = client.exec_collect(&Exec::shell("uname -r"), 64 * 1024).await?;
//! println!("{}", String::from_utf8_lossy(&output.stdout));
//! # Ok(()) }
//! ```

mod driver;
mod error;
mod files;
mod handshake;
mod program;
mod stream;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    Token,
    verb::{AgentInfo, Health, HealthRequest, Hello, InfoRequest, Request, SetToken},
};
use driver::Shared;

pub use error::ClientError;
pub use files::LogStream;
pub use handshake::{Transport, connect_vsock};
pub use program::{Attachment, ExecOutput, ExecStream, Keyboard, Output};
pub use stream::{Event, Receiver, Sender, Stream};

/// A connection to a guest agent.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// The last clone ends the connection.
    _alive: Arc<driver::Tasks>,
}

impl Client {
    /// Agrees with the guest where the stream begins, and waits for its answer as long as it takes: a guest that boots
    /// answers when it is up. Put a limit around it.
    ///
    /// # Errors
    /// The stream failed or ended, or the guest speaks another version.
    pub async fn connect<S>(stream: S, transport: Transport) -> Result<Self, ClientError>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (mut read, mut write) = tokio::io::split(stream);
        let decoder = handshake::agree(&mut read, &mut write, transport).await?;
        let (shared, tasks) = driver::start(read, write, decoder);
        Ok(Self { shared, _alive: Arc::new(tasks) })
    }

    /// Proves with `token` that this is the VM's host. On a channel that only the host reaches, the first token is taken.
    ///
    /// # Errors
    /// [`crate::ErrorCode::Unauthorized`], and the general ones.
    pub async fn hello(&self, token: Option<Token>) -> Result<AgentInfo, ClientError> {
        self.call(&Hello { token }).await
    }

    /// Whether the agent lives, and what the health check says.
    ///
    /// # Errors
    /// The general ones.
    pub async fn health(&self) -> Result<Health, ClientError> {
        self.call(&HealthRequest {}).await
    }

    /// What the agent is and has.
    ///
    /// # Errors
    /// The general ones.
    pub async fn info(&self) -> Result<AgentInfo, ClientError> {
        self.call(&InfoRequest {}).await
    }

    /// Replaces the token.
    ///
    /// # Errors
    /// The general ones.
    pub async fn set_token(&self, token: Token) -> Result<(), ClientError> {
        self.call(&SetToken { token }).await.map(|_| ())
    }

    /// Asks anything that is answered without input or output: `call(&Drain::default())`.
    ///
    /// # Errors
    /// What the guest answered, or that the connection ended.
    pub async fn call<R: Request>(&self, request: &R) -> Result<R::Answer, ClientError> {
        self.open(request).await?.answer().await
    }

    /// Opens the stream of a request. Waits while [`crate::MAX_STREAMS`] others are open.
    ///
    /// # Errors
    /// The connection ended, or the arguments are longer than [`crate::MAX_ARGUMENTS`].
    pub async fn open<R: Request>(&self, request: &R) -> Result<Stream<R::Answer>, ClientError> {
        let arguments = serde_json::to_vec(request).map_err(ClientError::Arguments)?;
        if arguments.len() > crate::MAX_ARGUMENTS {
            return Err(ClientError::TooLong { verb: R::VERB, bytes: arguments.len() });
        }
        stream::open(&self.shared, R::VERB, &arguments).await
    }

    /// Asks for a sign of life: the round trip of the connection itself. One at a time.
    ///
    /// # Errors
    /// The connection ended.
    pub async fn ping(&self) -> Result<(), ClientError> {
        self.shared.ping().await
    }

    /// Waits for the end of the connection, and says why it ended.
    pub async fn closed(&self) -> ClientError {
        self.shared.closed().await
    }

    /// Whether the connection has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.end().is_some()
    }
}
