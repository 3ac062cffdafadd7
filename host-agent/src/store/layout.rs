//! The data directory.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{Error, ErrorKind, Result};

/// How long another agent may still have the directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// The data directory of one agent, locked for as long as this lives.
#[derive(Debug)]
pub struct DataDir {
    root: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Opens the directory, makes what is missing of it (mode 0700) and empties `staging`.
    ///
    /// # Errors
    /// Busy when another agent has it open, and does so for a second; a system error. Blocks the thread.
    pub fn open(root: &Path) -> Result<Self> {
        new_dir(root)?;
        let root = root.canonicalize().map_err(|error| Error::system("open", root.display(), error))?;
        let path = root.join("lock");
        let fail = |error| Error::system("open", path.display(), error);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let lock = lock.map_err(fail)?;
        if !lock_soon(&lock) {
            let why = "another agent works on this directory; end it, or give this one another directory";
            return Err(Error::new(ErrorKind::Busy, "open", root.display(), why));
        }
        let staging = root.join("staging");
        if staging.exists() {
            fs::remove_dir_all(&staging).map_err(|error| Error::system("empty", staging.display(), error))?;
        }
        for part in ["vms", "snapshots", "images", "ended", "staging", "pulls"] {
            new_dir(&root.join(part))?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// The directory itself, absolute and without links.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// One of its parts.
    #[must_use]
    pub fn part(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// Locks a file, or waits a moment for it: what a process starts holds the locks of that process until it is another program,
/// so that they outlive their holder by a moment.
fn lock_soon(file: &File) -> bool {
    let began = Instant::now();
    loop {
        if rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok() {
            return true;
        }
        if began.elapsed() > LOCK_PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Makes a directory of mode 0700, and those above it, unless it is there.
///
/// # Errors
/// A system error.
pub fn new_dir(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Error::system("make", path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_agent_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::open(dir.path()).unwrap();
        assert_eq!(DataDir::open(dir.path()).unwrap_err().kind, ErrorKind::Busy);
        fs::write(first.part("staging").join("half"), "x").unwrap();
        drop(first);
        let second = DataDir::open(dir.path()).unwrap();
        assert_eq!(fs::read_dir(second.part("staging")).unwrap().count(), 0);
    }
}
