//! What the orchestrator knows, in memory: the records as the store has them, with the indexes over them.
//!
//! Records get in here only after the store has acknowledged them. The exception is marked: charges of the scheduler
//! are taken before the commit, so that two placements cannot take the same room, and given back when it fails.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use crate::{
    model::{
        DeadLetter, Environment, EnvironmentFilter, EnvironmentId, EnvironmentState, Host, HostId, Liveness,
        Snapshot, SnapshotFilter, SnapshotId, TaskId, Teardown, Timestamp, VmName,
    },
    provider::Provider,
    reconcile::Sightings,
    scheduler::{Policy, Scheduler},
    secrets::{ApiKeyIndex, ApiKeyRecord},
};

/// A record and the revision that the store has it at.
#[derive(Debug, Clone)]
pub(super) struct Entry<T> {
    pub(super) value: Arc<T>,
    pub(super) revision: u64,
}

/// A host and how to reach it.
#[derive(Debug, Clone)]
pub(super) struct HostEntry {
    pub(super) host: Entry<Host>,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) sightings: Sightings,
}

/// What this process does and did with a VM. Not durable.
#[derive(Debug, Clone)]
pub(super) struct Activity {
    /// Held by whoever boots the VM, removes it or sets it back.
    pub(super) work: Arc<tokio::sync::Mutex<()>>,
    /// How many hold or wait for `work`.
    pub(super) busy: u32,
    pub(super) settled_at: Timestamp,
    pub(super) used_at: Timestamp,
    pub(super) attached: u32,
    /// When it was last looked whether its certificate must be renewed.
    pub(super) renewal_checked_at: Timestamp,
    /// Whether a request that makes the VM was given up before its answer came: it may be made yet.
    pub(super) unsure: bool,
    /// Set when the boot should end, because the environment is to go.
    pub(super) cancel: Arc<tokio::sync::Notify>,
}

impl Activity {
    fn new(now: Timestamp) -> Self {
        Self {
            work: Arc::default(),
            busy: 0,
            settled_at: Timestamp::EPOCH,
            used_at: now,
            attached: 0,
            renewal_checked_at: Timestamp::EPOCH,
            unsure: false,
            cancel: Arc::default(),
        }
    }
}

type SnapshotOrder = (Reverse<Timestamp>, Reverse<SnapshotId>);

/// The fleet.
#[derive(Debug)]
pub(super) struct Fleet {
    /// The environments that have not ended, so that a page of them is one stretch of one tree.
    live: BTreeMap<EnvironmentId, Entry<Environment>>,
    /// Those that ended, and whose records are kept.
    ended: BTreeMap<EnvironmentId, Entry<Environment>>,
    by_state: BTreeMap<EnvironmentState, BTreeSet<EnvironmentId>>,
    by_host: BTreeMap<HostId, BTreeSet<EnvironmentId>>,
    /// Live environments, and those whose commit is on its way.
    tasks: HashMap<TaskId, EnvironmentId>,
    by_end: BTreeSet<(Timestamp, EnvironmentId)>,
    pub(super) hosts: BTreeMap<HostId, HostEntry>,
    /// Hosts that do not answer, and those that environments point to and that are not here.
    silent: BTreeSet<HostId>,
    pub(super) scheduler: Scheduler,
    pub(super) teardowns: BTreeMap<VmName, Entry<Teardown>>,
    snapshots: BTreeMap<SnapshotId, Entry<Snapshot>>,
    snapshot_order: BTreeSet<SnapshotOrder>,
    snapshots_of: BTreeMap<EnvironmentId, BTreeSet<SnapshotId>>,
    children: HashMap<SnapshotId, BTreeSet<SnapshotId>>,
    pub(super) dead_letters: BTreeMap<String, Entry<DeadLetter>>,
    pub(super) keys: BTreeMap<String, ApiKeyRecord>,
    pub(super) key_index: ApiKeyIndex,
    activities: HashMap<VmName, Activity>,
    /// Snapshots that this process is at work on.
    pub(super) snapshot_work: BTreeSet<SnapshotId>,
    /// Hosts whose guests are being read.
    pub(super) health_sweeps: BTreeSet<HostId>,
    /// Hosts that are looked at again and again.
    pub(super) watched: BTreeSet<HostId>,
}

