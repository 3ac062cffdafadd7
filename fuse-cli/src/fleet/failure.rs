//! What went wrong at a control plane, and what to do next.

use fuse_orchestrator::{Error, ErrorCode, RecordKind};

use crate::outcome::Failure;

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let next = next(&error).unwrap_or_default();
        Self::Fleet { error: Box::new(error), next }
    }
}

/// The name of an error for programs: its code on the wire, or that there was no answer.
pub(crate) fn kind(error: &Error) -> &'static str {
    match error {
        Error::NoAnswer { .. } => "no_answer",
        Error::BadAnswer { .. } => "bad_answer",
        Error::BootFailed { .. } => "boot_failed",
        Error::Timeout { .. } => "timeout",
        error => error.code().as_str(),
    }
}

/// The exit code.
pub(crate) fn exit_code(error: &Error) -> u8 {
    match error {
        Error::BootFailed { .. } => 1,
        Error::NoAnswer { .. } | Error::Timeout { .. } => 8,
        Error::BadAnswer { .. } => 9,
        error => match error.code() {
            ErrorCode::InvalidArgument | ErrorCode::PayloadTooLarge => 4,
            ErrorCode::NotFound | ErrorCode::RouteNotFound => 5,
            ErrorCode::Conflict => 6,
            ErrorCode::Unauthorized | ErrorCode::Forbidden => 7,
            ErrorCode::Unavailable | ErrorCode::RateLimited => 8,
            ErrorCode::Unimplemented | ErrorCode::Internal => 9,
        },
    }
}

fn next(error: &Error) -> Option<String> {
    Some(match error {
        Error::NoAnswer { .. } => {
            "see which server is asked with `fuse context current`; start one with `fuse serve`".into()
        }
        Error::BadAnswer { .. } => "check the address with `fuse context current`".into(),
        Error::TaskTaken { environment_id, .. } => {
            format!("use it, or end it with `fuse environment destroy {environment_id}`")
        }
        Error::NotRunning { id, .. } => format!("see why with `fuse environment get {id}`"),
        Error::BootFailed { id, .. } => format!("see what it wrote with `fuse environment logs {id}`"),
        Error::HostInUse { id, .. } => format!("empty it first with `fuse host drain {id}`"),
        Error::HasChildren { id, .. } => {
            format!("see them with `fuse snapshot list`, delete them before {id}")
        }
        Error::Placement(_) => "see the hosts with `fuse host list`, or add one with `fuse host add`".into(),
        Error::NotFound { kind, .. } => {
            let group = match kind {
                RecordKind::Environment => "environment",
                RecordKind::Host => "host",
                RecordKind::Snapshot => "snapshot",
                RecordKind::ApiKey => "api-key",
                RecordKind::DeadLetter => "dead-letter",
            };
            format!("see what there is with `fuse {group} list`")
        }
        error => match error.code() {
            ErrorCode::Unauthorized => {
                "give a token that may do this: in FUSE_TOKEN, or with `fuse connect URL --token-file FILE`"
                    .into()
            }
            ErrorCode::Forbidden => "ask whoever runs the server to allow your address".into(),
            ErrorCode::RateLimited => "wait a little and try again".into(),
            ErrorCode::RouteNotFound => {
                "the server is older than this program; compare with `fuse status`".into()
            }
            _ => return None,
        },
    })
}
