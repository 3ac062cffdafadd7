//! About the service itself.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderValue, Response, StatusCode, header},
};
use fuse_orchestrator::{
    model::{EnvironmentFilter, EnvironmentState, HealthState, Liveness},
    wire::{Readiness, SERVICE, ServiceHealth, Version},
};

use crate::{
    answer::{Answer, Failure, json},
    api::Api,
    auth, layers,
    metrics::{Format, HostLabels, HostStateLabels, StateLabels, render},
};

/// How long the store may take to show that it is there.
const STORE_BUDGET: Duration = Duration::from_secs(2);

#[utoipa::path(get, path = "/health", tag = "service",
    responses((status = 200, description = "The program runs.", body = ServiceHealth)))]
/// Whether the program runs.
pub(super) async fn health() -> Response<Body> {
    json(StatusCode::OK, &ServiceHealth::default())
}

#[utoipa::path(get, path = "/ready", tag = "service",
    responses((status = 200, description = "It takes requests.", body = Readiness),
              (status = 503, description = "It does not; the checks say why.", body = Readiness)))]
/// Whether requests can be served: the store answers, and so does a host, if there are any.
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Response<Body> {
    let store = if api.stop.is_cancelled() {
        Err("the server is shutting down".to_owned())
    } else {
        api.orchestrator.check(STORE_BUDGET).await.map_err(|error| error.to_string())
    };
    let readiness = Readiness::of(store, fleet(&api));
    let status = if readiness.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, &readiness)
}

fn fleet(api: &Api) -> Result<(), String> {
    let (mut hosts, mut cursor, mut first) = (0, None, None);
    loop {
        let page = api.orchestrator.hosts(Some(200), cursor.as_deref()).map_err(|error| error.to_string())?;
        for host in page.items {
            if host.liveness.state == Liveness::Ready {
                return Ok(());
            }
            hosts += 1;
            first.get_or_insert_with(|| {
                format!("{} is {}: {}", host.id, host.liveness.state, host.liveness.reason)
            });
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    // Without hosts there is nothing that could be away: they can be registered.
    first.map_or(Ok(()), |first| Err(format!("none of {hosts} hosts answers; {first}")))
}

#[utoipa::path(get, path = "/v1/version", tag = "service",
    responses((status = 200, description = "The service and its version.", body = Version)))]
/// Which service this is, and its version.
pub(super) async fn version() -> Response<Body> {
    json(StatusCode::OK, &Version { service: SERVICE.to_owned(), version: crate::VERSION.to_owned() })
}

#[utoipa::path(get, path = "/metrics", tag = "service",
    responses((status = 200, description = "Figures in the text form of Prometheus, or in OpenMetrics when that is accepted.", body = String, content_type = "text/plain"),
              (status = 403, description = "The address is not in the list of allowed networks.", body = fuse_orchestrator::wire::ErrorBody)))]
/// Figures for a monitoring system.
pub(super) async fn metrics(State(api): State<Arc<Api>>, request: Request) -> Answer {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let address = auth::caller_address(peer, request.headers(), &api.config.trusted_proxies);
    layers::check_network(&api, address)?;
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Format::for_accept(accept);
    note_fleet(&api)?;
    let text = render(&api.metrics.registry(), format)
        .map_err(|error| Failure::internal(format!("the figures could not be written: {error}")))?;
    let mut response = Response::new(Body::from(text));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(response)
}

/// Notes what there is now.
fn note_fleet(api: &Api) -> Answer<()> {
    let fleet = &api.metrics.fleet;
    let counts = api.orchestrator.counts();
    let mut tracked = 0;
    for state in EnvironmentState::ALL {
        let count = signed(counts.get(&state).copied().unwrap_or(0));
        fleet.environments.get_or_create(&StateLabels { state: state.as_str() }).set(count);
        tracked += if state.is_ended() { 0 } else { count };
    }
    fleet.tracked.set(tracked);
    fleet.dead_letters.set(signed(api.orchestrator.dead_letters().len()));
    fleet.teardowns.set(signed(api.orchestrator.teardowns().len()));
    note_hosts(api)?;
    note_health(api)
}

fn note_hosts(api: &Api) -> Answer<()> {
    let fleet = &api.metrics.fleet;
    // Hosts that are gone must not stay.
    fleet.hosts.clear();
    fleet.capacity.clear();
    fleet.allocated.clear();
    let mut cursor = None;
    loop {
        let page = api.orchestrator.hosts(Some(200), cursor.as_deref())?;
        for host in &page.items {
            let name = host.id.to_string();
            let (state, liveness) = (host.state.as_str(), host.liveness.state.as_str());
            fleet.hosts.get_or_create(&HostStateLabels { host: name.clone(), state, liveness }).set(1);
            for (family, what) in [(&fleet.capacity, host.capacity), (&fleet.allocated, host.allocated)] {
                let parts = [
                    ("cpus", what.cpus),
                    ("ram_mb", what.ram_mb),
                    ("storage_gb", what.storage_gb),
                    ("vms", what.vm_count),
                ];
                for (resource, amount) in parts {
                    family.get_or_create(&HostLabels { host: name.clone(), resource }).set(amount.into());
                }
            }
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

/// Verdicts of health checks, over the environments that run.
fn note_health(api: &Api) -> Answer<()> {
    let (mut checked, mut failing, mut cursor) = (0, 0, None);
    let filter = EnvironmentFilter { state: Some(EnvironmentState::Running), ..EnvironmentFilter::default() };
    loop {
        let page = api.orchestrator.list(&filter, Some(200), cursor.as_deref())?;
        for health in page.items.iter().filter_map(|environment| environment.health.as_ref()) {
            checked += 1;
            failing += i64::from(health.state == HealthState::Failing);
        }
        match page.next_cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    api.metrics.reconcile.health_checked.set(checked);
    api.metrics.reconcile.health_failing.set(failing);
    Ok(())
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
