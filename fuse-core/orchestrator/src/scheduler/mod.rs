//! Where an environment goes.
//!
//! [`Scheduler`] holds the hosts and what is taken of each, and answers [`Scheduler::place`]. It is plain data: no
//! clock, no lock, no I/O. Hosts are kept by free processors and memory for each region and architecture, so that a
//! placement looks at the best host that has both first and normally stops there, however many hosts there are.
//!
//! # Filters, in this order
//! host pin → schedulable (active and answering) → region (equal, when asked for) → architecture → all labels →
//! free processors, memory, storage and at least one VM slot.
//!
//! # Score
//! `free_cpus × 10000 + free_ram_mb`. [`Policy::Spread`] takes the highest, [`Policy::Binpack`] the lowest; ties go
//! to the smallest host id.
//!
//! # Capacity
//! Capacity is taken for a VM name, and given back for a VM name. A name is charged at most once, wherever its
//! record moves, so what is taken from a host is always the sum over the names charged to it: it cannot drift and
//! cannot be given back twice.

mod error;
mod ranks;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::model::{Arch, Capacity, EnvironmentSpec, Host, HostId, HostState, Liveness, Resources, VmName};

pub use error::{PlacementError, Rejections};
use ranks::Ranks;

/// Which of the hosts that fit is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The emptiest.
    #[default]
    Spread,
    /// The fullest.
    Binpack,
}

impl Policy {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spread => "spread",
            Self::Binpack => "binpack",
        }
    }

    /// The rank of a host with so much free: the lowest rank is taken first.
    const fn rank(self, cpus: u32, ram_mb: u32) -> u64 {
        let score = score(cpus, ram_mb);
        match self {
            Self::Spread => u64::MAX - score,
            Self::Binpack => score,
        }
    }
}

const fn score(cpus: u32, ram_mb: u32) -> u64 {
    cpus as u64 * 10_000 + ram_mb as u64
}

/// What an environment needs of its host.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Demand {
    /// The size.
    pub need: Resources,
    /// Only hosts of exactly this region. Empty: any.
    pub region: String,
    /// Only hosts of this architecture. None: any.
    pub arch: Option<Arch>,
    /// Only hosts that carry all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Only this host.
    pub host_id: Option<HostId>,
}

impl From<&EnvironmentSpec> for Demand {
    fn from(spec: &EnvironmentSpec) -> Self {
        Self {
            need: spec.resources,
            region: spec.region.clone(),
            arch: spec.arch,
            labels: spec.labels.clone(),
            host_id: spec.host_id.clone(),
        }
    }
}

/// A host as the scheduler sees it.
#[derive(Debug, Clone)]
struct Slot {
    region: String,
    arch: Arch,
    labels: BTreeMap<String, String>,
    state: HostState,
    liveness: Liveness,
    capacity: Capacity,
    taken: Capacity,
}

impl Slot {
    fn free(&self) -> Capacity {
        self.capacity.minus(self.taken)
    }

    fn is_schedulable(&self) -> bool {
        self.state == HostState::Active && self.liveness == Liveness::Ready
    }

    /// Whether it is worth looking at: a host without a free slot takes nothing.
    fn is_ranked(&self) -> bool {
        self.is_schedulable() && self.free().vm_count > 0
    }

    fn has_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }

    fn admits(&self, demand: &Demand) -> bool {
        self.is_schedulable()
            && (demand.region.is_empty() || demand.region == self.region)
            && demand.arch.is_none_or(|arch| arch == self.arch)
            && self.has_labels(&demand.labels)
            && self.free().fits(demand.need)
    }
}

/// What is charged for one VM.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Charge {
    host: HostId,
    need: Resources,
}

/// The hosts, what is taken of each, and the choice among them.
#[derive(Debug, Clone, Default)]
pub struct Scheduler {
    policy: Policy,
    slots: BTreeMap<HostId, Slot>,
    ranks: Ranks,
    labelled: HashMap<String, HashMap<String, BTreeSet<HostId>>>,
    charges: HashMap<VmName, Charge>,
    /// What is charged to hosts that are not here (yet), so that it counts when they come.
    absent: BTreeMap<HostId, Capacity>,
}

