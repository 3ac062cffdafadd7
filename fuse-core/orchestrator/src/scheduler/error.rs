//! Why nothing could be placed, with numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Demand, Slot};
use crate::model::{Capacity, HostId, HostState, Liveness};

/// Why no host was chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// There are no hosts.
    #[error("no hosts are registered; register one")]
    NoHosts,
    /// The host that was asked for is not there.
    #[error("host {host_id} not found")]
    UnknownHost {
        /// The host.
        host_id: HostId,
    },
    /// The host that was asked for takes no environments now.
    #[error("host {host_id} was asked for and takes no environments: it is {state} and {liveness}")]
    HostGated {
        /// The host.
        host_id: HostId,
        /// What the operator wants of it.
        state: HostState,
        /// Whether it answers.
        liveness: Liveness,
    },
    /// No host passes every filter.
    #[error("{}", explain(.demand, .rejections))]
    NoRoom {
        /// What was needed.
        demand: Box<Demand>,
        /// How many hosts each filter refused.
        rejections: Rejections,
    },
}

/// How many hosts each filter refused. Each host counts once, at the first filter that it fails.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rejections {
    /// Hosts looked at.
    pub hosts: usize,
    /// Cordoned.
    pub cordoned: usize,
    /// Unreachable or lost.
    pub silent: usize,
    /// Of another region.
    pub region: usize,
    /// Of another architecture.
    pub arch: usize,
    /// Without all of the labels.
    pub labels: usize,
    /// Too full.
    pub full: usize,
    /// The most that is free of each resource among the hosts that are only too full.
    pub most_free: Capacity,
    /// Labels, as `key=value`, that no schedulable host carries.
    pub unmatched: Vec<String>,
}

impl Rejections {
    pub(super) fn note(&mut self, slot: &Slot, demand: &Demand) {
        self.hosts += 1;
        if slot.state == HostState::Cordoned {
            self.cordoned += 1;
        } else if slot.liveness != Liveness::Ready {
            self.silent += 1;
        } else if !demand.region.is_empty() && demand.region != slot.region {
            self.region += 1;
        } else if demand.arch.is_some_and(|arch| arch != slot.arch) {
            self.arch += 1;
        } else if !slot.has_labels(&demand.labels) {
            self.labels += 1;
        } else {
            self.full += 1;
            let free = slot.free();
            let most = &mut self.most_free;
            most.cpus = most.cpus.max(free.cpus);
            most.ram_mb = most.ram_mb.max(free.ram_mb);
            most.storage_gb = most.storage_gb.max(free.storage_gb);
            most.vm_count = most.vm_count.max(free.vm_count);
        }
    }

    /// Hosts that are active and answer.
    #[must_use]
    pub const fn schedulable(&self) -> usize {
        self.hosts - self.cordoned - self.silent
    }
}

fn explain(demand: &Demand, rejections: &Rejections) -> String {
    use fmt::Write;
    let mut text = format!("no capacity: need {}", demand.need);
    let mut add = |args: fmt::Arguments<'_>| {
        // Writing into a string does not fail.
        let _ = text.write_fmt(args);
    };
    match &demand.host_id {
        Some(host) => add(format_args!(" on host {host}")),
        None => {
            let (hosts, schedulable) = (rejections.hosts, rejections.schedulable());
            add(format_args!("; of {hosts} hosts {schedulable} are schedulable"));
        }
    }
    if rejections.cordoned > 0 {
        add(format_args!(", {} cordoned", rejections.cordoned));
    }
    if rejections.silent > 0 {
        add(format_args!(", {} not answering", rejections.silent));
    }
    if rejections.region > 0 {
        add(format_args!(", {} not in region {:?}", rejections.region, demand.region));
    }
    if let Some(arch) = demand.arch.filter(|_| rejections.arch > 0) {
        add(format_args!(", {} not {arch}", rejections.arch));
    }
    if rejections.labels > 0 {
        add(format_args!(", {} without the labels", rejections.labels));
    }
    if !rejections.unmatched.is_empty() {
        let unmatched = rejections.unmatched.join(", ");
        add(format_args!(" (no schedulable host carries {unmatched})"));
    }
    if rejections.full > 0 {
        let free = rejections.most_free;
        add(format_args!(", {} too full (free at most {free})", rejections.full));
    }
    text
}
