//! API keys. All of this is for the master alone.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
};
use fuse_orchestrator::wire::{self, ApiKeyList, CreateApiKey, route};

use super::{names::Segment, openapi::Refusals};
use crate::{
    answer::{Answer, empty, json},
    api::Api,
    auth::Caller,
    body,
    repeat::{Attempt, split},
};

#[utoipa::path(post, path = "/v1/api-keys", tag = "api keys", request_body = Option<CreateApiKey>,
    params(("Idempotency-Key" = Option<String>, Header, description = "An equal key with an equal body gets the first answer.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, description = "The key; its secret is shown this once.", body = wire::ApiKey), Refusals))]
/// Makes an API key.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let (parts, rest) = split(request);
    let body = body::bytes(&api, rest, route::BODY_BYTES).await?;
    let asked: CreateApiKey = body::parse_optional(&body)?;
    let attempt = Attempt::new(&parts, &caller, &body)?;
    let (orchestrator, was_open) = (api.orchestrator.clone(), api.is_open());
    let work = async move {
        let key = orchestrator.create_api_key(&asked.label, asked.scopes).await?;
        if was_open {
            tracing::warn!(
                "the first API key was made while there is no auth token: from now on only API keys open, \
                 and more can be made only after a restart with ORCH_AUTH_TOKEN"
            );
        }
        Ok(json(StatusCode::CREATED, &wire::ApiKey::from(&key)))
    };
    api.repeats.once(attempt, work).await
}

#[utoipa::path(get, path = "/v1/api-keys", tag = "api keys",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "All keys, newest first, revoked ones too.", body = ApiKeyList), Refusals))]
/// Lists API keys.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Answer {
    let api_keys = api.orchestrator.api_keys().iter().map(wire::ApiKey::from).collect();
    Ok(json(StatusCode::OK, &ApiKeyList { api_keys }))
}

#[utoipa::path(delete, path = "/v1/api-keys/{keyId}", tag = "api keys",
    params(("keyId" = String, Path, description = "The name of the key.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "It opens nothing any more."), Refusals))]
/// Revokes an API key. Twice is once.
pub(super) async fn revoke(State(api): State<Arc<Api>>, Segment(id): Segment) -> Answer {
    api.orchestrator.revoke_api_key(&id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
