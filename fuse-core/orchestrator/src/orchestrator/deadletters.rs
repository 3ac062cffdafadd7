//! Dead letters: what an operator should look at.

use std::sync::Arc;

use super::{ControlPlane, change::Change};
use crate::{
    Error, RecordKind, Result,
    model::{DeadLetter, DeadLetterKind, EnvironmentId, Event, EventKind, SnapshotId, Subject, VmName},
};

impl ControlPlane {
    /// All dead letters, by kind and entity.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.inner.fleet().dead_letters.values().map(|entry| (*entry.value).clone()).collect()
    }

    /// Tries now what a dead letter is about. The letter goes when it succeeds, or when there was nothing to try.
    ///
    /// # Errors
    /// [`Error::NotFound`]; what the try fails with.
    pub async fn retry_dead_letter(&self, key: &str) -> Result<()> {
        let letter = self.dead_letter(key)?;
        let inner = Arc::clone(&self.inner);
        let work = async move {
            let entity = &letter.entity_id;
            match letter.kind {
                DeadLetterKind::OrphanDestroy => inner.tear_down(&VmName::new(entity)?).await?,
                DeadLetterKind::Destroy => {
                    let id = EnvironmentId::new(entity)?;
                    if let Ok(entry) = inner.live(&id) {
                        inner.remove(&id, &entry.value.vm).await?;
                    }
                }
                DeadLetterKind::SnapshotDelete => {
                    let id = SnapshotId::new(entity)?;
                    if inner.snapshot(&id).is_ok() {
                        inner.delete_snapshot(&id, EventKind::SnapshotDeleted).await?;
                    }
                }
                // These tell of something that was done; there is nothing to try.
                DeadLetterKind::StuckTask | DeadLetterKind::IdleTimeout => {}
            }
            let key = letter.key();
            let event =
                Event::new(inner.now(), EventKind::DeadLetterRetried, Subject::DeadLetter(key.clone()));
            inner.commit(Change::new().drop_dead_letter(&key).event(event)).await
        };
        self.inner.finish(work).await
    }

    /// Takes a dead letter away. Work that is behind it goes on, and writes a new one when it fails again.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn dismiss_dead_letter(&self, key: &str) -> Result<()> {
        let key = self.dead_letter(key)?.key();
        let inner = Arc::clone(&self.inner);
        let work = async move {
            let subject = Subject::DeadLetter(key.clone());
            let event = Event::new(inner.now(), EventKind::DeadLetterDismissed, subject);
            inner.commit(Change::new().drop_dead_letter(&key).event(event)).await
        };
        self.inner.finish(work).await
    }

    fn dead_letter(&self, key: &str) -> Result<DeadLetter> {
        let fleet = self.inner.fleet();
        let entry =
            fleet.dead_letters.get(key).ok_or_else(|| Error::not_found(RecordKind::DeadLetter, key))?;
        Ok((*entry.value).clone())
    }
}
