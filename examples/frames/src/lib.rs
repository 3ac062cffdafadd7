//! What the camera examples share: real frames, the code that their modules send frames in, and a
//! contact sheet of what became of each frame.
//!
//! ```
//! use fuse_example_frames::Sky;
//!
//! let sky = Sky::load()?;
//! let frame = sky.frame(3);
//! assert_eq!(frame.pixels.len(), fuse_example_frames::FRAME_BYTES);
//! # Ok::<(), fuse_example_frames::SkyError>(())
//! ```

#![forbid(unsafe_code)]

mod report;
mod rle;
mod sheet;
mod sky;

pub use report::{Outcome, Report, Totals};
pub use rle::{Decoded, PacketError, decode};
pub use sheet::{ContactSheet, Verdict};
pub use sky::{FRAME_BYTES, FRAME_HEIGHT, FRAME_WIDTH, Frame, SWEEP, Sky, SkyError};
