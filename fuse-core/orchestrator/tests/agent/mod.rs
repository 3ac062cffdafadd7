//! A host agent for tests: the HTTP interface over a stub host, as our agent has it or as the original one does.
#![allow(dead_code, reason = "each test program uses a part of this")]

mod routes;
mod serve;
mod terminal;

use std::{net::SocketAddr, sync::Arc};

use fuse_orchestrator::{
    model::{CertificatePin, HostId},
    provider::{
        Connector, HostAddress, Provider,
        remote::{RemoteConnector, RemoteLimits},
        stub::StubHost,
    },
};

/// Which interface the agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// Ours, with every extension.
    Ours,
    /// The original one.
    Original,
    /// The original one as it began: no capacity route, and start-agent under its first name.
    First,
}

pub const TOKEN: &str = "token-of-the-test-agent";

/// An agent that serves until it is dropped.
#[derive(Debug)]
pub struct Agent {
    pub stub: StubHost,
    pub address: SocketAddr,
    pub pin: Option<CertificatePin>,
    /// Its own runtime, so that its connections end with it, as those of a process do.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Agent {
    /// Serves a new stub host on a port of loopback.
    pub async fn start(flavour: Flavour) -> Self {
        Self::over(StubHost::new("behind-an-agent", StubHost::standard_capacity()), flavour).await
    }

    pub async fn over(stub: StubHost, flavour: Flavour) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::on(listener, stub, flavour)
    }

    /// Serves on a listener.
    pub fn on(listener: tokio::net::TcpListener, stub: StubHost, flavour: Flavour) -> Self {
        let address = listener.local_addr().unwrap();
        let app = routes::router(stub.clone(), flavour);
        let runtime = runtime();
        let listener = listener.into_std().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
        Self { stub, address, pin: None, runtime: Some(runtime) }
    }

    /// Serves over TLS, with a certificate that it signed itself.
    pub async fn start_tls() -> Self {
        let stub = StubHost::new("behind-tls", StubHost::standard_capacity());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (pin, config) = serve::certificate();
        let app = routes::router(stub.clone(), Flavour::Ours);
        let runtime = runtime();
        let listener = listener.into_std().unwrap();
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            serve::serve_tls(listener, config, app).await;
        });
        Self { stub, address, pin: Some(pin), runtime: Some(runtime) }
    }

    pub fn url(&self) -> String {
        let scheme = if self.pin.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// A provider that speaks to it.
    pub fn provider(&self) -> Arc<dyn Provider> {
        connect(&self.url(), Some(TOKEN), self.pin)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub fn connect(url: &str, token: Option<&str>, pin: Option<CertificatePin>) -> Arc<dyn Provider> {
    connect_with(url, token, pin, RemoteLimits::default())
}

pub fn connect_with(
    url: &str,
    token: Option<&str>,
    pin: Option<CertificatePin>,
    limits: RemoteLimits,
) -> Arc<dyn Provider> {
    let host = HostAddress {
        id: HostId::new("remote").unwrap(),
        url: url.to_owned(),
        backend: String::new(),
        token: token.map(Into::into),
        certificate: pin,
    };
    RemoteConnector::with_limits(limits).connect(&host).unwrap()
}