impl Fleet {
    pub(super) fn new(policy: Policy) -> Self {
        Self {
            live: BTreeMap::new(),
            ended: BTreeMap::new(),
            by_state: BTreeMap::new(),
            by_host: BTreeMap::new(),
            tasks: HashMap::new(),
            by_end: BTreeSet::new(),
            hosts: BTreeMap::new(),
            silent: BTreeSet::new(),
            scheduler: Scheduler::new(policy),
            teardowns: BTreeMap::new(),
            snapshots: BTreeMap::new(),
            snapshot_order: BTreeSet::new(),
            snapshots_of: BTreeMap::new(),
            children: HashMap::new(),
            dead_letters: BTreeMap::new(),
            keys: BTreeMap::new(),
            key_index: ApiKeyIndex::default(),
            activities: HashMap::new(),
            snapshot_work: BTreeSet::new(),
            health_sweeps: BTreeSet::new(),
            watched: BTreeSet::new(),
        }
    }

    // ---- environments

    pub(super) fn environment(&self, id: &EnvironmentId) -> Option<&Entry<Environment>> {
        self.live.get(id).or_else(|| self.ended.get(id))
    }

    /// The live environment of a task, or the one that is about to be.
    pub(super) fn holder_of(&self, task: &TaskId) -> Option<&EnvironmentId> {
        self.tasks.get(task)
    }

    /// Takes the task before the commit. Undone by [`Fleet::give_task_back`] when the commit fails.
    pub(super) fn take_task(&mut self, task: &TaskId, id: &EnvironmentId) {
        self.tasks.insert(task.clone(), id.clone());
    }

    pub(super) fn give_task_back(&mut self, task: &TaskId) {
        self.tasks.remove(task);
    }

    pub(super) fn put_environment(&mut self, new: Environment, revision: u64) {
        self.unindex_environment(&new.id);
        let id = new.id.clone();
        self.by_state.entry(new.state).or_default().insert(id.clone());
        if new.state.is_ended() {
            self.by_end.insert((new.updated_at, id.clone()));
            // The room of a failed boot passes to its teardown, which is put in the same commit.
            if !self.teardowns.contains_key(&new.vm) {
                self.scheduler.release(&new.vm);
                self.activities.remove(&new.vm);
            }
        } else {
            if !self.hosts.contains_key(&new.host_id) {
                self.silent.insert(new.host_id.clone());
            }
            self.by_host.entry(new.host_id.clone()).or_default().insert(id.clone());
            self.scheduler.charge(&new.vm, &new.host_id, new.spec.resources);
            // Also while it is destroyed: the task's next environment would have the same name.
            self.tasks.insert(new.task_id.clone(), id.clone());
        }
        let of_its_kind = if new.state.is_ended() { &mut self.ended } else { &mut self.live };
        of_its_kind.insert(id, Entry { value: Arc::new(new), revision });
    }

    /// Changes what is not durable of an environment: what was observed, its health, how far its
    /// boot is.
    pub(super) fn touch_environment(&mut self, id: &EnvironmentId, change: impl FnOnce(&mut Environment)) {
        if let Some(entry) = self.live.get_mut(id).or_else(|| self.ended.get_mut(id)) {
            change(Arc::make_mut(&mut entry.value));
        }
    }

    pub(super) fn drop_environment(&mut self, id: &EnvironmentId) {
        self.unindex_environment(id);
    }

    fn unindex_environment(&mut self, id: &EnvironmentId) {
        let Some(Entry { value: old, .. }) = self.live.remove(id).or_else(|| self.ended.remove(id)) else {
            return;
        };
        if old.state.is_ended() {
            self.by_end.remove(&(old.updated_at, id.clone()));
        }
        if let Some(ids) = self.by_state.get_mut(&old.state) {
            ids.remove(id);
        }
        if let Some(ids) = self.by_host.get_mut(&old.host_id) {
            ids.remove(id);
            if ids.is_empty() {
                self.by_host.remove(&old.host_id);
            }
        }
        if !old.state.is_ended() && self.tasks.get(&old.task_id) == Some(id) {
            self.tasks.remove(&old.task_id);
        }
    }

