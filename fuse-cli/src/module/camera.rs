//! Frames for modules: image files as greyscale bytes, shown one after the other.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use fuse_edge::Runtime;
use image::imageops::FilterType;

use crate::outcome::{Failure, Outcome, read};

/// Most bytes that all frames together may have: they are decoded before the run, so that no step waits.
const FRAMES_BYTES_MAX: usize = 512 << 20;

/// Where frames come from.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Args {
    /// Frames for the camera: an image file (PNG, JPEG, PGM), or a folder of them, taken in the order of their names.
    /// Modules get 8-bit greyscale, row by row. Files named .raw or .gray are given as they are
    #[arg(long, value_name = "PATH")]
    camera: Option<PathBuf>,
    /// Scale each image to this size first
    #[arg(long, value_name = "WIDTHxHEIGHT", requires = "camera", value_parser = parse_size)]
    frame_size: Option<(u32, u32)>,
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let size = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    match size {
        Some((w @ 1..=16_384, h @ 1..=16_384)) => Ok((w, h)),
        _ => Err("a size is WIDTHxHEIGHT in pixels, 1 to 16384 each, such as 640x480".into()),
    }
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The name of the file that it is from.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Args {
    /// Decodes all frames; none when no camera was asked for.
    pub(crate) fn frames(&self) -> Outcome<Vec<Arc<Frame>>> {
        let Some(path) = &self.camera else { return Ok(Vec::new()) };
        let files = if path.is_dir() { files_of(path)? } else { vec![path.clone()] };
        let mut total = 0;
        let mut frames = Vec::with_capacity(files.len());
        for file in &files {
            let frame = self.decode(file)?;
            total += frame.bytes.len();
            if total > FRAMES_BYTES_MAX {
                return Err(Failure::refused(
                    path,
                    format!(
                        "its frames take more than {} MiB; use fewer, or --frame-size",
                        FRAMES_BYTES_MAX >> 20
                    ),
                ));
            }
            frames.push(Arc::new(frame));
        }
        Ok(frames)
    }

    fn decode(&self, file: &Path) -> Outcome<Frame> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = read(file)?;
        if is_raw(file) {
            return Ok(Frame { name, bytes });
        }
        let image = image::load_from_memory(&bytes)
            .map_err(|e| Failure::refused(file, format!("it is not an image that can be decoded: {e}")))?;
        let image = match self.frame_size {
            Some((width, height)) => image.resize_exact(width, height, FilterType::Triangle),
            None => image,
        };
        Ok(Frame { name, bytes: image.into_luma8().into_raw() })
    }
}

fn extension(file: &Path) -> String {
    file.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase()
}

fn is_raw(file: &Path) -> bool {
    matches!(extension(file).as_str(), "raw" | "gray")
}

/// The frames of a folder, by name. Other files are left alone.
fn files_of(folder: &Path) -> Outcome<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Failure::io("read", folder))? {
        let path = entry.map_err(Failure::io("read", folder))?.path();
        if matches!(extension(&path).as_str(), "png" | "jpg" | "jpeg" | "pgm" | "raw" | "gray") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::refused(
            folder,
            "it holds no frame: no .png, .jpg, .jpeg, .pgm, .raw or .gray file",
        ));
    }
    Ok(files)
}

/// The camera that a runtime reads: shows one frame until the next one is put in.
#[derive(Clone, Default)]
pub(crate) struct Camera {
    newest: Arc<Mutex<Option<Arc<Frame>>>>,
}

impl Camera {
    /// Makes this the newest frame.
    pub(crate) fn show(&self, frame: &Arc<Frame>) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(frame.clone());
    }

    /// Copies the newest frame: as much of it as fits. Says how much that was.
    fn copy(&self, buffer: &mut [u8]) -> usize {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(frame) = newest.as_ref() else { return 0 };
        let len = frame.bytes.len().min(buffer.len());
        buffer[..len].copy_from_slice(&frame.bytes[..len]);
        len
    }

    /// Makes it the camera of a runtime.
    pub(crate) fn install(&self, runtime: &mut Runtime) {
        let camera = self.clone();
        runtime.set_camera(move |buffer| Ok(camera.copy(buffer)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(camera: &Path, frame_size: Option<(u32, u32)>) -> Args {
        Args { camera: Some(camera.into()), frame_size }
    }

    #[test]
    fn a_folder_gives_its_images_by_name_as_greyscale() {
        let dir = tempfile::tempdir().unwrap();
        image::RgbImage::from_pixel(4, 2, image::Rgb([255, 255, 255]))
            .save(dir.path().join("b.png"))
            .unwrap();
        image::GrayImage::from_pixel(3, 1, image::Luma([7])).save(dir.path().join("a.png")).unwrap();
        std::fs::write(dir.path().join("c.raw"), b"as it is").unwrap();
        std::fs::write(dir.path().join("notes.txt"), b"not a frame").unwrap();
        let frames = args(dir.path(), None).frames().unwrap();
        let seen: Vec<_> = frames.iter().map(|f| (f.name.as_str(), f.bytes.as_slice())).collect();
        assert_eq!(seen, [("a.png", &[7; 3][..]), ("b.png", &[255; 8][..]), ("c.raw", b"as it is")]);
        assert_eq!(args(dir.path(), Some((5, 5))).frames().unwrap()[0].bytes.len(), 25);
    }

    #[test]
    fn what_is_no_image_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        assert!(args(dir.path(), None).frames().unwrap_err().to_string().contains("holds no frame"));
        let broken = dir.path().join("broken.png");
        std::fs::write(&broken, b"hello").unwrap();
        assert!(
            args(&broken, None).frames().unwrap_err().to_string().contains("broken.png: it is not an image")
        );
        assert_eq!(args(&dir.path().join("absent"), None).frames().unwrap_err().code(), 3);
    }

    #[test]
    fn shows_the_newest_frame_and_cuts_it_to_the_buffer() {
        let camera = Camera::default();
        let mut buffer = [0; 3];
        assert_eq!(camera.copy(&mut buffer), 0);
        camera.show(&Arc::new(Frame { name: String::new(), bytes: vec![1, 2, 3, 4] }));
        assert_eq!((camera.copy(&mut buffer), buffer), (3, [1, 2, 3]));
        camera.show(&Arc::new(Frame { name: String::new(), bytes: vec![9] }));
        assert_eq!((camera.copy(&mut buffer), buffer), (1, [9, 2, 3]));
    }

    #[test]
    fn sizes_have_two_sides() {
        assert_eq!(parse_size("640x480"), Ok((640, 480)));
        for wrong in ["640", "640x", "0x4", "-1x2", "99999x2"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }
}
