//! The console of a guest: a file that its VMM appends to, kept short.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use super::read_bounded;
use crate::{Error, Result};

/// What a guest wrote to its console. The VMM appends to the file; [`Console::trim`] keeps it short.
#[derive(Debug, Clone)]
pub struct Console {
    path: PathBuf,
}

impl Console {
    /// From this size on a console is trimmed, in bytes.
    pub const LONGEST: u64 = 1024 * 1024;
    /// What a trimmed console keeps, in bytes.
    pub const KEPT: u64 = 64 * 1024;

    /// The console in this file.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Opens the file for a VMM to append to.
    ///
    /// # Errors
    /// A system error.
    pub fn open(&self) -> Result<File> {
        let file = OpenOptions::new().append(true).create(true).open(&self.path);
        file.map_err(|error| Error::system("open", self.path.display(), error))
    }

    /// The last `limit` bytes; empty when nothing was written.
    ///
    /// # Errors
    /// A system error.
    pub fn tail(&self, limit: usize) -> Result<Vec<u8>> {
        let mut bytes = tail_of(&self.path.with_extension("kept"), limit)?;
        bytes.extend(tail_of(&self.path, limit)?);
        let from = bytes.len().saturating_sub(limit);
        Ok(bytes.split_off(from))
    }

    /// At most `limit` bytes from the byte number `after` on, and where they begin: later where what came before is kept
    /// no longer. A place beyond the end counts as the end.
    ///
    /// # Errors
    /// A system error.
    pub fn after(&self, after: u64, limit: usize) -> Result<(u64, Vec<u8>)> {
        let cut = self.cut();
        let all = self.tail(usize::try_from(Self::LONGEST * 2).unwrap_or(usize::MAX))?;
        let kept = read_bounded(&self.path.with_extension("kept"), Self::LONGEST)?.unwrap_or_default();
        // What is kept of before the cut ends where the cut was.
        let start = cut.saturating_sub(kept.len() as u64);
        let skip = usize::try_from(after.saturating_sub(start)).unwrap_or(usize::MAX).min(all.len());
        let bytes = all.get(skip..).unwrap_or_default().iter().copied().take(limit).collect();
        Ok((start + skip as u64, bytes))
    }

    /// How many bytes were cut off at the beginning so far.
    fn cut(&self) -> u64 {
        let text = std::fs::read_to_string(self.path.with_extension("cut")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Shortens a console that is longer than [`Console::LONGEST`]. What the guest writes in the very moment of the
    /// cut is lost.
    ///
    /// # Errors
    /// A system error.
    pub fn trim(&self) -> Result<()> {
        let fail = |error| Error::system("trim", self.path.display(), error);
        let Ok(file) = OpenOptions::new().write(true).open(&self.path) else { return Ok(()) };
        let length = file.metadata().map_err(fail)?.len();
        if length <= Self::LONGEST {
            return Ok(());
        }
        let kept = tail_of(&self.path, usize::try_from(Self::KEPT).unwrap_or(usize::MAX))?;
        let cut = self.cut() + length;
        super::write_atomic(&self.path.with_extension("kept"), &kept)?;
        super::write_atomic(&self.path.with_extension("cut"), cut.to_string().as_bytes())?;
        // The VMM's descriptor appends, so it goes on at the new end.
        file.set_len(0).map_err(fail)
    }
}

/// The last `limit` bytes of a file; empty when it is not there.
///
/// # Errors
/// A system error.
pub fn tail_of(path: &Path, limit: usize) -> Result<Vec<u8>> {
    let Ok(mut file) = File::open(path) else { return Ok(Vec::new()) };
    let mut read = || -> std::io::Result<Vec<u8>> {
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limit as u64)))?;
        let mut bytes = Vec::new();
        (&mut file).take(limit as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|error| Error::system("read", path.display(), error))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_long_console_keeps_its_end_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let console = Console::new(dir.path().join("console.log"));
        let mut writer = console.open().unwrap();
        writer.write_all(&vec![b'a'; 2 << 20]).unwrap();
        writer.write_all(b"END").unwrap();
        console.trim().unwrap();
        writer.write_all(b"MORE").unwrap();
        let tail = console.tail(10).unwrap();
        assert_eq!(tail, b"aaaENDMORE");
        assert!(std::fs::metadata(dir.path().join("console.log")).unwrap().len() < 16);
        let (start, bytes) = console.after((2 << 20) + 1, 4).unwrap();
        assert_eq!((start, &bytes[..]), ((2 << 20) + 1, &b"NDMO"[..]));
        assert_eq!(console.after(0, 1).unwrap(), ((2 << 20) + 3 - Console::KEPT, b"a".to_vec()));
        assert_eq!(console.after(u64::MAX, 9).unwrap(), ((2 << 20) + 7, Vec::new()));
    }
}