    /// The environments after `after` that pass the filter, by id, at most `limit`, and whether there are more.
    pub(super) fn environments(
        &self,
        filter: &EnvironmentFilter,
        after: Option<&EnvironmentId>,
        limit: usize,
    ) -> (Vec<Arc<Environment>>, bool) {
        static NONE: BTreeSet<EnvironmentId> = BTreeSet::new();
        let ids = match filter {
            EnvironmentFilter { state: Some(state), .. } => self.by_state.get(state).unwrap_or(&NONE),
            EnvironmentFilter { host_id: Some(host), .. } => self.by_host.get(host).unwrap_or(&NONE),
            _ => &NONE,
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut found = Vec::new();
        if *filter == EnvironmentFilter::default() {
            let mut rest = self.live.range::<EnvironmentId, _>((from, Bound::Unbounded));
            found.extend(rest.by_ref().take(limit).map(|(_, entry)| Arc::clone(&entry.value)));
            return (found, rest.next().is_some());
        }
        if let Some(task) = filter.task_id.as_ref().filter(|_| filter.state.is_none()) {
            let one = self.tasks.get(task).and_then(|id| self.environment(id));
            let one =
                one.filter(|e| after.is_none_or(|after| e.value.id > *after) && filter.matches(&e.value));
            found.extend(one.map(|entry| Arc::clone(&entry.value)));
            return (found, false);
        }
        for id in ids.range::<EnvironmentId, _>((from, Bound::Unbounded)) {
            let Some(entry) = self.environment(id).filter(|entry| filter.matches(&entry.value)) else {
                continue;
            };
            if found.len() == limit {
                return (found, true);
            }
            found.push(Arc::clone(&entry.value));
        }
        (found, false)
    }

    /// Whether a running environment of a host has a health check.
    pub(super) fn has_health_checks(&self, host: &HostId) -> bool {
        self.of_host(host).any(|entry| entry.value.healthcheck.is_some())
    }

    /// Whether a record points to this VM on this host.
    pub(super) fn knows_vm(&self, host: &HostId, vm: &VmName) -> bool {
        self.of_host(host).any(|entry| entry.value.vm == *vm) || self.teardowns.contains_key(vm)
    }

    /// The live environments of a host.
    pub(super) fn of_host(&self, host: &HostId) -> impl Iterator<Item = &Entry<Environment>> {
        self.by_host.get(host).into_iter().flatten().filter_map(|id| self.live.get(id))
    }

    /// How many environments and teardowns point to a host.
    pub(super) fn weight_of_host(&self, host: &HostId) -> usize {
        // What is charged counts those whose commit is on its way too; orphans are not charged.
        let orphans = self.teardowns.values().map(|entry| &entry.value);
        let orphans =
            orphans.filter(|teardown| teardown.host_id == *host && teardown.holds.is_none()).count();
        self.scheduler.taken(host).vm_count as usize + orphans
    }

    /// The ended environments whose record is older than `before`, at most `limit`.
    pub(super) fn ended_before(&self, before: Timestamp, limit: usize) -> Vec<Entry<Environment>> {
        let old = self.by_end.iter().take_while(|(ended_at, _)| *ended_at < before).take(limit);
        old.filter_map(|(_, id)| self.ended.get(id).cloned()).collect()
    }

    /// How many environments are in each state.
    pub(super) fn counts(&self) -> BTreeMap<EnvironmentState, usize> {
        EnvironmentState::ALL
            .into_iter()
            .map(|state| (state, self.by_state.get(&state).map_or(0, BTreeSet::len)))
            .collect()
    }

    // ---- what this process does with VMs

    pub(super) fn activity(&mut self, vm: &VmName, now: Timestamp) -> &mut Activity {
        self.activities.entry(vm.clone()).or_insert_with(|| Activity::new(now))
    }

    pub(super) fn known_activity(&self, vm: &VmName) -> Option<&Activity> {
        self.activities.get(vm)
    }

    pub(super) fn known_activity_mut(&mut self, vm: &VmName) -> Option<&mut Activity> {
        self.activities.get_mut(vm)
    }

    pub(super) fn forget_activity(&mut self, vm: &VmName) {
        self.activities.remove(vm);
    }

    // ---- hosts

    pub(super) fn put_host(&mut self, host: Host, revision: u64, provider: Option<Arc<dyn Provider>>) {
        self.scheduler.set_host(&host);
        let id = host.id.clone();
        let answers = host.liveness.state == Liveness::Ready;
        let host = Entry { value: Arc::new(host), revision };
        match (self.hosts.get_mut(&id), provider) {
            (Some(entry), None) => entry.host = host,
            (Some(entry), Some(provider)) => {
                entry.host = host;
                entry.provider = provider;
            }
            (None, Some(provider)) => {
                self.hosts.insert(id.clone(), HostEntry { host, provider, sightings: Sightings::default() });
            }
            // A host that was removed meanwhile stays removed.
            (None, None) => return,
        }
        if answers {
            self.silent.remove(&id);
        } else {
            self.silent.insert(id);
        }
    }

    pub(super) fn drop_host(&mut self, id: &HostId) {
        self.hosts.remove(id);
        self.scheduler.remove_host(id);
        if self.by_host.contains_key(id) {
            self.silent.insert(id.clone());
        } else {
            self.silent.remove(id);
        }
    }

    /// Whether every host that an environment points to answers, as far as is known.
    pub(super) fn hosts_all_answer(&self) -> bool {
        self.silent.is_empty()
    }

    // ---- teardowns

    pub(super) fn put_teardown(&mut self, teardown: Teardown, revision: u64) {
        if let Some(need) = teardown.holds {
            self.scheduler.charge(&teardown.vm, &teardown.host_id, need);
        }
        let vm = teardown.vm.clone();
        self.teardowns.insert(vm, Entry { value: Arc::new(teardown), revision });
    }

    pub(super) fn drop_teardown(&mut self, vm: &VmName) {
        self.teardowns.remove(vm);
        self.scheduler.release(vm);
        self.activities.remove(vm);
    }

    // ---- snapshots

    pub(super) fn snapshot(&self, id: &SnapshotId) -> Option<&Entry<Snapshot>> {
        self.snapshots.get(id)
    }

    pub(super) fn put_snapshot(&mut self, new: Snapshot, revision: u64) {
        let id = new.id.clone();
        self.snapshot_order.insert((Reverse(new.created_at), Reverse(id.clone())));
        self.snapshots_of.entry(new.environment_id.clone()).or_default().insert(id.clone());
        if let Some(parent) = &new.parent_snapshot_id {
            self.children.entry(parent.clone()).or_default().insert(id.clone());
        }
        self.snapshots.insert(id, Entry { value: Arc::new(new), revision });
    }

    pub(super) fn drop_snapshot(&mut self, id: &SnapshotId) {
        let Some(Entry { value: old, .. }) = self.snapshots.remove(id) else {
            return;
        };
        self.snapshot_order.remove(&(Reverse(old.created_at), Reverse(id.clone())));
        if let Some(ids) = self.snapshots_of.get_mut(&old.environment_id) {
            ids.remove(id);
            if ids.is_empty() {
                self.snapshots_of.remove(&old.environment_id);
            }
        }
        if let Some(siblings) = old.parent_snapshot_id.as_ref().and_then(|p| self.children.get_mut(p)) {
            siblings.remove(id);
        }
        self.children.remove(id);
    }

    pub(super) fn children_of(&self, id: &SnapshotId) -> usize {
        self.children.get(id).map_or(0, BTreeSet::len)
    }

    pub(super) fn snapshots_of(&self, id: &EnvironmentId) -> impl Iterator<Item = &Entry<Snapshot>> {
        self.snapshots_of.get(id).into_iter().flatten().filter_map(|id| self.snapshots.get(id))
    }

    pub(super) fn all_snapshots(&self) -> impl Iterator<Item = &Arc<Snapshot>> + Clone {
        self.snapshots.values().map(|entry| &entry.value)
    }

    /// The snapshots after `after` that pass the filter, newest first, at most `limit`, and whether there are more.
    pub(super) fn snapshots(
        &self,
        filter: &SnapshotFilter,
        after: Option<(Timestamp, SnapshotId)>,
        limit: usize,
    ) -> (Vec<Arc<Snapshot>>, bool) {
        let from = after.map_or(Bound::Unbounded, |(at, id)| Bound::Excluded((Reverse(at), Reverse(id))));
        let mut found = Vec::new();
        for (_, Reverse(id)) in self.snapshot_order.range((from, Bound::Unbounded)) {
            let Some(entry) = self.snapshots.get(id).filter(|entry| filter.matches(&entry.value)) else {
                continue;
            };
            if found.len() == limit {
                return (found, true);
            }
            found.push(Arc::clone(&entry.value));
        }
        (found, false)
    }
}

/// Dead letters and API keys.
impl Fleet {
    pub(super) fn put_dead_letter(&mut self, letter: DeadLetter, revision: u64) {
        self.dead_letters.insert(letter.key(), Entry { value: Arc::new(letter), revision });
    }

    pub(super) fn drop_dead_letter(&mut self, key: &str) {
        self.dead_letters.remove(key);
    }

    pub(super) fn put_key(&mut self, key: ApiKeyRecord) {
        self.key_index.insert(key.clone());
        self.keys.insert(key.id.clone(), key);
    }
}
