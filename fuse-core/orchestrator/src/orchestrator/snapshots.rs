//! Snapshots: make, restore, delete, and finish what a restart interrupted.

use std::{sync::Arc, time::Duration};

use super::{ControlPlane, Inner, boot, change::Change, fleet::Entry, profile, tasks::Work};
use crate::{
    Error, RecordKind, Result,
    model::{
        Attempts, DeadLetter, DeadLetterKind, Environment, EnvironmentFilter, EnvironmentId,
        EnvironmentState, Event, EventKind, Reason, ReasonCode, Snapshot, SnapshotId, SnapshotMode,
        SnapshotRequest, SnapshotState, Subject, Timestamp,
    },
    provider::{Provider, ProviderErrorKind, SnapshotFacts, SnapshotVmRequest, Verb},
};

impl ControlPlane {
    /// Takes a snapshot of a running environment, and waits until it is ready.
    ///
    /// # Errors
    /// [`Error::NotRunning`], [`Error::NotFound`]; [`Error::Provider`]: when the answer was lost, the record stays
    /// `creating` and reconcile finds out what became of it.
    pub async fn create_snapshot(
        &self,
        id: &EnvironmentId,
        request: SnapshotRequest,
    ) -> Result<Arc<Snapshot>> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        self.inner.finish(async move { inner.create_snapshot(&id, request).await }).await
    }

    /// Sets the environment that a snapshot was made of back to it, in place.
    ///
    /// Its credentials stay those of now, whatever the snapshot holds.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::SnapshotNotReady`], [`Error::NotRunning`]; [`Error::ForeignSnapshot`] when the
    /// environment is another one by now; [`Error::Provider`].
    pub async fn restore_snapshot(&self, id: &SnapshotId) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        self.inner.finish(async move { inner.restore_snapshot(&id).await }).await
    }

    /// Deletes a snapshot, bytes and record.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::HasChildren`], [`Error::SnapshotInUse`]; [`Error::SnapshotTransition`] while it
    /// is being made or restored; [`Error::Provider`]: it is `deleting` then, and is tried again until it succeeds.
    pub async fn delete_snapshot(&self, id: &SnapshotId) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        let kind = EventKind::SnapshotDeleted;
        self.inner.finish(async move { inner.delete_snapshot(&id, kind).await }).await
    }
}

/// The note that this process is at work on a snapshot: reconcile leaves it alone.
struct SnapshotWork {
    inner: Arc<Inner>,
    id: SnapshotId,
}

impl SnapshotWork {
    /// None when somebody is at work on it already.
    fn begin(inner: &Arc<Inner>, id: &SnapshotId) -> Option<Self> {
        let new = inner.fleet().snapshot_work.insert(id.clone());
        new.then(|| Self { inner: Arc::clone(inner), id: id.clone() })
    }
}

impl Drop for SnapshotWork {
    fn drop(&mut self) {
        self.inner.fleet().snapshot_work.remove(&self.id);
    }
}

fn event(kind: EventKind, snapshot: &Snapshot, now: Timestamp) -> Event {
    Event::new(now, kind, Subject::Snapshot(snapshot.id.clone()))
        .with_reason(snapshot.reason.clone())
        .with("vm_id", &snapshot.environment_id)
}

impl Inner {
    pub(super) fn snapshot(&self, id: &SnapshotId) -> Result<Entry<Snapshot>> {
        self.fleet().snapshot(id).cloned().ok_or_else(|| Error::not_found(RecordKind::Snapshot, id))
    }

    fn busy(&self, id: &SnapshotId, operation: &'static str) -> Error {
        let state = self.snapshot(id).map_or(SnapshotState::Error, |entry| entry.value.state);
        Error::SnapshotNotReady { operation, id: id.clone(), state }
    }

    pub(super) async fn change_snapshot(
        &self,
        id: &SnapshotId,
        change: impl FnOnce(&mut Snapshot, Timestamp) -> Result<Change>,
    ) -> Result<Arc<Snapshot>> {
        let _held = self.locks.hold(RecordKind::Snapshot, id.as_str()).await;
        let Entry { value, revision } = self.snapshot(id)?;
        let mut snapshot = (*value).clone();
        let more = change(&mut snapshot, self.now())?;
        self.commit(more.snapshot(snapshot, Some(revision))).await?;
        Ok(self.snapshot(id)?.value)
    }

