//! A control plane behind the REST API.
//!
//! [`Connect`] says how it is reached and who is believed, [`Connection`] is the way to it. What the network does to
//! a call is met here: everything that can be asked twice is, POSTs under an idempotency key of their own, with
//! growing waits; answers have limits; redirects are not followed, so that the token goes nowhere else; no proxy is
//! used.

mod address;
mod call;
mod calls;
mod client;
mod events;
mod guests;
mod logs;
mod sse;
mod transport;

use std::{fmt, sync::Arc, time::Duration};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use secrecy::{ExposeSecret, SecretSlice, SecretString};

pub(crate) use events::RemoteReader;
pub(crate) use logs::RemoteLog;
pub use transport::{Transport, TransportError};

use crate::{
    Error, Orchestrator, Result,
    model::CertificatePin,
    tls::{self, Identity, Trust},
    wire,
};
use client::Client;
use transport::Http;

/// How long calls may take, and how much they may bring.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionLimits {
    /// Until a connection stands. 10 s.
    pub connect: Duration,
    /// How long what was sent may stay unacknowledged until the connection counts as dead. 20 s; on Linux.
    pub unacknowledged: Duration,
    /// An ordinary call, from its beginning to the end of its answer. 60 s.
    pub call: Duration,
    /// A call that has a host do much: a snapshot, a restore, a fork, an upload, a drain; a create on a server that
    /// cannot answer before the boot has ended. 11 min.
    pub work: Duration,
    /// What is added to the time that a command in the guest may take. 45 s: longer than servers wait for their hosts
    /// (30 s), since their answer says which host is silent.
    pub exec_margin: Duration,
    /// How long a stream of events may be silent until it counts as broken. 60 s; servers give a sign of life every
    /// 15 s.
    pub silence: Duration,
    /// How long a stream of events is taken up again and again until its reader is told. 60 s.
    pub reconnect: Duration,
    /// The most bytes of an answer. 64 MiB.
    pub answer: usize,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            unacknowledged: Duration::from_secs(20),
            call: Duration::from_secs(60),
            work: Duration::from_secs(660),
            exec_margin: Duration::from_secs(45),
            silence: Duration::from_secs(60),
            reconnect: Duration::from_secs(60),
            answer: 64 * 1024 * 1024,
        }
    }
}

/// How a control plane is reached.
///
/// ```no_run
/// # async fn connect() -> Result<(), Box<dyn std::error::Error>> {
/// use fuse_orchestrator::Connect;
///
/// let fuse = Connect::new("https://fuse.example.org:8080")
///     .token(std::env::var("FUSE_TOKEN")?)
///     .authorities(&std::fs::read("ca.pem")?)
///     .open()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "it connects to nobody until it is opened"]
pub struct Connect {
    url: String,
    token: Option<SecretString>,
    authorities: Option<Vec<u8>>,
    certificate: Option<CertificatePin>,
    identity: Option<(Vec<u8>, SecretSlice<u8>)>,
    limits: ConnectionLimits,
    transport: Option<Arc<dyn Transport>>,
}

impl fmt::Debug for Connect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("url", &self.url)
            .field("token", &self.token)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

