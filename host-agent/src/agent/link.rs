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
    verb::{AgentInfo, Renew, RenewResult},
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
/// How long it is until another attempt, at most.
const PAUSE: Duration = Duration::from_millis(5);

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
        let mut held = self.hold(site, deadline, limit).await?;
        if let Some(held) = held.as_ref().filter(|held| !held.client.is_closed() && !held.cut.is_cancelled())
        {
            return Ok(held.client.clone());
        }
        *held = None;
        let begun = self.begin(driver, site, (deadline, limit), None).await?;
        let client = begun.held.client.clone();
        *held = Some(begun.held);
        Ok(client)
    }

    /// Renews the guest with the first words of a new connection: nothing is waited for between hello and them.
    pub(super) async fn renew(
        &self,
        driver: &dyn Driver,
        site: &Site,
        limit: Duration,
        renew: &Renew,
    ) -> Result<RenewResult> {
        let deadline = Instant::now() + limit;
        let mut held = self.hold(site, deadline, limit).await?;
        *held = None;
        let begun = self.begin(driver, site, (deadline, limit), Some(renew)).await?;
        *held = Some(begun.held);
        begun.renewed.map_err(|error| guest_error("renew", site, &error))
    }

    async fn hold(
        &self,
        site: &Site,
        deadline: Instant,
        limit: Duration,
    ) -> Result<tokio::sync::MutexGuard<'_, Option<Held>>> {
        timeout_at(deadline, self.client.lock()).await.map_err(|_| late(site, limit))
    }

    /// Makes a connection, and tries until it works or is too late.
    async fn begin(
        &self,
        driver: &dyn Driver,
        site: &Site,
        (deadline, limit): (Instant, Duration),
        renew: Option<&Renew>,
    ) -> Result<Begun> {
        let (mut last, mut pause) = (late(site, limit), Duration::from_millis(1));
        let token = read_token(&site.dir)?;
        // A connection that broke may have brought the guest its new token.
        let other = renew.and_then(|renew| renew.token.clone());
        let mut refused = false;
        loop {
            let token = other.as_ref().filter(|_| refused).unwrap_or(&token);
            match timeout_at(deadline, begin_once(driver, site, (token, self.cut()), renew)).await {
                Err(_) => return Err(last),
                Ok(Ok((begun, info))) => {
                    *self.agent.lock().unwrap_or_else(PoisonError::into_inner) = info;
                    return Ok(begun);
                }
                Ok(Err(missed)) => {
                    refused ^= missed.refused;
                    last = missed.error;
                }
            }
            // A VMM that is gone will not come back. An attempt that fails at once is never too late by itself.
            if !site.dir.exists() || Instant::now() >= deadline {
                return Err(last);
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE);
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

/// A connection that works.
struct Begun {
    held: Held,
    /// What came of the renewal that was to go along with hello.
    renewed: std::result::Result<RenewResult, ClientError>,
}

/// A connection that was not made.
struct Missed {
    error: Error,
    /// The guest does not take the token.
    refused: bool,
}

impl From<Error> for Missed {
    fn from(error: Error) -> Self {
        Self { error, refused: false }
    }
}

async fn begin_once(
    driver: &dyn Driver,
    site: &Site,
    (token, cut): (&Token, CancellationToken),
    renew: Option<&Renew>,
) -> std::result::Result<(Begun, AgentInfo), Missed> {
    let fail = |error: ClientError| Missed {
        error: guest_error("reach the agent of", site, &error),
        refused: error.code() == Some(ErrorCode::Unauthorized),
    };
    let stream = driver.dial(site).await?;
    let stream = Severable { stream, cut: Box::pin(cut.clone().cancelled_owned()) };
    let transport = if driver.abilities().many_streams { Transport::Socket } else { Transport::Serial };
    let agreed = timeout(ATTEMPT, Client::connect(stream, transport)).await;
    let client = agreed.map_err(|_| late(site, ATTEMPT))?.map_err(fail)?;
    let hello = client.hello(Some(token.clone()));
    let (info, renewed) = match renew {
        None => (hello.await, Ok(RenewResult::default())),
        // The guest takes them in this order.
        Some(renew) => tokio::join!(biased; hello, client.call(renew)),
    };
    let info = info.map_err(fail)?;
    let renewed = match (renew, renewed) {
        // A guest agent that did not take them in this order.
        (Some(renew), Err(error)) if error.code() == Some(ErrorCode::Unauthorized) => {
            client.call(renew).await
        }
        (_, renewed) => renewed,
    };
    Ok((Begun { held: Held { client, cut }, renewed }, info))
}

fn late(site: &Site, limit: Duration) -> Error {
    let why = format!("its agent did not answer within {} ms", limit.as_millis());
    Error::new(ErrorKind::Guest, "reach the agent of", &site.name, why)
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use fuse_guest_protocol::{
        Frame, GuestError, Kind,
        decode::{GuestDecoder, Incoming},
        verb::Hello,
    };
    use fuse_orchestrator::model::VmName;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{UnixListener, UnixStream},
    };

    use super::*;
    use crate::driver::qemu::{Accelerator, QemuDriver, User};

    const LIMIT: Duration = Duration::from_secs(60);

    /// What a guest does with a connection.
    #[derive(Clone, Copy, PartialEq)]
    enum Manner {
        /// Answers.
        Answers,
        /// Takes the renewal, and dies before it says so.
        Dies,
        /// Takes nothing beside hello before hello is answered.
        Hesitates,
    }

    /// A guest that has a token until it is renewed.
    struct Guest {
        token: String,
        renewals: u32,
    }

    impl Guest {
        async fn serve(&mut self, mut stream: UnixStream, manner: Manner) {
            let (mut decoder, mut buffer, mut greeted) = (GuestDecoder::new(), vec![0; 4096], false);
            let mut hesitated = HashSet::new();
            loop {
                let mut out = Vec::new();
                while let Some(incoming) = decoder.take() {
                    let frame = match incoming {
                        Incoming::Sync(sync) => {
                            out.extend(sync.encode_back());
                            continue;
                        }
                        Incoming::Frame(frame) if frame.kind == Kind::Open => frame,
                        Incoming::Frame(_) | Incoming::Lost(_) => continue,
                    };
                    let refused = Err(GuestError::new(ErrorCode::Unauthorized, "say hello first"));
                    let answer = if frame.code == Verb::Hello as u16 {
                        let hello: Hello = serde_json::from_slice(&frame.payload).unwrap();
                        greeted = hello.token.is_some_and(|token| token.matches(&self.token));
                        if greeted { Ok(()) } else { refused }
                    } else if !greeted || (manner == Manner::Hesitates && hesitated.insert("renew")) {
                        refused
                    } else {
                        let renew: Renew = serde_json::from_slice(&frame.payload).unwrap();
                        renew.token.unwrap().expose().clone_into(&mut self.token);
                        self.renewals += 1;
                        Ok(())
                    };
                    match answer {
                        Ok(()) => Frame::ok(frame.stream, b"{}".to_vec()).encode(&mut out),
                        Err(error) => Frame::failed(frame.stream, &error).encode(&mut out),
                    }
                }
                if manner == Manner::Dies && self.renewals > 0 {
                    return;
                }
                stream.write_all(&out).await.unwrap();
                match stream.read(&mut buffer).await {
                    Ok(count) if count > 0 => decoder.feed(&buffer[..count]),
                    _ => return,
                }
            }
        }
    }

    fn site(dir: &tempfile::TempDir) -> Site {
        Site { name: VmName::new("vm-1").unwrap(), dir: dir.path().to_owned() }
    }

    fn driver() -> QemuDriver {
        QemuDriver::new("qemu".into(), Accelerator::Tcg, User { uid: 0, gid: 0 })
    }

    /// Renews a guest that behaves in these manners, one connection after another; how often it was renewed.
    async fn renewed(manners: &'static [Manner]) -> u32 {
        let dir = tempfile::tempdir().unwrap();
        let (site, driver) = (site(&dir), driver());
        let listener = UnixListener::bind(dir.path().join("agent.sock")).unwrap();
        let old = new_token().unwrap();
        write_token(dir.path(), &old).unwrap();
        let mut guest = Guest { token: old.expose().to_owned(), renewals: 0 };
        let served = tokio::spawn(async move {
            for manner in manners {
                let (stream, _) = listener.accept().await.unwrap();
                guest.serve(stream, *manner).await;
            }
            guest
        });
        let token = new_token().unwrap();
        let request = Renew { token: Some(token.clone()), ..Renew::default() };
        let link = GuestLink::default();
        link.renew(&driver, &site, LIMIT, &request).await.unwrap();
        drop(link);
        let guest = timeout(LIMIT, served).await.unwrap().unwrap();
        assert_eq!(guest.token, token.expose(), "it has its own token");
        guest.renewals
    }

    #[tokio::test]
    async fn a_renewal_goes_along_with_hello() {
        assert_eq!(renewed(&[Manner::Answers]).await, 1);
    }

    #[tokio::test]
    async fn a_guest_that_hesitates_is_asked_again() {
        assert_eq!(renewed(&[Manner::Hesitates]).await, 1);
    }

    /// Nobody knows whether it has its new token: first it is asked with the old one, which it does not take any more.
    #[tokio::test]
    async fn a_guest_that_took_its_token_without_a_word_is_found() {
        assert_eq!(renewed(&[Manner::Dies, Manner::Answers, Manner::Answers]).await, 2);
    }

    #[tokio::test]
    async fn nobody_there_is_said_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let site = site(&dir);
        // The socket of a VMM that ended: who dials is refused at once, every time.
        drop(UnixListener::bind(dir.path().join("agent.sock")).unwrap());
        write_token(dir.path(), &new_token().unwrap()).unwrap();
        let (link, driver) = (GuestLink::default(), driver());
        let asked = link.client(&driver, &site, Duration::from_millis(50));
        let error = timeout(LIMIT, asked).await.expect("it ends").unwrap_err();
        assert_eq!(error.kind, ErrorKind::System, "{error}");
    }
}
