//! The VMs and snapshots of a stub host.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::{Fault, faults::Faults, guest::Files};
use crate::{
    model::{Capacity, EnvironmentId, OwnerId, Resources, VmName},
    provider::{CreateRequest, LogSource, SnapshotFacts, VmFacts},
};

/// A VM of a stub host.
#[derive(Clone)]
pub struct StubVm {
    /// Whose it is.
    pub owner: OwnerId,
    /// The environment that it was made for.
    pub environment_id: Option<EnvironmentId>,
    /// Its size.
    pub resources: Resources,
    /// Its files.
    pub files: Files,
    /// The token that its agent takes; none while the agent does not run.
    pub token: Option<SecretString>,
    /// The workload that its agent started.
    pub command: Option<String>,
    /// How often its agent was started.
    pub agent_starts: u32,
    pub(super) console: Vec<u8>,
    pub(super) agent_log: Vec<u8>,
}

/// Of its files and logs only names and sizes: they hold keys and secrets.
impl std::fmt::Debug for StubVm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StubVm")
            .field("owner", &self.owner)
            .field("environment_id", &self.environment_id)
            .field("resources", &self.resources)
            .field("files", &self.files.keys())
            .field("agent_starts", &self.agent_starts)
            .field("console_bytes", &self.console.len())
            .finish_non_exhaustive()
    }
}

#[derive(Clone)]
pub(super) struct StubSnapshot {
    pub(super) vm: VmName,
    pub(super) facts: SnapshotFacts,
    pub(super) files: Files,
}

impl std::fmt::Debug for StubSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let files = self.files.keys();
        f.debug_struct("StubSnapshot")
            .field("vm", &self.vm)
            .field("facts", &self.facts)
            .field("files", &files)
            .finish()
    }
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) vms: BTreeMap<VmName, StubVm>,
    pub(super) snapshots: BTreeMap<u64, StubSnapshot>,
    pub(super) ever: BTreeSet<VmName>,
    pub(super) made: u64,
    pub(super) faults: Faults,
    pub(super) down: bool,
    pub(super) calls: BTreeMap<&'static str, u64>,
}

/// A host in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct StubHost {
    pub(super) name: Arc<str>,
    pub(super) capacity: Capacity,
    pub(super) state: Arc<Mutex<State>>,
    /// The hosts that it fetches snapshots from, by name: those of its connector.
    pub(super) peers: Peers,
}

pub(super) type Peers = Weak<Mutex<BTreeMap<String, StubHost>>>;

impl StubHost {
    /// A host with this name and capacity.
    #[must_use]
    pub fn new(name: &str, capacity: Capacity) -> Self {
        Self { name: Arc::from(name), capacity, state: Arc::default(), peers: Peers::new() }
    }

