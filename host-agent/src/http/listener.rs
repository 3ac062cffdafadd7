//! The listener: plain or TLS, with limits on slow and many callers.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;

/// The most connections at once.
const CONNECTIONS: usize = 512;
/// How long a caller may take for its TLS handshake, and for the headers of a request.
const HEADERS: Duration = Duration::from_secs(15);

/// Why an agent does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Everybody could read the token.
    #[error(
        "will not listen on {0} without TLS: the token would cross the network in the clear; give --tls-cert and \
         --tls-key, listen on 127.0.0.1, or say --insecure-listen where the network is your own"
    )]
    Insecure(SocketAddr),
    /// One of certificate and key.
    #[error("--tls-cert and --tls-key go together")]
    HalfTls,
    /// They cannot be used.
    #[error("cannot use the certificate {cert} and its key: {why}")]
    Tls {
        /// The file of the certificate.
        cert: String,
        /// Why not.
        why: String,
    },
    /// The address cannot be had.
    #[error("cannot listen on {0}: {1}")]
    Address(SocketAddr, io::Error),
}

/// A certificate and its key.
#[derive(Clone)]
pub struct Tls(Arc<ServerConfig>);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Reads a certificate chain and its key, both PEM.
    ///
    /// # Errors
    /// [`ServeError::Tls`].
    pub fn load(cert: &Path, key: &Path) -> Result<Self, ServeError> {
        let fail = |why: String| ServeError::Tls { cert: cert.display().to_string(), why };
        let chain = CertificateDer::pem_file_iter(cert).map_err(|error| fail(error.to_string()))?;
        let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(|error| fail(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(|error| fail(error.to_string()))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|error| fail(error.to_string()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// Listens.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Tls>,
}

impl Listener {
    /// Binds `address`. Addresses beyond this machine need TLS, or `insecure`.
    ///
    /// # Errors
    /// [`ServeError`].
    pub async fn bind(address: SocketAddr, tls: Option<Tls>, insecure: bool) -> Result<Self, ServeError> {
        if tls.is_none() && !insecure && !is_loopback(address.ip()) {
            return Err(ServeError::Insecure(address));
        }
        let socket = TcpListener::bind(address).await.map_err(|error| ServeError::Address(address, error))?;
        Ok(Self { socket, tls })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// That of the system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is done.
    pub async fn serve(self, router: Router, stop: impl Future<Output = ()>) {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        tokio::pin!(stop);
        loop {
            let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = &mut stop => return,
                accepted = self.socket.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Such as too many open files: others end meanwhile.
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let _ = stream.set_nodelay(true);
            let (router, tls) = (router.clone(), self.tls.clone());
            tokio::spawn(async move {
                match tls {
                    None => handle(stream, router).await,
                    Some(Tls(config)) => {
                        let handshake = TlsAcceptor::from(config).accept(stream);
                        if let Ok(Ok(stream)) = tokio::time::timeout(HEADERS, handshake).await {
                            handle(stream, router).await;
                        }
                    }
                }
                drop(permit);
            });
        }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address.is_loopback()
}

async fn handle(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, router: Router) {
    let mut server = auto::Builder::new(TokioExecutor::new()).http1_only();
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADERS).max_buf_size(64 * 1024);
    let served =
        server.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = served.await {
        tracing::debug!(error, "a connection ended early");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn other_machines_need_tls_or_an_explicit_word() {
        let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
        let refused = Listener::bind(everywhere, None, false).await.unwrap_err();
        assert!(refused.to_string().contains("--insecure-listen"), "{refused}");
        Listener::bind(everywhere, None, true).await.unwrap();
        Listener::bind("127.0.0.1:0".parse().unwrap(), None, false).await.unwrap();
        Listener::bind("[::1]:0".parse().unwrap(), None, false).await.unwrap();
    }
}
