//! A store with something around its calls: measured, delayed, broken on purpose.

use std::{sync::Arc, time::Duration};

use tokio::sync::{mpsc, watch};

use super::{
    Batch, Committed, EventPage, EventQuery, Item, Kind, Lease, Page, Position, Record, SharedStore, Store,
    StoreResult,
};

/// What happens around the calls to a store.
#[async_trait::async_trait]
pub trait Hook: Send + Sync + std::fmt::Debug + 'static {
    /// Before every call but [`Store::commit`] and [`Store::close`], which have hooks of their own.
    async fn before(&self) {}

    /// Instead of [`Store::commit`]: passes `batch` on to `store`, or does not.
    ///
    /// # Errors
    /// Those of [`Store::commit`].
    async fn commit(&self, store: &dyn Store, batch: Batch) -> StoreResult<Committed> {
        store.commit(batch).await
    }

    /// Instead of [`Store::close`].
    ///
    /// # Errors
    /// Those of [`Store::close`].
    async fn close(&self, store: &dyn Store) -> StoreResult<()> {
        store.close().await
    }
}

/// A store whose calls go through a [`Hook`]. Whoever keeps the hook keeps its handle on it.
#[derive(Debug)]
pub struct Hooked<H> {
    inner: SharedStore,
    hook: Arc<H>,
}

impl<H: Hook> Hooked<H> {
    /// `inner`, with `hook` around its calls.
    #[must_use]
    pub fn shared(inner: SharedStore, hook: Arc<H>) -> SharedStore {
        Arc::new(Self { inner, hook })
    }
}

#[async_trait::async_trait]
impl<H: Hook> Store for Hooked<H> {
    fn describe(&self) -> &str {
        self.inner.describe()
    }

    async fn get(&self, kind: Kind, id: &str) -> StoreResult<Option<Record>> {
        self.hook.before().await;
        self.inner.get(kind, id).await
    }

    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> StoreResult<Page> {
        self.hook.before().await;
        self.inner.list(kind, after, limit).await
    }

    async fn commit(&self, batch: Batch) -> StoreResult<Committed> {
        self.hook.commit(&*self.inner, batch).await
    }

    async fn events(&self, query: EventQuery) -> StoreResult<EventPage> {
        self.hook.before().await;
        self.inner.events(query).await
    }

    async fn truncate_events(&self, through: u64) -> StoreResult<u64> {
        self.hook.before().await;
        self.inner.truncate_events(through).await
    }

    fn event_hint(&self) -> watch::Receiver<u64> {
        self.inner.event_hint()
    }

    async fn acquire_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<Lease> {
        self.hook.before().await;
        self.inner.acquire_lease(name, holder, ttl).await
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> StoreResult<Lease> {
        self.hook.before().await;
        self.inner.renew_lease(lease, ttl).await
    }

    async fn release_lease(&self, lease: &Lease) -> StoreResult<()> {
        self.hook.before().await;
        self.inner.release_lease(lease).await
    }

    async fn position(&self) -> StoreResult<Position> {
        self.hook.before().await;
        self.inner.position().await
    }

    async fn dump(&self, out: mpsc::Sender<Item>) -> StoreResult<Position> {
        self.hook.before().await;
        self.inner.dump(out).await
    }

    async fn load(&self, items: Vec<Item>) -> StoreResult<()> {
        self.hook.before().await;
        self.inner.load(items).await
    }

    async fn finish_load(&self, position: Position) -> StoreResult<()> {
        self.hook.before().await;
        self.inner.finish_load(position).await
    }

    async fn close(&self) -> StoreResult<()> {
        self.hook.close(&*self.inner).await
    }
}
