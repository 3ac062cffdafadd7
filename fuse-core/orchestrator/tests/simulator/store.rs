//! A store that crashes the orchestrator at a commit, loses answers, and is away for a while.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fuse_orchestrator::store::{
    Batch, Committed, EventQuery, Hook, Hooked, MemoryStore, SharedStore, Store, StoreError, StoreResult,
};
use tokio::sync::Notify;

use crate::{host::SharedWatch, rng::Rng};

/// What happens at a commit that is to crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The commit does not happen.
    Before,
    /// The commit happens and nobody hears of it.
    After,
}

#[derive(Debug)]
struct Plan {
    rng: Rng,
    /// How many commits go by until the crash, and of which kind it is.
    crash: Option<(u64, Crash)>,
    calm: bool,
}

/// One process's connection to the store. It ends with the process.
#[derive(Debug)]
pub struct SimStore {
    inner: Arc<MemoryStore>,
    watch: SharedWatch,
    plan: Mutex<Plan>,
    dead: AtomicBool,
    pub crashed: Notify,
}

impl SimStore {
    pub fn new(inner: Arc<MemoryStore>, watch: SharedWatch, seed: u64) -> Arc<Self> {
        let plan = Mutex::new(Plan { rng: Rng::new(seed), crash: None, calm: false });
        Arc::new(Self { inner, watch, plan, dead: AtomicBool::new(false), crashed: Notify::new() })
    }

    /// What the orchestrator gets.
    pub fn store(self: &Arc<Self>) -> SharedStore {
        Hooked::shared(Arc::clone(&self.inner) as SharedStore, Arc::clone(self))
    }

    pub fn crash_at(&self, commits: u64, kind: Crash) {
        self.plan.lock().unwrap().crash = Some((commits, kind));
    }

    pub fn calm(&self) {
        let mut plan = self.plan.lock().unwrap();
        plan.calm = true;
        plan.crash = None;
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    async fn die(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.crashed.notify_one();
        std::future::pending::<()>().await;
    }

    /// Commits, and lets the watch look at the events at that very moment.
    async fn watched(&self, batch: Batch) -> StoreResult<Committed> {
        let committed = self.inner.commit(batch).await?;
        if !committed.events.is_empty() {
            let count = (committed.events.end - committed.events.start) as usize;
            let page = self.inner.events(EventQuery::all(committed.events.start - 1, count)).await?;
            let mut watch = self.watch.lock().unwrap();
            for stored in page.events {
                watch.look_at(&serde_json::from_slice(&stored.body).unwrap());
            }
        }
        Ok(committed)
    }

    async fn alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    fn away(&self) -> StoreError {
        StoreError::Unavailable { doing: "commit", on: "sim".into(), why: "away".into(), advice: "wait" }
    }
}

#[async_trait]
impl Hook for SimStore {
    /// The calls of a process that is dead never end.
    async fn before(&self) {
        self.alive().await;
    }

    async fn commit(&self, _: &dyn Store, batch: Batch) -> StoreResult<Committed> {
        self.alive().await;
        let (crash, trouble, latency) = {
            let mut plan = self.plan.lock().unwrap();
            let crash = match &mut plan.crash {
                Some((0, kind)) => Some(*kind),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            };
            let trouble = if plan.calm { 100 } else { plan.rng.below(100) };
            (crash, trouble, Duration::from_micros(plan.rng.below(3_000)))
        };
        tokio::time::sleep(latency).await;
        self.alive().await;
        match crash {
            Some(Crash::Before) => self.die().await,
            Some(Crash::After) => {
                let _ = self.watched(batch.clone()).await;
                self.die().await;
            }
            None => {}
        }
        match trouble {
            0 => Err(self.away()),
            1 => Err(StoreError::OutcomeUnknown { doing: "commit", on: "sim".into(), why: "reset".into() }),
            2 => {
                self.watched(batch).await?;
                Err(StoreError::OutcomeUnknown { doing: "commit", on: "sim".into(), why: "reset".into() })
            }
            _ => self.watched(batch).await,
        }
    }

    /// The next process has the same memory.
    async fn close(&self, _: &dyn Store) -> StoreResult<()> {
        Ok(())
    }
}
