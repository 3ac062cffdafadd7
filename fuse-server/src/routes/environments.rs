//! Environments: made, read, removed.

use std::{sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header},
};
use fuse_orchestrator::{
    Error,
    model::{Environment, EnvironmentId, EnvironmentState},
    secrets::Scrubber,
    wire::{self, CreateEnvironment, EnvironmentList, EnvironmentQuery, route},
};

use super::{
    names::{Named, Params},
    openapi::Refusals,
};
use crate::{
    answer::{Answer, Failure, empty, json},
    api::Api,
    auth::Caller,
    body, repeat,
};

#[utoipa::path(get, path = "/v1/environments", tag = "environments", params(EnvironmentQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "A page of environments, by id.", body = EnvironmentList), Refusals))]
/// Lists environments. Those that ended are left out unless their state is asked for.
pub(super) async fn list(State(api): State<Arc<Api>>, Params(query): Params<EnvironmentQuery>) -> Answer {
    let page = api.orchestrator.list(&query.filter()?, query.page_limit(), query.page_cursor())?;
    let environments = page.items.iter().map(|item| wire::Environment::from(&**item)).collect();
    Ok(json(StatusCode::OK, &EnvironmentList { environments, next_cursor: page.next_cursor }))
}

#[utoipa::path(get, path = "/v1/environments/{vmId}", tag = "environments",
    params(("vmId" = String, Path, description = "The environment.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "The environment.", body = wire::Environment), Refusals))]
/// One environment; also one that ended, while its record is kept.
pub(super) async fn get(State(api): State<Arc<Api>>, Named(id): Named<EnvironmentId>) -> Answer {
    Ok(shown(StatusCode::OK, &*api.orchestrator.get(&id)?))
}

#[utoipa::path(delete, path = "/v1/environments/{vmId}", tag = "environments",
    params(("vmId" = String, Path, description = "The environment.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "It is gone."), Refusals))]
/// Destroys an environment, whatever it does.
pub(super) async fn destroy(State(api): State<Arc<Api>>, Named(id): Named<EnvironmentId>) -> Answer {
    api.orchestrator.destroy(&id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[utoipa::path(post, path = "/v1/environments", tag = "environments", request_body = CreateEnvironment,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "An equal key with an equal body gets the first answer."),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: 202 as soon as it is accepted."),
    ),
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 201, description = "It runs.", body = wire::Environment),
        (status = 202, description = "It is accepted and comes up: asked for, or it takes longer than a request may. `Location` says where to look.", body = wire::Environment),
        Refusals))]
/// Makes an environment and waits until it runs. A caller that goes away finds it all the same.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let key = repeat::key_of(request.headers())?;
    let at_once = prefers_async(request.headers());
    let bytes = body::bytes(&api, request, route::LARGE_BYTES).await?;
    let asked: CreateEnvironment = body::parse(&bytes)?;
    let secrets = asked.secrets.values().chain([
        &asked.gateway_token,
        &asked.agent.gateway_token,
        &asked.agent.auth_token,
    ]);
    let scrubber = Scrubber::new(secrets.map(|secret| secret.0.clone()));
    let result = provision(&api, &caller, asked, key, at_once).await;
    result.map_err(|failure| Failure { message: scrubber.scrub(&failure.message).into_owned(), ..failure })
}

async fn provision(
    api: &Api,
    caller: &Caller,
    asked: CreateEnvironment,
    key: Option<fuse_orchestrator::model::IdempotencyKey>,
    at_once: bool,
) -> Answer {
    let mut request = asked.request()?;
    if request.agent.download_url.is_none() {
        request.agent.download_url.clone_from(&api.config.agent_download_url);
    }
    let accepted = match key {
        Some(key) => api.orchestrator.provision_once(&repeat::scoped(caller, &key)?, request).await?,
        None => api.orchestrator.provision(request).await?,
    };
    tracing::Span::current().record("environment_id", accepted.id.as_str());
    if at_once {
        return Ok(accepted_answer(&accepted));
    }
    started(api, &accepted, api.config.create_wait).await
}

/// Waits until an environment runs, and answers: 201, or 202 when it takes longer than a request may.
pub(super) async fn started(api: &Api, accepted: &Environment, limit: Duration) -> Answer {
    // The answer to a repeated request may be about one that has gone on since.
    if !matches!(accepted.state, EnvironmentState::Provisioning | EnvironmentState::Failed) {
        return Ok(shown(StatusCode::CREATED, accepted));
    }
    match api.orchestrator.wait_running(&accepted.id, limit).await {
        Ok(running) => Ok(shown(StatusCode::CREATED, &running)),
        Err(Error::Timeout { .. }) => Ok(accepted_answer(&*api.orchestrator.get(&accepted.id)?)),
        Err(error) => Err(error.into()),
    }
}

/// 202, and where to look.
pub(super) fn accepted_answer(environment: &Environment) -> Response<Body> {
    let mut response = shown(StatusCode::ACCEPTED, environment);
    let place = route::with_name(route::ENVIRONMENT, environment.id.as_str());
    if let Ok(place) = HeaderValue::from_str(&place) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

/// An environment as clients see it.
pub(super) fn shown(status: StatusCode, environment: &Environment) -> Response<Body> {
    json(status, &wire::Environment::from(environment))
}

/// Whether the caller would rather not wait.
pub(super) fn prefers_async(headers: &HeaderMap) -> bool {
    let lines = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    lines
        .flat_map(|line| line.split([',', ';']))
        .any(|word| word.trim().eq_ignore_ascii_case(route::RESPOND_ASYNC))
}
