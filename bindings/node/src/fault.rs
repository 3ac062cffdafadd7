//! Errors of the core as what JavaScript throws: `code` is JSON with the kind and what else is known; the package makes its
//! own errors of it.

use fuse_runtime::edge;

/// The `code` of a thrown error, before the package reads it.
pub struct Fault(String);

impl AsRef<str> for Fault {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl From<napi::Status> for Fault {
    fn from(status: napi::Status) -> Self {
        Self(status.as_ref().to_owned())
    }
}

/// What native calls return.
pub type Result<T> = napi::Result<T, Fault>;

/// Text as a JSON string.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// An error of this kind.
pub(crate) fn error(kind: edge::ErrorKind, message: impl Into<String>) -> napi::Error<Fault> {
    napi::Error::new(Fault(format!("{{\"kind\":\"{}\"}}", kind.name())), message.into())
}

/// `InvalidArg`.
pub(crate) fn invalid(message: impl Into<String>) -> napi::Error<Fault> {
    error(edge::ErrorKind::InvalidArg, message)
}

/// An error of the edge runtime, with what it knows.
pub(crate) fn of(failed: &edge::Error) -> napi::Error<Fault> {
    let kind = failed.kind().name();
    let more = match failed {
        edge::Error::Config { path, .. } => format!(",\"path\":{}", quoted(path)),
        edge::Error::IntervalNotElapsed { remaining_us, .. } => format!(",\"remainingUs\":{remaining_us}"),
        edge::Error::Failed { name, entry, failure, .. } => {
            let fault = match failure {
                edge::Failure::Trap(edge::TrapCause::Callback { code }) => format!(",\"faultCode\":{code}"),
                _ => String::new(),
            };
            format!(
                ",\"module\":{},\"entry\":\"{entry}\",\"failure\":{}{fault}",
                quoted(name),
                quoted(&failure.to_string())
            )
        }
        _ => String::new(),
    };
    napi::Error::new(Fault(format!("{{\"kind\":\"{kind}\"{more}}}")), failed.to_string())
}

/// An error of the machinery between Node and the core.
pub(crate) fn of_node(failed: &napi::Error) -> napi::Error<Fault> {
    napi::Error::new(Fault::from(failed.status), failed.reason.clone())
}

/// For results of the core.
pub(crate) trait OrThrow<T> {
    /// The value, or the error as JavaScript gets it.
    fn or_throw(self) -> Result<T>;
}

impl<T> OrThrow<T> for edge::Result<T> {
    fn or_throw(self) -> Result<T> {
        self.map_err(|e| of(&e))
    }
}
