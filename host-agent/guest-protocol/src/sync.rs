//! How two sides that know nothing of each other agree where the stream begins.
//!
//! A virtio-serial port outlives what is connected to it. A guest that was restored from a snapshot may be in the
//! middle of a frame whose second half will never come, and a host that connects anew may be sent the second half of a
//! frame whose first half went to somebody else. So the host begins each connection with a SYNC that holds a number
//! nobody has seen before, and takes nothing from the guest until it has seen that number again.
//!
//! Towards the guest, the SYNC must not be swallowed as the payload of a half-sent frame. On a port that may have one
//! under way the host first sends as many zero bytes as a frame can still lack: they end the half frame, whose checksum
//! then does not fit, and are nothing between frames.
//!
//! A port also outlives a guest agent that ends, and its host hears nothing of that. So an agent that starts says so: a
//! SYNCED to nobody, behind as many zero bytes. A host in the middle of a connection sees that it makes no sense and connects
//! anew; one that begins a connection drops it like everything that comes before the answer.

use crate::{HEADER, MAX_PAYLOAD};

/// Bytes of a SYNC and of a SYNCED.
pub const LENGTH: usize = 40;
/// Zero bytes that end any half-sent frame.
pub const PADDING: usize = HEADER + MAX_PAYLOAD + LENGTH;
/// The first sixteen bytes of a SYNC. The first of them begins no frame.
pub const MAGIC: [u8; 16] = *b"\xf5FUSE-GUEST-SYNC";
/// The first sixteen bytes of a SYNCED.
pub const MAGIC_BACK: [u8; 16] = *b"\xf6FUSE-GUEST-SYNC";

/// What a guest agent writes when it starts on a port that a host has open. `nonce` is random: no host waits for it.
#[must_use]
pub fn announcement(nonce: Nonce) -> Vec<u8> {
    let mut bytes = vec![0; PADDING];
    bytes.extend_from_slice(&Sync { version: crate::VERSION, nonce }.encode_back());
    bytes
}

/// The number of one connection.
pub type Nonce = [u8; 16];

/// A SYNC or a SYNCED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync {
    /// The version that the sender speaks.
    pub version: u16,
    /// The number of the connection.
    pub nonce: Nonce,
}

impl Sync {
    /// The bytes of a SYNC, from host to guest.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        self.with(MAGIC)
    }

    /// The bytes of a SYNCED, from guest to host.
    #[must_use]
    pub fn encode_back(&self) -> [u8; LENGTH] {
        self.with(MAGIC_BACK)
    }

    fn with(&self, magic: [u8; 16]) -> [u8; LENGTH] {
        let mut bytes = [0_u8; LENGTH];
        bytes[..16].copy_from_slice(&magic);
        bytes[16..18].copy_from_slice(&self.version.to_le_bytes());
        bytes[20..36].copy_from_slice(&self.nonce);
        let sum = crc32fast::hash(&bytes[..36]);
        bytes[36..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads what [`Sync::encode`] (`magic` is [`MAGIC`]) or [`Sync::encode_back`] ([`MAGIC_BACK`]) wrote.
    #[must_use]
    pub fn parse(bytes: &[u8; LENGTH], magic: [u8; 16]) -> Option<Self> {
        let sum = u32::from_le_bytes([bytes[36], bytes[37], bytes[38], bytes[39]]);
        if bytes[..16] != magic || sum != crc32fast::hash(&bytes[..36]) {
            return None;
        }
        let mut nonce = [0; 16];
        nonce.copy_from_slice(&bytes[20..36]);
        Some(Self { version: u16::from_le_bytes([bytes[16], bytes[17]]), nonce })
    }
}
