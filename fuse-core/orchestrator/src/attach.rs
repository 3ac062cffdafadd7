//! The frames of `fuse-attach/1`, the protocol of terminals: on the wire between a client and the control plane, and
//! between the control plane and a host agent. Streamed commands use the same frames.
//!
//! A frame is a type (one byte), three reserved bytes, the length of the payload (four bytes, big endian) and the
//! payload, at most 1 MiB. Frames of an unknown type are skipped, so that later versions can add some.

use serde::{Deserialize, Serialize};

/// The protocol's name in the `Upgrade` header; compare it without regard to case.
pub const PROTOCOL: &str = "fuse-attach/1";
/// The media type of a body that is a sequence of frames.
pub const MEDIA_TYPE: &str = "application/vnd.fuse-attach";
/// The most bytes that the payload of a frame has: 1 MiB.
pub const MAX_PAYLOAD: usize = 1024 * 1024;
/// The bytes of a frame before its payload.
pub const HEADER: usize = 8;

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const RESIZE: u8 = 3;
const EXIT: u8 = 4;

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Bytes typed.
    Stdin(Vec<u8>),
    /// Bytes of standard output, or of the terminal.
    Stdout(Vec<u8>),
    /// Bytes of standard error. Terminals have none.
    Stderr(Vec<u8>),
    /// A new size of the terminal.
    Resize {
        /// Rows, 1 to 65535.
        rows: u16,
        /// Columns, 1 to 65535.
        cols: u16,
    },
    /// The program ended with this code. Nothing follows.
    Exit(i32),
}

/// Bytes that are not frames.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A payload is longer than it may be.
    #[error("a frame of {bytes} bytes is longer than {MAX_PAYLOAD}")]
    TooLong {
        /// How long it says that it is.
        bytes: usize,
    },
    /// A payload does not say what its type needs.
    #[error("the payload of a {kind} frame is not what it must be: {why}")]
    Malformed {
        /// The type of the frame.
        kind: &'static str,
        /// What is wrong.
        why: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Size {
    rows: u16,
    cols: u16,
}

#[derive(Serialize, Deserialize)]
struct ExitCode {
    exit_code: i32,
}

impl Frame {
    /// The frame as bytes. Data beyond [`MAX_PAYLOAD`] goes into further frames.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Stdin(data) => encode_data(STDIN, data),
            Self::Stdout(data) => encode_data(STDOUT, data),
            Self::Stderr(data) => encode_data(STDERR, data),
            Self::Resize { rows, cols } => {
                encode_data(RESIZE, format!(r#"{{"rows":{rows},"cols":{cols}}}"#).as_bytes())
            }
            Self::Exit(code) => encode_data(EXIT, format!(r#"{{"exit_code":{code}}}"#).as_bytes()),
        }
    }

    fn read(kind: u8, payload: &[u8]) -> Result<Option<Self>, FrameError> {
        let malformed =
            |kind, error: &serde_json::Error| FrameError::Malformed { kind, why: error.to_string() };
        Ok(Some(match kind {
            STDIN => Self::Stdin(payload.to_vec()),
            STDOUT => Self::Stdout(payload.to_vec()),
            STDERR => Self::Stderr(payload.to_vec()),
            RESIZE => {
                let size: Size = serde_json::from_slice(payload).map_err(|e| malformed("resize", &e))?;
                Self::Resize { rows: size.rows.max(1), cols: size.cols.max(1) }
            }
            EXIT => {
                let exit: ExitCode = serde_json::from_slice(payload).map_err(|e| malformed("exit", &e))?;
                Self::Exit(exit.exit_code)
            }
            _ => return Ok(None),
        }))
    }
}

fn encode_data(kind: u8, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + data.len());
    // An empty frame says something too: that there is nothing.
    let mut rest = data;
    loop {
        let (now, later) = rest.split_at(rest.len().min(MAX_PAYLOAD));
        bytes.extend_from_slice(&[kind, 0, 0, 0]);
        bytes.extend_from_slice(&u32::try_from(now.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(now);
        rest = later;
        if rest.is_empty() {
            return bytes;
        }
    }
}

/// Takes frames out of bytes that come in pieces. Holds at most one frame that is not whole yet, and the piece that
/// was pushed last.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
}

impl FrameReader {
    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame; none when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; the stream cannot be read on then.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        loop {
            let Some((header, rest)) = self.buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
            let [kind, _, _, _, length @ ..] = *header;
            let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
            if length > MAX_PAYLOAD {
                return Err(FrameError::TooLong { bytes: length });
            }
            let Some(payload) = rest.get(..length) else { return Ok(None) };
            let frame = Frame::read(kind, payload);
            self.buffer.drain(..HEADER + length);
            if let Some(frame) = frame? {
                return Ok(Some(frame));
            }
        }
    }

    /// Whether bytes are left that are no whole frame.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        !self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames() -> Vec<Frame> {
        vec![
            Frame::Stdin(b"ls\n".to_vec()),
            Frame::Stdout(Vec::new()),
            Frame::Stderr(vec![0, 255]),
            Frame::Resize { rows: 24, cols: 80 },
            Frame::Exit(-1),
        ]
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(cuts in proptest::collection::vec(1_usize..9, 0..40)) {
            let bytes: Vec<u8> = frames().iter().flat_map(Frame::encode).collect();
            let (mut reader, mut seen, mut rest) = (FrameReader::default(), Vec::new(), &bytes[..]);
            for cut in cuts.into_iter().chain([bytes.len()]) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                reader.push(now);
                rest = later;
                while let Some(frame) = reader.next_frame().unwrap() {
                    seen.push(frame);
                }
            }
            prop_assert_eq!(seen, frames());
            prop_assert!(!reader.is_torn());
        }

        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut reader = FrameReader::default();
            reader.push(&bytes);
            while let Ok(Some(_)) = reader.next_frame() {}
        }
    }

    #[test]
    fn unknown_types_are_skipped_and_long_ones_refused() {
        let mut reader = FrameReader::default();
        reader.push(&[9, 0, 0, 0, 0, 0, 0, 1, 7]);
        reader.push(&Frame::Exit(3).encode());
        assert_eq!(reader.next_frame(), Ok(Some(Frame::Exit(3))));
        reader.push(&[1, 0, 0, 0, 0, 16, 0, 1]);
        assert_eq!(reader.next_frame(), Err(FrameError::TooLong { bytes: MAX_PAYLOAD + 1 }));
    }

    #[test]
    fn much_data_goes_into_several_frames() {
        let data = vec![7; MAX_PAYLOAD + 5];
        let mut reader = FrameReader::default();
        reader.push(&Frame::Stdout(data.clone()).encode());
        let mut seen = Vec::new();
        while let Some(Frame::Stdout(part)) = reader.next_frame().unwrap() {
            assert!(part.len() <= MAX_PAYLOAD);
            seen.extend(part);
        }
        assert_eq!(seen, data);
    }
}
