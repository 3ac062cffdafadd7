//! Routes that clients know and that are not there.

use fuse_orchestrator::model::EnvironmentId;

use super::{names::Named, openapi::Refusals};
use crate::answer::Failure;

fn no_screen() -> Failure {
    Failure::unimplemented("environments have no screen here: use exec or attach")
}

#[utoipa::path(get, path = "/v1/environments/{vmId}/computer", tag = "environments",
    params(("vmId" = String, Path, description = "The environment.")),
    security(("bearer" = []), ("cookie" = [])), responses(Refusals))]
/// A screen, which no environment has: always 501.
pub(super) async fn computer(Named(_): Named<EnvironmentId>) -> Failure {
    no_screen()
}

#[utoipa::path(post, path = "/v1/environments/{vmId}/computer", tag = "environments",
    params(
        ("vmId" = String, Path, description = "The environment."),
        ("Idempotency-Key" = Option<String>, Header, description = "Without effect: nothing happens."),
    ),
    security(("bearer" = []), ("cookie" = [])), responses(Refusals))]
/// Keys and clicks for a screen, which no environment has: always 501.
pub(super) async fn computer_act(Named(_): Named<EnvironmentId>) -> Failure {
    no_screen()
}

#[utoipa::path(get, path = "/v1/environments/{vmId}/computer/stream", tag = "environments",
    params(("vmId" = String, Path, description = "The environment.")),
    security(("bearer" = []), ("cookie" = [])), responses(Refusals))]
/// A screen as a stream, which no environment has: always 501.
pub(super) async fn computer_stream(Named(_): Named<EnvironmentId>) -> Failure {
    no_screen()
}
