//! Copies of large files: shared blocks where the file system can, holes kept where it cannot.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{
    fs::{SeekFrom, copy_file_range, ioctl_ficlone, seek},
    io::Errno,
};

use super::Extents;
use crate::{Error, Result};

/// Copies `from` to `to`, which must not be there: a new inode, never bytes written into a file that is in use.
/// Blocks are shared where the file system can do that; holes stay holes. Blocks the thread.
///
/// # Errors
/// A system error; what was written of `to` is removed.
pub fn clone_file(from: &Path, to: &Path, mode: u32) -> Result<()> {
    let copy = || -> io::Result<()> {
        let source = File::open(from)?;
        let target = OpenOptions::new().write(true).create_new(true).mode(mode).open(to)?;
        if ioctl_ficlone(&target, &source).is_ok() {
            return Ok(());
        }
        let length = source.metadata()?.len();
        target.set_len(length)?;
        Ok(copy_data(&source, &target, length)?)
    };
    copy().map_err(|error| {
        if error.kind() != io::ErrorKind::AlreadyExists {
            let _ = std::fs::remove_file(to);
        }
        Error::system("copy", format!("{} to {}", from.display(), to.display()), error)
    })
}

/// Gives a file that is only read another name; copies it where the file system cannot. Blocks the thread.
///
/// # Errors
/// A system error.
pub fn share_file(from: &Path, to: &Path) -> Result<()> {
    match std::fs::hard_link(from, to) {
        Ok(()) => Ok(()),
        Err(_) => clone_file(from, to, 0o444),
    }
}

/// Writes what `layer` has into `base`, in place: these ranges of it, or all of it but its holes. Blocks the thread.
///
/// # Errors
/// A system error.
pub fn overlay_file(layer: &Path, base: &Path, ranges: Option<&Extents>) -> Result<()> {
    let copy = || -> io::Result<()> {
        let source = File::open(layer)?;
        let target = OpenOptions::new().write(true).open(base)?;
        let length = source.metadata()?.len();
        if target.metadata()?.len() < length {
            target.set_len(length)?;
        }
        let Some(ranges) = ranges else { return Ok(copy_data(&source, &target, length)?) };
        for (from, length) in ranges.iter() {
            copy_range(&source, &target, (from, from), length)?;
        }
        Ok(())
    };
    let target = || format!("{} over {}", layer.display(), base.display());
    copy().map_err(|error| Error::system("lay", target(), error))
}

/// Copies the ranges of `source` that are not holes.
fn copy_data(source: &File, target: &File, length: u64) -> Result<(), Errno> {
    let mut at = 0;
    while at < length {
        let data = match seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            // Nothing but a hole follows.
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error),
        };
        let end = seek(source, SeekFrom::Hole(data))?;
        copy_range(source, target, (data, data), end - data)?;
        at = end;
    }
    Ok(())
}

/// Copies `length` bytes from a place of `source` to one of `target`.
pub(super) fn copy_range(
    source: &File,
    target: &File,
    (mut from, mut to): (u64, u64),
    length: u64,
) -> Result<(), Errno> {
    let end = from.saturating_add(length);
    while from < end {
        let most = usize::try_from(end - from).unwrap_or(usize::MAX).min(1 << 30);
        if copy_file_range(source, Some(&mut from), target, Some(&mut to), most)? == 0 {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::FileExt};

    use super::*;

    #[test]
    fn a_copy_is_equal_and_apart() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let file = File::create(&a).unwrap();
        file.set_len(1 << 20).unwrap();
        file.write_all_at(b"here", 300_000).unwrap();
        clone_file(&a, &b, 0o600).unwrap();
        assert!(fs::read(&a).unwrap() == fs::read(&b).unwrap());
        file.write_all_at(b"gone", 300_000).unwrap();
        assert!(fs::read(&a).unwrap() != fs::read(&b).unwrap());
        assert!(clone_file(&a, &b, 0o600).is_err(), "it never writes into a file that is there");
    }

    #[test]
    fn a_layer_changes_what_it_has() {
        let dir = tempfile::tempdir().unwrap();
        let (base, layer) = (dir.path().join("base"), dir.path().join("layer"));
        fs::write(&base, vec![7; 64 * 1024]).unwrap();
        let file = File::create(&layer).unwrap();
        file.set_len(64 * 1024).unwrap();
        file.write_all_at(&[9; 4096], 8192).unwrap();
        let ranges = Extents::of(&layer).unwrap();
        let changed = |bytes: Vec<u8>| (bytes[8191], bytes[8192], bytes[12287], bytes[12288]);
        overlay_file(&layer, &base, None).unwrap();
        assert_eq!(changed(fs::read(&base).unwrap()), (7, 9, 9, 7));
        // A copy that lost its holes is still the same layer, by its ranges.
        let (dense, other) = (dir.path().join("dense"), dir.path().join("other"));
        fs::write(&dense, fs::read(&layer).unwrap()).unwrap();
        fs::write(&other, vec![7; 64 * 1024]).unwrap();
        overlay_file(&dense, &other, Some(&ranges)).unwrap();
        assert_eq!(changed(fs::read(&other).unwrap()), (7, 9, 9, 7));
    }
}
