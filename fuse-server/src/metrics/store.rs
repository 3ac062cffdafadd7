//! A store that measures how long its commits take.

use std::sync::Arc;

use fuse_orchestrator::store::{Batch, Committed, Hook, Hooked, SharedStore, Store, StoreResult};
use tokio::time::Instant;

use super::Metrics;

/// Counts the commits of a store.
#[derive(Debug)]
pub struct MeasuredStore {
    metrics: Metrics,
}

impl MeasuredStore {
    /// Measures the commits of `inner`.
    #[must_use]
    pub fn shared(inner: SharedStore, metrics: Metrics) -> SharedStore {
        Hooked::shared(inner, Arc::new(Self { metrics }))
    }
}

#[async_trait::async_trait]
impl Hook for MeasuredStore {
    async fn commit(&self, store: &dyn Store, batch: Batch) -> StoreResult<Committed> {
        let began = Instant::now();
        let result = store.commit(batch).await;
        self.metrics.commits.observe(began.elapsed().as_secs_f64());
        if result.is_err() {
            self.metrics.commits_failed.inc();
        }
        result
    }
}
