//! One commit: records and events together, durable before anything sees them.

use std::{sync::Arc, time::Duration};

use super::{Inner, record};
use crate::{
    Error, Result,
    model::{
        DeadLetter, Environment, EnvironmentId, Event, Host, HostId, Snapshot, SnapshotId, Teardown, VmName,
    },
    provider::Provider,
    secrets::ApiKeyRecord,
    store::{Batch, Committed, Expect, Kind, NewEvent, StoreError},
};

/// What a commit does to the memory once it is durable.
#[derive(Debug)]
enum Effect {
    Environment(Box<Environment>),
    DropEnvironment(EnvironmentId),
    Host(Box<Host>, Option<Arc<dyn Provider>>),
    DropHost(HostId),
    Teardown(Teardown),
    DropTeardown(VmName),
    Snapshot(Box<Snapshot>),
    DropSnapshot(SnapshotId),
    DeadLetter(DeadLetter),
    DropDeadLetter(String),
    ApiKey(ApiKeyRecord),
}

impl Effect {
    /// The environment that it changes.
    const fn environment(&self) -> Option<&EnvironmentId> {
        match self {
            Self::Environment(environment) => Some(&environment.id),
            Self::DropEnvironment(id) => Some(id),
            _ => None,
        }
    }
}

/// Records and events that belong together.
#[derive(Debug, Default)]
#[must_use = "a change does nothing until it is committed"]
pub(super) struct Change {
    batch: Batch,
    puts: Vec<(Kind, String, Vec<u8>)>,
    effects: Vec<Effect>,
    events: Vec<Event>,
    error: Option<Error>,
}

impl Change {
    pub(super) fn new() -> Self {
        Self::default()
    }

    fn put<T: serde::Serialize>(mut self, kind: Kind, id: &str, expect: Expect, value: &T) -> Self {
        match record::encode(kind.as_str(), id, value) {
            Ok(body) => self.put_bytes(kind, id, expect, body),
            Err(error) => {
                self.error.get_or_insert(error);
                self
            }
        }
    }

    /// Writes a record that the memory does not hold.
    pub(super) fn put_bytes(mut self, kind: Kind, id: &str, expect: Expect, body: Vec<u8>) -> Self {
        self.puts.push((kind, id.to_owned(), body.clone()));
        self.batch = self.batch.put(kind, id, expect, body);
        self
    }

    /// Deletes a record that the memory does not hold.
    pub(super) fn delete(mut self, kind: Kind, id: &str) -> Self {
        self.batch = self.batch.delete(kind, id, Expect::Any);
        self
    }

