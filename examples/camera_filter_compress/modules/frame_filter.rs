//! frame_filter in Rust: see frame_filter.c, which it matches line for line in the log.
#![no_std]

use fuse_module::{camera_last_frame, log, post_event, Level, Line, Module};

/// 320 x 240 pixels of 8-bit grey.
const FRAME_BYTES: usize = 320 * 240;
/// As in app_config.json.
const DATA_CAPTURED: u32 = 1;
/// Grey levels squared.
const VARIANCE_MIN: u64 = 600;

struct FrameFilter {
    frame: [u8; FRAME_BYTES],
    seen: u32,
    kept: u32,
}

/// Variance in grey levels squared, rounded down. At most 2^24 pixels, at least one.
fn variance(pixels: &[u8]) -> u64 {
    let len = pixels.len() as u64;
    let (mut sum, mut squares) = (0, 0);
    for &pixel in pixels {
        let pixel = u64::from(pixel);
        sum += pixel;
        squares += pixel * pixel;
    }
    (len * squares - sum * sum) / (len * len)
}

impl Module for FrameFilter {
    fn step(&mut self) {
        let bytes = camera_last_frame(&mut self.frame);
        if bytes == 0 {
            log(Level::Info, b"frame_filter: woken without a frame");
            return;
        }

        let found = variance(&self.frame[..bytes]);
        let keep = found >= VARIANCE_MIN;
        self.seen += 1;

        let verdict = if keep { "keep, variance " } else { "drop, variance " };
        Line::new().text("frame_filter: ").text(verdict).number(found).log(Level::Info);

        if keep {
            self.kept += 1;
            post_event(DATA_CAPTURED);
        }
    }

    fn deinit(&mut self) {
        let (kept, seen) = (u64::from(self.kept), u64::from(self.seen));
        let mut line = Line::new();
        line.text("frame_filter: kept ").number(kept).text(" of ").number(seen).log(Level::Info);
    }
}

fuse_module::module!(FrameFilter = FrameFilter { frame: [0; FRAME_BYTES], seen: 0, kept: 0 });
