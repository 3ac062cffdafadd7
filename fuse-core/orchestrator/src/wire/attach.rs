//! Terminals over the REST API: what the query asks for, and what the frames of [`crate::attach`] mean.

use super::problem;
pub use crate::attach::{Frame, FrameError, FrameReader, PROTOCOL};
use crate::{
    Result,
    provider::{AttachInput, AttachOutput, AttachRequest},
};

impl Frame {
    /// What the frame means towards the guest; none for frames that go the other way.
    #[must_use]
    pub fn into_input(self) -> Option<AttachInput> {
        match self {
            Self::Stdin(bytes) => Some(AttachInput::Stdin(bytes)),
            Self::Resize { rows, cols } => Some(AttachInput::Resize { rows, cols }),
            Self::Stdout(_) | Self::Stderr(_) | Self::Exit(_) => None,
        }
    }

    /// What the frame means towards the caller; none for frames that go the other way.
    #[must_use]
    pub fn into_output(self) -> Option<AttachOutput> {
        match self {
            Self::Stdout(bytes) | Self::Stderr(bytes) => Some(AttachOutput::Stdout(bytes)),
            Self::Exit(code) => Some(AttachOutput::Exit(code)),
            Self::Stdin(_) | Self::Resize { .. } => None,
        }
    }
}

impl From<AttachInput> for Frame {
    fn from(input: AttachInput) -> Self {
        match input {
            AttachInput::Stdin(bytes) => Self::Stdin(bytes),
            AttachInput::Resize { rows, cols } => Self::Resize { rows, cols },
        }
    }
}

impl From<AttachOutput> for Frame {
    fn from(output: AttachOutput) -> Self {
        match output {
            AttachOutput::Stdout(bytes) => Self::Stdout(bytes),
            AttachOutput::Exit(code) => Self::Exit(code),
        }
    }
}

/// The query of GET /v1/environments/{id}/attach, from its pairs in order. A size that is none is left at 24 rows and
/// 80 columns.
///
/// # Errors
/// [`Error::Invalid`](crate::Error::Invalid) without `tty=1`: there is no attach but to a terminal.
pub fn request<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<AttachRequest> {
    let (mut tty, mut request) = (false, AttachRequest { argv: Vec::new(), rows: 24, cols: 80 });
    for (name, value) in pairs {
        let size = || value.parse::<u16>().ok().filter(|size| *size > 0);
        match name {
            "tty" => tty = matches!(value, "1" | "true"),
            "rows" => request.rows = size().unwrap_or(request.rows),
            "cols" => request.cols = size().unwrap_or(request.cols),
            "cmd" => request.argv.push(value.to_owned()),
            _ => {}
        }
    }
    let mut problems = Vec::new();
    if !tty {
        problem(&mut problems, "tty", "must be 1 or true");
    }
    super::checked(request, problems)
}

/// The query for a request, as pairs.
#[must_use]
pub fn pairs(request: &AttachRequest) -> Vec<(&'static str, String)> {
    let mut pairs =
        vec![("tty", "1".to_owned()), ("rows", request.rows.to_string()), ("cols", request.cols.to_string())];
    pairs.extend(request.argv.iter().map(|arg| ("cmd", arg.clone())));
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attach_needs_a_terminal() {
        assert!(request([("rows", "9")]).is_err());
        let asked = AttachRequest { argv: vec!["sh".into(), "-c x".into()], rows: 9, cols: 200 };
        let pairs = pairs(&asked);
        assert_eq!(request(pairs.iter().map(|(name, value)| (*name, value.as_str()))).unwrap(), asked);
        let odd = request([("tty", "true"), ("rows", "0"), ("cols", "99999")]).unwrap();
        assert_eq!((odd.rows, odd.cols), (24, 80));
    }
}
