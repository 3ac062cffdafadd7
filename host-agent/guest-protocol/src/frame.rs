//! One frame: sixteen bytes of header, then the payload.

use crate::{ErrorCode, GuestError, HEADER, MAX_MESSAGE, MAX_PAYLOAD, Verb, WireError};

/// What a frame is. The numbers are the wire's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Host: opens a stream. `code` is the verb, the payload its arguments; `channel` is 1 when they go on in another
    /// OPEN of the same stream, which then follows at once.
    Open = 1,
    /// Either: bytes of a channel. Costs credit.
    Data = 2,
    /// Either: nothing more comes on a channel.
    End = 3,
    /// Guest: the answer, which ends the stream. `code` is 0 or an [`ErrorCode`].
    Result = 4,
    /// Host: something that happens to a running stream. `code` is a [`Control`].
    Control = 5,
    /// Either: the other side may send so many bytes more (payload: four bytes).
    Credit = 6,
    /// Host: the stream is given up; what it runs is ended. The guest answers with a RESULT (`Reset`).
    Reset = 7,
    /// Either: answer with a pong and the same payload (at most 64 bytes).
    Ping = 8,
    /// Either: the answer to a ping.
    Pong = 9,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Open,
        Self::Data,
        Self::End,
        Self::Result,
        Self::Control,
        Self::Credit,
        Self::Reset,
        Self::Ping,
        Self::Pong,
    ];

    fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Which bytes a DATA or END frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Standard input, or the content of an upload.
    Input = 0,
    /// Standard output, the output of a terminal, or the content of a download.
    Output = 1,
    /// Standard error.
    Error = 2,
}

impl Channel {
    /// The channel with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Input, Self::Output, Self::Error].into_iter().find(|channel| *channel as u8 == number)
    }
}

/// What happens to a running stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Control {
    /// The terminal has another size: a JSON object of [`crate::verb::Size`].
    Resize = 1,
    /// A signal for the program: a JSON object of [`crate::verb::SignalRequest`].
    Signal = 2,
}

impl Control {
    /// The control with this number.
    #[must_use]
    pub fn from_number(number: u16) -> Option<Self> {
        [Self::Resize, Self::Signal].into_iter().find(|control| *control as u16 == number)
    }
}

/// One frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: Kind,
    /// The number of its [`Channel`], where the kind has one; else 0.
    pub channel: u8,
    /// The verb of an OPEN, the outcome of a RESULT, the control of a CONTROL; else 0.
    pub code: u16,
    /// The stream, from 1; 0 for pings and pongs.
    pub stream: u32,
    /// At most [`MAX_PAYLOAD`] bytes.
    pub payload: Vec<u8>,
}

/// Payloads hold tokens and files, so only their length is shown.
impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, channel, code, stream, payload } = self;
        write!(f, "{kind:?} {stream} code {code} channel {channel} ({} bytes)", payload.len())
    }
}

impl Frame {
    fn bare(kind: Kind, stream: u32) -> Self {
        Self { kind, channel: 0, code: 0, stream, payload: Vec::new() }
    }

    /// Opens `stream` with `verb`: as many frames as the arguments need, at least one.
    #[must_use]
    pub fn open(stream: u32, verb: Verb, arguments: &[u8]) -> Vec<Self> {
        let mut rest = arguments;
        let mut frames = Vec::with_capacity(1);
        loop {
            let (piece, more) = rest.split_at(rest.len().min(MAX_PAYLOAD));
            frames.push(Self {
                code: verb as u16,
                channel: u8::from(!more.is_empty()),
                payload: piece.to_vec(),
                ..Self::bare(Kind::Open, stream)
            });
            if more.is_empty() {
                return frames;
            }
            rest = more;
        }
    }

    /// Bytes of a channel.
    #[must_use]
    pub fn data(stream: u32, channel: Channel, payload: Vec<u8>) -> Self {
        Self { channel: channel as u8, payload, ..Self::bare(Kind::Data, stream) }
    }

    /// The end of a channel.
    #[must_use]
    pub fn end(stream: u32, channel: Channel) -> Self {
        Self { channel: channel as u8, ..Self::bare(Kind::End, stream) }
    }

    /// The good answer.
    #[must_use]
    pub fn ok(stream: u32, answer: Vec<u8>) -> Self {
        Self { payload: answer, ..Self::bare(Kind::Result, stream) }
    }

    /// The other answer. A message that is too long is cut at a character.
    #[must_use]
    pub fn failed(stream: u32, error: &GuestError) -> Self {
        let mut end = error.message.len().min(MAX_MESSAGE);
        while !error.message.is_char_boundary(end) {
            end -= 1;
        }
        let payload = error.message.as_bytes()[..end].to_vec();
        Self { code: error.code as u16, payload, ..Self::bare(Kind::Result, stream) }
    }

