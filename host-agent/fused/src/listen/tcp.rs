//! TCP: HTTP and the guest protocol on one port, over TLS as soon as there is a certificate.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::tls::Certificate;
use crate::{agent::Agent, http, session, tokens::Trust};

/// Connections at once; beyond, new ones are closed.
const CONNECTIONS: usize = 64;
/// How long a connection may take to say what it wants, and an HTTP request to come and be answered.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens for ever.
pub(crate) async fn serve(agent: Arc<Agent>, address: SocketAddr) {
    let certificate = Arc::new(Certificate::default());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut said = String::new();
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                if error.to_string() != said {
                    said = error.to_string();
                    agent.logs.say(&format!("{address}: {said}; trying again"));
                }
                sleep(Duration::from_secs(1)).await;
            }
        }
    };
    let bound = listener.local_addr().unwrap_or(address);
    agent.logs.say(&format!("listening on {bound}"));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: some will be free again.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (agent, certificate) = (Arc::clone(&agent), Arc::clone(&certificate));
        tokio::spawn(async move {
            // Strangers may do what they like with their connections; only what is wrong with the guest is said.
            if let Err(error) = connection(&agent, &certificate, stream).await
                && error.kind() == io::ErrorKind::NotFound
            {
                agent.logs.say(&format!("TLS: {error}"));
            }
            drop(place);
        });
    }
}

async fn connection(agent: &Arc<Agent>, certificate: &Certificate, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    if agent.has_tls() {
        let acceptor = match certificate.acceptor(&agent.options) {
            Ok(acceptor) => acceptor,
            Err(error) => {
                agent.logs.say(&format!("TLS: {error}; connections are refused"));
                return Ok(());
            }
        };
        let stream = timeout(PATIENCE, acceptor.accept(stream)).await.map_err(io::Error::from)??;
        talk(agent, stream).await
    } else {
        talk(agent, stream).await
    }
}

/// The first byte tells the guest protocol from HTTP.
async fn talk<S>(agent: &Arc<Agent>, mut stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut first = vec![0; 2048];
    let count = timeout(PATIENCE, stream.read(&mut first)).await.map_err(io::Error::from)??;
    first.truncate(count);
    match first.first() {
        None => Ok(()),
        Some(byte) if *byte == fuse_guest_protocol::sync::MAGIC[0] || *byte == 0 => {
            session::serve(agent, stream, &first, Trust::Network).await
        }
        Some(_) => timeout(PATIENCE, http::serve(agent, stream, first)).await.map_err(io::Error::from)?,
    }
}
