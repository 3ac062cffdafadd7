//! A live server on a free port, and a client that hides nothing.
#![allow(unreachable_pub, reason = "shared by test programs")]
#![allow(dead_code, unused_imports, reason = "each test program uses a part of this")]

pub mod client;
pub mod late;
#[path = "../../../fuse-core/orchestrator/tests/backends/server.rs"]
pub mod postgres;
pub mod site;

pub use client::{Reply, Stream};
pub use site::{Backend, Site, TOKEN};

/// Runs a test on a runtime of its own.
pub fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let limit = std::time::Duration::from_secs(240);
        tokio::time::timeout(limit, test).await.expect("the test ends");
    });
}
