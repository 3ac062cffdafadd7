//! What is in the path and the query of a request.

use std::{fmt, str::FromStr};

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use fuse_orchestrator::{
    Error, RecordKind,
    model::{EnvironmentId, HostId, IdError, SnapshotId},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::answer::Failure;

/// A name of the model that can stand in a path.
pub(crate) trait PathName: FromStr<Err = IdError> + fmt::Display {
    /// What it names.
    const KIND: RecordKind;
}

impl PathName for EnvironmentId {
    const KIND: RecordKind = RecordKind::Environment;
}

impl PathName for HostId {
    const KIND: RecordKind = RecordKind::Host;
}

impl PathName for SnapshotId {
    const KIND: RecordKind = RecordKind::Snapshot;
}

/// The name in the path. One that cannot be is a thing that is not there.
pub(crate) struct Named<T>(pub(crate) T);

/// The text in the path, for names that the model has no type for.
pub(crate) struct Segment(pub(crate) String);

/// The query, as far as it is known.
pub(crate) struct Params<T>(pub(crate) T);

/// The action of a POST.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Action {
    pub(crate) action: String,
}

impl Action {
    /// The refusal of an action that is none.
    pub(crate) fn unknown() -> Failure {
        Failure::invalid("missing or unknown action query parameter")
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Segment {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(_) => Err(Failure::invalid("the name in the path is not UTF-8")),
        }
    }
}

impl<S: Send + Sync, T: PathName> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Segment(text) = Segment::from_request_parts(parts, state).await?;
        if T::KIND == RecordKind::Environment {
            tracing::Span::current().record("environment_id", text.as_str());
        }
        text.parse()
            .map(Self)
            .map_err(|error: IdError| Error::NotFound { kind: T::KIND, id: error.name }.into())
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Self(value)),
            Err(error) => Err(Failure::invalid(format!("the query cannot be read: {}", error.body_text()))),
        }
    }
}
