//! The snapshots of this host.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fuse_orchestrator::model::{Arch, Resources, Timestamp, VmName};
use serde::{Deserialize, Serialize};

use super::{DigestCache, FileRecord, Sha256Hex, SnapshotName, images::check_component, new_dir};
use crate::{
    Error, ErrorKind, Result,
    driver::Machine,
    system::{read_record, sync_dir, write_record, write_volatile},
};

const RECORD: &str = "snapshot.json";
/// The name of the disk among the files of a snapshot.
pub(crate) const DISK: &str = "disk";
/// The name of the file that the disk is a difference to.
pub(crate) const BASE: &str = "base";
/// The name of the kernel.
pub(crate) const KERNEL: &str = "kernel";
/// The name of the initial file system.
pub(crate) const INITRD: &str = "initrd";
/// What the name of a file gets for the file of its ranges: what a difference holds.
const RANGES: &str = ".map";
/// The files that VMs and snapshots share with their image: other names of the same bytes.
pub(crate) const SHARED: [&str; 3] = [BASE, KERNEL, INITRD];

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotKind {
    /// The disk alone; a VM boots from it.
    Disk,
    /// Disk, memory and processors; a VM goes on from it.
    Live,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// Its name.
    pub id: SnapshotName,
    /// The VM that it was made of.
    pub vm: VmName,
    /// What it holds.
    pub kind: SnapshotKind,
    /// The snapshot whose memory it builds on: it holds the difference alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<SnapshotName>,
    /// The programs of its guest stood still when its memory was saved: none of them runs in a clone before the clone has
    /// been made one of its own, or else for so many milliseconds. 0: they ran, and run in a clone for a moment before
    /// that.
    #[serde(default)]
    pub held_ms: u64,
    /// What its maker wrote on it.
    #[serde(default)]
    pub comment: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// What drove the VM.
    pub backend: String,
    /// The version of its VMM.
    pub vmm_version: String,
    /// The processor that memory and processors belong to.
    #[serde(default)]
    pub cpu: String,
    /// The architecture.
    #[serde(default)]
    pub arch: Arch,
    /// The guest agent that spoke for it.
    #[serde(default)]
    pub guest_agent: String,
    /// The image that its VM was made of.
    #[serde(default)]
    pub image: String,
    /// The size of its VM.
    pub resources: Resources,
    /// What the VMM was told.
    pub machine: Machine,
    /// Its files.
    pub files: Vec<FileRecord>,
    /// It was deleted, and is kept only for those that build on it.
    #[serde(default)]
    pub deleted: bool,
}

impl SnapshotRecord {
    /// The digest that it is known by: that of its disk, else of its first file.
    #[must_use]
    pub fn digest(&self) -> Option<Sha256Hex> {
        let disk = self.files.iter().find(|file| file.name == DISK);
        disk.or(self.files.first()).map(|file| file.sha256)
    }

    /// The bytes that it takes of its own: not those that it shares with its image.
    #[must_use]
    pub fn size(&self) -> u64 {
        let own = self.files.iter().filter(|file| !SHARED.contains(&file.name.as_str()));
        own.map(|file| file.size).sum()
    }

    /// Whether VMs of it run on this machine, driven by `backend`; else why not.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn runs_on(&self, backend: &str) -> std::result::Result<(), String> {
        let (theirs, ours) = (self.arch.as_str(), host_arch().as_str());
        if self.backend != backend {
            return Err(format!("snapshot {} is of {}, and this host runs {backend}", self.id, self.backend));
        }
        if theirs != ours {
            return Err(format!("snapshot {} is of {theirs}, and this host is {ours}", self.id));
        }
        Ok(())
    }

    /// The file that holds which ranges of the file `name` are part of a difference.
    #[must_use]
    pub fn ranges_of(&self, name: &str) -> Option<&FileRecord> {
        self.file(&format!("{name}{RANGES}"))
    }

    /// One of its files.
    #[must_use]
    pub fn file(&self, name: &str) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// The architecture of this machine.
