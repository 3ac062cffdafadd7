//! Conformance of the edge runtime: [scenarios](scenario) are data, and a [`Runner`] plays them.
//!
//! The format is described in `docs/scenarios.md`. The same files run in every language that Fuse has an
//! interface for; this crate is the Rust runner, and holds the tests that need a whole runtime but do not
//! fit into data: quotas, properties, exhaustive damage, allocation, determinism, posting from anywhere.

#![forbid(unsafe_code)]

pub mod guard;
pub mod host;
pub mod requirements;
pub mod runner;
pub mod scenario;

pub use guard::Guard;
pub use runner::{Runner, Target};
pub use scenario::Scenario;

use std::path::{Path, PathBuf};

/// The root of the repository.
#[must_use]
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The folder of the edge scenarios.
#[must_use]
pub fn edge_scenarios() -> PathBuf {
    repository().join("tests/scenarios/edge")
}