    pub(super) async fn create_snapshot(
        self: &Arc<Self>,
        id: &EnvironmentId,
        request: SnapshotRequest,
    ) -> Result<Arc<Snapshot>> {
        let environment = self.running(id, "snapshot")?;
        let provider = self.provider(&environment.host_id)?;
        let snapshot = self.new_snapshot(&environment, &request)?;
        let id = snapshot.id.clone();
        let _work = SnapshotWork::begin(self, &id);
        let created = event(EventKind::SnapshotCreating, &snapshot, snapshot.created_at);
        self.commit(Change::new().event(created).snapshot(snapshot, None)).await?;

        let (host, vm) = (&environment.host_id, &environment.vm);
        let ask = SnapshotVmRequest { comment: format!("{id} {}", request.comment), live: request.live };
        let limit = self.config.timeouts.snapshot;
        match self.call(host, Verb::Snapshot, vm.as_str(), limit, provider.snapshot(vm, &ask)).await {
            Ok(facts) => self.note_ready(&id, facts).await,
            Err(error) if error.kind.is_answer() => {
                self.note_error(&id, error.to_string()).await?;
                Err(error.into())
            }
            // It may be there or come yet: reconcile looks.
            Err(error) => Err(error.into()),
        }
    }

    fn new_snapshot(&self, environment: &Environment, request: &SnapshotRequest) -> Result<Snapshot> {
        let now = self.now();
        let id = SnapshotId::new(self.fresh("snap-")?)?;
        let fleet = self.fleet();
        let host = fleet.hosts.get(&environment.host_id);
        let parent = fleet
            .snapshots_of(&environment.id)
            .filter(|entry| entry.value.vm == environment.vm && entry.value.state == SnapshotState::Ready)
            .max_by_key(|entry| (entry.value.created_at, entry.value.id.clone()));
        Ok(Snapshot {
            id,
            environment_id: environment.id.clone(),
            vm: environment.vm.clone(),
            task_id: environment.task_id.clone(),
            host_id: environment.host_id.clone(),
            parent_snapshot_id: parent.map(|entry| entry.value.id.clone()),
            mode: request.mode,
            state: SnapshotState::Creating,
            reason: ReasonCode::Requested.into(),
            comment: request.comment.clone(),
            metadata: request.metadata.clone(),
            artifact: String::new(),
            copies: Default::default(),
            digest: String::new(),
            size_bytes: 0,
            live: request.live,
            arch: host.map(|entry| entry.host.value.arch).unwrap_or_default(),
            retention_until: (request.retention_seconds > 0)
                .then(|| now.after(Duration::from_secs(request.retention_seconds))),
            removal: Attempts::default(),
            created_at: now,
            updated_at: now,
        })
    }

    async fn note_ready(&self, id: &SnapshotId, facts: SnapshotFacts) -> Result<Arc<Snapshot>> {
        let change = |snapshot: &mut Snapshot, now| {
            snapshot.enter(SnapshotState::Ready, ReasonCode::Requested.into(), now)?;
            snapshot.artifact = facts.artifact;
            snapshot.digest = facts.digest;
            snapshot.size_bytes = facts.size_bytes;
            snapshot.live = facts.live;
            Ok(Change::new().event(event(EventKind::SnapshotCreated, snapshot, now)))
        };
        self.change_snapshot(id, change).await
    }

    async fn note_error(&self, id: &SnapshotId, why: String) -> Result<()> {
        let change = |snapshot: &mut Snapshot, now| {
            snapshot.enter(SnapshotState::Error, Reason::new(ReasonCode::ProviderFailed, why), now)?;
            Ok(Change::new().event(event(EventKind::SnapshotFailed, snapshot, now)))
        };
        self.change_snapshot(id, change).await.map(drop)
    }