    /// Something that happens to a running stream.
    #[must_use]
    pub fn control(stream: u32, control: Control, arguments: Vec<u8>) -> Self {
        Self { code: control as u16, payload: arguments, ..Self::bare(Kind::Control, stream) }
    }

    /// Permission to send `bytes` more.
    #[must_use]
    pub fn credit(stream: u32, bytes: u32) -> Self {
        Self { payload: bytes.to_le_bytes().to_vec(), ..Self::bare(Kind::Credit, stream) }
    }

    /// Gives the stream up.
    #[must_use]
    pub fn reset(stream: u32) -> Self {
        Self::bare(Kind::Reset, stream)
    }

    /// Asks for a sign of life.
    #[must_use]
    pub fn ping(payload: Vec<u8>) -> Self {
        Self { payload, ..Self::bare(Kind::Ping, 0) }
    }

    /// The sign of life.
    #[must_use]
    pub fn pong(payload: Vec<u8>) -> Self {
        Self { payload, ..Self::bare(Kind::Pong, 0) }
    }

    /// The bytes that a CREDIT grants.
    ///
    /// # Errors
    /// A payload that is not four bytes.
    pub fn granted(&self) -> Result<u32, WireError> {
        let bytes = self.payload.as_slice().try_into().map_err(|_| WireError::Payload(self.kind))?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// The answer that a RESULT holds.
    ///
    /// # Errors
    /// The guest's error.
    pub fn into_answer(self) -> Result<Vec<u8>, GuestError> {
        if self.code == 0 {
            return Ok(self.payload);
        }
        let message =
            String::from_utf8_lossy(&self.payload[..self.payload.len().min(MAX_MESSAGE)]).into_owned();
        Err(GuestError { code: ErrorCode::from_number(self.code), message })
    }

    /// Appends the frame to `out`. A payload that is too long is cut; whoever makes frames keeps to the limit.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let payload = &self.payload[..self.payload.len().min(MAX_PAYLOAD)];
        let mut header = [0_u8; HEADER];
        header[0] = self.kind as u8;
        header[1] = self.channel;
        header[2..4].copy_from_slice(&self.code.to_le_bytes());
        header[4..8].copy_from_slice(&self.stream.to_le_bytes());
        header[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        let sum = checksum(&header, payload);
        header[12..16].copy_from_slice(&sum.to_le_bytes());
        out.reserve(HEADER + payload.len());
        out.extend_from_slice(&header);
        out.extend_from_slice(payload);
    }
}

/// What a header says, before its payload is there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    bytes: [u8; HEADER],
    kind: Kind,
    /// Payload bytes that follow.
    pub(crate) length: usize,
}

impl Header {
    pub(crate) fn parse(bytes: [u8; HEADER]) -> Result<Self, WireError> {
        let kind = Kind::from_number(bytes[0]).ok_or(WireError::Kind(bytes[0]))?;
        let length = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        if length as usize > MAX_PAYLOAD {
            return Err(WireError::Length(length));
        }
        Ok(Self { bytes, kind, length: length as usize })
    }

    pub(crate) fn complete(self, payload: &[u8]) -> Result<Frame, WireError> {
        let bytes = self.bytes;
        let sum = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]);
        if sum != checksum(&bytes, payload) {
            return Err(WireError::Checksum);
        }
        Ok(Frame {
            kind: self.kind,
            channel: bytes[1],
            code: u16::from_le_bytes([bytes[2], bytes[3]]),
            stream: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            payload: payload.to_vec(),
        })
    }
}

/// CRC-32 (IEEE) of the first twelve bytes of the header and of the payload.
fn checksum(header: &[u8; HEADER], payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&header[..12]);
    crc.update(payload);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_frame_are_what_the_page_says() {
        let mut bytes = Vec::new();
        Frame::data(0x0102_0304, Channel::Error, b"hi".to_vec()).encode(&mut bytes);
        assert_eq!(bytes[..12], [2, 2, 0, 0, 4, 3, 2, 1, 2, 0, 0, 0]);
        assert_eq!(&bytes[16..], b"hi");
        let sum = u32::from_le_bytes(bytes[12..16].try_into().unwrap());
        assert_eq!(sum, crc32fast::hash(&[&bytes[..12], b"hi"].concat()));
    }

    #[test]
    fn messages_are_cut_at_a_character() {
        let frame = Frame::failed(1, &GuestError::new(ErrorCode::Failed, "ä".repeat(MAX_MESSAGE)));
        assert_eq!(frame.payload.len(), MAX_MESSAGE);
        assert!(frame.into_answer().unwrap_err().message.ends_with('ä'));
    }
}