#[must_use]
pub(crate) const fn host_arch() -> Arch {
    if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 }
}

/// The snapshots of this host, with their records in memory.
#[derive(Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
    staging: PathBuf,
    digests: Arc<DigestCache>,
    records: Mutex<BTreeMap<SnapshotName, Arc<SnapshotRecord>>>,
    /// Held by what makes a snapshot appear or go: what one builds on does not go while it appears.
    change: Mutex<()>,
}

/// A directory for a snapshot that is not whole yet. Dropped, it is removed.
#[derive(Debug)]
pub struct Staged {
    path: PathBuf,
}

impl Staged {
    /// Where the files go.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

impl SnapshotStore {
    /// Opens the store: reads every record, and removes directories without one. Blocks the thread.
    ///
    /// # Errors
    /// A system error. A damaged record is left where it is and told in the log.
    pub fn open(dir: PathBuf, staging: PathBuf, digests: Arc<DigestCache>) -> Result<Self> {
        let mut records = BTreeMap::new();
        let entries = fs::read_dir(&dir).map_err(|error| Error::system("list", dir.display(), error))?;
        for entry in entries.flatten() {
            let path = entry.path();
            match read_record::<SnapshotRecord>(&path.join(RECORD)) {
                Ok(Some(record)) if path.file_name() == Some(record.id.as_str().as_ref()) => {
                    records.insert(record.id.clone(), Arc::new(record));
                }
                Ok(None) => drop(fs::remove_dir_all(&path)),
                Ok(Some(_)) => {
                    tracing::error!(path = %path.display(), "snapshot under another name; not used")
                }
                Err(error) => tracing::error!(%error, "damaged snapshot record; not used"),
            }
        }
        let store = Self { dir, staging, digests, records: Mutex::new(records), change: Mutex::default() };
        store.remove_forgotten();
        Ok(store)
    }

    /// Removes snapshots that were kept for others only, and have no others any more: a crash came between.
    fn remove_forgotten(&self) {
        let forgotten: Vec<_> = {
            let records = self.records();
            let needed = |id: &SnapshotName| records.values().any(|other| other.parent.as_ref() == Some(id));
            records.values().filter(|record| record.deleted && !needed(&record.id)).cloned().collect()
        };
        for record in forgotten {
            // With what it was the last to build on.
            if let Err(error) = self.delete(&record.id) {
                tracing::error!(%error, "a snapshot that nobody needs cannot be removed");
            }
        }
    }

    fn records(&self) -> MutexGuard<'_, BTreeMap<SnapshotName, Arc<SnapshotRecord>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        self.change.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the files of a snapshot are.
    #[must_use]
    pub fn dir(&self, id: &SnapshotName) -> PathBuf {
        self.dir.join(id.as_str())
    }

    /// A directory for a snapshot to be. Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn stage(&self, id: &SnapshotName) -> Result<Staged> {
        let path = self.staging.join(id.as_str());
        new_dir(&path)?;
        Ok(Staged { path })
    }

