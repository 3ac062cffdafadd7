//! What happens around every request, in this order: the header `Server`, the request id, the figures, the allowed
//! networks, the limit by address; then, on routes that need it, who calls.

use std::{
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, Method, Response, StatusCode, header},
    middleware::Next,
    response::IntoResponse as _,
};
use fuse_orchestrator::{Refusal, wire::route};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Frame, SizeHint};
use prometheus_client::metrics::gauge::Gauge;
use tracing::Instrument as _;

use crate::{
    answer::{Answer, Failure},
    api::Api,
    auth::{self, Access, Caller},
    metrics::{RequestLabels, RouteLabels, StateLabels},
};

const REQUEST_ID: HeaderName = HeaderName::from_static(route::REQUEST_ID);

/// The address of the caller, as far as it is known.
#[derive(Debug, Clone, Copy)]
struct Origin(Option<IpAddr>);

/// Surrounds every route but the four outer ones.
pub(crate) async fn surround(
    State(api): State<Arc<Api>>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    let began = Instant::now();
    let id = request_id(&request);
    let route = request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str).to_owned();
    let method = method_label(request.method());
    let span = tracing::info_span!(
        "request",
        request_id = id.to_str().unwrap_or_default(),
        method,
        route = route.as_str(),
        environment_id = tracing::field::Empty,
    );
    let in_flight = InFlight::begin(&api.metrics.in_flight);
    let is_change = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let response = async {
        let response = match admit(&api, &mut request) {
            Ok(()) => next.run(request).await,
            Err(failure) => failure.into_response(),
        };
        let (status, took) = (response.status().as_u16(), began.elapsed());
        if is_change {
            tracing::info!(status, took_us = micros(took), "answered");
        } else {
            tracing::debug!(status, took_us = micros(took), "answered");
        }
        response
    };
    let mut response = response.instrument(span).await;
    let code = response.status().as_u16();
    api.metrics.requests.get_or_create(&RequestLabels { route: route.clone(), method, code }).inc();
    let duration = api.metrics.request_duration.get_or_create(&RouteLabels { route, method });
    duration.observe(began.elapsed().as_secs_f64());
    let headers = response.headers_mut();
    headers.insert(header::SERVER, server_name());
    if code != StatusCode::SWITCHING_PROTOCOLS.as_u16() {
        headers.insert(REQUEST_ID, id);
    }
    response.map(|body| Body::new(UnsyncBoxBody::new(Counted { body, _in_flight: in_flight })))
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

fn server_name() -> HeaderValue {
    static NAME: LazyLock<HeaderValue> = LazyLock::new(|| {
        let name = HeaderValue::from_str(&format!("fuse-orchestrator/{}", crate::VERSION));
        name.unwrap_or_else(|_| HeaderValue::from_static("fuse-orchestrator"))
    });
    NAME.clone()
}

/// The caller's name of the request, when it is a plain one, else a new one.
fn request_id(request: &Request) -> HeaderValue {
    let given = request.headers().get(REQUEST_ID).filter(|id| id.to_str().is_ok_and(route::is_request_id));
    given.cloned().unwrap_or_else(fresh_id)
}

/// A name that no other request has: one draw of randomness for the process, then a count.
fn fresh_id() -> HeaderValue {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| {
        let mut bytes = [0_u8; 8];
        // Without randomness the ids of two processes may be equal, which hurts nobody but the reader of their logs.
        let _ = getrandom::fill(&mut bytes);
        u64::from_be_bytes(bytes)
    });
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let text = format!("req_{:016x}{:016x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(&text).unwrap_or_else(|_| HeaderValue::from_static("req_0"))
}

/// A method as a label: those that exist, so that nobody can make up new time series.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

/// Lets a request in by its address, which it notes.
fn admit(api: &Api, request: &mut Request) -> Answer<()> {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let found = auth::caller_address(peer, request.headers(), &api.config.trusted_proxies);
    check_network(api, found)?;
    let address = found.ok();
    if let (Some(limiter), Some(ip)) = (&api.by_address, address) {
        limiter.take(&auth::bucket_of(ip)).map_err(|wait| refuse(api, "address", wait))?;
    }
    request.extensions_mut().insert(Origin(address));
    Ok(())
}

