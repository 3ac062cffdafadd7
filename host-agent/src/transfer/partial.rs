//! What came of a pull so far: a directory that outlives the agent, with what is being fetched and its files.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{
    Error, Result,
    store::{Sha256Hex, SnapshotRecord, new_dir},
    system::{read_record, write_record},
};

/// The file of what is being fetched.
const STATE: &str = "chain.json";
/// How long a pull that nobody takes up is kept.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// The most pulls that are kept; the oldest go.
const MOST: usize = 16;

/// A pull that is not whole yet.
#[derive(Debug, Clone)]
pub(super) struct Partial {
    dir: PathBuf,
}

impl Partial {
    /// What there is of the pull of `digest`. What came of other snapshots under that digest is removed. Blocks the thread.
    pub(super) fn open(pulls: &Path, digest: &Sha256Hex, chain: &[SnapshotRecord]) -> Result<Self> {
        let dir = pulls.join(digest.to_string());
        let state = dir.join(STATE);
        // A damaged one is as good as none.
        let kept: Option<Vec<SnapshotRecord>> = read_record(&state).unwrap_or(None);
        if kept.as_deref() != Some(chain) {
            if dir.exists() {
                fs::remove_dir_all(&dir).map_err(|error| Error::system("remove", dir.display(), error))?;
            }
            new_dir(&dir)?;
            write_record(&state, &chain)?;
        }
        Ok(Self { dir })
    }

    /// Where the files of the snapshot `index` of the chain go. Blocks the thread.
    pub(super) fn layer(&self, index: usize) -> Result<PathBuf> {
        let dir = self.dir.join(index.to_string());
        new_dir(&dir)?;
        Ok(dir)
    }

    /// It is whole, and kept as what it is. Blocks the thread.
    pub(super) fn done(self) {
        // What stays is swept later.
        let _ = fs::remove_dir_all(self.dir);
    }
}

/// Removes pulls that nobody has taken up for a day, and the oldest when there are too many. Blocks the thread.
pub(crate) fn sweep(pulls: &Path) {
    let now = SystemTime::now();
    let mut kept: Vec<(SystemTime, PathBuf)> = fs::read_dir(pulls)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| (newest(&entry.path()), entry.path()))
        .collect();
    kept.sort();
    kept.reverse();
    for (index, (touched, dir)) in kept.into_iter().enumerate() {
        if index >= MOST || now.duration_since(touched).is_ok_and(|age| age > STALE) {
            tracing::info!(path = %dir.display(), "removing a pull that nobody has taken up");
            let _ = fs::remove_dir_all(dir);
        }
    }
}

/// When something in a pull was written last.
fn newest(dir: &Path) -> SystemTime {
    let written = |path: &Path| fs::symlink_metadata(path).and_then(|data| data.modified());
    let below = |dir: &Path| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let all = below(dir).flat_map(|layer| below(&layer).collect::<Vec<_>>().into_iter().chain([layer]));
    all.chain([dir.to_owned()]).filter_map(|path| written(&path).ok()).max().unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_is_taken_up_unless_it_is_of_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Sha256Hex::of(b"a");
        let partial = Partial::open(dir.path(), &digest, &[]).unwrap();
        let file = partial.layer(0).unwrap().join("memory");
        fs::write(&file, "half").unwrap();
        Partial::open(dir.path(), &digest, &[]).unwrap();
        assert!(file.exists(), "it goes on");
        fs::write(dir.path().join(digest.to_string()).join(STATE), "torn").unwrap();
        Partial::open(dir.path(), &digest, &[]).unwrap();
        assert!(!file.exists(), "what cannot be told is begun anew");
    }

    #[test]
    fn too_many_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        for index in 0..20_u8 {
            Partial::open(dir.path(), &Sha256Hex::of(&[index]), &[]).unwrap();
        }
        sweep(dir.path());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), MOST);
    }
}
