//! The kernel's modules, as an initramfs brings them: `/lib/modules/fuse/*.ko`, in the order of the file `order` beside
//! them.

use std::{fs::File, io, path::Path};

use rustix::{io::Errno, system::finit_module};

use super::say;

const DIRECTORY: &str = "/lib/modules/fuse";

/// Loads all of them. One that the kernel has already, or that finds no device, is no reason to stop.
pub(super) fn load() {
    let directory = Path::new(DIRECTORY);
    let Ok(order) = std::fs::read_to_string(directory.join("order")) else { return };
    for name in order.lines().map(str::trim).filter(|name| !name.is_empty()) {
        if let Err(error) = one(&directory.join(format!("{name}.ko"))) {
            say(&format!("module {name}: {error}"));
        }
    }
}

fn one(path: &Path) -> io::Result<()> {
    match finit_module(File::open(path)?, c"", 0) {
        Ok(()) | Err(Errno::EXIST | Errno::NODEV) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
