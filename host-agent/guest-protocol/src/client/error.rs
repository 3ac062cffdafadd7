//! Why a request came to nothing.

use std::sync::Arc;

use crate::{ErrorCode, GuestError, Verb, WireError};

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The guest answered that it did not do it.
    #[error("the guest agent answered: {0}")]
    Guest(#[from] GuestError),
    /// The connection ended. Whether the guest did it is unknown.
    #[error("the connection to the guest agent ended: {0}")]
    Closed(Arc<str>),
    /// The guest broke the protocol during the handshake.
    #[error("the guest agent and this host do not understand each other: {0}")]
    Wire(#[from] WireError),
    /// The stream to or from the guest failed during the handshake.
    #[error("the stream to the guest agent failed: {0}")]
    Io(#[source] std::io::Error),
    /// What was to be uploaded could not be read, or what was downloaded not be written, on this side.
    #[error("{what}: {error}")]
    Local {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        error: std::io::Error,
    },
    /// The arguments cannot be written as JSON.
    #[error("the arguments cannot be written as JSON: {0}")]
    Arguments(#[source] serde_json::Error),
    /// The arguments are too long.
    #[error("the arguments of {verb} are {bytes} bytes; the most is {most}", most = crate::MAX_ARGUMENTS)]
    TooLong {
        /// The verb.
        verb: Verb,
        /// Their length.
        bytes: usize,
    },
    /// The guest's answer is not what the verb answers.
    #[error("the answer of the guest agent cannot be read: {0}")]
    Answer(#[source] serde_json::Error),
}

impl ClientError {
    /// The guest's code, if it was the guest that answered.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Guest(error) => Some(error.code),
            _ => None,
        }
    }

    /// Whether the connection is of no further use.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Wire(_) | Self::Io(_))
    }
}
