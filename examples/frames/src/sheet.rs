//! A contact sheet: every frame in small, with what became of it.

use std::path::Path;

use font8x8::UnicodeFonts;
use image::{Rgb, RgbImage};

use crate::sky::{FRAME_HEIGHT, FRAME_WIDTH, Frame};

/// Each frame is shown at half its size.
const SCALE: usize = 2;
const TILE_WIDTH: u32 = (FRAME_WIDTH / SCALE) as u32;
const TILE_HEIGHT: u32 = (FRAME_HEIGHT / SCALE) as u32;
const BORDER: u32 = 3;
const GAP: u32 = 8;
const LINE: u32 = 10;
const LINES: u32 = 2;
const TITLE: u32 = 28;
const COLUMNS: u32 = 6;
/// Letters are this many pixels wide.
const LETTER: u32 = 8;

const GROUND: Rgb<u8> = Rgb([24, 26, 32]);
const INK: Rgb<u8> = Rgb([222, 224, 230]);
const KEPT: Rgb<u8> = Rgb([64, 200, 110]);
const DROPPED: Rgb<u8> = Rgb([120, 124, 134]);
const FAILED: Rgb<u8> = Rgb([235, 84, 84]);

/// What became of a frame. It decides the colour of its border.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was sent, and came back byte for byte. Green.
    Kept,
    /// It was not worth sending. Grey.
    Dropped,
    /// It should have been sent and was not, or came back different. Red.
    Failed,
}

impl Verdict {
    /// `kept`, `dropped` or `failed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }

    const fn colour(self) -> Rgb<u8> {
        match self {
            Self::Kept => KEPT,
            Self::Dropped => DROPPED,
            Self::Failed => FAILED,
        }
    }
}

struct Tile {
    picture: Vec<u8>,
    verdict: Verdict,
    lines: [String; LINES as usize],
}

/// A picture of frames in rows of six, each with a border in its verdict's colour and two lines
/// of text.
#[derive(Default)]
pub struct ContactSheet {
    title: String,
    tiles: Vec<Tile>,
}

impl ContactSheet {
    /// An empty sheet with a title of one line.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), tiles: Vec::new() }
    }

    /// Adds a frame. Each line of text has room for 20 letters.
    pub fn add(&mut self, frame: &Frame, verdict: Verdict, lines: [String; 2]) {
        self.tiles.push(Tile { picture: reduce(&frame.pixels), verdict, lines });
    }

    /// Draws the sheet.
    #[must_use]
    pub fn draw(&self) -> RgbImage {
        let count = u32::try_from(self.tiles.len()).unwrap_or(u32::MAX).max(1);
        let (columns, rows) = (count.min(COLUMNS), count.div_ceil(COLUMNS));
        let (cell_width, cell_height) =
            (TILE_WIDTH + 2 * BORDER + GAP, TILE_HEIGHT + 2 * BORDER + LINES * LINE + GAP);
        let width = (columns * cell_width + GAP).max(2 * GAP + self.title.len() as u32 * LETTER);
        let mut sheet = RgbImage::from_pixel(width, TITLE + rows * cell_height, GROUND);
        write(&mut sheet, (GAP, GAP), &self.title, INK);
        for (i, tile) in (0u32..).zip(&self.tiles) {
            let corner = (GAP + i % COLUMNS * cell_width, TITLE + i / COLUMNS * cell_height);
            tile.draw(&mut sheet, corner);
        }
        sheet
    }

    /// Draws the sheet into a PNG file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> image::ImageResult<()> {
        self.draw().save_with_format(path, image::ImageFormat::Png)
    }
}

impl Tile {
    fn draw(&self, sheet: &mut RgbImage, (left, top): (u32, u32)) {
        let colour = self.verdict.colour();
        for y in 0..TILE_HEIGHT + 2 * BORDER {
            for x in 0..TILE_WIDTH + 2 * BORDER {
                let inside = (x.checked_sub(BORDER).filter(|x| *x < TILE_WIDTH))
                    .zip(y.checked_sub(BORDER).filter(|y| *y < TILE_HEIGHT));
                let pixel = inside.map_or(colour, |(x, y)| {
                    let grey = self.picture[(y * TILE_WIDTH + x) as usize];
                    Rgb([grey; 3])
                });
                sheet.put_pixel(left + x, top + y, pixel);
            }
        }
        let below = top + TILE_HEIGHT + 2 * BORDER + 2;
        for (line, text) in (0u32..).zip(&self.lines) {
            let ink = if line == 0 { colour } else { INK };
            write(sheet, (left, below + line * LINE), text, ink);
        }
    }
}

/// A frame at half its size, brightened: most of the sky is too dark for a screen.
fn reduce(pixels: &[u8]) -> Vec<u8> {
    let mut reduced = Vec::with_capacity((TILE_WIDTH * TILE_HEIGHT) as usize);
    for y in (0..FRAME_HEIGHT).step_by(SCALE) {
        for x in (0..FRAME_WIDTH).step_by(SCALE) {
            let at = |dx: usize, dy: usize| {
                pixels.get((y + dy) * FRAME_WIDTH + x + dx).map_or(0.0, |&pixel| f32::from(pixel))
            };
            let mean = (at(0, 0) + at(1, 0) + at(0, 1) + at(1, 1)) / 4.0;
            reduced.push((255.0 * (mean / 255.0).powf(0.6)) as u8);
        }
    }
    reduced
}

/// Writes text; what does not fit on the sheet is cut.
fn write(sheet: &mut RgbImage, (left, top): (u32, u32), text: &str, ink: Rgb<u8>) {
    for (place, letter) in (0u32..).zip(text.chars()) {
        let rows = font8x8::BASIC_FONTS.get(letter).unwrap_or([0xff; 8]);
        for (y, bits) in (0u32..).zip(rows) {
            for x in (0..LETTER).filter(|x| bits >> x & 1 != 0) {
                let at = (left + place * LETTER + x, top + y);
                if at.0 < sheet.width() && at.1 < sheet.height() {
                    sheet.put_pixel(at.0, at.1, ink);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sky;

    #[test]
    fn a_sheet_shows_each_frame_in_the_colour_of_its_verdict() {
        let sky = Sky::load().unwrap();
        let mut sheet = ContactSheet::new("test");
        let verdicts = [Verdict::Kept, Verdict::Dropped, Verdict::Failed];
        for number in 0..8 {
            let verdict = verdicts[number as usize % 3];
            sheet.add(&sky.frame(number), verdict, [format!("{number}"), String::new()]);
        }
        let drawn = sheet.draw();
        let cell = (TILE_WIDTH + 2 * BORDER + GAP, TILE_HEIGHT + 2 * BORDER + LINES * LINE + GAP);
        assert_eq!(drawn.dimensions(), (6 * cell.0 + GAP, TITLE + 2 * cell.1));
        for i in 0..8 {
            let corner = drawn.get_pixel(GAP + i % 6 * cell.0, TITLE + i / 6 * cell.1);
            assert_eq!(*corner, verdicts[i as usize % 3].colour(), "tile {i}");
        }
    }

    #[test]
    fn text_beyond_the_sheet_is_cut() {
        let mut sheet = RgbImage::new(20, 4);
        write(&mut sheet, (0, 0), "wide text \u{1f680}", INK);
        assert!(sheet.pixels().any(|p| *p == INK));
    }
}
