//! What is done to an environment: drain, rotate-token, fork, exec.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
};
use bytes::Bytes;
use fuse_orchestrator::{
    model::EnvironmentId,
    wire::{self, ExecCommand, ExecResult, ForkEnvironment, route},
};

use super::{
    environments::{accepted_answer, prefers_async, shown, started},
    names::{Action, Named, Params},
    openapi::Refusals,
};
use crate::{
    answer::{Answer, Failure, empty, json},
    api::Api,
    auth::{Access, Caller},
    body,
    repeat::{Attempt, split},
};

#[utoipa::path(post, path = "/v1/environments/{vmId}", tag = "environments",
    params(
        ("vmId" = String, Path, description = "The environment."),
        ("action" = super::openapi::EnvironmentAction, Query, description = "What is done to it. exec needs the master token or the scope admin."),
        ("Idempotency-Key" = Option<String>, Header, description = "An equal key with an equal body gets the first answer."),
        ("Prefer" = Option<String>, Header, description = "`respond-async`: a fork is answered 202 at once."),
    ),
    request_body(content = super::openapi::ActionBody, description = "For exec: an ExecCommand. For fork: a ForkEnvironment, or nothing. For the others: nothing."),
    security(("bearer" = []), ("cookie" = [])),
    responses(
        (status = 200, description = "drain: the environment. exec: what the command left.", body = super::openapi::ActionAnswer),
        (status = 201, description = "fork: the new environment, which runs.", body = wire::Environment),
        (status = 202, description = "fork: the new environment, which comes up. `Location` says where to look.", body = wire::Environment),
        (status = 204, description = "rotate-token: the agent takes the new token and no other."),
        Refusals))]
/// Drains, forks, runs a command, or rotates the token.
pub(super) async fn act(
    State(api): State<Arc<Api>>,
    Named(id): Named<EnvironmentId>,
    Params(Action { action }): Params<Action>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let limit = if action == route::EXEC { route::LARGE_BYTES } else { route::BODY_BYTES };
    match action.as_str() {
        route::EXEC => caller.check(Access::Admin)?,
        route::DRAIN | route::FORK | route::ROTATE_TOKEN => {}
        "migrate" => {
            return Err(Failure::unimplemented(
                "environments do not move between hosts: fork, or drain and create",
            ));
        }
        _ => return Err(Action::unknown()),
    }
    let (parts, rest) = split(request);
    let body = body::bytes(&api, rest, limit).await?;
    let attempt = Attempt::new(&parts, &caller, &body)?;
    let at_once = prefers_async(&parts.headers);
    let work = perform(Arc::clone(&api), id, action, body, at_once);
    api.repeats.once(attempt, work).await
}

async fn perform(api: Arc<Api>, id: EnvironmentId, action: String, body: Bytes, at_once: bool) -> Answer {
    match action.as_str() {
        route::DRAIN => Ok(shown(StatusCode::OK, &*api.orchestrator.drain(&id).await?)),
        route::ROTATE_TOKEN => {
            api.orchestrator.rotate_token(&id).await?;
            Ok(empty(StatusCode::NO_CONTENT))
        }
        route::FORK => {
            let asked: ForkEnvironment = body::parse_optional(&body)?;
            let fork = api.orchestrator.fork(&id, asked.request()?).await?;
            if at_once {
                return Ok(accepted_answer(&fork));
            }
            started(&api, &fork, api.config.create_wait).await
        }
        _ => {
            let command: ExecCommand = body::parse(&body)?;
            let request = command.request()?;
            refuse_stub(&api, &id, "exec")?;
            let output = api.orchestrator.exec(&id, request).await?;
            Ok(json(StatusCode::OK, &ExecResult::from(&output)))
        }
    }
}

/// With `stub_compat`, environments of stub hosts have no commands.
///
/// # Errors
/// 404, or 501.
pub(super) fn refuse_stub(api: &Api, id: &EnvironmentId, what: &str) -> Answer<()> {
    if !api.config.stub_compat {
        return Ok(());
    }
    let environment = api.orchestrator.get(id)?;
    let is_stub = api.orchestrator.host(&environment.host_id).is_ok_and(|host| host.backend == "stub");
    if is_stub { Err(Failure::unimplemented(format!("the stub provider has no {what}"))) } else { Ok(()) }
}
