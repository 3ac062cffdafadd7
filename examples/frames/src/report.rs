//! What became of each frame: a table on standard output, a contact sheet, and a summary that is
//! the same on every run.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::rle;
use crate::sheet::{ContactSheet, Verdict};
use crate::sky::{FRAME_BYTES, Frame};

/// What the host saw of one frame.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The packet that arrived at the downlink; `None` when the modules kept the frame back.
    pub packet: Option<Vec<u8>>,
    /// Why: what the modules said of it.
    pub why: String,
    /// How long the modules worked on it.
    pub took: Duration,
}

/// Sums over all frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames that the camera took.
    pub frames: u32,
    /// Frames that were sent and came back byte for byte.
    pub kept: u32,
    /// Frames that were kept back.
    pub dropped: u32,
    /// Frames that were sent and did not come back as they were.
    pub failed: u32,
    /// Bytes of the frames that were sent.
    pub bytes_in: u64,
    /// Bytes of their packets.
    pub bytes_out: u64,
}

/// A report under way.
pub struct Report {
    out: PathBuf,
    sheet: ContactSheet,
    summary: String,
    totals: Totals,
}

impl Report {
    /// Begins a report and prints the head of its table. The files go to the folder `out`, which
    /// is made when it is not there.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn begin(title: &str, out: &Path) -> io::Result<Self> {
        fs::create_dir_all(out).map_err(|e| {
            io::Error::new(e.kind(), format!("cannot make the folder {}: {e}", out.display()))
        })?;
        println!(
            "{:>5}  {:<9} {:<8} {:<14} {:>7} {:>7} {:>6} {:>9}",
            "frame", "window", "verdict", "why", "in", "out", "ratio", "step"
        );
        Ok(Self {
            out: out.to_owned(),
            sheet: ContactSheet::new(title),
            summary: String::from("frame\tverdict\twhy\tbytes_in\tbytes_out\tpacket_sha256\n"),
            totals: Totals::default(),
        })
    }

    /// Decodes the frame's packet, compares it with the frame byte for byte, and adds a row.
    pub fn add(&mut self, frame: &Frame, outcome: &Outcome) {
        let (verdict, why) = match &outcome.packet {
            None => (Verdict::Dropped, outcome.why.clone()),
            Some(packet) => match compare(frame, packet) {
                Ok(()) => (Verdict::Kept, outcome.why.clone()),
                Err(difference) => (Verdict::Failed, difference),
            },
        };
        let sent = outcome.packet.as_deref();
        let out = sent.map_or(0, <[u8]>::len);
        let ratio = sent
            .map_or_else(|| "-".to_owned(), |p| format!("{:.2}", FRAME_BYTES as f64 / p.len().max(1) as f64));
        println!(
            "{:>5}  {:<9} {:<8} {:<14} {:>7} {:>7} {:>6} {:>6} us",
            frame.number,
            format!("{},{}", frame.at.0, frame.at.1),
            verdict.name(),
            why,
            FRAME_BYTES,
            out,
            ratio,
            outcome.took.as_micros()
        );
        let digest = sent.map_or_else(|| "-".to_owned(), digest);
        // Writing to a String is never an error.
        let _ = writeln!(
            self.summary,
            "{}\t{}\t{why}\t{FRAME_BYTES}\t{out}\t{digest}",
            frame.number,
            verdict.name()
        );
        let size = sent.map_or_else(String::new, |_| format!("  {ratio}:1"));
        self.sheet.add(frame, verdict, [format!("{} {}{size}", frame.number, verdict.name()), why]);
        self.count(verdict, out);
    }

    fn count(&mut self, verdict: Verdict, out: usize) {
        let totals = &mut self.totals;
        totals.frames += 1;
        match verdict {
            Verdict::Kept => totals.kept += 1,
            Verdict::Dropped => totals.dropped += 1,
            Verdict::Failed => totals.failed += 1,
        }
        if verdict != Verdict::Dropped {
            totals.bytes_in += FRAME_BYTES as u64;
            totals.bytes_out += out as u64;
        }
    }

    /// Prints the sums, writes `contact_sheet.png` and `summary.tsv`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn end(self) -> io::Result<Totals> {
        let totals = self.totals;
        println!(
            "{} frames: {} sent and back byte for byte, {} kept back, {} failed; {} -> {} bytes, {:.2}:1 of what was sent, {:.2}:1 of what was taken",
            totals.frames,
            totals.kept,
            totals.dropped,
            totals.failed,
            totals.bytes_in,
            totals.bytes_out,
            totals.bytes_in as f64 / totals.bytes_out.max(1) as f64,
            f64::from(totals.frames) * FRAME_BYTES as f64 / totals.bytes_out.max(1) as f64,
        );
        let named = |path: &Path, e: &dyn std::fmt::Display| {
            io::Error::other(format!("cannot write {}: {e}", path.display()))
        };
        let sheet = self.out.join("contact_sheet.png");
        self.sheet.save(&sheet).map_err(|e| named(&sheet, &e))?;
        let summary = self.out.join("summary.tsv");
        fs::write(&summary, &self.summary).map_err(|e| named(&summary, &e))?;
        println!("{} and {}", sheet.display(), summary.display());
        Ok(totals)
    }
}