    /// Makes a staged snapshot one of the store: its files durable and read-only, its name last. Blocks the thread.
    ///
    /// # Errors
    /// Exists; a system error.
    pub fn commit(&self, staged: Staged, record: SnapshotRecord) -> Result<Arc<SnapshotRecord>> {
        let target = self.dir(&record.id);
        self.may_appear(&record)?;
        for file in &record.files {
            check_component(&file.name)?;
        }
        let record_path = staged.path.join(RECORD);
        let bytes = serde_json::to_vec_pretty(&record);
        let bytes = bytes.map_err(|error| Error::system("keep", record_path.display(), error))?;
        write_volatile(&record_path, &bytes)?;
        // All at once: a file system makes what it is asked for at the same time durable in one go. The snapshot is there
        // when its directory gets its name, so nothing of it is durable too late, the record not either.
        std::thread::scope(|scope| {
            let mut seals: Vec<_> =
                record.files.iter().map(|file| scope.spawn(|| seal(&staged.path.join(&file.name)))).collect();
            // A directory is made durable as a file is.
            seals.extend([&record_path, &staged.path].map(|path| scope.spawn(|| sync_dir(path))));
            let broken = |_| Err(Error::system("keep", staged.path.display(), "the work broke off"));
            for seal in seals {
                seal.join().unwrap_or_else(broken)?;
            }
            Ok::<(), Error>(())
        })?;
        let _change = self.change();
        // It took a while until here.
        self.may_appear(&record)?;
        fs::rename(&staged.path, &target).map_err(|error| Error::system("keep", target.display(), error))?;
        sync_dir(&self.dir)?;
        for file in &record.files {
            self.digests.remember(&target.join(&file.name), file.sha256)?;
        }
        let record = Arc::new(record);
        self.records().insert(record.id.clone(), Arc::clone(&record));
        Ok(record)
    }

    /// Whether there can be this snapshot.
    fn may_appear(&self, record: &SnapshotRecord) -> Result<()> {
        let fail = |kind, why: String| Err(Error::new(kind, "keep", format!("snapshot {}", record.id), why));
        let records = self.records();
        if records.contains_key(&record.id) {
            return fail(ErrorKind::Exists, "a snapshot of this name is there".to_owned());
        }
        match &record.parent {
            Some(parent) if !records.contains_key(parent) => {
                fail(ErrorKind::Busy, format!("it builds on {parent}, which is gone"))
            }
            _ => Ok(()),
        }
    }

    /// A snapshot that was not deleted.
    ///
    /// # Errors
    /// Not found.
    pub fn get(&self, id: &SnapshotName) -> Result<Arc<SnapshotRecord>> {
        let found = self.records().get(id).filter(|record| !record.deleted).cloned();
        found.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "use", format!("snapshot {id}"), "there is no such snapshot")
        })
    }

    /// The snapshots made of `vm`, oldest first.
    #[must_use]
    pub fn of_vm(&self, vm: &VmName) -> Vec<Arc<SnapshotRecord>> {
        let mut found: Vec<_> =
            self.records().values().filter(|record| record.vm == *vm && !record.deleted).cloned().collect();
        found.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        found
    }

    /// The newest snapshot that is known by this digest.
    #[must_use]
    pub fn by_digest(&self, digest: &Sha256Hex) -> Option<Arc<SnapshotRecord>> {
        let records = self.records();
        let matching = records.values().filter(|record| !record.deleted && record.digest() == Some(*digest));
        matching.max_by_key(|record| record.created_at).cloned()
    }

    /// A snapshot with the same files that builds on `parent`, whatever it is called here, also one that was deleted and is
    /// kept for others.
    #[must_use]
    pub fn same(
        &self,
        record: &SnapshotRecord,
        parent: Option<&SnapshotName>,
    ) -> Option<Arc<SnapshotRecord>> {
        let records = self.records();
        let same = |other: &&Arc<SnapshotRecord>| {
            other.files == record.files && other.backend == record.backend && other.parent.as_ref() == parent
        };
        records.values().find(same).cloned()
    }

    /// A snapshot and those that it builds on, the one that builds on none first.
    ///
    /// # Errors
    /// Not found; corrupt when one that it builds on is missing.
    pub fn chain(&self, id: &SnapshotName) -> Result<Vec<Arc<SnapshotRecord>>> {
        let mut chain = vec![self.get(id)?];
        while let Some(parent) = chain.last().and_then(|record| record.parent.clone()) {
            let known = self.records().get(&parent).cloned();
            let Some(record) = known.filter(|_| chain.len() < 256) else {
                let why = format!("it builds on {parent}, which is not here");
                return Err(Error::new(ErrorKind::Corrupt, "use", format!("snapshot {id}"), why));
            };
            chain.push(record);
        }
        chain.reverse();
        Ok(chain)
    }

    /// Checks every file of a snapshot and of those that it builds on. Blocks the thread.
    ///
    /// # Errors
    /// Not found, corrupt.
    pub fn verify(&self, id: &SnapshotName) -> Result<Vec<Arc<SnapshotRecord>>> {
        let chain = self.chain(id)?;
        for record in &chain {
            let dir = self.dir(&record.id);
            for file in &record.files {
                check_component(&file.name)?;
                self.digests.check(&dir, file)?;
            }
        }
        Ok(chain)
    }

    /// Removes a snapshot. Its bytes stay while another builds on them. Idempotent. Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn delete(&self, id: &SnapshotName) -> Result<()> {
        let _change = self.change();
        self.delete_now(id)
    }

    fn delete_now(&self, id: &SnapshotName) -> Result<()> {
        let Some(record) = self.records().get(id).cloned() else { return Ok(()) };
        if self.records().values().any(|other| other.parent.as_ref() == Some(id)) {
            let hidden = SnapshotRecord { deleted: true, ..(*record).clone() };
            write_record(&self.dir(id).join(RECORD), &hidden)?;
            self.records().insert(id.clone(), Arc::new(hidden));
            return Ok(());
        }
        super::vms::remove_tree(&self.dir(id), RECORD)?;
        self.records().remove(id);
        match &record.parent {
            Some(parent) if self.records().get(parent).is_some_and(|parent| parent.deleted) => {
                self.delete_now(parent)
            }
            _ => Ok(()),
        }
    }

    /// What a file of a staged snapshot is. A file that is another name of one that was checked is not read again. Blocks
    /// the thread.
    ///
    /// # Errors
    /// System, corrupt.
    pub fn record_of(&self, dir: &Path, name: &str) -> Result<FileRecord> {
        self.digests.record_of(dir, name)
    }

    /// How many there are, and their bytes.
    #[must_use]
    pub fn totals(&self) -> (usize, u64) {
        let records = self.records();
        (records.len(), records.values().map(|record| record.size()).sum())
    }
}