    /// What the host that needs no configuration has: 64 processors, 128 GiB of memory, 1 TiB of disk, 256 slots.
    #[must_use]
    pub const fn standard_capacity() -> Capacity {
        Capacity { cpus: 64, ram_mb: 131_072, storage_gb: 1_024, vm_count: 256 }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; if it did, the maps are still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a fault in.
    pub fn inject(&self, fault: Fault) {
        self.lock().faults.add(fault);
    }

    /// Takes all faults out.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// Makes the host answer nothing, or answer again. Its VMs go on.
    pub fn set_down(&self, down: bool) {
        self.lock().down = down;
    }

    /// Loses a VM, as a crash of its VMM would. Returns whether it was there.
    pub fn vanish(&self, vm: &VmName) -> bool {
        self.lock().vms.remove(vm).is_some()
    }

    /// Loses every VM, as a reboot of the machine would.
    pub fn reboot(&self) {
        self.lock().vms.clear();
    }

    /// Puts a VM there that nobody asked for.
    pub fn plant(&self, vm: &VmName, owner: &OwnerId) {
        let mut state = self.lock();
        state.ever.insert(vm.clone());
        state.vms.insert(vm.clone(), StubVm::new(owner.clone(), Resources::default(), Files::new()));
    }

    /// Adds to the log of the agent of a VM, as its workload would.
    pub fn say(&self, vm: &VmName, text: &[u8]) {
        if let Some(guest) = self.lock().vms.get_mut(vm) {
            guest.agent_log.extend_from_slice(text);
        }
    }

    /// The names of its VMs.
    #[must_use]
    pub fn vms(&self) -> Vec<VmName> {
        self.lock().vms.keys().cloned().collect()
    }

    /// A copy of one VM.
    #[must_use]
    pub fn vm(&self, vm: &VmName) -> Option<StubVm> {
        self.lock().vms.get(vm).cloned()
    }

    /// Every VM name that was ever made here.
    #[must_use]
    pub fn ever(&self) -> BTreeSet<VmName> {
        self.lock().ever.clone()
    }

    /// How many snapshots it keeps.
    #[must_use]
    pub fn snapshot_count(&self) -> usize {
        self.lock().snapshots.len()
    }

    /// What its VMs take together.
    #[must_use]
    pub fn used(&self) -> Capacity {
        self.lock().vms.values().fold(Capacity::default(), |sum, vm| sum.with(vm.resources))
    }

    /// How often `verb` was called.
    #[must_use]
    pub fn calls(&self, verb: crate::provider::Verb) -> u64 {
        self.lock().calls.get(verb.as_str()).copied().unwrap_or(0)
    }

    /// Whether the agent of `vm` takes `token`.
    #[must_use]
    pub fn takes_token(&self, vm: &VmName, token: &str) -> bool {
        let state = self.lock();
        let current = state.vms.get(vm).and_then(|vm| vm.token.as_ref());
        current.is_some_and(|current| current.expose_secret() == token)
    }
}

impl StubVm {
    pub(super) fn new(owner: OwnerId, resources: Resources, files: Files) -> Self {
        Self {
            owner,
            environment_id: None,
            resources,
            files,
            token: None,
            command: None,
            agent_starts: 0,
            console: b"stub: booted\n".to_vec(),
            agent_log: Vec::new(),
        }
    }

    /// One of its logs. The startup script's is kept by who ran it.
    pub(super) fn log(&self, source: LogSource) -> &[u8] {
        match source {
            LogSource::Console => &self.console,
            LogSource::Agent => &self.agent_log,
            LogSource::Startup => &[],
        }
    }

    pub(super) fn facts(&self, name: &VmName) -> VmFacts {
        VmFacts {
            owner: Some(self.owner.clone()),
            environment_id: self.environment_id.clone(),
            resources: Some(self.resources),
            ..VmFacts::new(name.clone(), format!("fc://{name}"))
        }
    }
}

impl State {
    pub(super) fn boot(&mut self, request: &CreateRequest, files: Files) -> VmFacts {
        let mut vm = StubVm::new(request.owner.clone(), request.resources, files);
        vm.environment_id = Some(request.environment_id.clone());
        let facts = vm.facts(&request.name);
        self.ever.insert(request.name.clone());
        self.vms.insert(request.name.clone(), vm);
        facts
    }

    pub(super) fn snapshot_of(&self, artifact: &str) -> Option<(u64, &StubSnapshot)> {
        let named = |(_, snapshot): &(&u64, &StubSnapshot)| snapshot.facts.artifact == artifact;
        self.snapshots.iter().find(named).map(|(number, snapshot)| (*number, snapshot))
    }

    /// Keeps a snapshot of another host under this name, unless it is there already.
    pub(super) fn keep(&mut self, name: &str, mut snapshot: StubSnapshot) {
        if self.snapshot_of(name).is_none() {
            self.made += 1;
            name.clone_into(&mut snapshot.facts.artifact);
            self.snapshots.insert(self.made, snapshot);
        }
    }

    pub(super) fn take_snapshot(&mut self, vm: &VmName, comment: &str, live: bool) -> Option<SnapshotFacts> {
        let files = self.vms.get(vm)?.files.clone();
        let mut hash = Sha256::new();
        let mut size_bytes = 0;
        for (path, content) in &files {
            hash.update(path.len().to_be_bytes());
            hash.update(path);
            hash.update(content.len().to_be_bytes());
            hash.update(content);
            size_bytes += content.len() as u64;
        }
        self.made += 1;
        let facts = SnapshotFacts {
            artifact: format!("cp-{}", self.made),
            comment: comment.to_owned(),
            created_at: None,
            digest: hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect(),
            size_bytes,
            live,
        };
        let kept = StubSnapshot { vm: vm.clone(), facts: facts.clone(), files };
        self.snapshots.insert(self.made, kept);
        Some(facts)
    }
}
