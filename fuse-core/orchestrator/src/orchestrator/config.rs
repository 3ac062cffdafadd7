//! What can be configured, with its defaults.

use std::time::Duration;

use crate::{
    model::{OwnerId, VmPrefix},
    reconcile::Limits,
    scheduler::Policy,
};

/// How long each verb of a provider may take until it counts as failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Creating or forking a VM. 5 min.
    pub create: Duration,
    /// Listing, looking, probing. 10 s.
    pub query: Duration,
    /// Removing a VM or a snapshot. 60 s.
    pub destroy: Duration,
    /// One file. 60 s.
    pub upload: Duration,
    /// Starting the agent. 60 s.
    pub agent: Duration,
    /// A snapshot or a restore. 10 min.
    pub snapshot: Duration,
    /// The bytes of a snapshot on their way to another host. 10 min.
    pub pull: Duration,
    /// What is added to the time that a command in the guest may take. 30 s.
    pub exec_margin: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            create: Duration::from_secs(300),
            query: Duration::from_secs(10),
            destroy: Duration::from_secs(60),
            upload: Duration::from_secs(60),
            agent: Duration::from_secs(60),
            snapshot: Duration::from_secs(600),
            pull: Duration::from_secs(600),
            exec_margin: Duration::from_secs(30),
        }
    }
}

/// The configuration of an orchestrator.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the names of environments and VMs begin with. `fuse-`.
    pub prefix: VmPrefix,
    /// Who we are, to hosts. None: a random name, made once and kept in the store.
    pub owner: Option<OwnerId>,
    /// Which process this is among those that share a store: only one acts at a time. `local`.
    pub instance: String,
    /// How long the lease on the store lasts when it is not renewed. 15 s.
    pub lease: Duration,
    /// Which host is taken. Spread.
    pub policy: Policy,
    /// The limits of reconcile.
    pub limits: Limits,
    /// The time between two looks at a host; none looks only when asked. 30 s.
    pub reconcile_period: Option<Duration>,
    /// The limits of the verbs.
    pub timeouts: Timeouts,
    /// How long a startup script may take when its request does not say. 30 s.
    pub script_timeout: Duration,
    /// The most that a request may ask for its startup script. 10 min.
    pub script_ceiling: Duration,
    /// How long a drain command may take. 30 s.
    pub drain_timeout: Duration,
    /// How many files go into one guest at the same time. 8.
    pub parallel_uploads: usize,
    /// Whether VMs that carry our owner tag and that no record knows are taken back as environments, rather than removed
    /// as orphans. False; true for a store in memory with an owner that was named.
    pub readopt: bool,
    /// How many times a boot is begun again after restarts until it counts as failed. 3.
    pub boot_tries: u32,
    /// When a VM whose creation may still be on its way, as after a restart during its boot, is removed once more. Its
    /// capacity stays taken until then. 60 s.
    pub second_look: Duration,
    /// After how many failed tries to remove something a dead letter is written. 5.
    pub dead_letter_after: u32,
    /// How long the records of ended environments stay readable. 24 h.
    pub keep_ended: Duration,
    /// How long the answer to an idempotency key is remembered. 24 h.
    pub keep_idempotency: Duration,
    /// How long events are kept. 7 days.
    pub keep_events: Duration,
    /// How much of each log is kept with an ended environment, in bytes. 64 KiB.
    pub log_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prefix: VmPrefix::standard(),
            owner: None,
            instance: "local".to_owned(),
            lease: Duration::from_secs(15),
            policy: Policy::default(),
            limits: Limits::default(),
            reconcile_period: Some(Duration::from_secs(30)),
            timeouts: Timeouts::default(),
            script_timeout: Duration::from_secs(30),
            script_ceiling: Duration::from_secs(600),
            drain_timeout: Duration::from_secs(30),
            parallel_uploads: 8,
            readopt: false,
            boot_tries: 3,
            second_look: Duration::from_secs(60),
            dead_letter_after: 5,
            keep_ended: Duration::from_secs(24 * 3600),
            keep_idempotency: Duration::from_secs(24 * 3600),
            keep_events: Duration::from_secs(7 * 24 * 3600),
            log_bytes: 64 * 1024,
        }
    }
}
