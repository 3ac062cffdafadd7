//! Decodes the packets that the modules of the camera examples send: the format is described in
//! `examples/modules/frame_rle.h`, whose encoder runs in the modules. This decoder shares no code
//! with it, so that each checks the other.

const MAGIC: &[u8; 4] = b"FRL1";
const HEADER: usize = 12;
const GROUP: usize = 8;
/// Largest frame that is decoded, in pixels: a packet is a few bytes, whatever size it claims.
const PIXELS_MAX: usize = 1 << 26;

/// A frame that came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `width * height` bytes of grey.
    pub pixels: Vec<u8>,
}

/// The bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than a header, or without `FRL1` at its start.
    #[error("not a frame packet: it does not begin with `FRL1` and a header of 12 bytes")]
    NotAPacket,
    /// A side of 0, or more than 2^26 pixels.
    #[error("a frame of {width} x {height} pixels cannot be decoded: 1 to 2^26 pixels can")]
    Size {
        /// Pixels in a row.
        width: usize,
        /// Rows.
        height: usize,
    },
    /// The payload is not as long as the header says.
    #[error("the header announces {announced} bytes of payload, {present} are there")]
    Length {
        /// As the header says.
        announced: usize,
        /// After the header.
        present: usize,
    },
    /// A run that is wider than a pixel, or that leaves the payload or the frame.
    #[error("the run at byte {at} is not one")]
    Run {
        /// Offset in the packet.
        at: usize,
    },
    /// Bytes are left after the last pixel.
    #[error("{bytes} bytes are left after the last pixel")]
    Trailing {
        /// How many.
        bytes: usize,
    },
}

/// Decodes one packet.
///
/// # Errors
/// [`PacketError`] for anything that an encoder would not have written.
pub fn decode(packet: &[u8]) -> Result<Decoded, PacketError> {
    let (header, payload) = packet.split_at_checked(HEADER).ok_or(PacketError::NotAPacket)?;
    if !header.starts_with(MAGIC) {
        return Err(PacketError::NotAPacket);
    }
    let field = |from: usize, bytes: usize| {
        header[from..from + bytes].iter().rev().fold(0, |number, &byte| number << 8 | usize::from(byte))
    };
    let (width, height, announced) = (field(4, 2), field(6, 2), field(8, 4));
    if width == 0 || height == 0 || width * height > PIXELS_MAX {
        return Err(PacketError::Size { width, height });
    }
    if announced != payload.len() {
        return Err(PacketError::Length { announced, present: payload.len() });
    }
    let differences = unpack(payload, width * height)?;
    let mut frame = Decoded { width, height, pixels: Vec::with_capacity(width * height) };
    for folded in differences {
        let predicted = predict(&frame.pixels, width);
        frame.pixels.push(predicted.wrapping_add(unfold(folded)));
    }
    Ok(frame)
}

/// The folded differences of all pixels, from runs of groups.
fn unpack(payload: &[u8], pixels: usize) -> Result<Vec<u8>, PacketError> {
    let mut differences = Vec::new();
    let mut rest = payload;
    while differences.len() < pixels {
        let at = HEADER + payload.len() - rest.len();
        let bad = PacketError::Run { at };
        let (&control, body) = rest.split_first().ok_or(bad)?;
        let (width, groups) = (usize::from(control >> 4), usize::from(control & 15) + 1);
        if width > 8 || groups * GROUP >= pixels - differences.len() + GROUP {
            return Err(bad);
        }
        let (run, after) = body.split_at_checked(groups * width).ok_or(bad)?;
        for group in 0..groups {
            let bytes = &run[group * width..(group + 1) * width];
            let bits = bytes.iter().rev().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
            let mask = (1u64 << width) - 1;
            differences.extend((0..GROUP).map(|i| (bits >> (i * width) & mask) as u8));
        }
        rest = after;
    }
    if !rest.is_empty() {
        return Err(PacketError::Trailing { bytes: rest.len() });
    }
    differences.truncate(pixels);
    Ok(differences)
}

/// What the next pixel after `pixels` is expected to be.
fn predict(pixels: &[u8], width: usize) -> u8 {
    let at = pixels.len();
    match (at % width, at / width) {
        (0, 0) => 0,
        (_, 0) => pixels[at - 1],
        (0, _) => pixels[at - width],
        _ => {
            let (left, above) = (i32::from(pixels[at - 1]), i32::from(pixels[at - width]));
            let corner = i32::from(pixels[at - width - 1]);
            // The median of the three; it lies between left and above, so that it is a pixel.
            let (low, high) = (left.min(above), left.max(above));
            (left + above - corner).clamp(low, high) as u8
        }
    }
}

/// 0, 1, 2, 3, ... for 0, -1, +1, -2, ...
fn unfold(folded: u8) -> u8 {
    if folded & 1 == 0 { folded >> 1 } else { !(folded >> 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 10 pixels in a row: 5, then flat, then a step of -1.
    fn packet() -> Vec<u8> {
        let mut packet = b"FRL1\x0a\0\x01\0\x06\0\0\0".to_vec();
        // Group 1: differences 5, then seven zeros: folded 10, which needs 4 bits.
        packet.extend([0x40, 10, 0, 0, 0]);
        // Group 2: two zero differences, and padding.
        packet.push(0x00);
        packet
    }

    #[test]
    fn a_packet_made_by_hand_decodes() {
        let frame = decode(&packet()).unwrap();
        assert_eq!((frame.width, frame.height, frame.pixels), (10, 1, vec![5; 10]));
    }

    #[test]
    fn folding_covers_every_difference_once() {
        let mut seen = [false; 256];
        for folded in 0..=255 {
            seen[usize::from(unfold(folded))] = true;
        }
        assert!(seen.iter().all(|&s| s));
        assert_eq!([unfold(0), unfold(1), unfold(2), unfold(3)], [0, 255, 1, 254]);
    }

    #[test]
    fn every_truncation_is_refused() {
        let whole = packet();
        for len in 0..whole.len() {
            assert!(decode(&whole[..len]).is_err(), "{len} bytes were taken");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let change = |at: usize, to: u8| {
            let mut changed = packet();
            changed[at] = to;
            decode(&changed).unwrap_err()
        };
        assert_eq!(change(0, b'G'), PacketError::NotAPacket);
        assert_eq!(change(4, 0), PacketError::Size { width: 0, height: 1 });
        assert_eq!(change(8, 7), PacketError::Length { announced: 7, present: 6 });
        assert_eq!(change(12, 0x90), PacketError::Run { at: 12 });
        assert_eq!(change(17, 0x01), PacketError::Run { at: 17 });
        assert_eq!(change(4, 8), PacketError::Trailing { bytes: 1 });
    }
}