impl Connect {
    /// The control plane at `url`: `http://` or `https://`, a host, and a port or a path where there is one.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            authorities: None,
            certificate: None,
            identity: None,
            limits: ConnectionLimits::default(),
            transport: None,
        }
    }

    /// Shows this bearer token: the master token or an API key.
    pub fn token(mut self, token: impl Into<SecretString>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Believes whom these authorities (certificates in PEM) vouch for, instead of those of the system.
    pub fn authorities(mut self, pem: &[u8]) -> Self {
        self.authorities = Some(pem.to_vec());
        self
    }

    /// Believes the holder of this very certificate and nobody else.
    pub fn certificate(mut self, pin: CertificatePin) -> Self {
        self.certificate = Some(pin);
        self
    }

    /// Shows this certificate (with its chain, in PEM) to a server that asks for one. The key is PEM too.
    pub fn client_certificate(mut self, chain: &[u8], key: &[u8]) -> Self {
        self.identity = Some((chain.to_vec(), SecretSlice::from(key.to_vec())));
        self
    }

    /// With these limits.
    pub fn limits(mut self, limits: ConnectionLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sends requests this way instead of over the network, such as to a server in the same process.
    pub fn transport(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = Some(transport);
        self
    }

    /// The connection. Speaks to nobody yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a URL, a token, a certificate or a key that is none.
    pub fn connection(self) -> Result<Connection> {
        let base = address::parse(&self.url)?;
        if let Some(token) = &self.token
            && reqwest::header::HeaderValue::from_str(token.expose_secret()).is_err()
        {
            return Err(Error::invalid("token", "has characters that a header cannot have"));
        }
        let transport = match self.transport {
            Some(transport) => transport,
            None => {
                let trust = match (self.certificate, &self.authorities) {
                    (Some(pin), _) => Trust::Pinned(pin),
                    (None, Some(pem)) => Trust::Named(authorities(pem)?),
                    (None, None) if base.scheme() == "http" => Trust::Anybody,
                    (None, None) => Trust::Named(tls::system_roots()),
                };
                let identity = self.identity.as_ref().map(|(chain, key)| identity(chain, key)).transpose()?;
                let tls = tls::client_as(trust, identity).map_err(|why| Error::invalid("tls", why))?;
                Arc::new(Http::new(tls, &self.limits)?)
            }
        };
        Ok(Connection { client: Arc::new(Client::new(transport, base, self.token, self.limits)) })
    }

    /// Connects, and asks who answers.
    ///
    /// # Errors
    /// As [`Connect::connection`] and [`Connection::version`].
    pub async fn open(self) -> Result<Orchestrator> {
        let connection = self.connection()?;
        connection.version().await?;
        Ok(connection.into())
    }
}

/// The way to a control plane behind the REST API: cheap to clone, keeps connections open for the next call.
///
/// [`Orchestrator`] is what programs use; a connection makes one with `Orchestrator::from`. This type has in addition
/// what only a server has: its version, its readiness, its metrics.
#[derive(Debug, Clone)]
pub struct Connection {
    client: Arc<Client>,
}

impl Connection {
    /// Where the control plane is, without a password.
    #[must_use]
    pub fn url(&self) -> &str {
        self.client.url()
    }

    /// Which version answers. Needs no token.
    ///
    /// # Errors
    /// [`Error::NoAnswer`]; [`Error::BadAnswer`] when it is no Fuse control plane that answers.
    pub async fn version(&self) -> Result<wire::Version> {
        let version: wire::Version = self.client.get(wire::route::VERSION, "ask for the version").await?;
        if version.service != wire::SERVICE {
            let why = format!("it is of the service {:?} instead of {:?}", version.service, wire::SERVICE);
            return Err(Error::BadAnswer { what: "version".to_owned(), why });
        }
        Ok(version)
    }

    /// Whether the control plane can act, and what is wrong where it cannot.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], [`Error::BadAnswer`].
    pub async fn readiness(&self) -> Result<wire::Readiness> {
        self.client.readiness().await
    }

    /// The metrics, in the text format of Prometheus.
    ///
    /// # Errors
    /// [`Error::NoAnswer`], and what else the server says.
    pub async fn metrics(&self) -> Result<String> {
        self.client.text(wire::route::METRICS, "read the metrics").await
    }
}

fn authorities(pem: &[u8]) -> Result<RootCertStore> {
    let refuse = |why: String| Error::invalid("authorities", why);
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| refuse(format!("are not PEM: {error}")))?;
        roots.add(certificate).map_err(|error| refuse(format!("hold no good certificate: {error}")))?;
    }
    if roots.is_empty() { Err(refuse("hold no certificate".to_owned())) } else { Ok(roots) }
}

fn identity(chain: &[u8], key: &SecretSlice<u8>) -> Result<Identity> {
    let refuse = |why: String| Error::invalid("client_certificate", why);
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|error| refuse(format!("is not PEM: {error}")))?;
    if chain.is_empty() {
        return Err(refuse("holds no certificate".to_owned()));
    }
    // The parser's words could quote the key.
    let key = PrivateKeyDer::from_pem_slice(key.expose_secret())
        .map_err(|_| refuse("comes with a key that is not PEM".to_owned()))?;
    Ok((chain, key))
}
