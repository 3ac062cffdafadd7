//! Dead letters.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
};
use fuse_orchestrator::wire::{self, DeadLetterList, route};

use super::{
    names::{Action, Params, Segment},
    openapi::{DeadLetterAction, Refusals},
};
use crate::{
    answer::{Answer, empty, json},
    api::Api,
    auth::Caller,
    body,
    repeat::{Attempt, split},
};

#[utoipa::path(get, path = "/v1/dead-letters", tag = "dead letters",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "All dead letters, by kind and entity.", body = DeadLetterList), Refusals))]
/// Lists what an operator should look at.
pub(super) async fn list(State(api): State<Arc<Api>>) -> Answer {
    let dead_letters = api.orchestrator.dead_letters().iter().map(wire::DeadLetter::from).collect();
    Ok(json(StatusCode::OK, &DeadLetterList { dead_letters }))
}

#[utoipa::path(post, path = "/v1/dead-letters/{letterId}", tag = "dead letters",
    params(
        ("letterId" = String, Path, description = "The dead letter: kind and entity."),
        ("action" = DeadLetterAction, Query, description = "What is done with it."),
        ("Idempotency-Key" = Option<String>, Header, description = "An equal key with an equal body gets the first answer."),
    ),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "It is done."), Refusals))]
/// Tries again what a dead letter is about, or takes it away.
pub(super) async fn act(
    State(api): State<Arc<Api>>,
    Segment(id): Segment,
    Params(Action { action }): Params<Action>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let retry = match action.as_str() {
        route::RETRY => true,
        route::DISMISS => false,
        _ => return Err(Action::unknown()),
    };
    let (parts, rest) = split(request);
    let body = body::bytes(&api, rest, route::BODY_BYTES).await?;
    let attempt = Attempt::new(&parts, &caller, &body)?;
    let orchestrator = api.orchestrator.clone();
    let work = async move {
        if retry {
            orchestrator.retry_dead_letter(&id).await?;
        } else {
            orchestrator.dismiss_dead_letter(&id).await?;
        }
        Ok(empty(StatusCode::NO_CONTENT))
    };
    api.repeats.once(attempt, work).await
}