    async fn restore_snapshot(self: &Arc<Self>, id: &SnapshotId) -> Result<()> {
        let snapshot = self.snapshot(id)?.value;
        let environment = self.running(&snapshot.environment_id, "restore")?;
        if environment.vm != snapshot.vm {
            let owner = EnvironmentId::new(snapshot.vm.as_str())?;
            return Err(Error::ForeignSnapshot { id: id.clone(), owner, asked: environment.id.clone() });
        }
        let _noted = SnapshotWork::begin(self, id).ok_or_else(|| self.busy(id, "restore"))?;
        let _work = Work::begin(self, &snapshot.vm).await;
        let environment = self.running(&snapshot.environment_id, "restore")?;
        let begin = |snapshot: &mut Snapshot, now| {
            if snapshot.state != SnapshotState::Ready {
                let (id, state) = (snapshot.id.clone(), snapshot.state);
                return Err(Error::SnapshotNotReady { operation: "restore", id, state });
            }
            snapshot.enter(SnapshotState::Restoring, ReasonCode::Requested.into(), now)?;
            Ok(Change::new())
        };
        self.change_snapshot(id, begin).await?;
        let result = self.set_back(&environment, &snapshot).await;
        let end = |snapshot: &mut Snapshot, now| {
            let (next, reason, kind) = match &result {
                Ok(()) => (SnapshotState::Ready, ReasonCode::Requested.into(), EventKind::SnapshotRestored),
                Err(Error::Provider(error)) if error.kind == ProviderErrorKind::NotFound => {
                    let reason = Reason::new(ReasonCode::ProviderFailed, error.to_string());
                    (SnapshotState::Error, reason, EventKind::SnapshotFailed)
                }
                Err(error) => {
                    let reason = Reason::new(ReasonCode::ProviderFailed, error.to_string());
                    (SnapshotState::Ready, reason, EventKind::SnapshotFailed)
                }
            };
            snapshot.enter(next, reason, now)?;
            Ok(Change::new().event(event(kind, snapshot, now)))
        };
        self.change_snapshot(id, end).await?;
        result
    }

    /// Sets a VM back, and gives it the credentials of now: its disk may hold older ones.
    async fn set_back(self: &Arc<Self>, environment: &Arc<Environment>, snapshot: &Snapshot) -> Result<()> {
        let (host, vm) = (&environment.host_id, &environment.vm);
        let provider = self.provider(host)?;
        let limits = &self.config.timeouts;
        let call = provider.restore(vm, &snapshot.artifact);
        self.call(host, Verb::Restore, vm.as_str(), limits.snapshot, call).await?;
        let vault = self.vault(vm).await?;
        let files = profile::credential_files(&vault.credentials);
        boot::upload_all(self, &provider, environment, files).await?;
        let start = boot::agent_start(environment, &vault, &vault.credentials);
        let call = provider.start_agent(vm, &start);
        self.call(host, Verb::StartAgent, vm.as_str(), limits.agent, call).await?;
        Ok(())
    }

    pub(super) async fn delete_snapshot(self: &Arc<Self>, id: &SnapshotId, kind: EventKind) -> Result<()> {
        let snapshot = self.snapshot(id)?.value;
        let _noted = SnapshotWork::begin(self, id).ok_or_else(|| self.busy(id, "delete"))?;
        if snapshot.state != SnapshotState::Deleting {
            let begin = |snapshot: &mut Snapshot, now| {
                self.check_unused(id)?;
                snapshot.enter(SnapshotState::Deleting, ReasonCode::Requested.into(), now)?;
                Ok(Change::new().event(event(EventKind::SnapshotDeleting, snapshot, now)))
            };
            self.change_snapshot(id, begin).await?;
        }
        self.delete_bytes(&snapshot, kind).await
    }

    fn check_unused(&self, id: &SnapshotId) -> Result<()> {
        let fleet = self.fleet();
        let children = fleet.children_of(id);
        if children > 0 {
            return Err(Error::HasChildren { id: id.clone(), children });
        }
        let booting =
            EnvironmentFilter { state: Some(EnvironmentState::Provisioning), ..EnvironmentFilter::default() };
        let (booting, _) = fleet.environments(&booting, None, usize::MAX);
        let uses = |environment: &&Arc<Environment>| {
            environment.seed.as_ref().is_some_and(|seed| seed.snapshot_id == *id)
        };
        match booting.iter().find(uses) {
            None => Ok(()),
            Some(by) => Err(Error::SnapshotInUse { id: id.clone(), by: by.id.clone() }),
        }
    }

