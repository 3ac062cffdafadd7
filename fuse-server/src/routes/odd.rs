//! Routes that clients know and that are not there.

use fuse_orchestrator::{model::EnvironmentId, wire::ErrorBody};

use super::names::Named;
use crate::answer::Failure;

#[utoipa::path(get, path = "/v1/environments/{vmId}/computer", tag = "environments",
    params(("vmId" = String, Path, description = "The environment.")),
    responses((status = 501, description = "No image here has a screen.", body = ErrorBody)))]
/// A screen, which no environment has.
pub(super) async fn computer(Named(_): Named<EnvironmentId>) -> Failure {
    Failure::unimplemented("environments have no screen here: use exec or attach")
}
