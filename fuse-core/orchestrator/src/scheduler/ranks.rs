//! Hosts in the order in which they are taken, for each region and architecture.
//!
//! Scores mix processors and memory, so hosts that lack one of the two lie everywhere in the order of scores. Hosts
//! are therefore kept by free processors, and under each number by free memory: a walk begins in each row at the
//! first host with enough memory, and merges the rows by score. It opens a row only when that could hold the next
//! host, so it looks at a few hosts, not at those that are full.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, btree_map, btree_set},
    iter::Peekable,
};

use super::Policy;
use crate::model::{Arch, Capacity, HostId, Resources};

/// The hosts with one number of free processors: by memory, that which is taken first first.
type Row = BTreeSet<(u32, HostId)>;

#[derive(Debug, Clone, Default)]
struct Order {
    rows: BTreeMap<u32, Row>,
    /// No host here has, or ever had, more free memory than this.
    tallest: u32,
}

impl Order {
    fn insert(&mut self, policy: Policy, free: Capacity, host: &HostId) {
        self.tallest = self.tallest.max(free.ram_mb);
        self.rows.entry(free.cpus).or_default().insert((key(policy, free.ram_mb), host.clone()));
    }

    fn remove(&mut self, policy: Policy, free: Capacity, host: &HostId) {
        if let Some(row) = self.rows.get_mut(&free.cpus) {
            row.remove(&(key(policy, free.ram_mb), host.clone()));
            if row.is_empty() {
                self.rows.remove(&free.cpus);
            }
        }
    }

    fn walk(&self, policy: Policy, need: Resources) -> Walk<'_> {
        let rows = self.rows.range(need.cpus..);
        let rows = match policy {
            Policy::Spread => Rows::Down(rows.rev()),
            Policy::Binpack => Rows::Up(rows),
        };
        let (tallest, least) = (self.tallest, need.ram_mb);
        Walk { policy, least, tallest, closed: rows.peekable(), open: Vec::new(), next: BinaryHeap::new() }
    }
}

/// What sorts a row: the other way round where the most memory comes first. Its own inverse.
const fn key(policy: Policy, ram_mb: u32) -> u32 {
    match policy {
        Policy::Spread => u32::MAX - ram_mb,
        Policy::Binpack => ram_mb,
    }
}

/// Rows in the order in which their best hosts can come.
enum Rows<'a> {
    Up(btree_map::Range<'a, u32, Row>),
    Down(std::iter::Rev<btree_map::Range<'a, u32, Row>>),
}

impl<'a> Iterator for Rows<'a> {
    type Item = (u32, &'a Row);

    fn next(&mut self) -> Option<Self::Item> {
        let row = match self {
            Self::Up(rows) => rows.next(),
            Self::Down(rows) => rows.next(),
        };
        row.map(|(cpus, row)| (*cpus, row))
    }
}

/// The hosts of an order with enough processors and memory, by rank, then by id.
pub(super) struct Walk<'a> {
    policy: Policy,
    /// The memory that is enough.
    least: u32,
    tallest: u32,
    closed: Peekable<Rows<'a>>,
    open: Vec<(u32, btree_set::Range<'a, (u32, HostId)>)>,
    /// The next host of each open row.
    next: BinaryHeap<Reverse<(u64, &'a HostId, usize)>>,
}

impl<'a> Walk<'a> {
    /// The lowest rank that a row with so many processors can hold.
    const fn bound(&self, cpus: u32) -> u64 {
        match self.policy {
            Policy::Spread => self.policy.rank(cpus, self.tallest),
            Policy::Binpack => self.policy.rank(cpus, self.least),
        }
    }

    /// Moves on in an open row.
    fn advance(&mut self, at: usize) {
        let (policy, least) = (self.policy, self.least);
        let Some((cpus, row)) = self.open.get_mut(at) else { return };
        if let Some((memory, host)) = row.next() {
            let ram_mb = key(policy, *memory);
            if ram_mb >= least {
                self.next.push(Reverse((policy.rank(*cpus, ram_mb), host, at)));
            }
        }
    }

    /// Opens the rows that could hold the next host.
    fn open(&mut self) {
        while !self.is_settled() {
            let Some((cpus, row)) = self.closed.next() else { return };
            let from = match self.policy {
                Policy::Spread => 0,
                Policy::Binpack => self.least,
            };
            self.open.push((cpus, row.range((from, HostId::first())..)));
            self.advance(self.open.len() - 1);
        }
    }

    /// Whether no closed row can hold a host that comes before the best of the open ones.
    fn is_settled(&mut self) -> bool {
        let Some(Reverse((best, ..))) = self.next.peek() else { return false };
        let best = *best;
        self.closed.peek().map(|(cpus, _)| *cpus).is_none_or(|cpus| self.bound(cpus) > best)
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = &'a HostId;

    fn next(&mut self) -> Option<&'a HostId> {
        self.open();
        let Reverse((_, host, at)) = self.next.pop()?;
        self.advance(at);
        Some(host)
    }
}

#[derive(Debug, Clone, Default)]
struct ByArch {
    any: Order,
    amd64: Order,
    arm64: Order,
}

impl ByArch {
    const fn of(&self, arch: Option<Arch>) -> &Order {
        match arch {
            None => &self.any,
            Some(Arch::Amd64) => &self.amd64,
            Some(Arch::Arm64) => &self.arm64,
        }
    }

    fn both(&mut self, arch: Arch) -> [&mut Order; 2] {
        let own = match arch {
            Arch::Amd64 => &mut self.amd64,
            Arch::Arm64 => &mut self.arm64,
        };
        [&mut self.any, own]
    }
}

/// The order of hosts over all regions, and within each.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranks {
    policy: Policy,
    all: ByArch,
    regions: BTreeMap<String, ByArch>,
}

impl Ranks {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    pub(super) fn insert(&mut self, region: &str, arch: Arch, free: Capacity, host: &HostId) {
        for order in self.all.both(arch) {
            order.insert(self.policy, free, host);
        }
        if !region.is_empty() {
            if !self.regions.contains_key(region) {
                self.regions.insert(region.to_owned(), ByArch::default());
            }
            if let Some(of_region) = self.regions.get_mut(region) {
                for order in of_region.both(arch) {
                    order.insert(self.policy, free, host);
                }
            }
        }
    }

    pub(super) fn remove(&mut self, region: &str, arch: Arch, free: Capacity, host: &HostId) {
        for order in self.all.both(arch) {
            order.remove(self.policy, free, host);
        }
        if let Some(of_region) = self.regions.get_mut(region) {
            for order in of_region.both(arch) {
                order.remove(self.policy, free, host);
            }
            if of_region.any.rows.is_empty() {
                self.regions.remove(region);
            }
        }
    }

    /// The hosts of `region` (empty: all) and `arch` (none: all) with the processors and the memory of `need`, that
    /// which is taken first first.
    pub(super) fn walk(
        &self,
        region: &str,
        arch: Option<Arch>,
        need: Resources,
    ) -> impl Iterator<Item = &HostId> {
        let by_arch = if region.is_empty() { Some(&self.all) } else { self.regions.get(region) };
        by_arch.into_iter().flat_map(move |by_arch| by_arch.of(arch).walk(self.policy, need))
    }
}
