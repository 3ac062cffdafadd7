//! Takes files as an image.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use fuse_orchestrator::model::Arch;

use super::store;
use crate::{
    Error, ErrorKind, Result,
    driver::DiskFormat,
    store::{FileRecord, ImageName, ImageRecord, digest_file, new_dir},
    system::clone_file,
};

/// The files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parts {
    /// Its name.
    pub name: ImageName,
    /// The kernel: an uncompressed ELF image.
    pub kernel: PathBuf,
    /// The initial file system.
    pub initrd: Option<PathBuf>,
    /// The root file system.
    pub rootfs: Option<PathBuf>,
    /// How the root file system is kept.
    pub rootfs_format: DiskFormat,
    /// What is added to the kernel's command line.
    pub kernel_args: String,
    /// What to do when there is an image of that name.
    pub replace: bool,
}

/// Copies the files into the store and checks them. The files that were named stay where they are. Returns the record, and
/// whether anything was done: an image of the same name and the same bytes is left alone. Blocks the thread.
///
/// # Errors
/// Exists, when another image has the name and is not to be replaced; invalid, when the kernel is no ELF image; a system
/// error.
pub fn import(data: &Path, parts: &Parts) -> Result<(ImageRecord, bool)> {
    let store = store(data)?;
    check_kernel(&parts.kernel)?;
    if let Ok(present) = store.open(&parts.name)
        && is_same(&present, parts)?
    {
        return Ok((present, false));
    }
    store.sweep();
    let staging = data.join("images").join(format!(".import-{}-{}", parts.name, std::process::id()));
    let _ = fs::remove_dir_all(&staging);
    new_dir(&staging)?;
    let done = stage(&staging, parts).and_then(|record| {
        if store.open(&parts.name).is_ok() && !parts.replace {
            let why = "another image has this name; remove it first, or replace it";
            return Err(Error::new(ErrorKind::Exists, "import", format!("image {}", parts.name), why));
        }
        // An image that is there but damaged is no reason to keep a good one out.
        store.replace(&record, &staging)?;
        Ok((record, true))
    });
    let _ = fs::remove_dir_all(&staging);
    done
}

/// Whether an image is made of the same bytes and settings. Writes nothing.
fn is_same(present: &ImageRecord, parts: &Parts) -> Result<bool> {
    let files = [
        (Some(&present.kernel), Some(parts.kernel.as_path())),
        (present.initrd.as_ref(), parts.initrd.as_deref()),
        (present.rootfs.as_ref(), parts.rootfs.as_deref()),
    ];
    for (record, file) in files {
        let same = match (record, file) {
            (None, None) => true,
            (Some(record), Some(file)) => digest_file(file)? == (record.size, record.sha256),
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(present.rootfs_format == parts.rootfs_format && present.kernel_args == parts.kernel_args)
}

/// Copies the files into `staging` and records what they are.
fn stage(staging: &Path, parts: &Parts) -> Result<ImageRecord> {
    let take = |from: &Path, name: &str| {
        clone_file(from, &staging.join(name), 0o400)?;
        FileRecord::of(staging, name)
    };
    Ok(ImageRecord {
        name: parts.name.clone(),
        arch: arch(),
        kernel: take(&parts.kernel, "vmlinux")?,
        initrd: parts.initrd.as_deref().map(|file| take(file, "initrd")).transpose()?,
        rootfs: parts.rootfs.as_deref().map(|file| take(file, "rootfs")).transpose()?,
        rootfs_format: parts.rootfs_format,
        kernel_args: parts.kernel_args.clone(),
    })
}

fn arch() -> Arch {
    if cfg!(target_arch = "aarch64") { Arch::Arm64 } else { Arch::Amd64 }
}

/// VMMs of microVMs boot an ELF image (on arm64 a PE image), never a compressed one.
fn check_kernel(path: &Path) -> Result<()> {
    let fail = |error| Error::system("read", path.display(), error);
    let mut magic = [0; 64];
    let mut file = File::open(path).map_err(fail)?;
    let count = file.read(&mut magic).map_err(fail)?;
    let elf = magic.starts_with(b"\x7fELF");
    let arm = magic.get(56..60) == Some(b"ARM\x64");
    if count < magic.len() || !(elf || arm && arch() == Arch::Arm64) {
        let why = "it is no uncompressed kernel (vmlinux); host-agent/scripts/extract-vmlinux.py takes it out of a vmlinuz";
        return Err(Error::invalid("import", path.display(), why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(dir: &Path, kernel: &[u8]) -> Parts {
        let file = dir.join("kernel");
        fs::write(&file, kernel).unwrap();
        fs::write(dir.join("disk"), "disk").unwrap();
        Parts {
            name: ImageName::new("default").unwrap(),
            kernel: file,
            initrd: None,
            rootfs: Some(dir.join("disk")),
            rootfs_format: DiskFormat::Raw,
            kernel_args: "root=/dev/vda rw".to_owned(),
            replace: false,
        }
    }

    fn kernel(last: u8) -> Vec<u8> {
        let mut bytes = b"\x7fELF".to_vec();
        bytes.resize(100, last);
        bytes
    }

    #[test]
    fn the_same_is_left_alone_and_another_needs_to_be_meant() {
        let dir = tempfile::tempdir().unwrap();
        let (data, files) = (dir.path().join("data"), dir.path().join("files"));
        fs::create_dir(&files).unwrap();
        let first = parts(&files, &kernel(1));
        let (record, done) = import(&data, &first).unwrap();
        assert!(done && first.kernel.exists() && record.rootfs.is_some());
        let changed = || fs::metadata(data.join("images")).unwrap().modified().unwrap();
        let before = changed();
        assert_eq!(import(&data, &first).unwrap(), (record.clone(), false));
        assert_eq!(changed(), before, "nothing was written");

        let mut other = parts(&files, &kernel(2));
        assert_eq!(import(&data, &other).unwrap_err().kind, ErrorKind::Exists);
        assert_eq!(super::super::list(&data).unwrap(), [record]);
        other.replace = true;
        let (record, _) = import(&data, &other).unwrap();
        assert_eq!(super::super::list(&data).unwrap(), [record]);
        super::super::remove(&data, &other.name).unwrap();
        assert!(super::super::list(&data).unwrap().is_empty());
        assert_eq!(fs::read_dir(data.join("images")).unwrap().count(), 0, "nothing is left of it");
    }

    #[test]
    fn a_compressed_kernel_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = import(dir.path(), &parts(dir.path(), &[0x1f; 100])).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Invalid);
        assert!(error.to_string().contains("extract-vmlinux"), "{error}");
        assert_eq!(import(dir.path(), &parts(dir.path(), b"\x7fELF")).unwrap_err().kind, ErrorKind::Invalid);
    }
}
