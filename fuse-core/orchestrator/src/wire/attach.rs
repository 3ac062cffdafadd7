//! The frames of `fuse-attach/1`: a terminal over an upgraded connection.
//!
//! A frame is one byte of type, three reserved bytes, four bytes of length (big endian) and the payload. Types that
//! are not known are skipped. There is no half close: either side ends the terminal by closing the connection.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::problem;
use crate::{
    Result,
    provider::{AttachInput, AttachOutput, AttachRequest},
};

/// What the `Upgrade` header says.
pub const PROTOCOL: &str = "fuse-attach/1";
/// The longest payload of a frame, in bytes.
pub const LONGEST: usize = 1024 * 1024;
const HEADER: usize = 8;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes typed.
    Stdin(Bytes),
    /// Bytes to show.
    Stdout(Bytes),
    /// Bytes to show that are not of the terminal. Not used by a terminal.
    Stderr(Bytes),
    /// A new size.
    Resize {
        /// Rows.
        rows: u16,
        /// Columns.
        cols: u16,
    },
    /// The program ended.
    Exit(i32),
}

#[derive(Serialize, Deserialize)]
struct Size {
    rows: u16,
    cols: u16,
}

#[derive(Serialize, Deserialize)]
struct Exit {
    exit_code: i32,
}

/// A frame that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It is longer than [`LONGEST`].
    #[error("a frame of {0} bytes is longer than {LONGEST}")]
    TooLong(usize),
    /// Its payload is not what its type says.
    #[error("a frame of type {0} has a payload that is not JSON of its kind")]
    Malformed(u8),
}

impl Frame {
    /// Appends the frame to `to`. A payload beyond [`LONGEST`] becomes several frames.
    pub fn encode(&self, to: &mut BytesMut) {
        match self {
            Self::Stdin(bytes) => put_bytes(to, 0, bytes),
            Self::Stdout(bytes) => put_bytes(to, 1, bytes),
            Self::Stderr(bytes) => put_bytes(to, 2, bytes),
            Self::Resize { rows, cols } => put_json(to, 3, &Size { rows: *rows, cols: *cols }),
            Self::Exit(exit_code) => put_json(to, 4, &Exit { exit_code: *exit_code }),
        }
    }

    /// Takes the next whole frame from `from`; none when there is not yet one. Unknown types are skipped, and so is a
    /// resize to nonsense.
    ///
    /// # Errors
    /// [`FrameError`]: the connection is of no more use.
    pub fn decode(from: &mut BytesMut) -> std::result::Result<Option<Self>, FrameError> {
        loop {
            let Some((kind, length)) = header(from) else { return Ok(None) };
            if length > LONGEST {
                return Err(FrameError::TooLong(length));
            }
            if from.len() < HEADER + length {
                return Ok(None);
            }
            from.advance(HEADER);
            let payload = from.split_to(length).freeze();
            let frame = match kind {
                0 => Self::Stdin(payload),
                1 => Self::Stdout(payload),
                2 => Self::Stderr(payload),
                3 => match serde_json::from_slice::<Size>(&payload) {
                    Ok(Size { rows, cols }) if rows > 0 && cols > 0 => Self::Resize { rows, cols },
                    _ => continue,
                },
                4 => {
                    let exit: Exit =
                        serde_json::from_slice(&payload).map_err(|_| FrameError::Malformed(kind))?;
                    Self::Exit(exit.exit_code)
                }
                _ => continue,
            };
            return Ok(Some(frame));
        }
    }

    /// What the frame means towards the guest; none for frames that go the other way.
    #[must_use]
    pub fn into_input(self) -> Option<AttachInput> {
        match self {
            Self::Stdin(bytes) => Some(AttachInput::Stdin(bytes.to_vec())),
            Self::Resize { rows, cols } => Some(AttachInput::Resize { rows, cols }),
            Self::Stdout(_) | Self::Stderr(_) | Self::Exit(_) => None,
        }
    }

    /// What the frame means towards the caller; none for frames that go the other way.
    #[must_use]
    pub fn into_output(self) -> Option<AttachOutput> {
        match self {
            Self::Stdout(bytes) | Self::Stderr(bytes) => Some(AttachOutput::Stdout(bytes.to_vec())),
            Self::Exit(code) => Some(AttachOutput::Exit(code)),
            Self::Stdin(_) | Self::Resize { .. } => None,
        }
    }
}

impl From<AttachInput> for Frame {
    fn from(input: AttachInput) -> Self {
        match input {
            AttachInput::Stdin(bytes) => Self::Stdin(bytes.into()),
            AttachInput::Resize { rows, cols } => Self::Resize { rows, cols },
        }
    }
}

