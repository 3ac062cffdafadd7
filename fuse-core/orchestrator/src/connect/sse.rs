//! The frames of `text/event-stream`.

/// The most bytes of one frame.
const LONGEST: usize = 1024 * 1024;

/// A frame with data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) id: Option<String>,
    pub(super) data: String,
}

/// Takes frames out of bytes that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Parser {
    buffer: Vec<u8>,
    id: Option<String>,
    data: Option<String>,
}

/// A stream whose frames are too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

impl Parser {
    /// Adds bytes that arrived.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.buffer.extend_from_slice(bytes);
        let held = self.data.as_ref().map_or(0, String::len);
        if self.buffer.len() + held > 2 * LONGEST { Err(TooLong) } else { Ok(()) }
    }

    /// The next whole frame; none when more bytes are needed.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, TooLong> {
        while let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
            let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if line.is_empty() {
                let id = self.id.take();
                if let Some(data) = self.data.take() {
                    return Ok(Some(Frame { id, data }));
                }
                continue;
            }
            self.take_line(&String::from_utf8_lossy(&line))?;
        }
        if self.buffer.len() > LONGEST { Err(TooLong) } else { Ok(None) }
    }

    fn take_line(&mut self, line: &str) -> Result<(), TooLong> {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.id = Some(value.to_owned()),
            "data" => {
                let data = match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data
                    }
                    none => none.insert(String::new()),
                };
                data.push_str(value);
                if data.len() > LONGEST {
                    return Err(TooLong);
                }
            }
            // Comments have an empty field; the others mean nothing here.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(pieces: &[&[u8]]) -> Vec<Frame> {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece).unwrap();
            while let Some(frame) = parser.next_frame().unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    const STREAM: &[u8] =
        b": keepalive\n\nid: 7\ndata: {\"a\":1}\n\nevent: x\r\ndata:one\r\ndata: two\r\n\r\nid: 9\n\n";

    fn expected() -> Vec<Frame> {
        vec![
            Frame { id: Some("7".into()), data: "{\"a\":1}".into() },
            Frame { id: None, data: "one\ntwo".into() },
        ]
    }

    #[test]
    fn comments_are_skipped_and_line_ends_may_differ() {
        assert_eq!(frames(&[STREAM]), expected());
    }

    #[test]
    fn a_frame_that_never_ends_is_refused() {
        let mut parser = Parser::default();
        let refused =
            (0..40).any(|_| parser.push(&[b'x'; 64 * 1024]).is_err() || parser.next_frame().is_err());
        assert!(refused);
        let mut parser = Parser::default();
        let refused = (0..40).any(|_| {
            parser.push(&[&b"data: "[..], &[b'x'; 64 * 1024], b"\n"].concat()).is_err()
                || parser.next_frame().is_err()
        });
        assert!(refused);
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(cuts in proptest::collection::vec(1_usize..9, 0..40)) {
            let (mut pieces, mut rest) = (Vec::new(), STREAM);
            for cut in cuts {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                pieces.push(now);
                rest = later;
            }
            pieces.push(rest);
            prop_assert_eq!(frames(&pieces), expected());
        }

        #[test]
        fn no_bytes_break_it(bytes: Vec<u8>) {
            let mut parser = Parser::default();
            let _ = parser.push(&bytes);
            while let Ok(Some(_)) = parser.next_frame() {}
        }
    }
}