    async fn delete_bytes(&self, snapshot: &Snapshot, kind: EventKind) -> Result<()> {
        let (id, host) = (&snapshot.id, &snapshot.host_id);
        let mut kept = false;
        // A host that was removed took the bytes with it.
        let provider = self.provider(host).ok();
        let artifact = match &provider {
            // One that failed or was interrupted may have left bytes all the same.
            Some(provider) if snapshot.artifact.is_empty() => {
                self.look_up(&**provider, snapshot).await?.map(|facts| facts.artifact)
            }
            _ => Some(snapshot.artifact.clone()),
        };
        if let (Some(provider), Some(artifact)) = (provider, artifact) {
            let call = provider.delete_snapshot(&snapshot.vm, &artifact);
            let limit = self.config.timeouts.destroy;
            match self.call(host, Verb::DeleteSnapshot, id.as_str(), limit, call).await {
                Ok(()) => {}
                // The host keeps the bytes for ever; there is nothing to wait for, and the event says so.
                Err(error) if error.kind == ProviderErrorKind::Unsupported => kept = true,
                Err(error) => {
                    self.note_not_deleted(id, &error.to_string()).await?;
                    return Err(error.into());
                }
            }
        }
        self.delete_copies(snapshot).await?;
        let _held = self.locks.hold(RecordKind::Snapshot, id.as_str()).await;
        let mut gone = event(kind, snapshot, self.now());
        if kept {
            gone = gone.with("bytes_kept", "the host cannot delete snapshots");
        }
        let mut change = Change::new().event(gone).drop_snapshot(id);
        let key = letter(snapshot, self.now()).key();
        if self.fleet().dead_letters.contains_key(&key) {
            change = change.drop_dead_letter(&key);
        }
        self.commit(change).await
    }

    pub(super) async fn note_not_deleted(&self, id: &SnapshotId, why: &str) -> Result<()> {
        let change = |snapshot: &mut Snapshot, now| {
            snapshot.removal.note_failure(why, now);
            snapshot.reason = Reason::new(ReasonCode::ProviderFailed, why);
            let mut change = Change::new();
            if snapshot.removal.failed >= self.config.dead_letter_after {
                change = change.dead_letter(letter(snapshot, now));
            }
            Ok(change)
        };
        self.change_snapshot(id, change).await.map(drop)
    }

    /// The snapshots of a host that somebody left half done, and whose turn it is.
    pub(super) fn unfinished_snapshots(&self, host: &crate::model::HostId) -> Vec<Arc<Snapshot>> {
        let now = self.now();
        let fleet = self.fleet();
        let unfinished = fleet.all_snapshots().filter(|snapshot| {
            let is_open = match snapshot.state {
                SnapshotState::Creating | SnapshotState::Restoring => true,
                SnapshotState::Deleting => snapshot.removal.is_due(now),
                SnapshotState::Ready | SnapshotState::Error => false,
            };
            is_open && snapshot.host_id == *host && !fleet.snapshot_work.contains(&snapshot.id)
        });
        unfinished.cloned().collect()
    }

    /// Finishes a snapshot that was left half done. The host has answered lately.
    pub(super) async fn finish_snapshot(self: &Arc<Self>, snapshot: &Snapshot) -> Result<()> {
        let id = &snapshot.id;
        match snapshot.state {
            SnapshotState::Deleting => self.delete_snapshot(id, EventKind::SnapshotDeleted).await,
            SnapshotState::Restoring => {
                let Some(_noted) = SnapshotWork::begin(self, id) else { return Ok(()) };
                let change = |snapshot: &mut Snapshot, now| {
                    let text = "a restore was interrupted; whether it happened is not known";
                    snapshot.enter(SnapshotState::Ready, Reason::new(ReasonCode::Interrupted, text), now)?;
                    Ok(Change::new().event(event(EventKind::SnapshotFailed, snapshot, now)))
                };
                self.change_snapshot(id, change).await.map(drop)
            }
            SnapshotState::Creating => self.find_snapshot(snapshot).await,
            SnapshotState::Ready | SnapshotState::Error => Ok(()),
        }
    }

