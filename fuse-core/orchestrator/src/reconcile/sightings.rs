//! What reconcile suspects, and since when.

use std::collections::BTreeMap;

use super::{Limits, Listing};
use crate::model::{Timestamp, VmName};

/// What can be suspected of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Suspicion {
    /// It is ours and no record knows it.
    Orphan,
    /// A record says that it is there and the host says that it is not.
    Missing,
    /// It ran for too long.
    Expired,
    /// It was not used for too long.
    Idle,
    /// It drains for too long.
    Draining,
}

/// How often a suspicion was seen, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) first: Timestamp,
    pub(super) last: Timestamp,
    pub(super) count: u32,
}

/// For how long a host has been silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Silence {
    pub(super) since: Timestamp,
    pub(super) cycles: u32,
}

/// What is suspected on one host. Empty at first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sightings {
    seen: BTreeMap<(Suspicion, VmName), Sighting>,
    pub(super) silence: Option<Silence>,
}

impl Sightings {
    /// The VMs of which this is suspected.
    pub fn suspected(&self, what: Suspicion) -> impl Iterator<Item = &VmName> {
        self.seen.keys().filter(move |(kind, _)| *kind == what).map(|(_, vm)| vm)
    }

    /// Whether this is suspected of `vm`.
    #[must_use]
    pub fn suspects(&self, what: Suspicion, vm: &VmName) -> bool {
        self.seen.contains_key(&(what, vm.clone()))
    }

    /// The sighting of a suspicion that is seen now.
    pub(super) fn seen_again(
        &self,
        what: Suspicion,
        vm: &VmName,
        now: Timestamp,
        limits: &Limits,
    ) -> Sighting {
        match self.seen.get(&(what, vm.clone())) {
            None => Sighting { first: now, last: now, count: 1 },
            Some(before) if now.since(before.last) < limits.sighting_gap => *before,
            Some(before) => Sighting { last: now, count: before.count.saturating_add(1), ..*before },
        }
    }

    pub(super) fn note(&mut self, what: Suspicion, vm: &VmName, sighting: Sighting) {
        self.seen.insert((what, vm.clone()), sighting);
    }

    /// Carries over from `before` what was suspected of these kinds.
    pub(super) fn keep(&mut self, before: &Self, kinds: &[Suspicion]) {
        let kept = before.seen.iter().filter(|((what, _), _)| kinds.contains(what));
        self.seen.extend(kept.map(|(key, sighting)| (key.clone(), *sighting)));
    }

    pub(super) fn silence_after(&self, listing: &Listing, now: Timestamp) -> Option<Silence> {
        match (listing, self.silence) {
            (Listing::Answered { .. }, _) => None,
            (Listing::Silent { .. }, None) => Some(Silence { since: now, cycles: 1 }),
            (Listing::Silent { .. }, Some(Silence { since, cycles })) => {
                Some(Silence { since, cycles: cycles.saturating_add(1) })
            }
        }
    }

    /// How many things are suspected.
    #[must_use]
    pub fn len(&self) -> usize {
        self.seen.len()
    }

    /// Whether nothing is suspected.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// How many things of this kind are suspected.
    #[must_use]
    pub fn count(&self, what: Suspicion) -> usize {
        self.seen.keys().filter(|(kind, _)| *kind == what).count()
    }
}
