//! Images: a kernel, perhaps an initial file system, perhaps a root file system.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use fuse_orchestrator::model::Arch;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde::{Deserialize, Serialize};

use super::{DigestCache, FileRecord, ImageName};
use crate::{
    Error, ErrorKind, Result,
    driver::DiskFormat,
    system::{read_record, sync_dir, write_record},
};

const RECORD: &str = "image.json";
/// How old what somebody left is before it is removed.
const LEFT: Duration = Duration::from_secs(3600);

/// What an image is made of. Its files are beside its record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// Its name.
    pub name: ImageName,
    /// What it runs on.
    #[serde(default)]
    pub arch: Arch,
    /// The kernel: an uncompressed ELF image.
    pub kernel: FileRecord,
    /// The initial file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<FileRecord>,
    /// The root file system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<FileRecord>,
    /// How the root file system is kept.
    #[serde(default)]
    pub rootfs_format: DiskFormat,
    /// What is added to the kernel's command line.
    #[serde(default)]
    pub kernel_args: String,
}

impl ImageRecord {
    fn files(&self) -> impl Iterator<Item = &FileRecord> {
        [Some(&self.kernel), self.initrd.as_ref(), self.rootfs.as_ref()].into_iter().flatten()
    }
}

/// The images of this host.
#[derive(Debug)]
pub struct ImageStore {
    dir: PathBuf,
    digests: Arc<DigestCache>,
}

impl ImageStore {
    /// The images in `dir`.
    #[must_use]
    pub fn new(dir: PathBuf, digests: Arc<DigestCache>) -> Self {
        Self { dir, digests }
    }

    /// Where the files of an image are.
    #[must_use]
    pub fn dir(&self, name: &ImageName) -> PathBuf {
        self.dir.join(name.as_str())
    }

    /// The record of an image, with its files checked. Blocks the thread.
    ///
    /// # Errors
    /// Not found, with what to do; corrupt.
    pub fn open(&self, name: &ImageName) -> Result<ImageRecord> {
        let dir = self.dir(name);
        let Some(record) = read_record::<ImageRecord>(&dir.join(RECORD))? else {
            let why = format!("there is none in {}; `fuse image build` makes one", self.dir.display());
            return Err(Error::new(ErrorKind::NotFound, "use", format!("image {name}"), why));
        };
        for file in record.files() {
            check_component(&file.name)?;
            self.digests.check(&dir, file)?;
        }
        Ok(record)
    }

