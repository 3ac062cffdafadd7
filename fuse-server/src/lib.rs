//! The REST control plane of Fuse: the routes over an [`ControlPlane`](fuse_orchestrator::ControlPlane), and the
//! program that serves them.
//!
//! - [`router`] makes an [`axum::Router`] that a service can mount beside its own routes.
//! - [`Server`] is what `fuse serve` runs: settings, store, hosts, TLS, deadlines, shutdown.
//! - [`Settings`] says what can be set, and where from: flags, variables, a file.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use fuse_orchestrator::ControlPlane;
//! use fuse_server::ApiConfig;
//!
//! let fuse = ControlPlane::in_memory().await?;
//! let config = ApiConfig { auth_token: Some("a-long-random-token".into()), ..ApiConfig::default() };
//! let app = axum::Router::new()
//!     .route("/hello", axum::routing::get(|| async { "hello" }))
//!     .merge(fuse_server::router(fuse.clone(), config));
//! # drop(app);
//! # fuse.close().await
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Addresses of callers (the list of allowed networks, the limits by address) need
//! [`into_make_service_with_connect_info`](axum::Router::into_make_service_with_connect_info); [`Listener`] has it
//! built in, with deadlines that a bare `axum::serve` has not.
#![forbid(unsafe_code)]

mod answer;
mod api;
mod auth;
mod body;
mod follower;
mod layers;
mod listener;
mod log;
mod metrics;
mod repeat;
mod routes;
mod server;
mod settings;

pub use api::{ApiConfig, RateLimits, Service, router};
pub use listener::{Deadlines, Listener, Tls, TlsError};
pub use log::start_logging;
pub use metrics::{CountedLooks, MeasuredStore, Metrics};
pub use routes::openapi;
pub use server::{
    Examination, Finding, LocalHost, ServeError, Server, Verdict, doctor, open_keys, open_store, serve,
};
pub use settings::{
    Keys, LogFormat, Origin, ProviderChoice, SETTINGS, Setting, Settings, SettingsError, Sources, State,
    TlsFiles, ValueKind,
};

/// The version of this program, as `/v1/version`, the header `Server` and the figures tell it. Who builds packages may
/// give another one, in the variable `FUSE_BUILD_VERSION` of the build.
pub const VERSION: &str = match option_env!("FUSE_BUILD_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};
