//! A host that is driven through the HTTP interface of its agent (see [`agent_api`](super::agent_api)).
//!
//! It speaks to our agent and to the original one, which lacks what that page calls extensions:
//!
//! | | our agent | the original one |
//! |---|---|---|
//! | whose a VM is | its owner tag | the prefix of its name |
//! | the workload of the agent spec | started | not started; the environment gets a warning |
//! | logs | read and followed | unsupported |
//! | bytes of a deleted snapshot | freed | kept for ever: unsupported |
//! | output of a command | as it comes | at the end |
//!
//! # What is believed
//! An agent may be slow, broken or hostile. Answers have a size limit and a time limit, redirects are not followed, and an
//! answer that does not parse, breaks off, or speaks of another VM than was asked for is no answer: the verb may have
//! happened, and is treated so. Over `https` the certificate must be one that the system's authorities vouch for, or the
//! pinned one. The token goes into one header and nowhere else.
//!
//! # What is repeated
//! A request that never left (the connection could not be made) is sent again, whatever it is. One whose answer was lost
//! only where twice is the same as once: probe, list, get, destroy, upload, logs, snapshots, delete snapshot. At most
//! twice again, after 100 ms and 200 ms, each up to twice as long by chance.

mod address;
mod attach;
mod client;
mod host;
mod translate;

use std::{sync::Arc, time::Duration};

use reqwest::Url;

use super::{Connector, HostAddress, Provider, ProviderError, ProviderErrorKind, ProviderResult, Verb};
use crate::{
    model::CertificatePin,
    tls::{self, Trust},
};
use client::Client;
pub use host::RemoteHost;

/// The limits of a connection to a host agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteLimits {
    /// Making a connection. 5 s.
    pub connect: Duration,
    /// How long what was sent may stay unacknowledged until the connection counts as dead: a host that is cut off is
    /// noticed long before a command's own time is over. 10 s; on Linux.
    pub unacknowledged: Duration,
    /// Looking: probe, list, get, logs, snapshots, and the handshake of a terminal. 15 s.
    pub query: Duration,
    /// Making, forking, restoring and snapshotting. 10 min.
    pub create: Duration,
    /// Removing, uploading, starting the agent. 60 s.
    pub change: Duration,
    /// What is added to the time that a command may take. 30 s.
    pub exec_margin: Duration,
    /// The most bytes of an answer. 16 MiB.
    pub answer: usize,
    /// The most bytes that a command may print, in base64. 64 MiB.
    pub output: usize,
    /// How long what an agent can do is believed until it is asked again. 5 min.
    pub abilities: Duration,
}

impl Default for RemoteLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            unacknowledged: Duration::from_secs(10),
            query: Duration::from_secs(15),
            create: Duration::from_secs(600),
            change: Duration::from_secs(60),
            exec_margin: Duration::from_secs(30),
            answer: 16 * 1024 * 1024,
            output: 64 * 1024 * 1024,
            abilities: Duration::from_secs(300),
        }
    }
}

/// Makes providers for hosts with an `http` or `https` URL.
#[derive(Debug, Clone, Default)]
pub struct RemoteConnector {
    limits: RemoteLimits,
}

impl RemoteConnector {
    /// A connector whose providers have these limits.
    #[must_use]
    pub const fn with_limits(limits: RemoteLimits) -> Self {
        Self { limits }
    }
}

impl Connector for RemoteConnector {
    fn connect(&self, host: &HostAddress) -> ProviderResult<Arc<dyn Provider>> {
        let refused = |why| ProviderError::new(ProviderErrorKind::Refused, Verb::Probe, &host.id, "", why);
        let client = Client::new(host, self.limits.clone()).map_err(refused)?;
        Ok(Arc::new(RemoteHost::new(client, &host.backend)))
    }
}

/// The TLS of a client of the agent at `url`: whom it believes. Over `http` there is none.
///
/// # Errors
/// Why not, in words: the system has no authority.
pub fn peer_tls(url: &Url, certificate: Option<CertificatePin>) -> Result<rustls::ClientConfig, String> {
    tls::client(match certificate {
        Some(pin) => Trust::Pinned(pin),
        None if url.scheme() == "http" => Trust::Anybody,
        None => Trust::Named(tls::system_roots()),
    })
}

pub(crate) use address::warnings;
