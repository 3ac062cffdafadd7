//! A store that measures how long its commits take.

use std::{sync::Arc, time::Duration};

use fuse_orchestrator::store::{
    Batch, Committed, EventPage, EventQuery, Item, Kind, Lease, Page, Position, Record, SharedStore, Store,
    StoreResult,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::Metrics;

/// Passes everything on to another store, and counts its commits.
#[derive(Debug)]
pub struct MeasuredStore {
    inner: SharedStore,
    metrics: Metrics,
}

impl MeasuredStore {
    /// Measures the commits of `inner`.
    #[must_use]
    pub fn shared(inner: SharedStore, metrics: Metrics) -> SharedStore {
        Arc::new(Self { inner, metrics })
    }
}

#[async_trait::async_trait]
impl Store for MeasuredStore {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    async fn get(&self, kind: Kind, id: &str) -> StoreResult<Option<Record>> {
        self.inner.get(kind, id).await
    }

    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> StoreResult<Page> {
        self.inner.list(kind, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> StoreResult<Committed> {
        let began = Instant::now();
        let result = self.inner.commit(batch).await;
        self.metrics.commits.observe(began.elapsed().as_secs_f64());
        if result.is_err() {
            self.metrics.commits_failed.inc();
        }
        result
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
