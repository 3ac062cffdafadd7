//! The routes. The table of [`inner`] says what each needs of its caller.

mod actions;
mod api_keys;
mod attach;
mod dead_letters;
mod environments;
mod events;
mod guest;
mod hosts;
mod login;
mod names;
mod odd;
mod openapi;
mod service;
mod snapshots;

use std::sync::Arc;

use axum::{
    Router, middleware,
    routing::{MethodRouter, delete, get, post, put},
};

use crate::{
    api::Api,
    auth::Access::{self, Admin, Master, Read, Write},
    layers,
};

pub use openapi::openapi;

type Shared = Arc<Api>;
type Methods = MethodRouter<Shared>;

/// The four routes that are for machines: no request id, no credentials.
pub(crate) fn outer(api: &Shared) -> Router {
    Router::new()
        .route("/health", get(service::health))
        .route("/ready", get(service::ready))
        .route("/metrics", get(service::metrics))
        .route("/v1/version", get(service::version))
        .with_state(Arc::clone(api))
}

/// Every other route.
pub(crate) fn inner(api: &Shared) -> Router {
    // Only what a method is there for is guarded, so that a wrong method is told before who calls.
    let may = |access: Access, methods: Methods| -> Methods {
        let state = (Arc::clone(api), access);
        methods.route_layer(middleware::from_fn_with_state(state, layers::authenticate))
    };
    Router::new()
        .route("/login", post(login::login))
        .route("/logout", post(login::logout))
        .route(
            "/v1/environments",
            may(Read, get(environments::list)).merge(may(Write, post(environments::create))),
        )
        .route(
            "/v1/environments/{vmId}",
            may(Read, get(environments::get))
                .merge(may(Write, delete(environments::destroy)))
                .merge(may(Write, post(actions::act))),
        )
        .route("/v1/environments/{vmId}/events", may(Read, get(events::of_environment)))
        .route("/v1/environments/{vmId}/attach", may(Admin, get(attach::attach)))
        .route("/v1/environments/{vmId}/logs", may(Read, get(guest::logs)))
        .route("/v1/environments/{vmId}/files", may(Admin, put(guest::upload)))
        .route(
            "/v1/environments/{vmId}/computer",
            may(Write, get(odd::computer)).merge(may(Write, post(odd::computer_act))),
        )
        .route("/v1/environments/{vmId}/computer/stream", may(Write, get(odd::computer_stream)))
        .route("/v1/environments/{vmId}/snapshots", may(Write, post(snapshots::create)))
        .route("/v1/snapshots", may(Read, get(snapshots::list)))
        .route("/v1/snapshots/resolve", may(Read, get(snapshots::resolve)))
        .route(
            "/v1/snapshots/{snapshotId}",
            may(Read, get(snapshots::get))
                .merge(may(Write, delete(snapshots::delete)))
                .merge(may(Write, post(snapshots::act))),
        )
        .route("/v1/hosts", may(Read, get(hosts::list)).merge(may(Admin, post(hosts::register))))
        .route(
            "/v1/hosts/{hostId}",
            may(Read, get(hosts::get))
                .merge(may(Admin, delete(hosts::remove)))
                .merge(may(Admin, post(hosts::act))),
        )
        .route("/v1/hosts/{hostId}/drain", may(Read, get(hosts::drain)))
        .route("/v1/api-keys", may(Master, get(api_keys::list)).merge(may(Master, post(api_keys::create))))
        .route("/v1/api-keys/{keyId}", may(Master, delete(api_keys::revoke)))
        .route("/v1/events", may(Read, get(events::of_fleet)))
        .route("/v1/dead-letters", may(Read, get(dead_letters::list)))
        .route("/v1/dead-letters/{letterId}", may(Admin, post(dead_letters::act)))
        .route("/v1/openapi.json", may(Read, get(openapi::document)))
        .with_state(Arc::clone(api))
}
