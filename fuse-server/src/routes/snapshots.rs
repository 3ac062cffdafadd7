//! Snapshots.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
};
use fuse_orchestrator::{
    model::{EnvironmentId, SnapshotFilter, SnapshotId, SnapshotState},
    wire::{self, CreateSnapshot, Resolved, SnapshotList, SnapshotQuery, route},
};
use serde::Deserialize;

use super::{
    names::{Action, Named, Params},
    openapi::Refusals,
};
use crate::{
    answer::{Answer, Failure, empty, json},
    api::Api,
    auth::Caller,
    body,
    repeat::{Attempt, split},
};

#[utoipa::path(post, path = "/v1/environments/{vmId}/snapshots", tag = "snapshots", request_body = Option<CreateSnapshot>,
    params(
        ("vmId" = String, Path, description = "The environment, which runs."),
        ("Idempotency-Key" = Option<String>, Header, description = "An equal key with an equal body gets the first answer."),
    ),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 201, description = "The snapshot, which is ready.", body = wire::Snapshot), Refusals))]
/// Takes a snapshot of a running environment.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Named(id): Named<EnvironmentId>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    let (parts, rest) = split(request);
    let body = body::bytes(&api, rest, route::BODY_BYTES).await?;
    let asked: CreateSnapshot = body::parse_optional(&body)?;
    let request = asked.request()?;
    let attempt = Attempt::new(&parts, &caller, &body)?;
    let orchestrator = api.orchestrator.clone();
    let work = async move {
        let snapshot = orchestrator.create_snapshot(&id, request).await?;
        Ok(json(StatusCode::CREATED, &wire::Snapshot::from(&*snapshot)))
    };
    api.repeats.once(attempt, work).await
}

#[utoipa::path(get, path = "/v1/snapshots", tag = "snapshots", params(SnapshotQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "A page of snapshots, newest first.", body = SnapshotList), Refusals))]
/// Lists snapshots, newest first.
pub(super) async fn list(State(api): State<Arc<Api>>, Params(query): Params<SnapshotQuery>) -> Answer {
    let filter = query.filter()?;
    if !query.tenant_id.is_empty() {
        return Ok(json(StatusCode::OK, &SnapshotList::default()));
    }
    if !query.layer_key.is_empty() {
        let of_layer = in_layer(&api, &filter, &query.layer_key, query.page_limit().unwrap_or(50).min(200))?;
        return Ok(json(StatusCode::OK, &SnapshotList { snapshots: of_layer, next_cursor: None }));
    }
    let page = api.orchestrator.snapshots(&filter, query.page_limit(), query.page_cursor())?;
    let snapshots = page.items.iter().map(|item| wire::Snapshot::from(&**item)).collect();
    Ok(json(StatusCode::OK, &SnapshotList { snapshots, next_cursor: page.next_cursor }))
}

/// The newest snapshots of a layer that pass the filter.
fn in_layer(api: &Api, filter: &SnapshotFilter, layer: &str, most: usize) -> Answer<Vec<wire::Snapshot>> {
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = api.orchestrator.snapshots(filter, Some(200), cursor.as_deref())?;
        let of_layer = page.items.iter().filter(|item| wire::Snapshot::layer_of(item) == layer);
        found.extend(of_layer.take(most - found.len()).map(|item| wire::Snapshot::from(&**item)));
        match page.next_cursor {
            Some(next) if found.len() < most => cursor = Some(next),
            _ => return Ok(found),
        }
    }
}

/// Query of resolve.
#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[serde(default)]
#[into_params(parameter_in = Query)]
pub(super) struct ResolveQuery {
    /// The layer.
    #[param(required = true)]
    layer_key: String,
    /// The architecture.
    #[param(required = true)]
    arch: String,
}

#[utoipa::path(get, path = "/v1/snapshots/resolve", tag = "snapshots", params(ResolveQuery),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "The newest ready snapshot of the layer, if there is one.", body = Resolved), Refusals))]
/// Finds the newest ready snapshot of a layer.
pub(super) async fn resolve(State(api): State<Arc<Api>>, Params(query): Params<ResolveQuery>) -> Answer {
    if query.layer_key.is_empty() || query.arch.is_empty() {
        return Err(Failure::invalid("layer_key and arch are required"));
    }
    let arch = query.arch.parse().map_err(Failure::invalid)?;
    let filter =
        SnapshotFilter { state: Some(SnapshotState::Ready), arch: Some(arch), ..SnapshotFilter::default() };
    let snapshot = in_layer(&api, &filter, &query.layer_key, 1)?.pop();
    Ok(json(StatusCode::OK, &Resolved { found: snapshot.is_some(), snapshot }))
}

#[utoipa::path(get, path = "/v1/snapshots/{snapshotId}", tag = "snapshots",
    params(("snapshotId" = String, Path, description = "The snapshot.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "The snapshot.", body = wire::Snapshot), Refusals))]
/// One snapshot.
pub(super) async fn get(State(api): State<Arc<Api>>, Named(id): Named<SnapshotId>) -> Answer {
    Ok(json(StatusCode::OK, &wire::Snapshot::from(&*api.orchestrator.snapshot(&id)?)))
}

#[utoipa::path(delete, path = "/v1/snapshots/{snapshotId}", tag = "snapshots",
    params(("snapshotId" = String, Path, description = "The snapshot.")),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "Bytes and record are gone."), Refusals))]
/// Deletes a snapshot that no other stands on.
pub(super) async fn delete(State(api): State<Arc<Api>>, Named(id): Named<SnapshotId>) -> Answer {
    api.orchestrator.delete_snapshot(&id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

#[utoipa::path(post, path = "/v1/snapshots/{snapshotId}", tag = "snapshots",
    params(
        ("snapshotId" = String, Path, description = "The snapshot."),
        ("action" = super::openapi::SnapshotAction, Query, description = "What is done with it."),
        ("Idempotency-Key" = Option<String>, Header, description = "An equal key with an equal body gets the first answer."),
    ),
    security(("bearer" = []), ("cookie" = [])),
    responses((status = 204, description = "The environment is as it was."), Refusals))]
/// Sets the environment of a snapshot back to it.
pub(super) async fn act(
    State(api): State<Arc<Api>>,
    Named(id): Named<SnapshotId>,
    Params(Action { action }): Params<Action>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Answer {
    if action != route::RESTORE {
        return Err(Action::unknown());
    }
    let (parts, rest) = split(request);
    let body = body::bytes(&api, rest, route::BODY_BYTES).await?;
    let attempt = Attempt::new(&parts, &caller, &body)?;
    let orchestrator = api.orchestrator.clone();
    let work = async move {
        orchestrator.restore_snapshot(&id).await?;
        Ok(empty(StatusCode::NO_CONTENT))
    };
    api.repeats.once(attempt, work).await
}
