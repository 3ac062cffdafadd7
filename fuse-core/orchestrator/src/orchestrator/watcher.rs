//! Who watches reconcile at work, for figures.

use std::{fmt::Debug, time::Duration};

use crate::model::HostId;

/// One look at a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// How long it took to ask and to plan.
    pub took: Duration,
    /// How many of our VMs the host listed; none when it did not answer.
    pub vms: Option<usize>,
    /// Environments that were seen past their run time for the first time.
    pub newly_stuck: usize,
    /// Environments that were seen idle for too long for the first time.
    pub newly_idle: usize,
}

/// Is told of every look at a host, also of those that fail. Must return at once.
pub trait ReconcileWatcher: Debug + Send + Sync + 'static {
    /// Reconcile has looked at `host`.
    fn looked(&self, host: &HostId, look: &Look);
}
