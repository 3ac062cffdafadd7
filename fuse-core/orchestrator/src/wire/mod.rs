//! What the REST API sends and takes: one type for each body, with the names, the defaults and the omissions that
//! clients depend on, and how each becomes a type of the [model](crate::model) and comes of one.
//!
//! The server reads and writes these, [`Orchestrator::connect`](crate::Orchestrator) reads and writes them from the
//! other side, and the C interface hands out the same JSON.
//!
//! Rules that hold for every type here:
//!
//! - what is empty is left out, never `null`; a list that a caller asked for is there even when it is empty;
//! - fields that nobody knows are ignored, in both directions;
//! - points in time are RFC 3339 in UTC with six digits after the point: `2023-11-14T22:13:20.123456Z`;
//! - numbers that a rule bounds come in as 64-bit integers and are checked with their names, so that an answer tells
//!   every field that is wrong at once.
//!
//! With the feature `openapi` every type here describes itself to `utoipa`.

mod api_key;
pub mod attach;
mod deadletter;
mod environment;
mod error;
mod event;
mod guest;
mod host;
mod page;
mod provision;
pub mod route;
mod secret;
mod service;
mod snapshot;
mod typed;

pub use api_key::{ApiKey, ApiKeyList, CreateApiKey};
pub use deadletter::{DeadLetter, DeadLetterList};
pub use environment::{Agent, Endpoint, Environment, EnvironmentList, Health, Reason};
pub use error::{ErrorBody, ErrorDetail};
pub use event::{
    Event, EventList, EventQuery, Frame, Lost, StateEvent, Subject, SubjectKind, event_id, sequence_of,
};
pub use guest::{ExecCommand, ExecResult, FileQuery, LogQuery};
pub use host::{
    Host, HostCapacity, HostDrain, HostDrainQuery, HostList, HostLiveness, RegisterHost, RegisterHostCapacity,
};
pub use page::{EnvironmentQuery, PageQuery, SnapshotQuery, page_limit};
pub use provision::{
    CreateAgent, CreateEnvironment, Desktop, Egress, Expose, ForkEnvironment, Healthcheck, HttpProbe, Spec,
};
pub use secret::Secret;
pub use service::{Checks, Health as ServiceHealth, Login, Readiness, SERVICE, Version};
pub use snapshot::{CreateSnapshot, Resolved, Snapshot, SnapshotExport, SnapshotList};

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
pub(crate) fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// The name of `text` as a name of the model, or a problem with `field`. An empty text is no name.
fn optional_name<T>(field: &str, text: &str, problems: &mut Vec<crate::Problem>) -> Option<T>
where
    T: std::str::FromStr<Err = crate::model::IdError>,
{
    if text.is_empty() { None } else { name(field, text, problems) }
}

/// The name of `text` as a name of the model, or a problem with `field`.
fn name<T>(field: &str, text: &str, problems: &mut Vec<crate::Problem>) -> Option<T>
where
    T: std::str::FromStr<Err = crate::model::IdError>,
{
    text.parse().map_err(|error: crate::model::IdError| problem(problems, field, id_text(&error))).ok()
}

fn id_text(error: &crate::model::IdError) -> String {
    if error.name.is_empty() {
        return format!("is required: {}", error.rule);
    }
    format!("{:?} is not valid: {}", error.name, error.rule)
}

fn problem(problems: &mut Vec<crate::Problem>, field: &str, text: impl Into<String>) {
    problems.push(crate::Problem::new(field, text));
}

/// A number from 0 to the largest 32-bit one that every client can hold, or a problem with `field`.
fn size(field: &str, number: i64, problems: &mut Vec<crate::Problem>) -> u32 {
    match u32::try_from(number) {
        Ok(size) if number <= i64::from(i32::MAX) => size,
        _ => {
            problem(problems, field, format!("{number} is not from 0 to {}", i32::MAX));
            0
        }
    }
}

/// A number of seconds, or a problem with `field`.
fn seconds(field: &str, number: i64, problems: &mut Vec<crate::Problem>) -> u64 {
    u64::try_from(number).unwrap_or_else(|_| {
        problem(problems, field, format!("{number} is negative"));
        0
    })
}

/// A port, or a problem with `field`.
fn port(field: &str, number: i64, problems: &mut Vec<crate::Problem>) -> u16 {
    match u16::try_from(number) {
        Ok(port) if port > 0 => port,
        _ => {
            problem(problems, field, format!("{number} is not a port; use 1 to 65535"));
            0
        }
    }
}

fn checked<T>(value: T, problems: Vec<crate::Problem>) -> crate::Result<T> {
    if problems.is_empty() { Ok(value) } else { Err(crate::Error::Invalid(problems)) }
}

/// An answer that is not what this crate speaks.
fn strange(what: &str, why: impl std::fmt::Display) -> crate::Error {
    crate::Error::BadAnswer { what: what.to_owned(), why: why.to_string() }
}