impl From<AttachOutput> for Frame {
    fn from(output: AttachOutput) -> Self {
        match output {
            AttachOutput::Stdout(bytes) => Self::Stdout(bytes.into()),
            AttachOutput::Exit(code) => Self::Exit(code),
        }
    }
}

/// The type and the length of the frame at the front; none when they are not there yet.
fn header(from: &BytesMut) -> Option<(u8, usize)> {
    match from.get(..HEADER)? {
        [kind, _, _, _, length @ ..] => {
            let length: [u8; 4] = length.try_into().ok()?;
            Some((*kind, usize::try_from(u32::from_be_bytes(length)).ok()?))
        }
        _ => None,
    }
}

fn put_bytes(to: &mut BytesMut, kind: u8, bytes: &[u8]) {
    for part in bytes.chunks(LONGEST) {
        to.reserve(HEADER + part.len());
        to.put_slice(&[kind, 0, 0, 0]);
        // At most LONGEST, which fits.
        to.put_u32(u32::try_from(part.len()).unwrap_or(u32::MAX));
        to.put_slice(part);
    }
}

fn put_json(to: &mut BytesMut, kind: u8, value: &impl Serialize) {
    // Numbers always serialise.
    put_bytes(to, kind, &serde_json::to_vec(value).unwrap_or_default());
}

/// The query of GET /v1/environments/{id}/attach, from its pairs in order.
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_protocol() {
        let mut bytes = BytesMut::new();
        Frame::Stdin(Bytes::from_static(b"hi")).encode(&mut bytes);
        Frame::Resize { rows: 24, cols: 80 }.encode(&mut bytes);
        Frame::Exit(3).encode(&mut bytes);
        let mut expected = vec![0, 0, 0, 0, 0, 0, 0, 2, b'h', b'i', 3, 0, 0, 0, 0, 0, 0, 21];
        expected.extend(br#"{"rows":24,"cols":80}"#);
        expected.extend([4, 0, 0, 0, 0, 0, 0, 15]);
        expected.extend(br#"{"exit_code":3}"#);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_not_known_is_skipped_and_what_cannot_be_ends_it() {
        let mut bytes =
            BytesMut::from(&[9, 0, 0, 0, 0, 0, 0, 1, b'x', 3, 0, 0, 0, 0, 0, 0, 2, b'{', b'}'][..]);
        Frame::Stdout(Bytes::from_static(b"y")).encode(&mut bytes);
        assert_eq!(Frame::decode(&mut bytes), Ok(Some(Frame::Stdout(Bytes::from_static(b"y")))));
        let mut long = BytesMut::from(&[1, 0, 0, 0, 0, 16, 0, 1][..]);
        assert_eq!(Frame::decode(&mut long), Err(FrameError::TooLong(LONGEST + 1)));
        let mut bad = BytesMut::from(&[4, 0, 0, 0, 0, 0, 0, 1, b'x'][..]);
        assert_eq!(Frame::decode(&mut bad), Err(FrameError::Malformed(4)));
    }

    #[test]
    fn long_writes_are_cut_into_frames() {
        let mut bytes = BytesMut::new();
        Frame::Stdout(vec![7; LONGEST + 1].into()).encode(&mut bytes);
        assert!(matches!(Frame::decode(&mut bytes), Ok(Some(Frame::Stdout(part))) if part.len() == LONGEST));
        assert!(matches!(Frame::decode(&mut bytes), Ok(Some(Frame::Stdout(part))) if part.len() == 1));
    }

    #[test]
    fn attach_needs_a_terminal() {
        assert!(request([("rows", "9")]).is_err());
        let asked = AttachRequest { argv: vec!["sh".into(), "-c x".into()], rows: 9, cols: 200 };
        let pairs = pairs(&asked);
        assert_eq!(request(pairs.iter().map(|(name, value)| (*name, value.as_str()))).unwrap(), asked);
        let odd = request([("tty", "true"), ("rows", "0"), ("cols", "99999")]).unwrap();
        assert_eq!((odd.rows, odd.cols), (24, 80));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut bytes = BytesMut::from(&bytes[..]);
            while let Ok(Some(_)) = Frame::decode(&mut bytes) {}
        }

        #[test]
        fn frames_survive_any_cut(data: Vec<u8>, cut in 0_usize..64) {
            prop_assume!(!data.is_empty());
            let mut whole = BytesMut::new();
            Frame::Stdin(Bytes::from(data.clone())).encode(&mut whole);
            let at = cut.min(whole.len() - 1);
            let mut first = whole.split_to(at);
            prop_assert_eq!(Frame::decode(&mut first), Ok(None));
            first.unsplit(whole);
            prop_assert_eq!(Frame::decode(&mut first), Ok(Some(Frame::Stdin(Bytes::from(data)))));
        }
    }
}
