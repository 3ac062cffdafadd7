//! Who waits for a change of one environment.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::model::EnvironmentId;

/// Waiters by environment. A change wakes those that wait for it and nobody else, however many wait.
#[derive(Debug, Default)]
pub(super) struct Waits(Mutex<HashMap<EnvironmentId, watch::Sender<()>>>);

impl Waits {
    fn map(&self) -> MutexGuard<'_, HashMap<EnvironmentId, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells of changes from now on.
    pub(super) fn on(&self, id: &EnvironmentId) -> watch::Receiver<()> {
        self.map().entry(id.clone()).or_default().subscribe()
    }

    pub(super) fn wake(&self, id: &EnvironmentId) {
        let mut map = self.map();
        if let Some(change) = map.get(id) {
            if change.receiver_count() == 0 {
                map.remove(id);
            } else {
                change.send_replace(());
            }
        }
    }

    /// Wakes all of them.
    pub(super) fn wake_all(&self) {
        self.map().values().for_each(|change| change.send_replace(()));
    }
}
