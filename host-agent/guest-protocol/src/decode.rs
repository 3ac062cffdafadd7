//! From bytes to frames, on either side. Pure: bytes go in, frames come out.

use crate::{
    Frame, HEADER, WireError,
    frame::Header,
    sync::{LENGTH, MAGIC, MAGIC_BACK, Nonce, Sync},
};

/// What the guest's decoder found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A host begins a connection: every stream is to be ended, and SYNCED to be answered.
    Sync(Sync),
    /// A frame.
    Frame(Frame),
    /// The bytes made no sense. Nothing comes until the next SYNC; every stream is to be ended.
    Lost(WireError),
}

/// The guest's side: looks for a SYNC, then takes frames until something does not fit, then looks for a SYNC again.
#[derive(Debug, Default)]
pub struct GuestDecoder {
    buffer: Buffer,
    synced: bool,
}

impl GuestDecoder {
    /// A decoder that waits for its first SYNC.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether frames are taken: after a SYNC and before anything that did not fit.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Takes bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.bytes.extend_from_slice(bytes);
    }

    /// The next thing in what was fed; none when more bytes are needed.
    pub fn take(&mut self) -> Option<Incoming> {
        if !self.synced {
            return self.search();
        }
        self.buffer.skip_padding();
        if self.buffer.rest().first() == Some(&MAGIC[0]) {
            return match self.buffer.take_sync(MAGIC)? {
                Some(sync) => Some(Incoming::Sync(sync)),
                None => Some(self.lose(WireError::Kind(MAGIC[0]))),
            };
        }
        match self.buffer.take_frame() {
            Ok(frame) => frame.map(Incoming::Frame),
            Err(error) => Some(self.lose(error)),
        }
    }

    fn lose(&mut self, error: WireError) -> Incoming {
        self.synced = false;
        Incoming::Lost(error)
    }

    fn search(&mut self) -> Option<Incoming> {
        loop {
            self.buffer.skip_to(MAGIC[0]);
            match self.buffer.take_sync(MAGIC)? {
                Some(sync) => {
                    self.synced = true;
                    return Some(Incoming::Sync(sync));
                }
                None => self.buffer.skip(1),
            }
        }
    }
}

/// The host's side of one connection: drops everything until the guest has answered with the connection's own number.
#[derive(Debug)]
pub struct HostDecoder {
    buffer: Buffer,
    nonce: Nonce,
    synced: bool,
}

impl HostDecoder {
    /// A decoder for the connection with this number.
    #[must_use]
    pub fn new(nonce: Nonce) -> Self {
        Self { buffer: Buffer::default(), nonce, synced: false }
    }

    /// Whether the guest has answered.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.synced
    }

    /// Takes bytes as they came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.bytes.extend_from_slice(bytes);
    }

    /// Looks for the guest's answer; afterwards [`HostDecoder::take`] gives frames. `false`: more bytes are needed.
    ///
    /// # Errors
    /// The guest speaks another version.
    pub fn synced(&mut self) -> Result<bool, WireError> {
        while !self.synced {
            self.buffer.skip_to(MAGIC_BACK[0]);
            match self.buffer.take_sync(MAGIC_BACK) {
                None => return Ok(false),
                Some(Some(sync)) if sync.nonce == self.nonce => {
                    if sync.version != crate::VERSION {
                        return Err(WireError::Version(sync.version));
                    }
                    self.synced = true;
                }
                // The answer to an earlier host.
                Some(Some(_)) => {}
                Some(None) => self.buffer.skip(1),
            }
        }
        Ok(true)
    }

    /// The next frame in what was fed; none when more bytes are needed, and before the guest has answered.
    ///
    /// # Errors
    /// Bytes that are no frame. The connection is of no further use.
    pub fn take(&mut self) -> Result<Option<Frame>, WireError> {
        if !self.synced {
            return Ok(None);
        }
        self.buffer.skip_padding();
        self.buffer.take_frame()
    }
}

/// Bytes that are not yet understood.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
}

impl Buffer {
    fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn skip(&mut self, count: usize) {
        self.start = (self.start + count).min(self.bytes.len());
        if self.start == self.bytes.len() {
            self.bytes.clear();
            self.start = 0;
        } else if self.start >= crate::MAX_PAYLOAD {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
    }

    fn skip_padding(&mut self) {
        let rest = self.rest();
        let zeros = rest.iter().position(|byte| *byte != 0).unwrap_or(rest.len());
        self.skip(zeros);
    }

    fn skip_to(&mut self, first: u8) {
        let rest = self.rest();
        let before = rest.iter().position(|byte| *byte == first).unwrap_or(rest.len());
        self.skip(before);
    }

    /// None: more bytes are needed. `Some(None)`: what stands here is no SYNC; nothing was taken.
    fn take_sync(&mut self, magic: [u8; 16]) -> Option<Option<Sync>> {
        let rest = self.rest();
        let prefix = rest.len().min(magic.len());
        if rest[..prefix] != magic[..prefix] {
            return Some(None);
        }
        let bytes: &[u8; LENGTH] = rest.first_chunk()?;
        let sync = Sync::parse(bytes, magic);
        if sync.is_some() {
            self.skip(LENGTH);
        }
        Some(sync)
    }

    fn take_frame(&mut self) -> Result<Option<Frame>, WireError> {
        let rest = self.rest();
        let Some(header) = rest.first_chunk::<HEADER>() else {
            // A kind that does not exist is seen at once, without waiting for the rest of its header.
            return match rest.first() {
                Some(kind) if *kind as usize > crate::Kind::ALL.len() => Err(WireError::Kind(*kind)),
                _ => Ok(None),
            };
        };
        let header = Header::parse(*header)?;
        let Some(payload) = rest.get(HEADER..HEADER + header.length) else { return Ok(None) };
        let frame = header.complete(payload)?;
        self.skip(HEADER + header.length);
        Ok(Some(frame))
    }
}
