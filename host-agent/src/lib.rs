//! Runs microVMs on one host.
//!
//! A [`HostAgent`](agent::HostAgent) boots, snapshots, forks and destroys virtual machines. It is a library first: an embedder drives it
//! in process through [`LocalProvider`], the orchestrator's provider for this machine; the daemon `fuse-host-agent`
//! puts the HTTP contract ([`http`]) on top.
//!
//! The parts, from data to effects:
//!
//! - [`store`]: what is kept on disk: VM records, snapshots with the SHA-256 of every file, images.
//! - [`driver`]: how one VMM is driven. Firecracker and QEMU are behind one trait.
//! - [`image`]: images made of Debian packages, and taken from files.
//! - [`net`]: addresses, firewall rules as text, and what puts them into the kernel.
//! - [`agent`]: all of it together: the verbs, a lock for each VM, adoption after a restart, the watch over processes.
//! - [`transfer`]: snapshots that move between hosts.
//! - [`http`] and [`provider`]: the two doors; [`LocalVms`] is the second one in two lines, and [`Embedded`] the one that
//!   programs in C, Python and Node go through.
#![forbid(unsafe_code)]

pub mod agent;
mod config;
pub mod driver;
mod embed;
mod embedded;
mod error;
#[cfg(feature = "daemon")]
pub mod http;
pub mod image;
pub mod net;
pub mod provider;
pub mod store;
mod suggest;
pub mod system;
pub mod transfer;

/// The version of this agent, as it tells it. Who builds packages may give another one, in the variable
/// `FUSE_BUILD_VERSION` of the build.
pub const VERSION: &str = match option_env!("FUSE_BUILD_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

pub use config::{Config, DriverConfig, NetworkConfig};
pub use embed::LocalVms;
pub use embedded::{DefaultProvider, Embedded, EmbeddedOptions, ProviderChoice, ProviderKind};
pub use error::{Error, ErrorKind, Result};
pub use provider::{LocalConnector, LocalProvider};
