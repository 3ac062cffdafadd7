//! Puts lengths and hashes that fit into damaged bytes, so that what lies behind the hash check is reached.

use sha2::{Digest, Sha256};

const HASH: usize = 32;

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + field.len()) {
        place.copy_from_slice(field);
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, |b| u32::from_le_bytes(b) as usize)
}

fn u64_at(bytes: &[u8], at: usize) -> usize {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, |b| u64::from_le_bytes(b) as usize)
}

/// An artifact whose magic, version, length and hashes fit, as far as its own offsets say where they go.
pub(crate) fn artifact(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    put(&mut bytes, 0, &fuse_edge::artifact::MAGIC);
    put(&mut bytes, 8, &fuse_edge::artifact::FORMAT_VERSION.to_le_bytes());
    let length = bytes.len() as u64;
    put(&mut bytes, 16, &length.to_le_bytes());
    let identity = usize::from(bytes.get(27).copied().unwrap_or_default());
    let payloads = usize::from(bytes.get(26).copied().unwrap_or_default()).min(4);
    for payload in 0..payloads {
        let entry = 28 + identity + payload * 56;
        let (start, len) = (u64_at(&bytes, entry + 8), u64_at(&bytes, entry + 16));
        let hash = start.checked_add(len).and_then(|end| bytes.get(start..end)).map(Sha256::digest);
        if let Some(hash) = hash {
            put(&mut bytes, entry + 24, &hash);
        }
    }
    let header = u32_at(&bytes, 12);
    if let Some(covered) = header.checked_sub(HASH).and_then(|end| bytes.get(..end)) {
        let hash = Sha256::digest(covered);
        put(&mut bytes, header - HASH, &hash);
    }
    bytes
}

/// A packed application whose magic, version, length and hash fit.
pub(crate) fn application(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    put(&mut bytes, 0, b"FUSEAPP\x1a");
    put(&mut bytes, 8, &1u32.to_le_bytes());
    let length = bytes.len() as u64;
    put(&mut bytes, 12, &length.to_le_bytes());
    if let Some(end) = bytes.len().checked_sub(HASH) {
        let hash = Sha256::digest(&bytes[..end]);
        put(&mut bytes, end, &hash);
    }
    bytes
}
