//! A store that keeps an answer back.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use fuse_orchestrator::store::{
    Batch, Committed, EventPage, EventQuery, Item, Kind, Lease, MemoryStore, Page, Position, Record, Store,
    StoreResult,
};
use tokio::sync::{Notify, mpsc, watch};

/// Memory, whose next commit with an event is durable at once and answered late.
#[derive(Debug, Default)]
pub struct LateStore {
    inner: MemoryStore,
    armed: AtomicBool,
    /// Told when a commit is durable and kept back.
    pub kept: Notify,
    /// Lets the answer go.
    pub release: Notify,
}

impl LateStore {
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// Keeps the answer of the next commit with an event back.
    pub fn arm(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

#[async_trait::async_trait]
impl Store for LateStore {
    fn describe(&self) -> &str {
        "memory, late"
    }

    async fn get(&self, kind: Kind, id: &str) -> StoreResult<Option<Record>> {
        self.inner.get(kind, id).await
    }

    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> StoreResult<Page> {
        self.inner.list(kind, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> StoreResult<Committed> {
        let committed = self.inner.commit(batch).await?;
        if !committed.events.is_empty() && self.armed.swap(false, Ordering::SeqCst) {
            self.kept.notify_one();
            self.release.notified().await;
        }
        Ok(committed)
    }

    async fn events(&self, query: EventQuery) -> StoreResult<EventPage> {
        self.inner.events(query).await
    }

    async fn truncate_events(&self, through: u64) -> StoreResult<u64> {
        self.inner.truncate_events(through).await
    }

    fn event_hint(&self) -> watch::Receiver<u64> {
        self.inner.event_hint()
    }

    async fn acquire_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<Lease> {
        self.inner.acquire_lease(name, holder, ttl).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> StoreResult<Lease> {
        self.inner.renew_lease(lease, ttl).await
    }

    async fn release_lease(&self, lease: &Lease) -> StoreResult<()> {
        self.inner.release_lease(lease).await
    }

    async fn position(&self) -> StoreResult<Position> {
        self.inner.position().await
    }

    async fn dump(&self, out: mpsc::Sender<Item>) -> StoreResult<Position> {
        self.inner.dump(out).await
    }

    async fn load(&self, items: Vec<Item>) -> StoreResult<()> {
        self.inner.load(items).await
    }

    async fn finish_load(&self, position: Position) -> StoreResult<()> {
        self.inner.finish_load(position).await
    }

    async fn close(&self) -> StoreResult<()> {
        self.inner.close().await
    }
}
