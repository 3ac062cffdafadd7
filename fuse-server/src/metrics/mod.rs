//! Figures for a monitoring system.

mod process;
mod render;
mod store;
mod watcher;

use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

pub(crate) use render::{Format, render};
pub use store::MeasuredStore;
pub use watcher::CountedLooks;

/// Upper bounds of the buckets of request durations, in seconds.
const REQUEST_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of the buckets of boot phases, in seconds.
const BOOT_BUCKETS: [f64; 12] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0];
/// Upper bounds of the buckets of commits, in seconds.
const COMMIT_BUCKETS: [f64; 11] = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) route: String,
    pub(crate) method: &'static str,
    pub(crate) code: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    pub(crate) route: String,
    pub(crate) method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct StateLabels {
    pub(crate) state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct PhaseLabels {
    pub(crate) phase: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HostLabels {
    pub(crate) host: String,
    pub(crate) resource: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct HostStateLabels {
    pub(crate) host: String,
    pub(crate) state: &'static str,
    pub(crate) liveness: &'static str,
}

type FloatGauge = Gauge<f64, AtomicU64>;
type Count = Gauge<i64, AtomicI64>;

/// The figures of a server. Cheap to clone: clones count together.
#[derive(Debug, Clone)]
pub struct Metrics {
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) request_duration: Family<RouteLabels, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Count,
    pub(crate) reconcile: Reconcile,
    pub(crate) fleet: Fleet,
    pub(crate) boot_phase: Family<PhaseLabels, Histogram, fn() -> Histogram>,
    pub(crate) boot: Histogram,
    pub(crate) boots_failed: Counter,
    pub(crate) commits: Histogram,
    pub(crate) commits_failed: Counter,
    pub(crate) event_lag: FloatGauge,
    pub(crate) events: Counter,
    pub(crate) streams: Count,
    pub(crate) refused: Family<StateLabels, Counter>,
}

/// What reconcile did.
#[derive(Debug, Clone)]
pub(crate) struct Reconcile {
    pub(crate) duration: Histogram,
    pub(crate) cycles: Counter,
    pub(crate) orphans_destroyed: Counter,
    pub(crate) orphans_failed: Counter,
    pub(crate) orphans_dead_lettered: Counter,
    pub(crate) stuck_suspected: Counter,
    pub(crate) stuck_failed: Counter,
    pub(crate) idle_suspected: Counter,
    pub(crate) idle_failed: Counter,
    pub(crate) missing: Counter,
    pub(crate) health_checked: Count,
    pub(crate) health_failing: Count,
}

/// What there is now; set when somebody asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fleet {
    pub(crate) tracked: Count,
    pub(crate) provider: Count,
    pub(crate) environments: Family<StateLabels, Count>,
    pub(crate) hosts: Family<HostStateLabels, Count>,
    pub(crate) capacity: Family<HostLabels, Count>,
    pub(crate) allocated: Family<HostLabels, Count>,
    pub(crate) dead_letters: Count,
    pub(crate) teardowns: Count,
}

fn request_histogram() -> Histogram {
    Histogram::new(REQUEST_BUCKETS)
}

fn boot_histogram() -> Histogram {
    Histogram::new(BOOT_BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            request_duration: Family::new_with_constructor(request_histogram),
            in_flight: Count::default(),
            reconcile: Reconcile::new(),
            fleet: Fleet::default(),
            boot_phase: Family::new_with_constructor(boot_histogram),
            boot: boot_histogram(),
            boots_failed: Counter::default(),
            commits: Histogram::new(COMMIT_BUCKETS),
            commits_failed: Counter::default(),
            event_lag: FloatGauge::default(),
            events: Counter::default(),
            streams: Count::default(),
            refused: Family::default(),
        }
    }
}

impl Reconcile {
    fn new() -> Self {
        Self {
            duration: request_histogram(),
            cycles: Counter::default(),
            orphans_destroyed: Counter::default(),
            orphans_failed: Counter::default(),
            orphans_dead_lettered: Counter::default(),
            stuck_suspected: Counter::default(),
            stuck_failed: Counter::default(),
            idle_suspected: Counter::default(),
            idle_failed: Counter::default(),
            missing: Counter::default(),
            health_checked: Count::default(),
            health_failing: Count::default(),
        }
    }