    fn effect(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// Writes an environment that is at `revision`; none for one that is not there yet.
    pub(super) fn environment(self, environment: Environment, revision: Option<u64>) -> Self {
        let id = environment.id.clone();
        self.put(Kind::Environment, id.as_str(), expect(revision), &environment)
            .effect(Effect::Environment(Box::new(environment)))
    }

    pub(super) fn drop_environment(self, id: &EnvironmentId) -> Self {
        self.delete(Kind::Environment, id.as_str()).effect(Effect::DropEnvironment(id.clone()))
    }

    pub(super) fn host(self, host: Host, revision: Option<u64>, provider: Option<Arc<dyn Provider>>) -> Self {
        let id = host.id.clone();
        self.put(Kind::Host, id.as_str(), expect(revision), &host)
            .effect(Effect::Host(Box::new(host), provider))
    }

    pub(super) fn drop_host(self, id: &HostId) -> Self {
        self.delete(Kind::Host, id.as_str()).effect(Effect::DropHost(id.clone()))
    }

    pub(super) fn teardown(self, teardown: Teardown) -> Self {
        let vm = teardown.vm.clone();
        // One process works on a teardown at a time, and only while it holds the lease.
        self.put(Kind::Teardown, vm.as_str(), Expect::Any, &teardown).effect(Effect::Teardown(teardown))
    }

    pub(super) fn drop_teardown(self, vm: &VmName) -> Self {
        self.delete(Kind::Teardown, vm.as_str()).effect(Effect::DropTeardown(vm.clone()))
    }

    pub(super) fn snapshot(self, snapshot: Snapshot, revision: Option<u64>) -> Self {
        let id = snapshot.id.clone();
        self.put(Kind::Snapshot, id.as_str(), expect(revision), &snapshot)
            .effect(Effect::Snapshot(Box::new(snapshot)))
    }

    pub(super) fn drop_snapshot(self, id: &SnapshotId) -> Self {
        self.delete(Kind::Snapshot, id.as_str()).effect(Effect::DropSnapshot(id.clone()))
    }

    pub(super) fn dead_letter(self, letter: DeadLetter) -> Self {
        self.put(Kind::DeadLetter, &letter.key(), Expect::Any, &letter).effect(Effect::DeadLetter(letter))
    }

    pub(super) fn drop_dead_letter(self, key: &str) -> Self {
        self.delete(Kind::DeadLetter, key).effect(Effect::DropDeadLetter(key.to_owned()))
    }

    pub(super) fn api_key(self, key: ApiKeyRecord) -> Self {
        let id = key.id.clone();
        self.put(Kind::ApiKey, &id, Expect::Any, &key).effect(Effect::ApiKey(key))
    }

    pub(super) fn event(mut self, event: Event) -> Self {
        let id = event.subject.id().to_owned();
        match record::encode("event", &id, &event) {
            Ok(body) => {
                let kind = record::kind_of(&event.subject);
                let at_ms = event.time.as_micros() / 1_000;
                self.batch = self.batch.event(NewEvent { kind, id, at_ms, body: body.into() });
                self.events.push(event);
            }
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
        self
    }
}

const fn expect(revision: Option<u64>) -> Expect {
    match revision {
        None => Expect::Absent,
        Some(revision) => Expect::Revision(revision),
    }
}

/// How often a commit is tried while the store cannot be reached.
const TRIES: u32 = 4;
/// The longest wait between two tries.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

impl Inner {
    /// Commits, then lets the memory and the subscribers see it.
    ///
    /// When it fails, nothing of it was seen by anybody.
    pub(super) async fn commit(&self, change: Change) -> Result<()> {
        let Change { batch, puts, effects, events, error } = change;
        if let Some(error) = error {
            return Err(error);
        }
        let batch = batch.fenced_by(&self.lease());
        match self.commit_batch(batch, &puts).await? {
            Some(committed) => {
                self.apply(effects, committed.revision);
                self.hub.publish(events, committed.events);
            }
            None => {
                // It is durable, and its answer was lost: the store tells the numbers.
                let revision = self.revision_of(&puts).await?;
                self.apply(effects, revision);
                self.hub.skip_to(self.store.position().await?.last_event);
            }
        }
        Ok(())
    }

    /// The answer of the store; none when the batch is durable and its answer was lost.
    async fn commit_batch(
        &self,
        batch: Batch,
        puts: &[(Kind, String, Vec<u8>)],
    ) -> Result<Option<Committed>> {
        let mut wait = Duration::from_millis(50);
        let mut tried = 1;
        let mut unknown = false;
        loop {
            match self.store.commit(batch.clone()).await {
                Ok(committed) => return Ok(Some(committed)),
                // The memory must not go on without knowing: ask until the store tells.
                Err(StoreError::OutcomeUnknown { .. }) => {
                    unknown = true;
                    if self.is_durable(puts).await? {
                        return Ok(None);
                    }
                }
                Err(StoreError::Conflict { .. }) if unknown && self.is_durable(puts).await? => {
                    return Ok(None);
                }
                Err(StoreError::Unavailable { .. }) if unknown || tried < TRIES => {}
                Err(error @ StoreError::StaleFence { .. }) => {
                    self.lose_lease(&error);
                    return Err(Error::Closed { why: error.to_string() });
                }
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            tried += 1;
        }
    }

    async fn is_durable(&self, puts: &[(Kind, String, Vec<u8>)]) -> Result<bool> {
        for (kind, id, body) in puts {
            let found = loop {
                match self.store.get(*kind, id).await {
                    Err(StoreError::Unavailable { .. }) => tokio::time::sleep(LONGEST_WAIT).await,
                    found => break found?,
                }
            };
            if found.is_none_or(|record| record.body != *body) {
                return Ok(false);
            }
        }
        Ok(!puts.is_empty())
    }

    async fn revision_of(&self, puts: &[(Kind, String, Vec<u8>)]) -> Result<u64> {
        let Some((kind, id, _)) = puts.first() else { return Ok(0) };
        Ok(self.store.get(*kind, id).await?.map_or(0, |record| record.revision))
    }

    fn apply(&self, effects: Vec<Effect>, revision: u64) {
        let changed: Vec<_> = effects.iter().filter_map(Effect::environment).cloned().collect();
        let mut fleet = self.fleet();
        for effect in effects {
            match effect {
                Effect::Environment(environment) => fleet.put_environment(*environment, revision),
                Effect::DropEnvironment(id) => fleet.drop_environment(&id),
                Effect::Host(host, provider) => fleet.put_host(*host, revision, provider),
                Effect::DropHost(id) => fleet.drop_host(&id),
                Effect::Teardown(teardown) => fleet.put_teardown(teardown, revision),
                Effect::DropTeardown(vm) => fleet.drop_teardown(&vm),
                Effect::Snapshot(snapshot) => fleet.put_snapshot(*snapshot, revision),
                Effect::DropSnapshot(id) => fleet.drop_snapshot(&id),
                Effect::DeadLetter(letter) => fleet.put_dead_letter(letter, revision),
                Effect::DropDeadLetter(key) => fleet.drop_dead_letter(&key),
                Effect::ApiKey(key) => fleet.put_key(key),
            }
        }
        drop(fleet);
        changed.iter().for_each(|id| self.waits.wake(id));
    }
}
