//! The VMs of this host.

use std::{
    fs,
    path::{Path, PathBuf},
};

use fuse_orchestrator::model::{OwnerId, Resources, Timestamp, VmName};
use serde::{Deserialize, Serialize};

use super::{SnapshotName, new_dir};
use crate::{
    Error, ErrorKind, Result,
    driver::Machine,
    net::Lease,
    system::{Process, read_record, write_record, write_volatile},
};

const RECORD: &str = "vm.json";
/// The most notes on VMs that are gone.
const ENDED_MOST: usize = 256;

/// How far a VM is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// It is being made. After a restart of the agent it is removed.
    Creating,
    /// Its processors run.
    Running,
    /// Its processors stand still.
    Paused,
    /// It is being set back to a snapshot. After a restart of the agent that begins anew.
    Restoring,
    /// It is being removed. After a restart of the agent that goes on.
    Destroying,
}

/// A guest port that is reached through a port of this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// The name it is published under.
    pub name: Option<String>,
    /// The port in the guest.
    pub guest: u16,
    /// The port of this host.
    pub host: u16,
}

/// What the agent knows of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmRecord {
    /// Its name.
    pub name: VmName,
    /// Whose it is.
    pub owner: Option<OwnerId>,
    /// The environment it is for. Empty: not said.
    #[serde(default)]
    pub environment_id: String,
    /// What drives it.
    pub backend: String,
    /// The version of its VMM.
    pub vmm_version: String,
    /// What was asked for.
    pub resources: Resources,
    /// The image it was made of. Empty: of a snapshot that did not say.
    #[serde(default)]
    pub image: String,
    /// What the VMM was told.
    pub machine: Machine,
    /// How far it is.
    pub state: VmState,
    /// Its VMM.
    pub process: Option<Process>,
    /// Its addresses.
    pub net: Option<Lease>,
    /// Its published ports.
    #[serde(default)]
    pub published: Vec<Published>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The snapshot it came from.
    pub origin: Option<SnapshotName>,
    /// The live snapshot that its memory differs from only by what it wrote since: what a difference builds on.
    #[serde(default)]
    pub memory_base: Option<SnapshotName>,
    /// The snapshot that it is being set back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restoring: Option<SnapshotName>,
}

/// Why a VM is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// Its name.
    pub name: VmName,
    /// When it was found gone.
    pub at: Timestamp,
    /// What ended it.
    pub reason: String,
    /// The end of its console.
    pub console: String,
}

/// The directories of the VMs.
#[derive(Debug)]
pub struct VmStore {
    dir: PathBuf,
    ended: PathBuf,
}

impl VmStore {
    /// The VMs in `dir`, and the notes on those that are gone in `ended`.
    #[must_use]
    pub fn new(dir: PathBuf, ended: PathBuf) -> Self {
        Self { dir, ended }
    }

