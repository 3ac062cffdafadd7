//! Where a QEMU lives, and as whom.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt, chown, fchown, lchown},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{
    Error, Result,
    driver::{Machine, Site},
    system::{clone_file, share_file},
};

/// The directory of a QEMU that is not root, below its VM's.
const OWN: &str = "qemu";
/// What it writes when it saves a machine.
const TARGET: &str = "save.state";
/// What it reads when it loads one.
const SOURCE: &str = "load.state";

/// What the length of an initramfs must be a multiple of.
///
/// QEMU's `microvm` puts it at the end of the memory, from the last page on at which it fits, over the ACPI tables that the
/// firmware has put there: the kernel finds those that lie behind it, in what is left of its last page, or no device
/// (10.0.2: 512 bytes are too few, 1024 do for one processor). A whole number of pages leaves a whole page, which does for 32
/// processors too.
const PAGE: u64 = 4096;

/// A user of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// That of its group.
    pub gid: u32,
}

impl Default for User {
    /// 64000: no user that Debian gives to anybody.
    fn default() -> Self {
        Self { uid: 64_000, gid: 64_000 }
    }
}

/// Gives an initramfs the name `to`, which may be its own; one that does not end with a page as a copy that does. Zeros
/// after an archive are nothing to the kernel.
fn share_whole_pages(from: &Path, to: &Path) -> Result<()> {
    let fail = |error: io::Error| Error::system("fill up", to.display(), error);
    let length = fs::metadata(from).map_err(fail)?.len();
    if length.is_multiple_of(PAGE) {
        return if from == to { Ok(()) } else { share_file(from, to) };
    }
    let draft = to.with_extension("draft");
    let _ = fs::remove_file(&draft);
    clone_file(from, &draft, 0o600)?;
    let fill = || -> io::Result<()> {
        File::options().write(true).open(&draft)?.set_len(length.next_multiple_of(PAGE))?;
        fs::set_permissions(&draft, fs::Permissions::from_mode(0o444))?;
        fs::rename(&draft, to)
    };
    fill().map_err(fail)
}

/// The directory that a QEMU works in. As another user than this process it has one of its own, where it may do what it
/// likes: nothing is written there through a name, and what comes out of it is taken only when it is a regular file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    site: &'a Site,
    user: Option<User>,
}

impl<'a> Place<'a> {
    pub(super) fn new(site: &'a Site, user: Option<User>) -> Self {
        Self { site, user }
    }

    /// Its working directory.
    pub(super) fn dir(&self) -> PathBuf {
        if self.user.is_some() { self.site.dir.join(OWN) } else { self.site.dir.clone() }
    }

    /// Makes it anew, with what the machine needs.
    pub(super) fn furnish(&self, machine: &Machine, console: &File) -> Result<()> {
        let Some(user) = self.user else {
            for old in ["qmp.sock", "agent.sock"] {
                let _ = fs::remove_file(self.site.file(old));
            }
            return machine.initrd.as_deref().map_or(Ok(()), |initrd| share_whole_pages(initrd, initrd));
        };
        let dir = self.dir();
        let fail = |error: io::Error| Error::system("make the place of QEMU", dir.display(), error);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(fail(error)),
            _ => {}
        }
        DirBuilder::new().mode(0o700).create(&dir).map_err(fail)?;
        let base = self.site.file(crate::store::BASE);
        let own = |file: &Path| dir.join(file.file_name().unwrap_or_default());
        for file in [&machine.kernel, &base].into_iter().filter(|file| file.exists()) {
            share_file(file, &own(file))?;
        }
        if let Some(initrd) = machine.initrd.as_ref().filter(|file| file.exists()) {
            share_whole_pages(initrd, &own(initrd))?;
        }
        if let Some(disk) = &machine.disk {
            let own = dir.join(&disk.name);
            fs::hard_link(self.site.file(&disk.name), &own).map_err(fail)?;
            chown(&own, Some(user.uid), Some(user.gid)).map_err(fail)?;
        }
        fchown(console, Some(user.uid), Some(user.gid)).map_err(fail)?;
        chown(&dir, Some(user.uid), Some(user.gid)).map_err(fail)
    }

    /// Lets it read a file; under which name.
    pub(super) fn show(&self, file: &Path) -> Result<String> {
        if self.user.is_none() {
            return Ok(file.display().to_string());
        }
        let own = self.dir().join(SOURCE);
        let _ = fs::remove_file(&own);
        share_file(file, &own)?;
        Ok(SOURCE.to_owned())
    }

    /// It has read what it was shown: that does not stay on the disk for its sake.
    pub(super) fn hide(&self) {
        if self.user.is_some() {
            let _ = fs::remove_file(self.dir().join(SOURCE));
        }
    }

    /// What it is told to write when it saves a machine.
    pub(super) fn target(&self) -> &'static str {
        self.discard();
        TARGET
    }

    /// Nobody wants what it has written.
    pub(super) fn discard(&self) {
        let _ = fs::remove_file(self.dir().join(TARGET));
    }

    /// Takes what it has written.
    pub(super) fn take(&self, into: &Path) -> Result<()> {
        let from = self.dir().join(TARGET);
        let take = || -> io::Result<()> {
            if self.user.is_some() {
                lchown(&from, Some(0), Some(0))?;
            }
            if !fs::symlink_metadata(&from)?.is_file() {
                return Err(io::Error::other("it is not a regular file"));
            }
            fs::rename(&from, into)
        };
        take().map_err(|error| Error::system("take out of the VM", from.display(), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_initramfs_ends_with_a_page_and_the_image_keeps_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for (length, whole) in [(1, 4096), (4096, 4096), (3 * 4096 - 512, 3 * 4096)] {
            fs::write(at("image"), vec![7; length]).unwrap();
            share_file(&at("image"), &at("initrd")).unwrap();
            share_whole_pages(&at("initrd"), &at("own")).unwrap();
            share_whole_pages(&at("initrd"), &at("initrd")).unwrap();
            for name in ["own", "initrd"] {
                let bytes = fs::read(at(name)).unwrap();
                assert_eq!(bytes.len(), whole, "{name} of {length}");
                assert!(bytes[..length].iter().all(|byte| *byte == 7));
                assert!(bytes[length..].iter().all(|byte| *byte == 0));
                let mode = fs::metadata(at(name)).unwrap().permissions().mode() & 0o777;
                assert_eq!(mode & 0o004, 0o004, "{name} can be read by QEMU's user");
                fs::remove_file(at(name)).unwrap();
            }
            assert_eq!(fs::metadata(at("image")).unwrap().len(), length as u64);
            fs::remove_file(at("image")).unwrap();
        }
    }
}
