//! The HTTP contract of a host agent.
//!
//! Routes and bodies are those of [`fuse_orchestrator::provider::agent_api`]; what this agent has beyond them is in the
//! table of docs/host-agent.md. Every request carries the bearer token, except a snapshot that another host fetches with
//! a grant. Errors are plain text that says what was tried, on what, and why.

mod answer;
mod artifacts;
mod auth;
mod guest;
mod host;
mod listener;
mod query;
mod snapshots;
mod vms;

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{delete, get, post},
};
use secrecy::SecretString;

use crate::agent::HostAgent;

pub use listener::{Listener, ServeError, Tls};

/// The most bytes of a JSON body.
pub const JSON_MOST: usize = 1024 * 1024;
/// The most bytes of an upload, in base64 within JSON: a file of 48 MiB and its path.
pub const UPLOAD_MOST: usize = 64 * 1024 * 1024 + 64 * 1024;
/// The shortest token that an agent starts with, in bytes.
pub const TOKEN_LEAST: usize = 16;

/// What the routes work on.
#[derive(Debug, Clone)]
pub struct Api {
    pub(crate) agent: HostAgent,
    pub(crate) token: Arc<SecretString>,
    pub(crate) pulls: crate::transfer::Puller,
}

impl Api {
    /// The routes over `agent`, for whoever has `token`.
    #[must_use]
    pub fn new(agent: HostAgent, token: SecretString) -> Self {
        let pulls = crate::transfer::Puller::new(agent.clone());
        Self { agent, token: Arc::new(token), pulls }
    }
}

/// The routes.
pub fn router(api: Api) -> Router {
    let uploads = Router::new()
        .route("/v1/vm/{id}/upload", post(guest::upload))
        .layer(DefaultBodyLimit::max(UPLOAD_MOST));
    let others = Router::new()
        .route("/", get(host::alive))
        .route("/healthz", get(host::alive))
        .route("/metrics", get(host::metrics))
        .route("/v1/capacity", get(host::capacity))
        .route("/v1/images", get(host::images))
        .route("/v1/vm", post(vms::create).get(vms::list))
        .route("/v1/vm/{id}", get(vms::show).delete(vms::destroy))
        .route("/v1/vm/{id}/pause", post(vms::pause))
        .route("/v1/vm/{id}/resume", post(vms::resume))
        .route("/v1/vm/{id}/shutdown", post(vms::shut_down))
        .route("/v1/vm/{id}/exec", post(guest::exec))
        .route("/v1/vm/{id}/exec/stream", post(guest::exec_stream))
        .route("/v1/vm/{id}/attach", get(guest::attach))
        .route("/v1/vm/{id}/logs", get(guest::logs))
        .route("/v1/vm/{id}/console", get(guest::console))
        .route("/v1/vm/{id}/start-agent", post(guest::start_agent))
        .route("/v1/vm/{id}/start-surfd", post(guest::start_agent))
        .route("/v1/vm/{id}/snapshot", post(snapshots::take))
        .route("/v1/vm/{id}/snapshots", get(snapshots::list))
        .route("/v1/vm/{id}/snapshots/{sid}", delete(snapshots::remove))
        .route("/v1/vm/{id}/restore", post(snapshots::restore))
        .route("/v1/vm/{id}/fork", post(snapshots::fork))
        .route("/v1/artifacts/{digest}/pull", post(artifacts::pull))
        .layer(DefaultBodyLimit::max(JSON_MOST));
    let granted = Router::new()
        .route("/v1/artifacts/{digest}", get(artifacts::artifact))
        .route("/v1/artifacts/{digest}/manifest", get(artifacts::manifest))
        .route("/v1/artifacts/{digest}/files/{name}", get(artifacts::file))
        .route("/v1/artifacts/{digest}/chain", get(artifacts::chain))
        .route("/v1/artifacts/{digest}/chain/{index}/files/{name}", get(artifacts::file_of_chain))
        .route("/v1/artifacts/{digest}/chain/{index}/packed/{name}", get(artifacts::packed));
    others
        .merge(uploads)
        .fallback(|| async { answer::not_found() })
        .layer(middleware::from_fn_with_state(api.clone(), auth::bearer))
        .merge(granted)
        .layer(middleware::from_fn(answer::name_ourselves))
        .with_state(api)
}
