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
//! - [`ControlPlane`]: all of it together.
//! - [`Orchestrator`]: the interface to a control plane, in this process or over REST.
//! - [`wire`]: the bodies of the REST API.
//!
//! No part of this crate reads the clock, a random source or the network except through a trait that its caller
//! can replace, so that a whole fleet runs in a simulator that replays a seed exactly.
#![forbid(unsafe_code)]

pub mod attach;
#[cfg(feature = "connect")]
mod connect;
mod error;
mod interface;
#[cfg(any(feature = "connect", feature = "remote"))]
mod link;
pub mod model;
mod orchestrator;
pub mod provider;
pub mod reconcile;
pub mod scheduler;
pub mod secrets;
pub mod store;
#[cfg(any(feature = "connect", feature = "remote"))]
mod terminal;
#[cfg(any(feature = "connect", feature = "postgres", feature = "remote"))]
mod tls;
pub mod wire;

#[cfg(feature = "connect")]
pub use connect::{Connect, Connection, ConnectionLimits, Transport, TransportError};
pub use error::{Error, ErrorCode, IllegalTransition, Limit, Problem, RecordKind, RemoteError, Result};
pub use interface::{BlockingOrchestrator, LogStream, Orchestrator, Subscription};
pub use orchestrator::{
    Builder, Config, ControlPlane, CursorError, Delivery, HostDrainProgress, HostRegistration, HostReport,
    Look, Once, OnceAnswer, Page, ReconcileWatcher, Refusal, Removal, SecretKeeper, Timeouts,
};
