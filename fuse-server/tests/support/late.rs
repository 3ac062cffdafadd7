//! A store that keeps an answer back.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use fuse_orchestrator::store::{Batch, Committed, Hook, Store, StoreResult};
use tokio::sync::Notify;

/// The next commit with an event is durable at once and answered late.
#[derive(Debug, Default)]
pub struct Late {
    armed: AtomicBool,
    /// Told when a commit is durable and kept back.
    pub kept: Notify,
    /// Lets the answer go.
    pub release: Notify,
}

impl Late {
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// Keeps the answer of the next commit with an event back.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Hook for Late {
    async fn commit(&self, store: &dyn Store, batch: Batch) -> StoreResult<Committed> {
        let committed = store.commit(batch).await?;
        if !committed.events.is_empty() && self.armed.swap(false, Ordering::SeqCst) {
            self.kept.notify_one();
            self.release.notified().await;
        }
        Ok(committed)
    }
}