/// Says how the frame that comes out of the packet differs from the one that went in.
fn compare(frame: &Frame, packet: &[u8]) -> Result<(), String> {
    let back = rle::decode(packet).map_err(|e| e.to_string())?;
    if back.pixels.len() != frame.pixels.len() {
        return Err(format!("{} pixels", back.pixels.len()));
    }
    match back.pixels.iter().zip(&frame.pixels).position(|(a, b)| a != b) {
        Some(at) => Err(format!("differs at {at}")),
        None => Ok(()),
    }
}

/// The first 8 bytes of the SHA-256, in hexadecimal.
fn digest(packet: &[u8]) -> String {
    Sha256::digest(packet).iter().take(8).fold(String::new(), |mut text, byte| {
        // Writing to a String is never an error.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sky::{FRAME_HEIGHT, FRAME_WIDTH};

    fn flat(value: u8) -> Frame {
        Frame { number: 0, at: (0, 0), pixels: vec![value; FRAME_BYTES] }
    }

    /// A packet of a flat frame: the first group has the value's difference, the others none.
    fn flat_packet(value: u8) -> Vec<u8> {
        let mut payload = vec![0x80, value << 1, 0, 0, 0, 0, 0, 0, 0];
        let groups = FRAME_BYTES / 8 - 1;
        payload.extend(std::iter::repeat_n(0x0f, groups / 16));
        payload.push((groups % 16 - 1) as u8);
        let mut packet = b"FRL1".to_vec();
        packet.extend((FRAME_WIDTH as u16).to_le_bytes());
        packet.extend((FRAME_HEIGHT as u16).to_le_bytes());
        packet.extend((payload.len() as u32).to_le_bytes());
        packet.extend(payload);
        packet
    }

    #[test]
    fn a_packet_that_does_not_come_back_the_same_is_a_failure() {
        let out = std::env::temp_dir().join(format!("fuse-report-{}", std::process::id()));
        let mut report = Report::begin("test", &out).unwrap();
        let mut add = |packet| {
            report.add(&flat(40), &Outcome { packet, why: "test".into(), took: Duration::ZERO });
        };
        add(Some(flat_packet(40)));
        add(Some(flat_packet(41)));
        add(Some(b"no packet".to_vec()));
        add(None);
        let totals = report.end().unwrap();
        assert_eq!((totals.kept, totals.failed, totals.dropped, totals.frames), (1, 2, 1, 4));
        let summary = fs::read_to_string(out.join("summary.tsv")).unwrap();
        assert!(summary.contains("0\tfailed\tdiffers at 0\t"), "{summary}");
        assert!(fs::read(out.join("contact_sheet.png")).unwrap().starts_with(b"\x89PNG"));
        fs::remove_dir_all(out).unwrap();
    }
}
