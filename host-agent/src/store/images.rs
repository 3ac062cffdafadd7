//! Images: a kernel, perhaps an initial file system, perhaps a root file system.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use fuse_orchestrator::model::Arch;
use serde::{Deserialize, Serialize};

use super::{DigestCache, FileRecord, ImageName};
use crate::{
    Error, ErrorKind, Result,
    driver::DiskFormat,
    system::{read_record, write_record},
};

const RECORD: &str = "image.json";

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
        let entries = fs::read_dir(&self.dir);
        for entry in entries.map_err(|error| Error::system("list", self.dir.display(), error))?.flatten() {
            let path = entry.path().join(RECORD);
            images.extend(read_record::<ImageRecord>(&path)?);
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    /// Takes files that are in `dir` as an image: they are moved below the store and the record is written. Blocks the
    /// thread.
    ///
    /// # Errors
    /// Exists; a system error.
    pub fn import(&self, record: &ImageRecord, dir: &Path) -> Result<()> {
        let target = self.dir(&record.name);
        if target.join(RECORD).exists() {
            let why = "an image of this name is there; remove it first";
            return Err(Error::new(ErrorKind::Exists, "import", format!("image {}", record.name), why));
        }
        super::new_dir(&target)?;
        for file in record.files() {
            check_component(&file.name)?;
            let (from, to) = (dir.join(&file.name), target.join(&file.name));
            let _ = fs::remove_file(&to);
            if fs::rename(&from, &to).is_err() {
                crate::system::clone_file(&from, &to, 0o444)?;
            }
            // A jailed VMM reads them as its own user; the directories above let nobody else in.
            let readable = fs::set_permissions(&to, fs::Permissions::from_mode(0o444));
            readable.map_err(|error| Error::system("import", to.display(), error))?;
        }
        write_record(&target.join(RECORD), record)
    }

    /// Removes an image. VMs that were made of it go on, since they hold its files. Idempotent. Blocks the thread.
    ///
    /// # Errors
    /// A system error.
    pub fn remove(&self, name: &ImageName) -> Result<()> {
        super::vms::remove_tree(&self.dir(name), RECORD)
    }
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
