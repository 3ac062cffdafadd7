//! The witness: a second, independent word on how far the store had come.
//!
//! sled repairs itself when it is opened: what it cannot read at the end of its log it takes for a torn write
//! and drops. After a crash that is right; after a flipped bit it would silently take back commits that were
//! acknowledged. So the number of each acknowledged commit is also written to a small file of its own, in turn
//! into one of two slots. A store that opens with an older number has lost something, and says so.
//!
//! The witness is written after sled is durable and before the commit is acknowledged. It is synced once a second
//! and on close rather than with every commit: after a crash of the process the page cache still has it, and
//! after a loss of power it is at most a second behind, never ahead.
use super::layout;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// Slots are a disk sector apart, so that a torn write spoils one of them.
const SLOT: u64 = 4_096;
const LABEL: &[u8] = b"fuse-sled-store-1";
const SYNC_EVERY: Duration = Duration::from_secs(1);

pub(super) struct Witness {
    file: File,
    slot: u64,
    unsynced_since: Option<Instant>,
}

/// What an existing witness says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Testimony {
    /// There is no witness file.
    Missing,
    /// The last commit it knows to be acknowledged.
    Commit(u64),
    /// Neither slot can be read.
    Damaged,
}

pub(super) fn read(path: &Path) -> io::Result<Testimony> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Testimony::Missing),
        Err(error) => return Err(error),
    };
    let slots = [0, SLOT as usize].map(|at| bytes.get(at..at + 16 + 8).unwrap_or_default());
    let number =
        |slot: &[u8]| layout::open(LABEL, slot).ok().and_then(|v| v.try_into().ok()).map(u64::from_be_bytes);
    Ok(slots.into_iter().filter_map(number).max().map_or(Testimony::Damaged, Testimony::Commit))
}

impl Witness {
    /// Opens the file, making it where it is missing, and notes `commit`.
    pub(super) fn open(path: &Path, commit: u64) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).mode(0o600).open(path)?;
        let mut witness = Self { file, slot: 0, unsynced_since: None };
        // Both slots, so that neither holds the word of an earlier life.
        witness.note(commit)?;
        witness.note(commit)?;
        witness.sync()?;
        Ok(witness)
    }

    pub(super) fn note(&mut self, commit: u64) -> io::Result<()> {
        let value = layout::seal(LABEL, commit.to_be_bytes().to_vec());
        self.file.write_all_at(&value, self.slot * SLOT)?;
        self.slot ^= 1;
        let since = *self.unsynced_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= SYNC_EVERY { self.sync() } else { Ok(()) }
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.unsynced_since = None;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_readable_slot_counts() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("witness");
        assert_eq!(read(&path)?, Testimony::Missing);
        let mut witness = Witness::open(&path, 3)?;
        witness.note(7)?;
        assert_eq!(read(&path)?, Testimony::Commit(7));
        let mut bytes = std::fs::read(&path)?;
        bytes[20] ^= 1;
        std::fs::write(&path, &bytes)?;
        assert_eq!(read(&path)?, Testimony::Commit(3));
        bytes[SLOT as usize + 20] ^= 1;
        std::fs::write(&path, &bytes)?;
        assert_eq!(read(&path)?, Testimony::Damaged);
        std::fs::write(&path, b"")?;
        assert_eq!(read(&path)?, Testimony::Damaged);
        Ok(())
    }
}