/// Up to this many hosts with the rarest label are looked at one by one; beyond, the ranking is walked.
const FEW: usize = 32;

impl Scheduler {
    /// A scheduler without hosts.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, ranks: Ranks::new(policy), ..Self::default() }
    }

    /// The policy.
    #[must_use]
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// Adds `host`, or takes over its new state. What is taken of it stays as it is.
    pub fn set_host(&mut self, host: &Host) {
        let taken = self.take_out(&host.id).unwrap_or_default();
        let slot = Slot {
            region: host.region.clone(),
            arch: host.arch,
            labels: host.labels.clone(),
            state: host.state,
            liveness: host.liveness.state,
            capacity: host.capacity,
            taken,
        };
        for (key, value) in &slot.labels {
            let hosts = self.labelled.entry(key.clone()).or_default().entry(value.clone()).or_default();
            hosts.insert(host.id.clone());
        }
        if slot.is_ranked() {
            self.ranks.insert(&slot.region, slot.arch, slot.free(), &host.id);
        }
        self.slots.insert(host.id.clone(), slot);
    }

    /// Removes a host. What is charged to it stays charged, and counts again should it come back.
    pub fn remove_host(&mut self, host: &HostId) {
        if let Some(taken) = self.take_out(host).filter(|taken| *taken != Capacity::default()) {
            self.absent.insert(host.clone(), taken);
        }
    }

    /// Takes a host out of every index and returns what is taken of it.
    fn take_out(&mut self, host: &HostId) -> Option<Capacity> {
        let Some(slot) = self.slots.remove(host) else {
            return self.absent.remove(host);
        };
        if slot.is_ranked() {
            self.ranks.remove(&slot.region, slot.arch, slot.free(), host);
        }
        for (key, value) in &slot.labels {
            if let Some(values) = self.labelled.get_mut(key) {
                if let Some(hosts) = values.get_mut(value) {
                    hosts.remove(host);
                    if hosts.is_empty() {
                        values.remove(value);
                    }
                }
                if values.is_empty() {
                    self.labelled.remove(key);
                }
            }
        }
        Some(slot.taken)
    }

    /// What is taken of `host`.
    #[must_use]
    pub fn taken(&self, host: &HostId) -> Capacity {
        self.slots.get(host).map_or_else(|| self.absent.get(host).copied().unwrap_or_default(), |s| s.taken)
    }

    /// Charges `vm` to `host`. A charge that the same VM has already is replaced.
    ///
    /// It is not checked that it fits: [`Scheduler::place`] does that, and a record that exists counts whether it
    /// fits or not.
    pub fn charge(&mut self, vm: &VmName, host: &HostId, need: Resources) {
        let charge = Charge { host: host.clone(), need };
        if self.charges.get(vm) == Some(&charge) {
            return;
        }
        self.release(vm);
        self.change(host, |taken| taken.with(need));
        self.charges.insert(vm.clone(), charge);
    }

    /// Gives back what `vm` takes; nothing when it takes nothing.
    pub fn release(&mut self, vm: &VmName) {
        if let Some(Charge { host, need }) = self.charges.remove(vm) {
            self.change(&host, |taken| taken.without(need));
        }
    }

    /// The number of VMs that are charged.
    #[must_use]
    pub fn charged(&self) -> usize {
        self.charges.len()
    }

    /// The sum over the charges of each host, computed anew. Equal to [`Scheduler::taken`] at all times; tests and
    /// the simulator check that it is.
    #[must_use]
    pub fn recount(&self) -> BTreeMap<HostId, Capacity> {
        let mut sums = BTreeMap::new();
        for Charge { host, need } in self.charges.values() {
            let sum: &mut Capacity = sums.entry(host.clone()).or_default();
            *sum = sum.with(*need);
        }
        sums
    }

    fn change(&mut self, host: &HostId, change: impl FnOnce(Capacity) -> Capacity) {
        let Some(slot) = self.slots.get_mut(host) else {
            let taken = self.absent.entry(host.clone()).or_default();
            *taken = change(*taken);
            return;
        };
        let before = slot.is_ranked().then(|| slot.free());
        slot.taken = change(slot.taken);
        let after = slot.is_ranked().then(|| slot.free());
        if before != after {
            if let Some(free) = before {
                self.ranks.remove(&slot.region, slot.arch, free, host);
            }
            if let Some(free) = after {
                self.ranks.insert(&slot.region, slot.arch, free, host);
            }
        }
    }

    /// Chooses a host for `demand`. Takes nothing: [`Scheduler::charge`] does.
    ///
    /// # Errors
    /// [`PlacementError`] with the numbers behind the refusal.
    pub fn place(&self, demand: &Demand) -> Result<HostId, PlacementError> {
        if let Some(pin) = &demand.host_id {
            return self.place_on(pin, demand);
        }
        if let Some(few) = self.rarest_label(&demand.labels) {
            let fitting = few.iter().filter_map(|id| {
                let slot = self.slots.get(id).filter(|slot| slot.admits(demand))?;
                let free = slot.free();
                Some((self.policy.rank(free.cpus, free.ram_mb), id))
            });
            return fitting.min().map(|(_, id)| id.clone()).ok_or_else(|| self.explain(demand));
        }
        self.ranks
            .walk(&demand.region, demand.arch, demand.need)
            .find(|id| self.slots.get(*id).is_some_and(|slot| slot.admits(demand)))
            .cloned()
            .ok_or_else(|| self.explain(demand))
    }

    fn place_on(&self, pin: &HostId, demand: &Demand) -> Result<HostId, PlacementError> {
        let slot = self.slots.get(pin).ok_or_else(|| PlacementError::UnknownHost { host_id: pin.clone() })?;
        if !slot.is_schedulable() {
            return Err(PlacementError::HostGated {
                host_id: pin.clone(),
                state: slot.state,
                liveness: slot.liveness,
            });
        }
        if slot.admits(demand) { Ok(pin.clone()) } else { Err(self.explain(demand)) }
    }

    /// The hosts that carry the rarest of `labels`, when they are few; none when there are no labels or many hosts.
    fn rarest_label(&self, labels: &BTreeMap<String, String>) -> Option<&BTreeSet<HostId>> {
        static NONE: BTreeSet<HostId> = BTreeSet::new();
        let hosts_with = |(key, value): (&String, &String)| {
            self.labelled.get(key).and_then(|values| values.get(value)).unwrap_or(&NONE)
        };
        let rarest = labels.iter().map(hosts_with).min_by_key(|hosts| hosts.len());
        rarest.filter(|hosts| hosts.len() <= FEW)
    }

    /// Why nothing fits. Looks at every host, which a refusal may cost.
    fn explain(&self, demand: &Demand) -> PlacementError {
        if self.slots.is_empty() {
            return PlacementError::NoHosts;
        }
        let mut rejections = Rejections::default();
        for (id, slot) in &self.slots {
            if demand.host_id.as_ref().is_none_or(|pin| pin == id) {
                rejections.note(slot, demand);
            }
        }
        rejections.unmatched = self.unmatched(demand);
        PlacementError::NoRoom { demand: Box::new(demand.clone()), rejections }
    }

    /// The labels of `demand` that no schedulable host carries.
    fn unmatched(&self, demand: &Demand) -> Vec<String> {
        let carried = |key: &String, value: &String| {
            let mut slots = self.slots.values().filter(|slot| slot.is_schedulable());
            slots.any(|slot| slot.labels.get(key) == Some(value))
        };
        let missing = demand.labels.iter().filter(|(key, value)| !carried(key, value));
        missing.map(|(key, value)| format!("{key}={value}")).collect()
    }
}

#[cfg(test)]
mod tests;
