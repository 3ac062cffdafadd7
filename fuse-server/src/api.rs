//! What the routes share, and how they are put together.

use std::{sync::Arc, time::Duration};

use axum::{Router, middleware};
use fuse_orchestrator::ControlPlane;
use ipnet::IpNet;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

use crate::{
    auth::{Audit, Limiter, MasterToken},
    layers,
    metrics::Metrics,
    repeat::Repeats,
    routes,
};

/// How often callers may call. Zero: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimits {
    /// Requests a second of one caller: the master, or an API key. Twice as many at once.
    pub per_key: u32,
    /// Requests a second of one address, or of one /64 network. Twice as many at once.
    pub per_address: u32,
    /// Wrong credentials a minute of one address. Beyond, it is refused without a look.
    pub failures_per_minute: u32,
}

impl Default for RateLimits {
    fn default() -> Self {
        Self { per_key: 0, per_address: 0, failures_per_minute: 60 }
    }
}

/// What the routes go by.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// The master token. None: with no API key either, everybody may do everything.
    pub auth_token: Option<SecretString>,
    /// Networks that may call. Empty: all.
    pub allowed: Vec<IpNet>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether the login cookie is for HTTPS only.
    pub secure_cookies: bool,
    /// How often callers may call.
    pub rate: RateLimits,
    /// How long the body of a request may take. 15 s.
    pub body_timeout: Duration,
    /// How long a create is waited for; then it is answered with 202, and goes on. 55 s.
    pub create_wait: Duration,
    /// The time between two signs of life of an event stream. 15 s.
    pub keepalive: Duration,
    /// Whether exec and attach of a stub host are answered with 501.
    pub stub_compat: bool,
    /// Where guests fetch the agent when the request does not say.
    pub agent_download_url: Option<String>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            auth_token: None,
            allowed: Vec::new(),
            trusted_proxies: Vec::new(),
            secure_cookies: false,
            rate: RateLimits::default(),
            body_timeout: Duration::from_secs(15),
            create_wait: Duration::from_secs(55),
            keepalive: Duration::from_secs(15),
            stub_compat: false,
            agent_download_url: None,
        }
    }
}

/// What the routes share.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) orchestrator: ControlPlane,
    pub(crate) config: ApiConfig,
    pub(crate) master: Option<MasterToken>,
    pub(crate) metrics: Metrics,
    pub(crate) repeats: Repeats,
    /// Ends streams, and readiness with them.
    pub(crate) stop: CancellationToken,
    pub(crate) by_key: Option<Limiter<String>>,
    pub(crate) by_address: Option<Limiter<std::net::IpAddr>>,
    pub(crate) failures: Option<Limiter<std::net::IpAddr>>,
    pub(crate) audit: Audit,
}

/// The routes over an orchestrator: [`router`] with the figures and the stop signal of the caller's choice.
#[derive(Debug)]
#[must_use = "it serves nothing until its router is mounted"]
pub struct Service {
    orchestrator: ControlPlane,
    config: ApiConfig,
    metrics: Metrics,
    stop: CancellationToken,
}

impl Service {
    /// The routes over `orchestrator`.
    pub fn new(orchestrator: ControlPlane, config: ApiConfig) -> Self {
        Self { orchestrator, config, metrics: Metrics::default(), stop: CancellationToken::new() }
    }

    /// Counts into `metrics`, such as those that a [`MeasuredStore`](crate::MeasuredStore) counts into.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Ends event streams when `stop` is cancelled, and is not ready from then on.
    pub fn stop(mut self, stop: CancellationToken) -> Self {
        self.stop = stop;
        self
    }

    /// The router.
    pub fn router(self) -> Router {
        let rate = self.config.rate;
        let second = Duration::from_secs(1);
        let api = Arc::new(Api {
            master: self.config.auth_token.as_ref().map(MasterToken::new),
            repeats: Repeats::new(self.orchestrator.clone()),
            by_key: Limiter::new(rate.per_key, second, rate.per_key.saturating_mul(2)),
            by_address: Limiter::new(rate.per_address, second, rate.per_address.saturating_mul(2)),
            failures: Limiter::new(
                rate.failures_per_minute,
                Duration::from_secs(60),
                rate.failures_per_minute,
            ),
            audit: Audit::new(self.orchestrator.clone()),
            orchestrator: self.orchestrator,
            config: self.config,
            metrics: self.metrics,
            stop: self.stop,
        });
        let inner = routes::inner(&api)
            .fallback(layers::no_route)
            .layer(middleware::from_fn_with_state(Arc::clone(&api), layers::surround));
        routes::outer(&api).merge(inner)
    }
}

/// The routes over `orchestrator`, to be served or mounted. See [`Service`] for more choice.
pub fn router(orchestrator: ControlPlane, config: ApiConfig) -> Router {
    Service::new(orchestrator, config).router()
}
