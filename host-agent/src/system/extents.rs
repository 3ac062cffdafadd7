//! Which ranges of a file a difference holds. Holes of a file do not survive every copy of it, and a difference whose
//! holes became zeros would be another one; so the ranges are kept beside it, as a file with a digest of its own.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

use super::clone::copy_range;
use crate::{Error, ErrorKind, Result};

/// The most ranges of a file. Beyond it the last one reaches to the end.
const MOST: usize = 1 << 20;
/// Bytes of a range in a file of ranges.
const WIDTH: usize = 16;

/// Ranges of a file: where each begins, and its length; in order, apart from each other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Extents(Vec<(u64, u64)>);

impl Extents {
    /// The ranges of a file that are not holes. Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn of(path: &Path) -> Result<Self> {
        let read = || -> io::Result<Self> {
            let file = File::open(path)?;
            let length = file.metadata()?.len();
            let (mut ranges, mut at) = (Vec::new(), 0);
            while at < length {
                let from = match seek(&file, SeekFrom::Data(at)) {
                    Ok(from) => from,
                    Err(Errno::NXIO) => break,
                    Err(error) => return Err(error.into()),
                };
                let end = if ranges.len() + 1 < MOST { seek(&file, SeekFrom::Hole(from))? } else { length };
                ranges.push((from, end.min(length).saturating_sub(from)));
                at = end;
            }
            Ok(Self(ranges))
        };
        read().map_err(|error| Error::system("read the ranges of", path.display(), error))
    }

    /// As a file has them: two little-endian numbers of 8 bytes for each.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0
            .iter()
            .flat_map(|(from, length)| [from.to_le_bytes(), length.to_le_bytes()])
            .flatten()
            .collect()
    }

    /// Reads a file of ranges of a file of `size` bytes. Blocks the thread.
    ///
    /// # Errors
    /// Corrupt when they are not ranges of such a file; a system error.
    pub fn read(path: &Path, size: u64) -> Result<Self> {
        let bytes = crate::system::read_bounded(path, (MOST * WIDTH) as u64)?.unwrap_or_default();
        let corrupt = |why: &str| Error::new(ErrorKind::Corrupt, "read", path.display(), why);
        let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
        let mut ranges = Vec::with_capacity(bytes.len() / WIDTH);
        let mut end = 0;
        for range in bytes.chunks(WIDTH) {
            let Some((from, length)) = range.split_at_checked(8).filter(|(_, length)| length.len() == 8)
            else {
                return Err(corrupt("it ends within a range"));
            };
            let (from, length) = (number(from), number(length));
            let next = from.checked_add(length).filter(|next| *next <= size);
            let Some(next) = next.filter(|_| from >= end) else {
                return Err(corrupt("its ranges overlap or lead beyond the file"));
            };
            ranges.push((from, length));
            end = next;
        }
        Ok(Self(ranges))
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// Makes the file of `size` bytes `into`, which must not be there, of one that holds these ranges and nothing else.
    /// Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn unpack(&self, packed: &Path, into: &Path, size: u64) -> Result<()> {
        let unpack = || -> io::Result<()> {
            let source = File::open(packed)?;
            let target = OpenOptions::new().write(true).create_new(true).open(into)?;
            target.set_len(size)?;
            let mut at = 0;
            for (from, length) in self.iter() {
                copy_range(&source, &target, (at, from), length)?;
                at += length;
            }
            Ok(())
        };
        unpack().map_err(|error| Error::system("unpack", packed.display(), error))
    }

    /// The bytes of all of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, length)| length).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn ranges_are_those_that_were_written_and_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        let file = File::create(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(&[1; 4096], 8192).unwrap();
        file.write_all_at(&[1; 8192], 1 << 19).unwrap();
        let extents = Extents::of(&path).unwrap();
        assert_eq!(extents.iter().collect::<Vec<_>>(), [(8192, 4096), (1 << 19, 8192)]);
        assert_eq!(extents.total(), 12_288);
        // What is packed comes back as it was.
        let packed = dir.path().join("p");
        std::fs::write(&packed, [1; 12_288]).unwrap();
        extents.unpack(&packed, &dir.path().join("u"), 1 << 20).unwrap();
        assert!(std::fs::read(dir.path().join("u")).unwrap() == std::fs::read(&path).unwrap());
        assert_eq!(Extents::of(&dir.path().join("u")).unwrap(), extents);
        let map = dir.path().join("m");
        std::fs::write(&map, extents.to_bytes()).unwrap();
        assert_eq!(Extents::read(&map, 1 << 20).unwrap(), extents);
        assert_eq!(Extents::read(&map, 1 << 19).unwrap_err().kind, ErrorKind::Corrupt);
        std::fs::write(&map, &extents.to_bytes()[..20]).unwrap();
        assert_eq!(Extents::read(&map, 1 << 20).unwrap_err().kind, ErrorKind::Corrupt);
        let twice = [extents.to_bytes(), extents.to_bytes()].concat();
        std::fs::write(&map, twice).unwrap();
        assert_eq!(Extents::read(&map, 1 << 20).unwrap_err().kind, ErrorKind::Corrupt);
    }
}
