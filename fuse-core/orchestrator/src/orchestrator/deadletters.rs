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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Config, HostRegistration};
    use super::*;
    use crate::{
        model::{
            EnvironmentState, HostId, OwnerId, ProvisionRequest, SnapshotRequest, SnapshotState, TaskId,
            Timestamp,
        },
        provider::{
            ProviderErrorKind, Verb,
            stub::{Effect, Fault, StubConnector, StubHost},
        },
    };

    struct World {
        fuse: ControlPlane,
        host: StubHost,
    }

    impl World {
        /// A dead letter is written at the second failure.
        async fn new() -> Self {
            let stub = Arc::new(StubConnector::new());
            let mut config = Config { reconcile_period: None, dead_letter_after: 2, ..Config::default() };
            config.limits.sighting_gap = Duration::ZERO;
            config.limits.orphan_grace = Duration::ZERO;
            let fuse = ControlPlane::builder().config(config).connector("stub", Arc::clone(&stub) as _);
            let fuse = fuse.open().await.unwrap();
            let h1 = HostRegistration { url: "stub://h1".into(), ..HostRegistration::default() };
            fuse.register_host(&HostId::new("h1").unwrap(), h1).await.unwrap();
            Self { fuse, host: stub.host("h1") }
        }

        async fn running(&self, task: &str) -> EnvironmentId {
            let request = ProvisionRequest::new(TaskId::new(task).unwrap());
            let id = self.fuse.provision(request).await.unwrap().id.clone();
            self.fuse.wait_running(&id, Duration::from_secs(20)).await.unwrap();
            id
        }

        fn fail(&self, verb: Verb) {
            self.host
                .inject(Fault::always(verb, Effect::Fail(ProviderErrorKind::Failed, "disk on fire".into())));
        }

        /// The only letter, which is of this kind.
        fn letter(&self, kind: DeadLetterKind) -> DeadLetter {
            let letters = self.fuse.dead_letters();
            assert_eq!(letters.len(), 1, "{letters:?}");
            assert_eq!(letters[0].kind, kind);
            letters.into_iter().next().unwrap()
        }
    }

    #[tokio::test]
    async fn a_destroy_that_keeps_failing_is_told_and_retried_by_hand() {
        let world = World::new().await;
        let id = world.running("t1").await;
        world.fail(Verb::Destroy);
        world.fuse.destroy(&id).await.unwrap_err();
        assert_eq!(world.fuse.dead_letters(), [], "one failure is none to write about");
        world.fuse.destroy(&id).await.unwrap_err();
        let letter = world.letter(DeadLetterKind::Destroy);
        assert_eq!((letter.entity_id.as_str(), letter.retry_count), (id.as_str(), 2));
        assert!(letter.reason.contains("disk on fire"), "{}", letter.reason);
        // A retry that fails keeps the letter, and counts.
        world.fuse.retry_dead_letter(&letter.key()).await.unwrap_err();
        assert_eq!(world.letter(DeadLetterKind::Destroy).retry_count, 3);
        world.host.clear_faults();
        world.fuse.retry_dead_letter(&letter.key()).await.unwrap();
        assert_eq!(world.fuse.dead_letters(), []);
        assert_eq!(world.fuse.get(&id).unwrap().state, EnvironmentState::Destroyed);
        assert!(matches!(world.fuse.retry_dead_letter(&letter.key()).await, Err(Error::NotFound { .. })));
    }

    #[tokio::test]
    async fn an_orphan_that_cannot_be_removed_is_told_and_retried_by_hand() {
        let world = World::new().await;
        let vm = VmName::new("fuse-orphan").unwrap();
        world.host.plant(&vm, world.fuse.owner());
        world.fail(Verb::Destroy);
        for _ in 0..2 {
            world.fuse.reconcile().await.unwrap();
        }
        world.fuse.inner.tear_down(&vm).await.unwrap_err();
        let letter = world.letter(DeadLetterKind::OrphanDestroy);
        assert_eq!(letter.entity_id, vm.as_str());
        world.host.clear_faults();
        world.fuse.retry_dead_letter(&letter.key()).await.unwrap();
        assert_eq!((world.fuse.dead_letters(), world.host.vms()), (Vec::new(), Vec::new()));
    }

    #[tokio::test]
    async fn a_snapshot_that_cannot_be_deleted_is_told_and_retried_by_hand() {
        let world = World::new().await;
        let id = world.running("t1").await;
        let snapshot = world.fuse.create_snapshot(&id, SnapshotRequest::default()).await.unwrap();
        world.fail(Verb::DeleteSnapshot);
        for _ in 0..2 {
            world.fuse.delete_snapshot(&snapshot.id).await.unwrap_err();
        }
        let letter = world.letter(DeadLetterKind::SnapshotDelete);
        assert_eq!(world.fuse.snapshot(&snapshot.id).unwrap().state, SnapshotState::Deleting);
        world.host.clear_faults();
        world.fuse.retry_dead_letter(&letter.key()).await.unwrap();
        assert_eq!((world.fuse.dead_letters().len(), world.host.snapshot_count()), (0, 0));
    }

    #[tokio::test]
    async fn a_letter_that_is_dismissed_goes_and_the_work_goes_on() {
        let world = World::new().await;
        let id = world.running("t1").await;
        world.fail(Verb::Destroy);
        for _ in 0..2 {
            world.fuse.destroy(&id).await.unwrap_err();
        }
        let key = world.letter(DeadLetterKind::Destroy).key();
        world.fuse.dismiss_dead_letter(&key).await.unwrap();
        assert_eq!(world.fuse.dead_letters(), []);
        assert!(matches!(world.fuse.dismiss_dead_letter(&key).await, Err(Error::NotFound { .. })));
        world.fuse.destroy(&id).await.unwrap_err();
        world.letter(DeadLetterKind::Destroy);
        world.host.clear_faults();
        world.fuse.destroy(&id).await.unwrap();
        assert_eq!(world.fuse.dead_letters(), [], "a success takes the letter away");
    }

    /// Letters that tell of something that was done have nothing to try.
    #[tokio::test]
    async fn letters_that_only_tell_go_when_they_are_retried() {
        let world = World::new().await;
        let (owner, now) = (OwnerId::new("x").unwrap(), Timestamp::EPOCH);
        for kind in [DeadLetterKind::StuckTask, DeadLetterKind::IdleTimeout] {
            let letter = DeadLetter {
                kind,
                entity_id: format!("fuse-{owner}"),
                task_id: None,
                host_id: None,
                reason: "it was time".into(),
                retry_count: 0,
                first_seen_at: now,
                last_seen_at: now,
            };
            let key = letter.key();
            world.fuse.inner.commit(Change::new().dead_letter(letter)).await.unwrap();
            let calls = world.host.calls(Verb::Destroy);
            world.fuse.retry_dead_letter(&key).await.unwrap();
            assert_eq!((world.fuse.dead_letters(), world.host.calls(Verb::Destroy)), (Vec::new(), calls));
        }
    }
}
