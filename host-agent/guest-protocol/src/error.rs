//! What can go wrong on the wire, and what a guest answers when it cannot do a thing.

use std::fmt;

/// Why a guest did not do what it was asked. The numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ErrorCode {
    /// The request cannot be read, or asks for something that makes no sense.
    Invalid = 1,
    /// The connection has not said hello with a token that the guest takes.
    Unauthorized = 2,
    /// There is no such file, program or workload.
    NotFound = 3,
    /// The guest does not allow it, such as a path that is not absolute.
    Refused = 4,
    /// A limit is reached: too many streams, no memory, no disk space.
    Exhausted = 5,
    /// This guest agent does not know the verb.
    Unsupported = 6,
    /// It was tried and failed.
    Failed = 7,
    /// It took longer than was asked for.
    TimedOut = 8,
    /// The other side gave the stream up, or the connection was made anew.
    Reset = 9,
}

impl ErrorCode {
    /// Every code.
    pub const ALL: [Self; 9] = [
        Self::Invalid,
        Self::Unauthorized,
        Self::NotFound,
        Self::Refused,
        Self::Exhausted,
        Self::Unsupported,
        Self::Failed,
        Self::TimedOut,
        Self::Reset,
    ];

    /// The code with this number; [`ErrorCode::Failed`] for those of a later version.
    #[must_use]
    pub fn from_number(number: u16) -> Self {
        Self::ALL.into_iter().find(|code| *code as u16 == number).unwrap_or(Self::Failed)
    }

    /// The code as text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Unauthorized => "unauthorized",
            Self::NotFound => "not found",
            Self::Refused => "refused",
            Self::Exhausted => "exhausted",
            Self::Unsupported => "unsupported",
            Self::Failed => "failed",
            Self::TimedOut => "timed out",
            Self::Reset => "reset",
        }
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A guest's answer that it did not do a thing: the code for programs, the message for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} ({code})")]
pub struct GuestError {
    /// Why.
    pub code: ErrorCode,
    /// What was tried, on what, and why it failed. Never a secret. At most [`crate::MAX_MESSAGE`] bytes on the wire.
    pub message: String,
}

impl GuestError {
    /// An error of `code`.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An error for what the operating system refused while doing `what`.
    #[must_use]
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        let code = match error.kind() {
            ErrorKind::NotFound => ErrorCode::NotFound,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ErrorCode::Refused,
            ErrorKind::StorageFull | ErrorKind::OutOfMemory | ErrorKind::QuotaExceeded => {
                ErrorCode::Exhausted
            }
            ErrorKind::TimedOut => ErrorCode::TimedOut,
            _ => ErrorCode::Failed,
        };
        Self::new(code, format!("{what}: {error}"))
    }
}

/// Bytes that break the protocol. The connection that carried them is of no further use, except for a new SYNC.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The header names a kind that does not exist.
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    /// The header claims more than a frame may carry.
    #[error("a frame of {0} payload bytes; the most is {max}", max = crate::MAX_PAYLOAD)]
    Length(u32),
    /// The checksum does not fit: half of one frame and half of another, or bytes that were changed.
    #[error("a frame whose checksum does not fit")]
    Checksum,
    /// A stream sent more than it was allowed to.
    #[error("stream {0} sent more than its window of {window} bytes", window = crate::WINDOW)]
    Window(u32),
    /// A frame that this side never gets.
    #[error("a frame of kind {0:?}, which only this side sends")]
    Direction(crate::Kind),
    /// The payload of a frame is not what its kind demands.
    #[error("a frame of kind {0:?} with a payload that it cannot have")]
    Payload(crate::Kind),
    /// The other side speaks another version.
    #[error("the guest agent speaks version {0} of the protocol, this host speaks {ours}", ours = crate::VERSION)]
    Version(u16),
}