    fn may_be_on_its_way(&self, snapshot: &Snapshot) -> bool {
        let now = self.now();
        // One from the future was made under another clock.
        snapshot.created_at <= now && now.since(snapshot.created_at) < self.config.timeouts.snapshot
    }

    /// Finds out what became of a snapshot whose answer was lost: its comment begins with our name of it.
    async fn find_snapshot(self: &Arc<Self>, snapshot: &Snapshot) -> Result<()> {
        let Some(_noted) = SnapshotWork::begin(self, &snapshot.id) else { return Ok(()) };
        let provider = self.provider(&snapshot.host_id)?;
        match self.look_up(&*provider, snapshot).await? {
            Some(facts) => self.note_ready(&snapshot.id, facts).await.map(drop),
            // One whose request may be on its way yet is waited for as long as a snapshot may take.
            None if self.may_be_on_its_way(snapshot) => Ok(()),
            None => {
                let why = "it was interrupted, and the host has no such snapshot".to_owned();
                self.note_error(&snapshot.id, why).await
            }
        }
    }

    /// What the host says about a snapshot that it knows by our name of it alone.
    async fn look_up(&self, provider: &dyn Provider, snapshot: &Snapshot) -> Result<Option<SnapshotFacts>> {
        let (host, vm) = (&snapshot.host_id, &snapshot.vm);
        let limit = self.config.timeouts.query;
        let call = provider.snapshots(vm);
        let listed = self.call(host, Verb::Snapshots, vm.as_str(), limit, call).await?;
        Ok(listed.into_iter().find(|facts| {
            facts.comment.split_whitespace().next().is_some_and(|word| word == snapshot.id.as_str())
        }))
    }

    /// Deletes the snapshots whose retention has ended.
    pub(super) async fn expire_snapshots(self: &Arc<Self>) -> Result<()> {
        let expired = {
            let now = self.now();
            let fleet = self.fleet();
            expired(fleet.all_snapshots(), |id| fleet.children_of(id), now)
        };
        let mut result = Ok(());
        for id in expired {
            // One that fails is tried again by reconcile, and holds up no other.
            result = result.and(self.delete_snapshot(&id, EventKind::SnapshotGcDeleted).await);
        }
        result
    }
}

/// Which snapshots retention deletes: those past their time that are ready, were not made by a build, have no
/// children, and are not the newest of their VM.
pub(super) fn expired<'a>(
    snapshots: impl Iterator<Item = &'a Arc<Snapshot>> + Clone,
    children: impl Fn(&SnapshotId) -> usize,
    now: Timestamp,
) -> Vec<SnapshotId> {
    let mut newest = std::collections::HashMap::new();
    for snapshot in snapshots.clone().filter(|snapshot| snapshot.state == SnapshotState::Ready) {
        let key = (snapshot.created_at, &snapshot.id);
        let best = newest.entry(&snapshot.vm).or_insert(key);
        *best = key.max(*best);
    }
    snapshots
        .filter(|snapshot| {
            snapshot.retention_until.is_some_and(|until| until < now)
                && snapshot.state == SnapshotState::Ready
                && snapshot.mode != SnapshotMode::Build
                && children(&snapshot.id) == 0
                && newest.get(&snapshot.vm).is_some_and(|(_, id)| **id != snapshot.id)
        })
        .map(|snapshot| snapshot.id.clone())
        .collect()
}

fn letter(snapshot: &Snapshot, now: Timestamp) -> DeadLetter {
    DeadLetter {
        kind: DeadLetterKind::SnapshotDelete,
        entity_id: snapshot.id.to_string(),
        task_id: Some(snapshot.task_id.clone()),
        host_id: Some(snapshot.host_id.clone()),
        reason: snapshot.removal.last_error.clone(),
        retry_count: snapshot.removal.failed,
        first_seen_at: snapshot.updated_at,
        last_seen_at: now,
    }
}
