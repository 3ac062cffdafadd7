//! A moving window over the Hubble Deep Field.

/// Pixels in a row of a frame.
pub const FRAME_WIDTH: usize = 320;
/// Rows of a frame.
pub const FRAME_HEIGHT: usize = 240;
/// Bytes of a frame: 8-bit grey, row after row, no header.
pub const FRAME_BYTES: usize = FRAME_WIDTH * FRAME_HEIGHT;
/// Frames until the window has swept the whole picture. The next sweep is shifted a little.
pub const SWEEP: u32 = COLUMNS * ROWS;

const COLUMNS: u32 = 6;
const ROWS: u32 = 4;
/// From one column or row of the sweep to the next, in pixels.
const STEP: (u32, u32) = (136, 210);
/// How far a sweep is shifted against the one before it, in pixels, modulo the step.
const SHIFT: (u32, u32) = (37, 61);

static PICTURE: &[u8] = include_bytes!("../hubble_deep_field.pgm");

/// The picture file is not what this crate reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot read hubble_deep_field.pgm: {0}; make it again with `cargo run -p fuse-example-frames --example make_pgm`"
)]
pub struct SkyError(&'static str);

/// One frame, as a camera would deliver it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number, from 0.
    pub number: u32,
    /// Where its window lies in the picture: column and row of its upper left pixel.
    pub at: (u32, u32),
    /// [`FRAME_BYTES`] bytes.
    pub pixels: Vec<u8>,
}

/// The picture that frames are windows of.
#[derive(Clone, Copy, Debug)]
pub struct Sky {
    pixels: &'static [u8],
    width: usize,
    height: usize,
}

impl Sky {
    /// Reads the picture, which is part of the program.
    ///
    /// # Errors
    /// [`SkyError`] when the picture that was built in is damaged or too small for a frame.
    pub fn load() -> Result<Self, SkyError> {
        Self::from_pgm(PICTURE)
    }

    fn from_pgm(file: &'static [u8]) -> Result<Self, SkyError> {
        let end = file.iter().position(|&b| b == b'\n').ok_or(SkyError("it has no header line"))?;
        let (header, pixels) = (&file[..end], &file[end + 1..]);
        let header = std::str::from_utf8(header).map_err(|_| SkyError("its header is not text"))?;
        let mut words = header.split(' ');
        let magic = words.next();
        let mut number = || words.next().and_then(|word| word.parse::<usize>().ok());
        let (Some("P5"), Some(width), Some(height), Some(255)) = (magic, number(), number(), number()) else {
            return Err(SkyError("it does not begin with `P5 WIDTH HEIGHT 255`"));
        };
        if width < FRAME_WIDTH || height < FRAME_HEIGHT || width.checked_mul(height) != Some(pixels.len()) {
            return Err(SkyError("its size is not that of its pixels, or is below that of a frame"));
        }
        Ok(Self { pixels, width, height })
    }

    /// Frame `number` of the sequence.
    #[must_use]
    pub fn frame(&self, number: u32) -> Frame {
        let at = self.window(number);
        let (x, y) = (at.0 as usize, at.1 as usize);
        let mut pixels = Vec::with_capacity(FRAME_BYTES);
        for row in y..y + FRAME_HEIGHT {
            let start = row * self.width + x;
            pixels.extend_from_slice(&self.pixels[start..start + FRAME_WIDTH]);
        }
        Frame { number, at, pixels }
    }

    /// Row after row, every other one backwards, as a scanning telescope would.
    fn window(&self, number: u32) -> (u32, u32) {
        let (sweep, step) = (number / SWEEP, number % SWEEP);
        let (row, along) = (step / COLUMNS, step % COLUMNS);
        let column = if row % 2 == 0 { along } else { COLUMNS - 1 - along };
        let shift = |by: u32, step: u32| (u64::from(sweep) * u64::from(by) % u64::from(step)) as u32;
        let x = column * STEP.0 + shift(SHIFT.0, STEP.0);
        let y = row * STEP.1 + shift(SHIFT.1, STEP.1);
        (x.min((self.width - FRAME_WIDTH) as u32), y.min((self.height - FRAME_HEIGHT) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grey_picture_is_the_photograph() {
        let photograph = image::open(concat!(env!("CARGO_MANIFEST_DIR"), "/hubble_deep_field.jpg")).unwrap();
        let grey = photograph.to_luma8();
        let sky = Sky::load().unwrap();
        assert_eq!((sky.width, sky.height), (grey.width() as usize, grey.height() as usize));
        let furthest = sky.pixels.iter().zip(grey.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(furthest <= Some(2), "a pixel differs by {furthest:?}: more than decoders do");
    }

    #[test]
    fn frames_are_windows_of_the_picture_and_one_sweep_covers_it() {
        let sky = Sky::load().unwrap();
        let mut seen = vec![false; sky.pixels.len()];
        for number in 0..SWEEP {
            let frame = sky.frame(number);
            assert_eq!(frame.pixels.len(), FRAME_BYTES);
            for y in 0..FRAME_HEIGHT {
                for x in 0..FRAME_WIDTH {
                    let place = (frame.at.1 as usize + y) * sky.width + frame.at.0 as usize + x;
                    assert_eq!(frame.pixels[y * FRAME_WIDTH + x], sky.pixels[place]);
                    seen[place] = true;
                }
            }
        }
        let covered = seen.iter().filter(|&&s| s).count();
        assert!(covered * 100 >= seen.len() * 99, "{covered} of {} pixels", seen.len());
    }

    #[test]
    fn the_window_stays_inside_for_ever_and_does_not_repeat_at_once() {
        let sky = Sky::load().unwrap();
        for number in (0..2000).chain([u32::MAX - 1, u32::MAX]) {
            let (x, y) = sky.window(number);
            assert!(x as usize + FRAME_WIDTH <= sky.width && y as usize + FRAME_HEIGHT <= sky.height);
        }
        assert_ne!(sky.window(0), sky.window(SWEEP));
    }

    #[test]
    fn a_damaged_picture_is_refused() {
        for damaged in
            [&b""[..], b"P5 1000 872 255", b"P6 1000 872 255\n", b"P5 4000 4000 255\nxxxx", b"P5 1 1 255\nx"]
        {
            assert!(Sky::from_pgm(damaged).is_err(), "{:?} was taken", std::str::from_utf8(damaged));
        }
    }
}
