//! A temperature from a file, as the kernel gives it or as a person writes it.

use std::fs;
use std::path::{Path, PathBuf};

use fuse_edge::HalFault;

use crate::outcome::{Failure, Outcome};

/// Code of the trap when the file cannot be read while modules run.
const UNREADABLE: i32 = 5;
/// Code of the trap when the file holds no temperature.
const NOT_A_TEMPERATURE: i32 = 22;

/// The file to read: the one asked for, which must hold a temperature now, else the machine's first thermal zone.
pub(super) fn source(asked: Option<&Path>) -> Outcome<Option<PathBuf>> {
    if let Some(path) = asked {
        let text = fs::read_to_string(path).map_err(Failure::io("read", path))?;
        parse(&text)
            .ok_or_else(|| Failure::refused(path, "it holds no temperature, such as 21.5 or 21500"))?;
        return Ok(Some(path.into()));
    }
    let zones = fs::read_dir("/sys/class/thermal").into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = zones.map(|zone| zone.path().join("temp")).collect();
    files.sort();
    Ok(files.into_iter().find(|file| read(file).is_ok()))
}

/// The temperature now, in degrees Celsius.
pub(super) fn read(path: &Path) -> Result<f32, HalFault> {
    let text = fs::read_to_string(path).map_err(|_| HalFault { code: UNREADABLE })?;
    parse(&text).ok_or(HalFault { code: NOT_A_TEMPERATURE })
}

/// Degrees with a decimal point, millidegrees without.
fn parse(text: &str) -> Option<f32> {
    let text = text.trim();
    if let Ok(millidegrees) = text.parse::<i32>() {
        return Some(millidegrees as f32 / 1000.0);
    }
    text.parse::<f32>().ok().filter(|degrees| degrees.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_and_human_notation() {
        assert_eq!(parse("42500\n"), Some(42.5));
        assert_eq!(parse("-7.25"), Some(-7.25));
        assert_eq!(parse("-40000"), Some(-40.0));
        for wrong in ["", "warm", "NaN", "inf"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "20.5").unwrap();
        assert_eq!(source(Some(file.path())).unwrap().as_deref(), Some(file.path()));
        assert_eq!(read(file.path()), Ok(20.5));
        fs::write(file.path(), "30000").unwrap();
        assert_eq!(read(file.path()), Ok(30.0));
        fs::write(file.path(), "broken").unwrap();
        assert_eq!(read(file.path()), Err(HalFault { code: NOT_A_TEMPERATURE }));
        assert_eq!(source(Some(file.path())).unwrap_err().code(), 4);
    }
}
