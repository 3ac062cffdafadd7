//! Control plane for microVM sandboxes.
//!
//! The crate runs *environments* (one sandbox and its task) on *hosts*, through their whole life: provision →
//! running → drain → destroy, with snapshots, fork, exec and events.
//!
//! The parts, from pure to effectful:
//!
//! - [`model`]: the records and the closed enums of their states. An illegal transition is a typed error.
//! - [`scheduler`]: where an environment goes. Pure, indexed, errors with numbers.
//! - [`reconcile`]: what to do about the difference between intent and fact on one host. Pure.
//! - [`store`]: where intent is kept, durably, before anybody sees it.
//! - [`secrets`]: keys, what they seal, credentials, API keys.
//! - [`provider`]: the narrow trait through which a host is driven, the `stub` that needs no host, and the one that
//!   speaks to a host agent over HTTP.
//! - [`attach`]: the frames of terminals.
//! - [`Orchestrator`]: all of it together.
//! - [`wire`]: the bodies of the REST API.
//!
//! No part of this crate reads the clock, a random source or the network except through a trait that its caller
//! can replace, so that a whole fleet runs in a simulator that replays a seed exactly.
#![forbid(unsafe_code)]

pub mod attach;
mod error;
pub mod model;
mod orchestrator;
pub mod provider;
pub mod reconcile;
pub mod scheduler;
pub mod secrets;
pub mod store;
#[cfg(any(feature = "postgres", feature = "remote", feature = "connect"))]
mod tls;
pub mod wire;

pub use error::{Error, ErrorCode, IllegalTransition, Limit, Problem, RecordKind, RemoteError, Result};
pub use orchestrator::{
    BlockingOrchestrator, Builder, Config, CursorError, Delivery, HostRegistration, HostReport, Orchestrator,
    Page, Removal, SecretKeeper, Subscription, Timeouts,
};
