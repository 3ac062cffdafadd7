//! Answers: JSON as clients of this wire know it, and errors in their envelope.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use fuse_orchestrator::wire::{ErrorBody, ErrorDetail};
use serde::Serialize;

/// What every handler returns.
pub(crate) type Answer<T = Response<Body>> = Result<T, Failure>;

/// Text of an error beyond this many characters is cut.
const LONGEST_MESSAGE: usize = 4_000;

/// A JSON answer: with a line end, and without the characters that mean something in HTML.
pub(crate) fn json<T: Serialize + ?Sized>(status: StatusCode, body: &T) -> Response<Body> {
    // As much as most answers have.
    let mut bytes = Vec::with_capacity(1_024);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => typed(status, escape(bytes)),
        Err(error) => Failure::internal(format!("the answer could not be written: {error}")).into_response(),
    }
}

fn typed(status: StatusCode, bytes: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// In JSON these characters are only ever inside texts, so every one of them can be replaced.
fn escape(mut bytes: Vec<u8>) -> Vec<u8> {
    let is_special = |byte: &u8| matches!(byte, b'<' | b'>' | b'&' | 0xe2);
    let Some(first) = bytes.iter().position(is_special) else {
        bytes.push(b'\n');
        return bytes;
    };
    let mut out = Vec::with_capacity(bytes.len() + 64);
    let (plain, mut rest) = bytes.split_at(first);
    out.extend_from_slice(plain);
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match first {
            b'<' => out.extend_from_slice(b"\\u003c"),
            b'>' => out.extend_from_slice(b"\\u003e"),
            b'&' => out.extend_from_slice(b"\\u0026"),
            // The two line separators of Unicode.
            0xe2 if rest.starts_with(&[0x80, 0xa8]) || rest.starts_with(&[0x80, 0xa9]) => {
                out.extend_from_slice(if rest.get(1) == Some(&0xa8) { b"\\u2028" } else { b"\\u2029" });
                rest = rest.get(2..).unwrap_or_default();
            }
            other => out.push(*other),
        }
    }
    out.push(b'\n');
    out
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// A refusal or a failure, as the caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    pub(crate) code: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) details: BTreeMap<String, String>,
    /// Seconds after which the caller may try again.
    pub(crate) retry_after: Option<u64>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Inside<'a>,
}

#[derive(Serialize)]
struct Inside<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    details: &'a BTreeMap<String, String>,
}

impl Failure {
    pub(crate) fn new(
        status: StatusCode,
        code: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        let mut message: String = message.into();
        if let Some((end, _)) = message.char_indices().nth(LONGEST_MESSAGE) {
            message.truncate(end);
        }
        Self { status, code: code.into(), message, details: BTreeMap::new(), retry_after: None }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_argument", message)
    }

    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// The caller is known, and may not.
    pub(crate) fn not_allowed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "unauthorized", message)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "conflict", message)
    }

    pub(crate) fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "unimplemented", message)
    }

    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
    }

    pub(crate) fn too_large(what: &str, limit: usize) -> Self {
        let message = format!("{what} is larger than {limit} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", message)
    }

    pub(crate) fn too_many(seconds: u64) -> Self {
        let message = format!("too many requests; try again in {seconds} s");
        let failure = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message);
        Self { retry_after: Some(seconds), ..failure }
    }
}

impl From<fuse_orchestrator::Error> for Failure {
    fn from(error: fuse_orchestrator::Error) -> Self {
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let ErrorDetail { mut code, message, details } = ErrorBody::from(&error).error;
        // A host that cannot be asked while it is registered: clients know it by this pair.
        if status == StatusCode::BAD_GATEWAY && code != "unauthorized" {
            "internal".clone_into(&mut code);
        }
        Self { details, ..Self::new(status, code, message) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.status.as_u16(), self.code, self.message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response<Body> {
        if self.status.is_server_error() && self.status != StatusCode::NOT_IMPLEMENTED {
            tracing::warn!(status = self.status.as_u16(), code = %self.code, "{}", self.message);
        }
        let inside = Inside { code: &self.code, message: &self.message, details: &self.details };
        let bytes = serde_json::to_vec(&Envelope { error: inside }).unwrap_or_default();
        let mut response = typed(self.status, escape(bytes));
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_never_leaves_as_html() {
        let text = escape(b"{\"a\":\"<b>&\xe2\x80\xa8\xe2\x82\xac\"}".to_vec());
        let expected = b"{\"a\":\"\\u003cb\\u003e\\u0026\\u2028\xe2\x82\xac\"}\n";
        assert_eq!(String::from_utf8_lossy(&text), String::from_utf8_lossy(expected));
        assert_eq!(escape(b"{}".to_vec()), b"{}\n");
        let back: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(back["a"], "<b>&\u{2028}€");
    }

    #[test]
    fn messages_have_an_end() {
        assert_eq!(Failure::invalid("é".repeat(9_000)).message.chars().count(), LONGEST_MESSAGE);
    }
}
