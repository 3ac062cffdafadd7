//! The connection to a guest agent: made when it is needed, shared by all who speak to the guest, made anew when it ends.

use std::{
    fs, io,
    path::Path,
    pin::Pin,
    sync::PoisonError,
    task::{Context, Poll},
    time::Duration,
};

use fuse_guest_protocol::{
    ErrorCode, Token, Verb,
    client::{Client, ClientError, Transport},
    verb::AgentInfo,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::{
    Error, ErrorKind, Result,
    driver::{Driver, GuestStream, Site},
    system::write_volatile,
};

/// The file of the token that the guest's channel takes.
pub(super) const TOKEN: &str = "token";
/// How long one attempt to connect may take: a guest that misses the beginning is asked anew.
const ATTEMPT: Duration = Duration::from_secs(15);

/// The connection to the agent of one guest.
#[derive(Debug, Default)]
pub(super) struct GuestLink {
    client: tokio::sync::Mutex<Option<Held>>,
    agent: std::sync::Mutex<AgentInfo>,
    /// Ends the connection of now.
    cut: std::sync::Mutex<CancellationToken>,
}

/// A connection, and what ends it. One that was told to end is not given out any more, also before its task has noticed.
#[derive(Debug)]
struct Held {
    client: Client,
    cut: CancellationToken,
}

impl GuestLink {
    /// The connection, which is made if there is none that works.
    pub(super) async fn client(&self, driver: &dyn Driver, site: &Site, limit: Duration) -> Result<Client> {
        let deadline = Instant::now() + limit;
        let late = || {
            let why = format!("its agent did not answer within {} ms", limit.as_millis());
            Error::new(ErrorKind::Guest, "reach the agent of", &site.name, why)
        };
        let mut held = timeout_at(deadline, self.client.lock()).await.map_err(|_| late())?;
        if let Some(held) = held.as_ref().filter(|held| !held.client.is_closed() && !held.cut.is_cancelled())
        {
            return Ok(held.client.clone());
        }
        *held = None;
        let token = read_token(&site.dir)?;
        let mut last = late();
        loop {
            let cut = self.cut();
            match timeout_at(deadline, connect(driver, site, &token, cut.clone())).await {
                Err(_) => return Err(last),
                Ok(Ok((client, info))) => {
                    *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = info;
                    *held = Some(Held { client: client.clone(), cut });
                    return Ok(client);
                }
                Ok(Err(error)) => last = error,
            }
            // A VMM that is gone will not come back.
            if !site.dir.exists() {
                return Err(last);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// The name and version of the agent that answered last.
    pub(super) fn agent(&self) -> String {
        let info = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        format!("{} {}", info.agent, info.version).trim().to_owned()
    }

    /// Whether the agent that answered last said that it knows `verb`.
    pub(super) fn knows(&self, verb: Verb) -> bool {
        let info = self.agent.lock().unwrap_or_else(PoisonError::into_inner);
        info.verbs.iter().any(|known| known == verb.as_str())
    }

    /// Ends the connection, also one that is being made. What is under way on it fails.
    pub(super) fn close(&self) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *cut).cancel();
    }

    fn cut(&self) -> CancellationToken {
        self.cut.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A stream that can be ended from outside.
struct Severable {
    stream: Box<dyn GuestStream>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl AsyncRead for Severable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut *self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Severable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.stream).poll_shutdown(cx)
    }
}

async fn connect(
    driver: &dyn Driver,
    site: &Site,
    token: &Token,
    cut: CancellationToken,
) -> Result<(Client, AgentInfo)> {
    let fail = |error: ClientError| guest_error("reach the agent of", site, &error);
    let stream = driver.dial(site).await?;
    let stream = Severable { stream, cut: Box::pin(cut.cancelled_owned()) };
    let transport = if driver.abilities().many_streams { Transport::Socket } else { Transport::Serial };
    let agreed = timeout(ATTEMPT, Client::connect(stream, transport)).await;
    let client = match agreed {
        Err(_) => {
            let why = format!("it did not answer within {} s", ATTEMPT.as_secs());
            return Err(Error::new(ErrorKind::Guest, "reach the agent of", &site.name, why));
        }
        Ok(client) => client.map_err(fail)?,
    };
    let info = client.hello(Some(token.clone())).await.map_err(fail)?;
    Ok((client, info))
}

/// What a guest answered, as an error of ours.
pub(super) fn guest_error(doing: &'static str, site: &Site, error: &ClientError) -> Error {
    let kind = match error.code() {
        Some(ErrorCode::Invalid | ErrorCode::NotFound | ErrorCode::Refused) => ErrorKind::Invalid,
        Some(ErrorCode::Unsupported) => ErrorKind::Unsupported,
        _ => ErrorKind::Guest,
    };
    Error::new(kind, doing, &site.name, error)
}

/// Makes a token.
pub(super) fn new_token() -> Result<Token> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| Error::system("make", "a token", error))?;
    Token::new(&hex::encode(bytes)).map_err(|error| Error::system("make", "a token", error))
}

/// Keeps the token of a VM in its directory.
pub(super) fn write_token(dir: &Path, token: &Token) -> Result<()> {
    write_volatile(&dir.join(TOKEN), token.expose().as_bytes())
}

/// The token of a VM.
pub(super) fn read_token(dir: &Path) -> Result<Token> {
    let path = dir.join(TOKEN);
    let text = fs::read_to_string(&path).map(zeroize::Zeroizing::new);
    let text = text.map_err(|error| Error::system("read", path.display(), error))?;
    Token::new(&text).map_err(|error| Error::new(ErrorKind::Corrupt, "read", path.display(), error))
}