    /// Where all of them are.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.dir
    }

    /// The directory of a VM.
    #[must_use]
    pub fn dir(&self, vm: &VmName) -> PathBuf {
        self.dir.join(vm.as_str())
    }

    /// Makes the directory of a new VM with its first record. Blocks the thread.
    ///
    /// # Errors
    /// Exists; a system error.
    pub fn begin(&self, record: &VmRecord) -> Result<()> {
        let dir = self.dir(&record.name);
        if dir.join(RECORD).exists() {
            let why = "a VM of this name is there";
            return Err(Error::new(ErrorKind::Exists, "create", &record.name, why));
        }
        if dir.exists() {
            // Without a record it does not count: the rest of a create or a removal that a crash ended.
            remove_tree(&dir, RECORD)?;
        }
        new_dir(&dir)?;
        self.write(record)
    }

    /// Writes the record of a VM. It outlives this process, and no loss of power, which no VM does either. Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn write(&self, record: &VmRecord) -> Result<()> {
        let path = self.dir(&record.name).join(RECORD);
        let bytes = serde_json::to_vec_pretty(record);
        let bytes = bytes.map_err(|error| Error::system("write", path.display(), error))?;
        write_volatile(&path, &bytes)
    }

    /// Every record, and the directories that have none. Blocks the thread.
    ///
    /// # Errors
    /// A system error; corrupt when a record cannot be read, is of another version, or of a VM of another name. Then
    /// nothing is known of that VM, which may run, and nothing must be done to it.
    pub fn load(&self) -> Result<(Vec<VmRecord>, Vec<PathBuf>)> {
        let (mut records, mut strays) = (Vec::new(), Vec::new());
        let entries = fs::read_dir(&self.dir);
        for entry in entries.map_err(|error| Error::system("list", self.dir.display(), error))? {
            let path = entry.map_err(|error| Error::system("list", self.dir.display(), error))?.path();
            match read_record::<VmRecord>(&path.join(RECORD))? {
                Some(record) if path.file_name() == Some(record.name.as_str().as_ref()) => {
                    records.push(record);
                }
                Some(record) => {
                    let why = format!("it is the record of {}; move the directory away", record.name);
                    return Err(Error::new(ErrorKind::Corrupt, "read", path.display(), why));
                }
                None => strays.push(path),
            }
        }
        Ok((records, strays))
    }

    /// Removes the directory of a VM. Idempotent. Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn remove(&self, vm: &VmName) -> Result<()> {
        remove_tree(&self.dir(vm), RECORD)
    }

    /// Keeps a note on a VM that is gone; the oldest goes when there are more than 256. Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn note_ended(&self, ended: &Ended) -> Result<()> {
        write_record(&self.ended.join(format!("{}.json", ended.name)), ended)?;
        let entries = fs::read_dir(&self.ended);
        let entries = entries.map_err(|error| Error::system("list", self.ended.display(), error))?;
        let mut notes: Vec<_> = entries
            .flatten()
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        notes.sort();
        let surplus = notes.len().saturating_sub(ENDED_MOST);
        for (_, path) in notes.into_iter().take(surplus) {
            let _ = fs::remove_file(path);
        }
        Ok(())
    }

    /// The note on a VM that is gone. Blocks the thread.
    ///
    /// # Errors
    /// A system error; corrupt.
    pub fn ended(&self, vm: &VmName) -> Result<Option<Ended>> {
        read_record(&self.ended.join(format!("{vm}.json")))
    }
}

/// Removes a directory, its record first, so that what a crash leaves does not count. Follows no links.
pub(super) fn remove_tree(dir: &Path, record: &str) -> Result<()> {
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Ok(()),
        _ => Err(Error::system("remove", dir.display(), error)),
    };
    fs::remove_file(dir.join(record)).or_else(fail)?;
    fs::remove_dir_all(dir).or_else(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(name: &str) -> VmRecord {
        VmRecord {
            name: VmName::new(name).unwrap(),
            owner: None,
            environment_id: String::new(),
            backend: "qemu".to_owned(),
            vmm_version: "10".to_owned(),
            resources: Resources { cpus: 1, ram_mb: 64, storage_gb: 0 },
            image: "default".to_owned(),
            machine: Machine::default(),
            state: VmState::Running,
            process: None,
            net: None,
            published: Vec::new(),
            created_at: Timestamp::default(),
            origin: None,
            memory_base: None,
            restoring: None,
        }
    }

    /// A VM of which a newer version wrote something that this one does not know is not taken for what a crash left.
    #[test]
    fn a_record_of_a_newer_version_is_refused_and_what_has_none_is_stray() {
        let dir = tempfile::tempdir().unwrap();
        let store = VmStore::new(dir.path().join("vms"), dir.path().join("ended"));
        new_dir(store.root()).unwrap();
        store.begin(&record("vm-1")).unwrap();
        new_dir(&store.root().join("vm-2")).unwrap();
        let (records, strays) = store.load().unwrap();
        assert_eq!((records, strays), (vec![record("vm-1")], vec![store.root().join("vm-2")]));

        let path = store.dir(&record("vm-1").name).join(RECORD);
        let text = fs::read_to_string(&path).unwrap();
        for (newer, named) in [
            (text.replacen('{', "{\"balloon_mib\": 8,", 1), "balloon_mib"),
            (text.replace("\"running\"", "\"hibernating\""), "hibernating"),
            (text.replace("vm-1", "vm-9"), "vm-9"),
        ] {
            fs::write(&path, newer).unwrap();
            let error = store.load().unwrap_err();
            assert_eq!(error.kind, ErrorKind::Corrupt);
            assert!(error.to_string().contains(named), "{error}");
        }
        fs::write(&path, text).unwrap();
        assert_eq!(store.load().unwrap().0.len(), 1);
    }
}
