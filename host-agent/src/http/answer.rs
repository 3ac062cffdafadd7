//! Answers: JSON when it worked, plain text when it did not.

use axum::{
    Json,
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde::de::DeserializeOwned;

use crate::{Error, ErrorKind};

/// What a route gives.
pub(super) type Answer<T> = Result<Json<T>, Failure>;

/// A route that failed.
#[derive(Debug)]
pub(super) struct Failure(pub(super) StatusCode, pub(super) String);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Exists => StatusCode::CONFLICT,
            ErrorKind::Invalid => StatusCode::BAD_REQUEST,
            ErrorKind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            ErrorKind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            ErrorKind::Busy => StatusCode::SERVICE_UNAVAILABLE,
            ErrorKind::Corrupt | ErrorKind::Guest | ErrorKind::Vmm | ErrorKind::System => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], self.1).into_response()
    }
}

pub(super) fn bad(why: impl Into<String>) -> Failure {
    Failure(StatusCode::BAD_REQUEST, why.into())
}

pub(super) fn not_found() -> Failure {
    Failure(StatusCode::NOT_FOUND, "not found".to_owned())
}

/// Says in each answer who gave it.
pub(super) async fn name_ourselves(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    if let Ok(name) = HeaderValue::from_str(&format!("fuse-host-agent/{}", crate::VERSION)) {
        response.headers_mut().insert(header::SERVER, name);
    }
    response
}

/// A JSON body, whatever its content type says. An empty one counts as `{}`.
#[derive(Debug)]
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let bytes = Bytes::from_request(request, state).await.map_err(|rejection: BytesRejection| {
            let status = rejection.status();
            Failure(status, format!("the body cannot be read: {}", rejection.body_text()))
        })?;
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        serde_json::from_slice(text).map(Self).map_err(|error| {
            let told = error.to_string();
            // As clients of the original know it.
            match told.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
                Some(field) => bad(format!("missing field: {field}")),
                None if error.is_data() => {
                    bad("the JSON body does not have the members that this route takes")
                }
                None => bad("the body is not JSON"),
            }
        })
    }
}