/// Lets an address in by the list of allowed networks.
///
/// # Errors
/// 403.
pub(crate) fn check_network(api: &Api, found: Result<IpAddr, auth::AddressProblem>) -> Answer<()> {
    if api.config.allowed.is_empty() {
        return Ok(());
    }
    let refused = match found {
        Err(auth::AddressProblem) => Failure::forbidden("could not parse remote address"),
        Ok(ip) if auth::is_allowed(ip, &api.config.allowed) => return Ok(()),
        Ok(ip) => {
            api.audit.note(Refusal::Network, ip);
            Failure::forbidden("source address not in allowlist")
        }
    };
    api.metrics.refused.get_or_create(&StateLabels { state: "network" }).inc();
    Err(refused)
}

fn refuse(api: &Api, why: &'static str, wait: Duration) -> Failure {
    api.metrics.refused.get_or_create(&StateLabels { state: why }).inc();
    Failure::too_many(wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// The answer for a path that is none. Given after the network was checked, and without a look at who calls.
pub(crate) async fn no_route(request: Request) -> Failure {
    let message = format!("no such route: {} {}", request.method(), request.uri().path());
    Failure::new(StatusCode::NOT_FOUND, "route_not_found", message)
}

/// Finds out who calls, and whether they may. On each route that needs it.
pub(crate) async fn authenticate(
    State((api, access)): State<(Arc<Api>, Access)>,
    mut request: Request,
    next: Next,
) -> Response<Body> {
    match identify(&api, &request).and_then(|caller| caller.check(access).map(|()| caller)) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(failure) => failure.into_response(),
    }
}

fn identify(api: &Api, request: &Request) -> Answer<Caller> {
    let address = address_of(request);
    api.check_failures(address)?;
    let caller = credentials(api, request).inspect_err(|_| api.note_failure(address))?;
    if let Some(limiter) = &api.by_key {
        limiter.take(&caller.name().to_owned()).map_err(|wait| refuse(api, "key", wait))?;
    }
    Ok(caller)
}

fn credentials(api: &Api, request: &Request) -> Answer<Caller> {
    let open = api.is_open();
    let shown = match auth::shown_token(request.headers()) {
        Ok(shown) => shown,
        Err(_) if open => None,
        Err(failure) => return Err(failure),
    };
    let Some(shown) = shown else {
        return if open { Ok(Caller::Master) } else { Err(auth::missing()) };
    };
    if api.master.as_ref().is_some_and(|master| master.matches(&shown)) {
        return Ok(Caller::Master);
    }
    match api.orchestrator.authenticate(&shown) {
        Some(key) => Ok(Caller::Key { id: key.id, scopes: key.scopes }),
        None if open => Ok(Caller::Master),
        None => Err(Failure::unauthorized("invalid token")),
    }
}

/// The address of the caller, as [`admit`] noted it.
pub(crate) fn address_of(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<Origin>().and_then(|origin| origin.0)
}

impl Api {
    /// Refuses an address that has shown too many wrong credentials.
    ///
    /// # Errors
    /// 429.
    pub(crate) fn check_failures(&self, address: Option<IpAddr>) -> Answer<()> {
        let (Some(limiter), Some(address)) = (&self.failures, address) else { return Ok(()) };
        limiter.peek(&auth::bucket_of(address)).map_err(|wait| refuse(self, "credentials", wait))
    }

    /// Notes that an address has shown wrong credentials, or none.
    pub(crate) fn note_failure(&self, address: Option<IpAddr>) {
        self.metrics.refused.get_or_create(&StateLabels { state: "credentials" }).inc();
        let Some(address) = address else { return };
        self.audit.note(Refusal::Credentials, address);
        if let Some(limiter) = &self.failures {
            // Counted; the refusal is on its way already.
            let _ = limiter.take(&auth::bucket_of(address));
        }
    }

    /// Whether nothing was ever locked: there is no master token, and no key that opens.
    pub(crate) fn is_open(&self) -> bool {
        self.master.is_none() && self.orchestrator.api_keys().iter().all(|key| key.revoked_ms.is_some())
    }
}

/// A request whose answer has not ended.
struct InFlight(Gauge);

impl InFlight {
    fn begin(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A body that counts as in flight until its end.
struct Counted {
    body: Body,
    _in_flight: InFlight,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
