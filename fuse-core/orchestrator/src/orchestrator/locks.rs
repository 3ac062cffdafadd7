//! One writer for each record.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::OwnedMutexGuard;

use crate::RecordKind;

type Key = (RecordKind, String);

/// Locks by record. A record without a lock has one as soon as it is asked for.
#[derive(Debug, Default)]
pub(super) struct Locks(Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>);

impl Locks {
    fn map(&self) -> MutexGuard<'_, HashMap<Key, Arc<tokio::sync::Mutex<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else changes the record.
    pub(super) async fn hold(&self, kind: RecordKind, id: &str) -> OwnedMutexGuard<()> {
        let lock = Arc::clone(self.map().entry((kind, id.to_owned())).or_default());
        lock.lock_owned().await
    }

    /// Forgets the locks that nobody holds or waits for.
    pub(super) fn prune(&self) {
        self.map().retain(|_, lock| Arc::strong_count(lock) > 1);
    }
}
