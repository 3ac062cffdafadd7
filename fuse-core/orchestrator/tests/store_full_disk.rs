//! A full disk: the commit that does not fit is refused with that word, and nothing acknowledged is lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

use fuse_orchestrator::store::*;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A small file system of its own, for as long as it lives.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// Needs the right to mount; says so loudly when it has none.
    fn new(megabytes: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Self { dir }),
            failed => {
                eprintln!("SKIPPED: a full disk needs the right to mount a tmpfs (run as root): {failed:?}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

async fn fill(store: &SledStore) -> (u64, StoreError) {
    let mut acked = 0;
    loop {
        let batch = Batch::new().put(Kind::Log, format!("n{acked:06}"), Expect::Absent, vec![7; 60_000]);
        let commit = tokio::time::timeout(Duration::from_secs(60), store.commit(batch)).await;
        match commit.expect("a commit on a full disk answers") {
            Ok(_) => acked += 1,
            Err(error) => return (acked, error),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_loses_nothing() {
    let Some(disk) = SmallDisk::new(64) else { return };
    let (dir, filler) = (disk.path().join("store"), disk.path().join("filler"));
    fs::write(&filler, vec![0; 24 << 20]).unwrap();
    let store = SledStore::open(&dir).await.unwrap();
    let (acked, error) = fill(&store).await;
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
    assert!(error.to_string().contains("free space"), "{error}");
    assert!(acked > 10, "only {acked} commits fitted");
    // It stays refused: after a failed flush nobody knows what is on the disk.
    let again = store.commit(Batch::new().put(Kind::Host, "h", Expect::Any, "")).await.unwrap_err();
    assert_eq!(again, error);
    assert_eq!(store.get(Kind::Log, "n000000").await.unwrap_err(), error);
    drop(store);
    fs::remove_file(&filler).unwrap();
    let store = SledStore::open(&dir).await.unwrap();
    verify(&store).await.unwrap();
    for n in 0..acked {
        assert!(store.get(Kind::Log, &format!("n{n:06}")).await.unwrap().is_some(), "{n} of {acked} is gone");
    }
    store.commit(Batch::new().put(Kind::Host, "h", Expect::Any, "")).await.unwrap();
}

#[tokio::test]
async fn a_disk_without_room_for_a_store_is_said() {
    let Some(disk) = SmallDisk::new(1) else { return };
    let filled = fs::write(disk.path().join("filler"), vec![0; 2 << 20]);
    assert!(filled.is_err());
    let error = SledStore::open(disk.path().join("store")).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error:?}");
}