    fn register(&self, to: &mut Registry) {
        let r = to.sub_registry_with_prefix("reconcile");
        r.register("duration_seconds", "Time that one look at a host took", self.duration.clone());
        r.register("cycles", "Looks at hosts", self.cycles.clone());
        r.register(
            "orphans_destroyed",
            "VMs without a record that were removed",
            self.orphans_destroyed.clone(),
        );
        r.register("orphans_failed", "Removals of such VMs that failed", self.orphans_failed.clone());
        r.register(
            "orphans_dead_lettered",
            "Such VMs that became a dead letter",
            self.orphans_dead_lettered.clone(),
        );
        r.register(
            "stuck_tasks_suspected",
            "First sightings of an environment past its run time",
            self.stuck_suspected.clone(),
        );
        r.register(
            "stuck_tasks_failed",
            "Environments that ended for their run time",
            self.stuck_failed.clone(),
        );
        r.register(
            "idle_vms_suspected",
            "First sightings of an idle environment",
            self.idle_suspected.clone(),
        );
        r.register("idle_vms_failed", "Environments that ended for being idle", self.idle_failed.clone());
        r.register(
            "vms_missing_provider",
            "Environments whose VM was gone from its host",
            self.missing.clone(),
        );
        r.register(
            "health_checked_vms",
            "Environments with a verdict of their health check",
            self.health_checked.clone(),
        );
        r.register(
            "health_failing_vms",
            "Environments whose health check fails",
            self.health_failing.clone(),
        );
    }
}

impl Fleet {
    fn register(&self, to: &mut Registry) {
        to.register("fleet_tracked_vms", "Environments that have not ended", self.tracked.clone());
        to.register(
            "fleet_provider_vms",
            "VMs that hosts listed when they last answered",
            self.provider.clone(),
        );
        to.register(
            "environments",
            "Environments by state; ended ones while their record is kept",
            self.environments.clone(),
        );
        to.register("hosts", "Hosts, by what is wanted of them and whether they answer", self.hosts.clone());
        to.register("host_capacity", "What a host has", self.capacity.clone());
        to.register("host_allocated", "What is taken of a host", self.allocated.clone());
        to.register("dead_letters", "Dead letters", self.dead_letters.clone());
        to.register("teardowns", "VMs without environment that are being removed", self.teardowns.clone());
    }
}

impl Metrics {
    /// A registry of all figures, under their names.
    pub(crate) fn registry(&self) -> Registry {
        let mut all = Registry::default();
        let build = Info::new(vec![
            ("version".to_owned(), crate::VERSION.to_owned()),
            ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
        ]);
        let registry = all.sub_registry_with_prefix("orchestrator");
        registry.register("build", "What this program is", build);
        registry.register("http_requests", "Answered requests", self.requests.clone());
        registry.register(
            "http_request_duration_seconds",
            "Time until the answer began",
            self.request_duration.clone(),
        );
        registry.register(
            "http_requests_in_flight",
            "Requests whose answer has not ended, streams included",
            self.in_flight.clone(),
        );
        registry.register(
            "http_refused",
            "Requests refused before they were looked at",
            self.refused.clone(),
        );
        self.reconcile.register(registry);
        self.fleet.register(registry);
        registry.register(
            "boot_phase_duration_seconds",
            "Time of each phase of coming up",
            self.boot_phase.clone(),
        );
        registry.register("boot_duration_seconds", "Time from accepted to running", self.boot.clone());
        registry.register("boots_failed", "Environments that never came to run", self.boots_failed.clone());
        registry.register(
            "store_commit_duration_seconds",
            "Time until a change was durable",
            self.commits.clone(),
        );
        registry.register(
            "store_commits_failed",
            "Changes that the store did not take",
            self.commits_failed.clone(),
        );
        registry.register(
            "event_lag_seconds",
            "Time from the newest event until it was seen by a subscriber in this process",
            self.event_lag.clone(),
        );
        registry.register("events", "Events since the start", self.events.clone());
        registry.register("event_streams", "Open event streams", self.streams.clone());
        all.register_collector(Box::new(process::Process));
        all
    }
}