    /// Every image that has a record, by name. Its files are not checked. Blocks the thread.
    ///
    /// # Errors
    /// A system error; corrupt.
    pub fn list(&self) -> Result<Vec<ImageRecord>> {
        let mut images = Vec::new();
        for name in self.names()? {
            images.extend(read_record::<ImageRecord>(&self.dir.join(name).join(RECORD))?);
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    /// The names in the store that images may have, and not those of directories that are not whole.
    fn names(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.dir);
        let entries = entries.map_err(|error| Error::system("list", self.dir.display(), error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(names.filter(|name| !name.starts_with('.')).collect())
    }

    /// Takes files that are in `dir` as an image: they are moved below the store. The image is there whole and durable when
    /// this returns, or not at all. Blocks the thread.
    ///
    /// # Errors
    /// Exists; a system error.
    pub fn import(&self, record: &ImageRecord, dir: &Path) -> Result<()> {
        if self.dir(&record.name).join(RECORD).exists() {
            let why = "an image of this name is there; remove it first";
            return Err(Error::new(ErrorKind::Exists, "import", format!("image {}", record.name), why));
        }
        self.replace(record, dir)
    }

    /// As [`ImageStore::import`]. An image of the same name is there until the new one is; VMs that were made of it go on.
    ///
    /// # Errors
    /// A system error. What was there is there, then.
    pub fn replace(&self, record: &ImageRecord, dir: &Path) -> Result<()> {
        let (target, draft) = (self.dir(&record.name), self.draft(&record.name));
        let fail = |error| Error::system("import", target.display(), error);
        let _ = fs::remove_dir_all(&draft);
        super::new_dir(&draft)?;
        let placed = fill(record, dir, &draft).and_then(|()| {
            if !target.exists() {
                fs::rename(&draft, &target).map_err(fail)?;
            } else if renameat_with(CWD, &draft, CWD, &target, RenameFlags::EXCHANGE).is_err() {
                // This file system cannot do it at once.
                self.remove(&record.name)?;
                fs::rename(&draft, &target).map_err(fail)?;
            }
            sync_dir(&self.dir)
        });
        // What was not placed, or what the new one took the place of.
        let _ = fs::remove_dir_all(&draft);
        placed
    }

    /// Where an image is made until it is whole. Another process that makes one does so elsewhere.
    fn draft(&self, name: &ImageName) -> PathBuf {
        self.dir.join(format!(".new-{name}-{}", std::process::id()))
    }

    /// Removes what processes that are gone left of images that they were making, an hour ago or earlier: one that is not
    /// seen may still be there, in a container of its own. Blocks the thread.
    pub(crate) fn sweep(&self) {
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let maker =
                name.to_str().filter(|name| name.starts_with('.')).and_then(|name| name.rsplit('-').next());
            let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|at| at.elapsed().ok());
            if age.is_some_and(|age| age >= LEFT)
                && maker.is_some_and(|pid| !Path::new("/proc").join(pid).exists())
            {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Removes an image. VMs that were made of it go on, since they hold its files. Idempotent. Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn remove(&self, name: &ImageName) -> Result<()> {
        super::vms::remove_tree(&self.dir(name), RECORD)
    }
}

/// Moves the files of an image from `dir` to `draft` and makes them durable, with its record.
fn fill(record: &ImageRecord, dir: &Path, draft: &Path) -> Result<()> {
    for file in record.files() {
        check_component(&file.name)?;
        let (from, to) = (dir.join(&file.name), draft.join(&file.name));
        if fs::rename(&from, &to).is_err() {
            crate::system::clone_file(&from, &to, 0o444)?;
        }
        // A jailed VMM reads them as its own user; the directories above let nobody else in.
        let sealed = fs::set_permissions(&to, fs::Permissions::from_mode(0o444))
            .and_then(|()| fs::File::open(&to)?.sync_all());
        sealed.map_err(|error| Error::system("import", to.display(), error))?;
    }
    write_record(&draft.join(RECORD), record)
}

/// Refuses a file name of a record that is not one plain component.
pub(crate) fn check_component(name: &str) -> Result<()> {
    ImageName::new(name).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_imported_checked_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("images"));
        fs::create_dir_all(&from).unwrap();
        fs::create_dir_all(&to).unwrap();
        fs::write(from.join("vmlinux"), "kernel").unwrap();
        let store = ImageStore::new(to, Arc::default());
        let name = ImageName::new("default").unwrap();
        let missing = store.open(&name).unwrap_err();
        assert_eq!(missing.kind, ErrorKind::NotFound);
        assert!(missing.to_string().contains("fuse image build"), "{missing}");
        let record = ImageRecord {
            name: name.clone(),
            arch: Arch::Amd64,
            kernel: FileRecord::of(&from, "vmlinux").unwrap(),
            initrd: None,
            rootfs: None,
            rootfs_format: DiskFormat::Raw,
            kernel_args: String::new(),
        };
        store.import(&record, &from).unwrap();
        assert_eq!(store.open(&name).unwrap(), record);
        assert_eq!(store.import(&record, &from).unwrap_err().kind, ErrorKind::Exists);
        let kernel = store.dir(&name).join("vmlinux");
        fs::remove_file(&kernel).unwrap();
        fs::write(&kernel, "KERNEL").unwrap();
        assert_eq!(store.open(&name).unwrap_err().kind, ErrorKind::Corrupt);
        // Another takes its place, and one that cannot be made does not.
        fs::write(from.join("vmlinux"), "another").unwrap();
        let other = ImageRecord { kernel: FileRecord::of(&from, "vmlinux").unwrap(), ..record.clone() };
        store.replace(&other, &from).unwrap();
        assert_eq!(store.open(&name).unwrap(), other);
        assert!(store.replace(&record, &from).is_err(), "its files are not there");
        assert_eq!(store.open(&name).unwrap(), other);
        assert_eq!(fs::read_dir(&store.dir).unwrap().count(), 1, "nothing else is left");
        // What a crash left is no image.
        fs::create_dir(store.draft(&name)).unwrap();
        fs::copy(store.dir(&name).join(RECORD), store.draft(&name).join(RECORD)).unwrap();
        assert_eq!(store.list().unwrap(), [other]);
        let gone = store.dir.join(".new-default-0");
        fs::create_dir(&gone).unwrap();
        store.sweep();
        assert!(gone.exists(), "it is too young");
        for left in [&gone, &store.draft(&name)] {
            fs::File::open(left).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
        }
        store.sweep();
        assert!(!gone.exists());
        assert!(store.draft(&name).exists(), "who makes it lives");
        fs::remove_dir_all(store.draft(&name)).unwrap();
        store.remove(&name).unwrap();
        store.remove(&name).unwrap();
        assert!(store.list().unwrap().is_empty());
    }

    #[test]
    fn a_record_cannot_name_files_elsewhere() {
        for bad in ["../k", "/etc/shadow", ""] {
            assert!(check_component(bad).is_err(), "{bad:?}");
        }
    }
}