/// Makes a file read-only and durable.
fn seal(path: &Path) -> Result<()> {
    let seal = || -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o444))?;
        fs::File::open(path)?.sync_all()
    };
    seal().map_err(|error| Error::system("keep", path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(dir: &Path) -> SnapshotStore {
        let (snapshots, staging) = (dir.join("snapshots"), dir.join("staging"));
        new_dir(&snapshots).unwrap();
        new_dir(&staging).unwrap();
        SnapshotStore::open(snapshots, staging, Arc::default()).unwrap()
    }

    fn keep(store: &SnapshotStore, id: &str, parent: Option<&str>) -> Arc<SnapshotRecord> {
        try_to_keep(store, id, parent).unwrap()
    }

    fn try_to_keep(store: &SnapshotStore, id: &str, parent: Option<&str>) -> Result<Arc<SnapshotRecord>> {
        let id = SnapshotName::new(id).unwrap();
        let staged = store.stage(&id).unwrap();
        fs::write(staged.path().join(DISK), id.as_str()).unwrap();
        let files = vec![FileRecord::of(staged.path(), DISK).unwrap()];
        let record = SnapshotRecord {
            id,
            vm: VmName::new("vm-1").unwrap(),
            kind: SnapshotKind::Disk,
            parent: parent.map(|parent| SnapshotName::new(parent).unwrap()),
            held_ms: 0,
            comment: String::new(),
            created_at: Timestamp::EPOCH,
            backend: "qemu".to_owned(),
            vmm_version: "10".to_owned(),
            cpu: String::new(),
            arch: Arch::Amd64,
            guest_agent: String::new(),
            image: String::new(),
            resources: Resources::default(),
            machine: Machine::default(),
            files,
            deleted: false,
        };
        store.commit(staged, record)
    }

    /// Whenever what it builds on is deleted while a snapshot is kept: it is whole, or it was refused.
    #[test]
    fn what_is_kept_is_whole_whatever_is_deleted_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let mut refused = 0;
        for round in 0..60_u64 {
            let base = keep(&store, "base", None).id.clone();
            let top = std::thread::scope(|scope| {
                scope.spawn(|| {
                    std::thread::sleep(std::time::Duration::from_micros(round * 100));
                    store.delete(&base).unwrap();
                });
                scope.spawn(|| try_to_keep(&store, "top", Some("base"))).join().unwrap()
            });
            match top {
                Ok(top) => drop(store.verify(&top.id).unwrap()),
                Err(error) => {
                    assert_eq!(error.kind, ErrorKind::Busy, "{error}");
                    refused += 1;
                }
            }
            let base = keep(&store, "second-base", None).id.clone();
            let second = keep(&store, "second", Some("second-base")).id.clone();
            std::thread::scope(|scope| {
                for id in [&base, &second, &SnapshotName::new("top").unwrap()].map(Clone::clone) {
                    let store = &store;
                    scope.spawn(move || store.delete(&id).unwrap());
                }
            });
            assert_eq!(store.totals(), (0, 0), "round {round}");
        }
        assert_eq!(fs::read_dir(dir.path().join("snapshots")).unwrap().count(), 0);
        println!("{refused} of 60 were refused");
    }

    #[test]
    fn snapshots_survive_a_restart_and_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let kept = keep(&store(dir.path()), "s1", None);
        let again = store(dir.path());
        assert_eq!(again.get(&kept.id).unwrap(), kept);
        assert_eq!(again.by_digest(&kept.digest().unwrap()).unwrap(), kept);
        again.verify(&kept.id).unwrap();
        let path = again.dir(&kept.id).join(DISK);
        fs::remove_file(&path).unwrap();
        fs::write(&path, "S1").unwrap();
        assert_eq!(again.verify(&kept.id).unwrap_err().kind, ErrorKind::Corrupt);
    }

    #[test]
    fn half_made_ones_do_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let first = store(dir.path());
        let id = SnapshotName::new("s1").unwrap();
        let staged = first.stage(&id).unwrap();
        let path = staged.path().to_owned();
        drop(staged);
        assert!(!path.exists());
        new_dir(&dir.path().join("snapshots/no-record")).unwrap();
        assert_eq!(store(dir.path()).totals().0, 0);
        assert!(!dir.path().join("snapshots/no-record").exists());
    }

    #[test]
    fn what_others_build_on_stays_until_they_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let base = keep(&store, "base", None);
        let middle = keep(&store, "middle", Some("base"));
        let top = keep(&store, "top", Some("middle"));
        let ids = |chain: Vec<Arc<SnapshotRecord>>| -> Vec<String> {
            chain.iter().map(|record| record.id.to_string()).collect()
        };
        let orphan = SnapshotRecord { parent: Some(SnapshotName::new("nowhere").unwrap()), ..(*top).clone() };
        let orphan = SnapshotRecord { id: SnapshotName::new("orphan").unwrap(), ..orphan };
        let staged = store.stage(&orphan.id).unwrap();
        assert_eq!(store.commit(staged, orphan).unwrap_err().kind, ErrorKind::Busy);
        assert_eq!(store.same(&middle, Some(&base.id)), Some(Arc::clone(&middle)));
        assert_eq!(store.same(&middle, None), None);
        store.delete(&base.id).unwrap();
        store.delete(&middle.id).unwrap();
        assert_eq!(store.get(&base.id).unwrap_err().kind, ErrorKind::NotFound);
        assert_eq!(store.of_vm(&top.vm).len(), 1);
        assert_eq!(ids(store.verify(&top.id).unwrap()), ["base", "middle", "top"]);
        store.delete(&top.id).unwrap();
        store.delete(&top.id).unwrap();
        assert_eq!(store.totals(), (0, 0));
        assert_eq!(fs::read_dir(dir.path().join("snapshots")).unwrap().count(), 0);
    }
}
