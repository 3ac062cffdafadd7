//! The description of the API, from the code.

use axum::{
    body::Body,
    http::{Response, StatusCode},
};
use fuse_orchestrator::wire::{Environment, ErrorBody, ExecCommand, ExecResult, ForkEnvironment, StateEvent};
use serde::Serialize;
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{
    actions, api_keys, attach, dead_letters, environments, events, guest, hosts, login, odd, service,
    snapshots,
};
use crate::answer::json;

/// What is done to an environment.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code, reason = "a description")]
pub(super) enum EnvironmentAction {
    Drain,
    RotateToken,
    Fork,
    Exec,
}

/// What is done with a snapshot.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code, reason = "a description")]
pub(super) enum SnapshotAction {
    Restore,
}

/// What is done to a host.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code, reason = "a description")]
pub(super) enum HostAction {
    Cordon,
    Uncordon,
    Drain,
}

/// What is done with a dead letter.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(dead_code, reason = "a description")]
pub(super) enum DeadLetterAction {
    Retry,
    Dismiss,
}

/// The body of an action.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "a description")]
pub(super) enum ActionBody {
    /// Of exec.
    Exec(ExecCommand),
    /// Of fork.
    Fork(ForkEnvironment),
}

/// The answer of an action.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "a description")]
pub(super) enum ActionAnswer {
    /// Of drain.
    Environment(Box<Environment>),
    /// Of exec.
    Exec(ExecResult),
}

/// What every route behind credentials may answer besides.
#[derive(IntoResponses)]
#[allow(dead_code, reason = "a description")]
pub(super) enum Refusals {
    /// The request breaks a rule; the message names every field that is wrong.
    #[response(status = 400)]
    Invalid(ErrorBody),
    /// There are no credentials, or they are wrong.
    #[response(status = 401)]
    Unauthorized(ErrorBody),
    /// The caller may not, or its address is not in the list of allowed networks.
    #[response(status = 403)]
    Forbidden(ErrorBody),
    /// There is no such thing.
    #[response(status = 404)]
    NotFound(ErrorBody),
    /// The body took too long.
    #[response(status = 408)]
    TooSlow(ErrorBody),
    /// It contradicts what is there.
    #[response(status = 409)]
    Conflict(ErrorBody),
    /// The body is too large.
    #[response(status = 413)]
    TooLarge(ErrorBody),
    /// Too many requests; `Retry-After` says when to try again.
    #[response(status = 429)]
    TooMany(ErrorBody),
    /// Something else failed.
    #[response(status = 500)]
    Internal(ErrorBody),
    /// The provider cannot do it.
    #[response(status = 501)]
    Unimplemented(ErrorBody),
    /// A host agent does not take its token, or does not say what it has.
    #[response(status = 502)]
    BadHost(ErrorBody),
    /// Not now: no capacity, host away, store away.
    #[response(status = 503)]
    Unavailable(ErrorBody),
}

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The master token, or an API key."));
        let cookie = ApiKeyValue::with_description("fuse_session", "Set by POST /login.");
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// Gives every operation a name of its own: its method and its path.
struct Names;

impl Modify for Names {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for (path, item) in &mut openapi.paths.paths {
            let methods = [
                ("get", &mut item.get),
                ("put", &mut item.put),
                ("post", &mut item.post),
                ("delete", &mut item.delete),
            ];
            for (method, operation) in methods {
                if let Some(operation) = operation {
                    let words = path.split(['/', '{', '}', '.', '-']);
                    let words = words.filter(|word| !word.is_empty() && *word != "v1");
                    let words: Vec<_> = std::iter::once(method).chain(words).collect();
                    operation.operation_id = Some(words.join("_"));
                }
            }
        }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Fuse", description = "The control plane for microVM sandboxes.", license(name = "Apache-2.0", identifier = "Apache-2.0")),
    modifiers(&Credentials, &Names),
    paths(
        service::health, service::ready, service::metrics, service::version,
        login::login, login::logout,
        environments::list, environments::create, environments::get, environments::destroy, actions::act,
        events::of_environment, attach::attach, guest::logs, guest::upload,
        odd::computer, odd::computer_act, odd::computer_stream,
        snapshots::create, snapshots::list, snapshots::resolve, snapshots::get, snapshots::delete, snapshots::act,
        hosts::register, hosts::list, hosts::get, hosts::remove, hosts::act, hosts::drain,
        api_keys::create, api_keys::list, api_keys::revoke,
        events::of_fleet, dead_letters::list, dead_letters::act, document,
    ),
    components(schemas(StateEvent, EnvironmentAction, SnapshotAction, HostAction, DeadLetterAction)),
)]
struct Description;

/// The description of the API: OpenAPI 3.1.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[utoipa::path(get, path = "/v1/openapi.json", tag = "service",
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "This description.", body = Object), Refusals))]
/// The description of the API: OpenAPI 3.1.
pub(super) async fn document() -> Response<Body> {
    json(StatusCode::OK, &openapi())
}
