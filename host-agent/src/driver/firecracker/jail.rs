//! Where a Firecracker lives: in the VM's directory, or in a jail below it.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt, chown},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, driver::Site, system::clone_file};

/// Firecracker's jailer: a root directory of its own, a user of its own, namespaces of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jailer {
    /// The program `jailer`, of the same release as Firecracker.
    pub program: PathBuf,
    /// The user that Firecracker runs as; not 0.
    pub uid: u32,
    /// Its group; not 0.
    pub gid: u32,
    /// Whether each Firecracker has a namespace of processes of its own.
    pub pid_namespace: bool,
}

/// The directory that Firecracker sees as its own.
pub(super) fn root(site: &Site, jailer: Option<&Jailer>) -> PathBuf {
    match jailer {
        None => site.dir.clone(),
        // The jailer demands `BASE/EXEC/ID/root`, with the name of the program as EXEC.
        Some(_) => site.dir.join("firecracker").join(site.name.as_str()).join("root"),
    }
}

/// Makes the root directory anew.
pub(super) fn prepare(site: &Site, jailer: &Jailer) -> Result<PathBuf> {
    let base = site.dir.join("firecracker");
    let root = root(site, Some(jailer));
    let make = || -> std::io::Result<()> {
        match fs::remove_dir_all(&base) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&root)?;
        chown(&root, Some(jailer.uid), Some(jailer.gid))
    };
    make().map_err(|error| Error::system("make the jail", root.display(), error))?;
    Ok(root)
}

/// Puts a file that is only read into a root directory: the same bytes under another name.
pub(super) fn place(from: &Path, root: &Path, name: &str) -> Result<()> {
    let to = root.join(name);
    let _ = fs::remove_file(&to);
    if fs::hard_link(from, &to).is_ok() {
        return Ok(());
    }
    clone_file(from, &to, 0o444)
}

/// Puts a file that is written into a root directory: the same file under another name, owned by the jailed user.
pub(super) fn hand_over(from: &Path, root: &Path, name: &str, jailer: &Jailer) -> Result<()> {
    let to = root.join(name);
    let hand = || -> std::io::Result<()> {
        let _ = fs::remove_file(&to);
        fs::hard_link(from, &to)?;
        chown(&to, Some(jailer.uid), Some(jailer.gid))
    };
    hand().map_err(|error| Error::system("put into the jail", to.display(), error))
}
