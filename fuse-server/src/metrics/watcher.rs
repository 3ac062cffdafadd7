//! Counts what reconcile does.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
};

use fuse_orchestrator::{Look, ReconcileWatcher, model::HostId};

use super::Metrics;

/// Counts every look at a host.
#[derive(Debug)]
pub struct CountedLooks {
    metrics: Metrics,
    /// How many VMs each host listed when it last answered.
    vms: Mutex<BTreeMap<HostId, usize>>,
}

impl CountedLooks {
    /// Counts into `metrics`.
    #[must_use]
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, vms: Mutex::default() }
    }
}

impl ReconcileWatcher for CountedLooks {
    fn looked(&self, host: &HostId, look: &Look) {
        let reconcile = &self.metrics.reconcile;
        reconcile.cycles.inc();
        reconcile.duration.observe(look.took.as_secs_f64());
        reconcile.stuck_suspected.inc_by(look.newly_stuck as u64);
        reconcile.idle_suspected.inc_by(look.newly_idle as u64);
        let mut vms = self.vms.lock().unwrap_or_else(PoisonError::into_inner);
        match look.vms {
            Some(count) => vms.insert(host.clone(), count),
            // A host that does not answer is not counted, whatever it had.
            None => vms.remove(host),
        };
        let sum = vms.values().sum::<usize>();
        self.metrics.fleet.provider.set(i64::try_from(sum).unwrap_or(i64::MAX));
    }
}
