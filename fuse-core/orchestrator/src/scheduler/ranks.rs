//! Hosts in the order in which they are taken, for each region and architecture.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Arch, HostId};

type Order = BTreeSet<(u64, HostId)>;

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
    all: ByArch,
    regions: BTreeMap<String, ByArch>,
}

impl Ranks {
    pub(super) fn insert(&mut self, region: &str, arch: Arch, rank: u64, host: &HostId) {
        for order in self.all.both(arch) {
            order.insert((rank, host.clone()));
        }
        if !region.is_empty() {
            if !self.regions.contains_key(region) {
                self.regions.insert(region.to_owned(), ByArch::default());
            }
            if let Some(of_region) = self.regions.get_mut(region) {
                for order in of_region.both(arch) {
                    order.insert((rank, host.clone()));
                }
            }
        }
    }

    pub(super) fn remove(&mut self, region: &str, arch: Arch, rank: u64, host: &HostId) {
        let entry = (rank, host.clone());
        for order in self.all.both(arch) {
            order.remove(&entry);
        }
        if let Some(of_region) = self.regions.get_mut(region) {
            for order in of_region.both(arch) {
                order.remove(&entry);
            }
            if of_region.any.is_empty() {
                self.regions.remove(region);
            }
        }
    }

    /// The hosts of `region` (empty: all) and `arch` (none: all) with a rank from `least` to `most`, lowest first.
    pub(super) fn walk(
        &self,
        region: &str,
        arch: Option<Arch>,
        least: u64,
        most: u64,
    ) -> impl Iterator<Item = &HostId> {
        let by_arch = if region.is_empty() { Some(&self.all) } else { self.regions.get(region) };
        by_arch
            .into_iter()
            .flat_map(move |by_arch| by_arch.of(arch).range((least, HostId::first())..))
            .take_while(move |(rank, _)| *rank <= most)
            .map(|(_, host)| host)
    }
}
