//! This machine: files, processes, sockets, limits.

mod capacity;
pub mod cgroup;
mod clone;
mod console;
mod extents;
mod file;
mod process;
mod run;
mod socket;

pub use capacity::host_capacity;
pub use clone::{clone_file, overlay_file, share_file};
pub use console::{Console, tail_of};
pub use extents::Extents;
pub use file::{blocking, read_bounded, read_record, sync_dir, write_atomic, write_record, write_volatile};
pub use process::{Process, processes_below};
pub use run::run;
pub use socket::connect_below;
