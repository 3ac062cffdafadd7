//! Damaged files: a store either opens with exactly what was in it, or says that it is damaged.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

use fuse_orchestrator::store::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// A store with a history: growing and shrinking records, deletes, a truncated log, and enough to fill
/// several of sled's segments.
async fn make(dir: &Path) {
    let store = SledStore::open(dir).await.unwrap();
    for round in 0..40_usize {
        let mut batch = Batch::new();
        for n in 0..20_usize {
            let id = format!("r{n}");
            batch = match (round + n) % 11 {
                0 => batch.delete(Kind::Environment, id, Expect::Any),
                1 => batch.put(Kind::Environment, id, Expect::Any, vec![round as u8; 30_000]),
                _ => batch.put(Kind::Environment, id, Expect::Any, vec![round as u8; 500 * n]),
            };
        }
        let body = format!("round {round}").into();
        batch = batch.event(NewEvent { kind: Kind::Host, id: "h".into(), at_ms: 0, body });
        store.commit(batch).await.unwrap();
    }
    store.truncate_events(10).await.unwrap();
    store.acquire_lease("leader", "me", Duration::from_secs(3_600)).await.unwrap();
    store.close().await.unwrap();
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

async fn contents(store: &dyn Store) -> StoreResult<Vec<u8>> {
    let mut out = Vec::new();
    match export(store, &mut out).await {
        Ok(_) => Ok(out),
        Err(DumpError::Store(error)) => Err(error),
        Err(error) => panic!("{error}"),
    }
}

/// What became of a damaged store.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
enum Outcome {
    /// It opened with everything that was in it: the damage hit nothing that counts.
    Whole,
    /// It was refused as damaged.
    Said,
}

/// Opens a store and holds it against what was in it. Anything silently different is a failure.
async fn outcome(dir: &Path, expected: &[u8], what: &str) -> Outcome {
    let open = async {
        let store = SledStore::open(dir).await?;
        let contents = contents(&store).await?;
        store.commit(Batch::new().put(Kind::Setting, "after", Expect::Any, "x")).await?;
        Ok(contents)
    };
    let opened = tokio::time::timeout(Duration::from_secs(120), open).await;
    match opened.unwrap_or_else(|_| panic!("{what}: it neither opens nor says why")) {
        Ok(contents) => {
            assert!(contents == expected, "{what}: it opened with something else in it");
            Outcome::Whole
        }
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Incompatible { .. })) => {
            let text = error.to_string();
            assert!(text.contains(&dir.display().to_string()), "{what}: `{text}` does not say where");
            Outcome::Said
        }
        Err(error) => panic!("{what}: {error:?} is not the right word for damage"),
    }
}

struct Original {
    dir: TempDir,
    contents: Vec<u8>,
}

impl Original {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        make(&dir.path().join("store")).await;
        let opened = SledStore::open(dir.path().join("store")).await.unwrap();
        let contents = contents(&opened).await.unwrap();
        opened.close().await.unwrap();
        Self { dir, contents }
    }

    /// Damages a copy and opens it.
    async fn damaged(&self, what: &str, damage: impl FnOnce(&Path)) -> Outcome {
        let copy = self.dir.path().join("copy");
        let _ = fs::remove_dir_all(&copy);
        copy_dir(&self.dir.path().join("store"), &copy);
        damage(&copy);
        outcome(&copy, &self.contents, what).await
    }
}

fn mix(n: u64, bound: u64) -> u64 {
    let mut z = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % bound
}

