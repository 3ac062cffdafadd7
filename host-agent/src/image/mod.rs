//! Images: what a VM boots from, made of Debian's signed packages or of files that are there.
//!
//! [`build`] makes a kernel, an initramfs with the guest agent, and a root file system, without root where the kernel gives
//! users namespaces. [`import`] takes such files into the store of a data directory, with their digests.

mod build;
mod import;

use std::{path::Path, sync::Arc};

use crate::{
    Result,
    store::{ImageName, ImageRecord, ImageStore},
};

pub use build::{Build, build};
pub use import::{Parts, import};

/// The image store of a data directory. A host agent may be working on the directory meanwhile.
///
/// # Errors
/// A system error.
pub fn store(data: &Path) -> Result<ImageStore> {
    let dir = data.join("images");
    crate::store::new_dir(&dir)?;
    Ok(ImageStore::new(dir, Arc::default()))
}

/// The images of a data directory, by name.
///
/// # Errors
/// A system error; corrupt.
pub fn list(data: &Path) -> Result<Vec<ImageRecord>> {
    store(data)?.list()
}

/// Removes an image. VMs that were made of it go on. Idempotent.
///
/// # Errors
/// A system error.
pub fn remove(data: &Path, name: &ImageName) -> Result<()> {
    store(data)?.remove(name)
}
