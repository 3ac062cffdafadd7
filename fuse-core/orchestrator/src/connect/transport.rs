//! How requests reach the server.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use reqwest::{Request, Response, redirect};
use rustls::ClientConfig;

use super::ConnectionLimits;
use crate::{Error, Result, link};

/// How requests reach the server: HTTP over the network, or whatever else carries them.
#[async_trait]
pub trait Transport: fmt::Debug + Send + Sync + 'static {
    /// Sends a request and brings the beginning of its answer.
    ///
    /// # Errors
    /// [`TransportError`] when there is none.
    async fn send(&self, request: Request) -> std::result::Result<Response, TransportError>;
}

/// A request that got no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportError {
    /// Whether the request certainly did not reach the server.
    pub unsent: bool,
    /// Why, without secrets.
    pub why: String,
}

/// HTTP over the network.
#[derive(Debug)]
pub(super) struct Http(reqwest::Client);

impl Http {
    pub(super) fn new(tls: ClientConfig, limits: &ConnectionLimits) -> Result<Self> {
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .http1_only()
            .no_proxy()
            .referer(false)
            .redirect(redirect::Policy::none())
            .connect_timeout(limits.connect)
            .pool_idle_timeout(Duration::from_secs(60))
            .pool_max_idle_per_host(32)
            .user_agent(concat!("fuse-rust/", env!("CARGO_PKG_VERSION")));
        link::drop_dead(builder, limits.unacknowledged)
            .build()
            .map(Self)
            .map_err(|error| Error::invalid("tls", words(&error)))
    }
}

#[async_trait]
impl Transport for Http {
    async fn send(&self, request: Request) -> std::result::Result<Response, TransportError> {
        let lost = |error: reqwest::Error| TransportError { unsent: error.is_connect(), why: words(&error) };
        self.0.execute(request).await.map_err(lost)
    }
}

/// The error and its causes, without the URL, which has names of the caller in it.
pub(super) fn words(error: &(dyn std::error::Error + 'static)) -> String {
    let mut words = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        // The outermost words of this library only say that a request failed, and for which URL.
        if !error.is::<reqwest::Error>() || error.source().is_none() {
            words.push(error.to_string());
        }
        next = error.source();
    }
    words.dedup();
    words.join(": ")
}
