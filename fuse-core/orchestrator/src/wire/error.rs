//! Errors on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::typed;
use crate::{
    Error, ErrorCode, RemoteError,
    provider::{ProviderErrorKind, Verb},
};

/// The body of every answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorDetail {
    /// Why, for programs: see [`ErrorCode`].
    pub code: String,
    /// Why, for people.
    #[serde(default)]
    pub message: String,
    /// More, by name: `kind` says which error it is, the others are its parts. For `kind` `invalid` they are the
    /// fields that are wrong.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub details: BTreeMap<String, String>,
}

impl ErrorBody {
    /// An error that has no type in this crate, such as that of a missing route.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let (code, message) = (code.as_str().to_owned(), message.into());
        Self { error: ErrorDetail { code, message, details: BTreeMap::new() } }
    }

    /// The body as it is sent: JSON with `<`, `>` and `&` escaped, and a line end.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and maps of strings always serialise.
        let mut text = String::new();
        for c in serde_json::to_string(self).unwrap_or_default().chars() {
            match c {
                '<' => text.push_str("\\u003c"),
                '>' => text.push_str("\\u003e"),
                '&' => text.push_str("\\u0026"),
                '\u{2028}' => text.push_str("\\u2028"),
                '\u{2029}' => text.push_str("\\u2029"),
                c => text.push(c),
            }
        }
        text.push('\n');
        text
    }

    /// The error that an answer with this status and this body stands for: the same that the server met, where the
    /// details tell it, else [`Error::Remote`].
    #[must_use]
    pub fn into_error(self, status: u16, request_id: &str) -> Error {
        let ErrorDetail { code, message, details } = self.error;
        typed::restore(&details).unwrap_or_else(|| {
            Error::Remote(Box::new(RemoteError { status, code, message, request_id: request_id.to_owned() }))
        })
    }
}

impl From<&Error> for ErrorBody {
    fn from(error: &Error) -> Self {
        let details = typed::details(error);
        let code = match error {
            Error::Remote(remote) => remote.code.clone(),
            error => error.code().as_str().to_owned(),
        };
        Self { error: ErrorDetail { code, message: error.to_string(), details } }
    }
}

impl Error {
    /// The HTTP status of the answer that tells of this error.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            // A host that is registered did not take its token, or did not say what it has.
            Self::Provider(error) if error.kind == ProviderErrorKind::Unauthorized => 502,
            Self::Provider(error)
                if error.verb == Verb::Probe
                    && matches!(error.kind, ProviderErrorKind::Unreachable | ProviderErrorKind::TimedOut) =>
            {
                502
            }
            Self::Remote(remote) if (400..600).contains(&remote.status) => remote.status,
            error => error.code().status(),
        }
    }
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 11] = [
        Self::NotFound,
        Self::RouteNotFound,
        Self::Conflict,
        Self::InvalidArgument,
        Self::Unauthorized,
        Self::Forbidden,
        Self::RateLimited,
        Self::Unavailable,
        Self::Unimplemented,
        Self::PayloadTooLarge,
        Self::Internal,
    ];

    /// The HTTP status that goes with the code. The only other one: an API key that calls a route for the master alone
    /// is answered 403 with [`ErrorCode::Unauthorized`].
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::NotFound | Self::RouteNotFound => 404,
            Self::Conflict => 409,
            Self::InvalidArgument => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::RateLimited => 429,
            Self::Unavailable => 503,
            Self::Unimplemented => 501,
            Self::PayloadTooLarge => 413,
            Self::Internal => 500,
        }
    }

    /// The code that `name` names; for one that is not known, what the status means.
    #[must_use]
    pub fn of(name: &str, status: u16) -> Self {
        if let Some(code) = Self::ALL.into_iter().find(|code| code.as_str() == name) {
            return code;
        }
        match status {
            401 => Self::Unauthorized,
            403 => Self::Forbidden,
            404 | 405 => Self::RouteNotFound,
            408 | 425 | 502..=504 => Self::Unavailable,
            409 => Self::Conflict,
            413 => Self::PayloadTooLarge,
            429 => Self::RateLimited,
            501 => Self::Unimplemented,
            400..=499 => Self::InvalidArgument,
            _ => Self::Internal,
        }
    }
}