fn flips() -> u64 {
    std::env::var("FUSE_DAMAGE_FLIPS").map_or(150, |n| n.parse().expect("FUSE_DAMAGE_FLIPS is a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_is_harmless_or_said() {
    let original = Original::new().await;
    let names: Vec<_> = {
        let root = original.dir.path().join("store");
        let relative = |path: PathBuf| path.strip_prefix(&root).unwrap().to_owned();
        files(&root)
            .into_iter()
            .map(relative)
            .filter(|name| fs::metadata(root.join(name)).unwrap().len() > 0)
            .collect()
    };
    assert!(names.len() >= 4, "{names:?}");
    let mut seen = BTreeMap::new();
    for n in 0..flips() {
        // Every other flip in the data, the rest over all files in turn.
        let name = if n % 2 == 0 { Path::new("sled/db") } else { &names[(n / 2) as usize % names.len()] };
        let path = |dir: &Path| dir.join(name);
        let what = format!("flip {n} in {}", name.display());
        let outcome = original
            .damaged(&what, |dir| {
                let file = fs::OpenOptions::new().read(true).write(true).open(path(dir)).unwrap();
                let len = file.metadata().unwrap().len();
                let (at, mut byte) = (mix(n, len), [0]);
                file.read_exact_at(&mut byte, at).unwrap();
                byte[0] ^= 1 << mix(n + 1_000_000, 8);
                file.write_all_at(&byte, at).unwrap();
            })
            .await;
        *seen.entry((name.to_owned(), outcome)).or_insert(0) += 1;
    }
    println!("{seen:?}");
    assert!(seen.contains_key(&(PathBuf::from("sled/db"), Outcome::Said)), "no flip hit anything: {seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_file_is_said() {
    let original = Original::new().await;
    let len = fs::metadata(original.dir.path().join("store/sled/db")).unwrap().len();
    for n in 0..20 {
        let keep = mix(n, len);
        let what = format!("cut at {keep} of {len}");
        original
            .damaged(&what, |dir| {
                fs::OpenOptions::new().write(true).open(dir.join("sled/db")).unwrap().set_len(keep).unwrap();
            })
            .await;
    }
    let outcome = original.damaged("emptied", |dir| fs::write(dir.join("sled/db"), b"").unwrap()).await;
    assert_eq!(outcome, Outcome::Said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_and_stale_sectors_are_said() {
    let original = Original::new().await;
    let len = fs::metadata(original.dir.path().join("store/sled/db")).unwrap().len();
    for n in 0..40 {
        // A sector that reads as zeros, or as another sector of the same file.
        let at = mix(n, len / 4_096) * 4_096;
        let what = format!("sector at {at}, variant {}", n % 2);
        original
            .damaged(&what, |dir| {
                let file = fs::OpenOptions::new().read(true).write(true).open(dir.join("sled/db")).unwrap();
                let mut sector = [0; 4_096];
                if n % 2 == 1 {
                    file.read_exact_at(&mut sector, mix(n + 77, len / 4_096) * 4_096).unwrap();
                }
                file.write_all_at(&sector, at).unwrap();
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_files_are_said() {
    let original = Original::new().await;
    for name in ["sled/db", "sled/conf", "witness", "sled"] {
        let outcome = original
            .damaged(name, |dir| {
                let path = dir.join(name);
                if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
            })
            .await;
        // sled makes a new `conf` by itself, with the same parameters.
        if name != "sled/conf" {
            assert_eq!(outcome, Outcome::Said, "{name}");
        }
    }
}

/// The files of an earlier moment, whole in themselves: only the witness knows better.
#[tokio::test]
async fn an_older_state_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (now, before) = (dir.path().join("now"), dir.path().join("before"));
    let store = SledStore::open(&now).await.unwrap();
    store.commit(Batch::new().put(Kind::Host, "a", Expect::Absent, "1")).await.unwrap();
    drop(store);
    copy_dir(&now, &before);
    let store = SledStore::open(&now).await.unwrap();
    store.commit(Batch::new().put(Kind::Host, "a", Expect::Present, "2")).await.unwrap();
    drop(store);
    fs::remove_dir_all(now.join("sled")).unwrap();
    copy_dir(&before.join("sled"), &now.join("sled"));
    let error = SledStore::open(&now).await.unwrap_err();
    assert!(error.to_string().contains("commit 2 was acknowledged"), "{error}");
}

/// A crash while sled writes its snapshot leaves half a file; sled alone would refuse to open.
#[tokio::test]
async fn a_half_written_snapshot_is_cleared_away() {
    let original = Original::new().await;
    let outcome = original
        .damaged("half a snapshot", |dir| {
            fs::write(dir.join("sled/snap.7FFFFFFFFFFFFFFF.generating"), b"half").unwrap();
        })
        .await;
    assert_eq!(outcome, Outcome::Whole);
    let left = files(&original.dir.path().join("copy"));
    let aside = left.iter().find(|path| path.to_string_lossy().contains("damaged-"));
    assert_eq!(aside, None, "the good snapshot was given up as well");
}

#[tokio::test]
async fn a_second_opener_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).await.unwrap();
    let error = SledStore::open(dir.path()).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    drop(store);
    SledStore::open(dir.path()).await.unwrap();
}

#[tokio::test]
async fn a_directory_that_cannot_be_made_is_said() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), b"").unwrap();
    let error = SledStore::open(dir.path().join("file/store")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { doing: "open", .. }), "{error:?}");
}
