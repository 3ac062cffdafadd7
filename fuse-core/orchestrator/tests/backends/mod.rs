//! The stores that the suites run over.
#![allow(dead_code, reason = "each test program uses a part of this")]

pub mod server;

use fuse_orchestrator::store::{MemoryStore, PostgresOptions, PostgresStore, SharedStore, SledStore};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Opens the store that a word like `sled:/some/directory` names.
pub async fn open(place: &str) -> SharedStore {
    match place.split_once(':') {
        Some(("sled", dir)) => Arc::new(SledStore::open(dir).await.expect("the store opens")),
        Some(("postgres", _)) => {
            // A busy machine may take long to bring a crashed server back.
            let options =
                PostgresOptions { retry_for: Duration::from_secs(300), ..PostgresOptions::default() };
            Arc::new(PostgresStore::open_with(place, options).await.expect("the store opens"))
        }
        _ => panic!("unknown place {place}"),
    }
}

/// Somewhere a store lives.
pub trait Backend {
    /// Opens the store, with what an earlier opening left in it.
    async fn open(&self) -> SharedStore;
    /// Whether a second `open` finds what the first one wrote.
    fn durable(&self) -> bool;
}

pub struct Memory;

impl Backend for Memory {
    async fn open(&self) -> SharedStore {
        Arc::new(MemoryStore::new())
    }

    fn durable(&self) -> bool {
        false
    }
}

pub struct Sled {
    dir: TempDir,
}

impl Sled {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }
}

impl Backend for Sled {
    async fn open(&self) -> SharedStore {
        Arc::new(SledStore::open(self.path()).await.expect("the store opens"))
    }

    fn durable(&self) -> bool {
        true
    }
}

/// A database of its own on the test server.
pub struct Postgres {
    pub url: String,
}

impl Postgres {
    /// `None` where Postgres is not installed; the server says so.
    pub fn new() -> Option<Self> {
        server::shared().map(|server| Self { url: server.database().1 })
    }
}

impl Backend for Postgres {
    async fn open(&self) -> SharedStore {
        Arc::new(PostgresStore::open(&self.url).await.expect("the store opens"))
    }

    fn durable(&self) -> bool {
        true
    }
}
