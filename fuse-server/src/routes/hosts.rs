//! Hosts.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
};
use fuse_orchestrator::{
    Error, RecordKind, Removal,
    model::HostId,
    wire::{self, HostDrain, HostDrainQuery, HostList, PageQuery, RegisterHost, route},
};
use serde::Deserialize;

use super::{
    names::{Action, Named, Params},
    openapi::{HostAction, Refusals},
};
use crate::{
    answer::{Answer, empty, json},
    api::Api,
    auth::Caller,
    body,
    repeat::{Attempt, split},
};

#[utoipa::path(post, path = "/v1/hosts", tag = "hosts", request_body = RegisterHost,
    params(("Idempotency-Key" = Option<String>, Header, description = "An equal key with an equal body gets the first answer.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, description = "The host.", body = wire::Host), Refusals))]
/// Registers a host, or registers it again: then it keeps its age, its cordon and everything on it.
pub(super) async fn register(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let (parts, rest) = split(request);
    let body = body::bytes(&api, rest, route::BODY_BYTES).await?;
    let (id, registration) = body::parse::<RegisterHost>(&body)?.registration()?;
    let attempt = Attempt::new(&parts, &caller, &body)?;
    let orchestrator = api.orchestrator.clone();
    let work = async move {
        let host = orchestrator.register_host(&id, registration).await?;
        Ok(json(StatusCode::CREATED, &wire::Host::from(&host)))
    };
    api.repeats.once(attempt, work).await
}

#[utoipa::path(get, path = "/v1/hosts", tag = "hosts", params(PageQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "A page of hosts, by id.", body = HostList), Refusals))]
/// Lists hosts.
pub(super) async fn list(State(api): State<Arc<Api>>, Params(query): Params<PageQuery>) -> Answer {
    let page = api.orchestrator.hosts(query.page_limit(), query.page_cursor())?;
    let hosts = page.items.iter().map(wire::Host::from).collect();
    Ok(json(StatusCode::OK, &HostList { hosts, next_cursor: page.next_cursor }))
}

#[utoipa::path(get, path = "/v1/hosts/{hostId}", tag = "hosts",
    params(("hostId" = String, Path, description = "The host.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "The host.", body = wire::Host), Refusals))]
/// One host.
pub(super) async fn get(State(api): State<Arc<Api>>, Named(id): Named<HostId>) -> Answer {
    Ok(json(StatusCode::OK, &wire::Host::from(&api.orchestrator.host(&id)?)))
}

#[utoipa::path(get, path = "/v1/hosts/{hostId}/drain", tag = "hosts",
    params(("hostId" = String, Path, description = "The host.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "How it goes.", body = HostDrain), Refusals))]
/// How the emptying of a host goes; not found when nobody asked for it.
pub(super) async fn drain(State(api): State<Arc<Api>>, Named(id): Named<HostId>) -> Answer {
    let progress = api.orchestrator.host_drain(&id)?;
    let progress = progress
        .ok_or_else(|| Error::NotFound { kind: RecordKind::Host, id: format!("{id} with a drain") })?;
    Ok(json(StatusCode::OK, &HostDrain::from(&progress)))
}

/// What is done to a host.
enum Act {
    Cordon,
    Uncordon,
    Drain(Option<Duration>),
}

/// Query of a removal.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveQuery {
    /// `true` removes it whatever it holds: the operator vouches that its VMs are gone.
    force: bool,
}

#[utoipa::path(delete, path = "/v1/hosts/{hostId}", tag = "hosts",
    params(("hostId" = String, Path, description = "The host."), RemoveQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "It is gone."), Refusals))]
/// Removes a host that has no environments.
pub(super) async fn remove(
    State(api): State<Arc<Api>>,
    Named(id): Named<HostId>,
    Params(query): Params<RemoveQuery>,
) -> Answer {
    let removal = if query.force { Removal::Forced } else { Removal::Empty };
    api.orchestrator.remove_host(&id, removal).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[utoipa::path(post, path = "/v1/hosts/{hostId}", tag = "hosts",
    params(
        ("hostId" = String, Path, description = "The host."),
        ("action" = HostAction, Query, description = "What is done to it."),
        HostDrainQuery,
        ("Idempotency-Key" = Option<String>, Header, description = "An equal key with an equal body gets the first answer."),
    ),
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, description = "drain: how it goes.", body = HostDrain),
        (status = 204, description = "cordon, uncordon: it is so."),
        Refusals,
    ))]
/// Cordons, uncordons or empties a host.
pub(super) async fn act(
    State(api): State<Arc<Api>>,
    Named(id): Named<HostId>,
    Params(Action { action }): Params<Action>,
    Params(drain): Params<HostDrainQuery>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let act = match action.as_str() {
        route::CORDON => Act::Cordon,
        route::UNCORDON => Act::Uncordon,
        route::DRAIN => Act::Drain(drain.limit()?),
        _ => return Err(Action::unknown()),
    };
    let (parts, rest) = split(request);
    let body = body::bytes(&api, rest, route::BODY_BYTES).await?;
    let attempt = Attempt::new(&parts, &caller, &body)?;
    let orchestrator = api.orchestrator.clone();
    let work = async move {
        match act {
            Act::Cordon => orchestrator.cordon(&id).await?,
            Act::Uncordon => orchestrator.uncordon(&id).await?,
            Act::Drain(limit) => {
                let progress = orchestrator.drain_host(&id, limit).await?;
                return Ok(json(StatusCode::OK, &HostDrain::from(&progress)));
            }
        }
        Ok(empty(StatusCode::NO_CONTENT))
    };
    api.repeats.once(attempt, work).await
}
