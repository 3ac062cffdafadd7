//! What is kept on disk.
//!
//! ```text
//! DATA/lock                      one agent at a time
//! DATA/vms/NAME/vm.json          one directory for each VM; the VMM runs with it as its working directory
//! DATA/snapshots/NAME/snapshot.json
//! DATA/images/NAME/image.json
//! DATA/ended/NAME.json           why a VM is gone, kept for people
//! DATA/staging/                  what is not whole yet; emptied at start
//! ```
//!
//! A directory counts when its record is there. A record is written last, atomically and durably; or the directory gets its
//! name last, when all that is in it is durable.

mod digest;
mod images;
mod layout;
mod name;
mod snapshots;
mod vms;

pub use digest::{DigestCache, FileRecord, Sha256Hex, digest_file};
pub(crate) use images::check_component;
pub use images::{ImageRecord, ImageStore};
pub use layout::{DataDir, new_dir};
pub use name::{ImageName, SnapshotName};
pub(crate) use snapshots::{BASE, DISK, INITRD, KERNEL, SHARED, host_arch};
pub use snapshots::{SnapshotKind, SnapshotRecord, SnapshotStore, Staged};
pub use vms::{Ended, Published, VmRecord, VmState, VmStore};
