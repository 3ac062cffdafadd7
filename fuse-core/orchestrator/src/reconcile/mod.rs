//! What to do about the difference between intent and fact on one host.
//!
//! [`plan`] is a pure function. It is given one host, the records that point to it, what the host said (or that it
//! said nothing), what was suspected before, and the time; it returns actions, and what is suspected now. It is
//! called host by host, so a silent host holds up nobody else.
//!
//! **Nothing is destroyed on one sighting.** Whatever ends an environment or removes a VM that no caller asked to be
//! removed (an orphan, a VM that is missing, an environment that is expired, idle or draining for too long) is
//! first suspected, and acted upon only when a later cycle, at least [`Limits::sighting_gap`] after, suspects it
//! still. Suspicions are kept in memory alone: a restart begins to look afresh.
//!
//! **Unknown is not gone.** A host that does not answer makes nothing missing and nothing an orphan.

mod liveness;
mod sightings;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    model::{
        Environment, EnvironmentId, EnvironmentState, Host, HostLiveness, Observed, OwnerId, Reason,
        ReasonCode, Teardown, Timestamp, VmName, VmPrefix,
    },
    provider::VmFacts,
};

pub use sightings::{Sightings, Suspicion};

/// The limits that reconcile goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The least time between two sightings that count as two. 10 s.
    pub sighting_gap: Duration,
    /// How long an unknown VM of ours must be seen until it is an orphan. 2 min.
    pub orphan_grace: Duration,
    /// How long an environment runs when its request does not say. 2 h.
    pub max_runtime: Duration,
    /// After how long without use an environment goes when its request does not say. Zero: never.
    pub idle_timeout: Duration,
    /// How long a drain may take. 15 min.
    pub drain_limit: Duration,
    /// After how many cycles in a row without an answer a host is unreachable. 2.
    pub unreachable_after: u32,
    /// After how long without an answer a host is lost. 5 min.
    pub lost_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sighting_gap: Duration::from_secs(10),
            orphan_grace: Duration::from_secs(120),
            max_runtime: Duration::from_secs(2 * 3600),
            idle_timeout: Duration::ZERO,
            drain_limit: Duration::from_secs(15 * 60),
            unreachable_after: 2,
            lost_after: Duration::from_secs(5 * 60),
        }
    }
}

/// An environment as reconcile sees it.
#[derive(Debug, Clone)]
pub struct EnvironmentFacts {
    /// The record.
    pub environment: Arc<Environment>,
    /// Whether this process is at work on its VM now (booting it, removing it, setting it back).
    pub busy: bool,
    /// When this process last ended work on its VM. A listing that was asked for before says nothing about it.
    pub settled_at: Timestamp,
    /// When it was last used: exec, attach, upload.
    pub used_at: Timestamp,
    /// Whether a terminal is open, which is use without end.
    pub attached: bool,
}

/// What a host said when it was asked for its VMs.
#[derive(Debug, Clone)]
pub enum Listing {
    /// It answered.
    Answered {
        /// When it was asked.
        asked_at: Timestamp,
        /// The VMs that it has.
        vms: Vec<VmFacts>,
    },
    /// It did not answer.
    Silent {
        /// Why, in words.
        why: String,
    },
}

/// Everything that a plan is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The host.
    pub host: &'a Host,
    /// The environments that point to it and have not ended.
    pub environments: &'a [EnvironmentFacts],
    /// The teardowns that point to it.
    pub teardowns: &'a [Arc<Teardown>],
    /// Teardowns that this process is at work on now.
    pub tearing: &'a BTreeSet<VmName>,
    /// What it said.
    pub listing: &'a Listing,
    /// Who we are.
    pub owner: &'a OwnerId,
    /// What our VMs' names begin with.
    pub prefix: &'a VmPrefix,
    /// What was suspected before.
    pub sightings: &'a Sightings,
    /// The limits.
    pub limits: &'a Limits,
    /// Whether VMs of ours that no record knows are taken back rather than removed.
    pub readopt: bool,
    /// The time.
    pub now: Timestamp,
}

/// Something to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Note that the host answers, or does not.
    SetLiveness(HostLiveness),
    /// Note what the host says about the VM of an environment.
    Observe(EnvironmentId, Observed),
    /// Nobody boots this environment: boot it (again).
    Boot(EnvironmentId),
    /// End this environment, for this reason.
    Destroy(EnvironmentId, Reason),
    /// Try again to remove the VM of an environment that is being destroyed.
    RetryDestroy(EnvironmentId),
    /// Try (again) to remove a VM.
    RetryTeardown(VmName),
    /// Record that this VM of ours must go, since no record knows it.
    AdoptOrphan(VmName),
    /// Make a record for this VM of ours, since none knows it.
    Readopt(VmFacts),
    /// Drain this environment and then destroy it: its host is being emptied.
    Empty(EnvironmentId),
    /// Note that the host, which was to be emptied, is empty.
    NoteEmptied,
}

/// What to do about one host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// What is suspected now.
    pub sightings: Sightings,
    /// VMs on the host that carry our prefix and another's owner tag. They are only reported.
    pub foreign: usize,
}

/// Makes the plan for one host.
#[must_use]
pub fn plan(facts: &Facts<'_>) -> Plan {
    let mut planner = Planner { facts, plan: Plan::default() };
    planner.liveness();
    match facts.listing {
        Listing::Answered { asked_at, vms } => planner.compare(*asked_at, vms),
        Listing::Silent { .. } => planner.unknown(),
    }
    planner.expiry();
    planner.emptying();
    planner.work();
    planner.plan
}

struct Planner<'a> {
    facts: &'a Facts<'a>,
    plan: Plan,
}

impl Planner<'_> {
    /// Whether the suspicion, seen now, was seen before long enough ago.
    fn confirmed(&mut self, suspicion: Suspicion, vm: &VmName, least_age: Duration) -> bool {
        let sighting = self.facts.sightings.seen_again(suspicion, vm, self.facts.now, self.facts.limits);
        let confirmed = sighting.count >= 2 && self.facts.now.since(sighting.first) >= least_age;
        self.plan.sightings.note(suspicion, vm, sighting);
        confirmed
    }

    fn liveness(&mut self) {
        let silence = self.facts.sightings.silence_after(self.facts.listing, self.facts.now);
        let host = &self.facts.host;
        if let Some(next) =
            liveness::next(host, silence, self.facts.listing, self.facts.limits, self.facts.now)
        {
            self.plan.actions.push(Action::SetLiveness(next));
        }
        self.plan.sightings.silence = silence;
    }

    fn unknown(&mut self) {
        for EnvironmentFacts { environment, .. } in self.facts.environments {
            self.observe(environment, Observed::Unknown);
        }
        // What was suspected of the listing stays suspected; it is neither confirmed nor cleared.
        self.plan.sightings.keep(self.facts.sightings, &[Suspicion::Missing, Suspicion::Orphan]);
    }

    fn observe(&mut self, environment: &Environment, observed: Observed) {
        if environment.observed != observed {
            self.plan.actions.push(Action::Observe(environment.id.clone(), observed));
        }
    }

    /// Compares what the host has with what it should have.
    fn compare(&mut self, asked_at: Timestamp, vms: &[VmFacts]) {
        let facts = self.facts;
        let ours = |vm: &&VmFacts| match &vm.owner {
            Some(owner) => owner == facts.owner,
            None => vm.name.as_str().starts_with(facts.prefix.as_str()),
        };
        self.plan.foreign = vms.len() - vms.iter().filter(ours).count();
        let mut unclaimed: BTreeMap<&str, &VmFacts> =
            vms.iter().filter(ours).map(|vm| (vm.name.as_str(), vm)).collect();
        for known in facts.environments {
            let present = unclaimed.remove(known.environment.vm.as_str()).is_some();
            self.presence(known, present, asked_at);
        }
        for teardown in facts.teardowns {
            unclaimed.remove(teardown.vm.as_str());
        }
        let grace = if facts.readopt { Duration::ZERO } else { facts.limits.orphan_grace };
        for vm in unclaimed.into_values() {
            if self.confirmed(Suspicion::Orphan, &vm.name, grace) {
                self.plan.actions.push(match facts.readopt {
                    true => Action::Readopt(vm.clone()),
                    false => Action::AdoptOrphan(vm.name.clone()),
                });
            }
        }
    }

    fn presence(&mut self, known: &EnvironmentFacts, present: bool, asked_at: Timestamp) {
        let EnvironmentFacts { environment, busy, settled_at, .. } = known;
        if *busy || asked_at <= *settled_at {
            return;
        }
        let should_be_there =
            matches!(environment.state, EnvironmentState::Running | EnvironmentState::Draining);
        if present {
            self.observe(environment, Observed::Present);
        } else if should_be_there {
            self.observe(environment, Observed::Missing);
            if self.confirmed(Suspicion::Missing, &environment.vm, Duration::ZERO) {
                let reason = Reason::new(ReasonCode::VmMissing, "vm missing from provider");
                self.plan.actions.push(Action::Destroy(environment.id.clone(), reason));
            }
        }
    }

    /// Ends what ran, idled or drained for too long.
    fn expiry(&mut self) {
        for known in self.facts.environments {
            if self.is_being_destroyed(&known.environment.id) {
                continue;
            }
            if let Some((suspicion, reason)) = overdue(known, self.facts.limits, self.facts.now)
                && self.confirmed(suspicion, &known.environment.vm, Duration::ZERO)
            {
                self.plan.actions.push(Action::Destroy(known.environment.id.clone(), reason));
            }
        }
    }

    /// Goes on with emptying the host, when that was ordered and it answers.
    fn emptying(&mut self) {
        let facts = self.facts;
        let Some(order) = facts.host.drain.filter(|order| order.finished_at.is_none()) else { return };
        if !matches!(facts.listing, Listing::Answered { .. }) {
            return;
        }
        if facts.environments.is_empty() && facts.teardowns.is_empty() {
            return self.plan.actions.push(Action::NoteEmptied);
        }
        let limit = Duration::from_secs(order.limit_seconds);
        for known in facts.environments {
            let environment = &known.environment;
            if known.busy || self.is_being_destroyed(&environment.id) {
                continue;
            }
            match environment.state {
                EnvironmentState::Running => self.plan.actions.push(Action::Empty(environment.id.clone())),
                EnvironmentState::Draining
                    if facts.now.since(environment.updated_at) > limit
                        && self.confirmed(Suspicion::Draining, &environment.vm, Duration::ZERO) =>
                {
                    let text = format!(
                        "its host is being emptied, and its drain took longer than {} s",
                        limit.as_secs()
                    );
                    let reason = Reason::new(ReasonCode::HostDrained, text);
                    self.plan.actions.push(Action::Destroy(environment.id.clone(), reason));
                }
                _ => {}
            }
        }
    }

    fn is_being_destroyed(&self, id: &EnvironmentId) -> bool {
        self.plan.actions.iter().any(|action| matches!(action, Action::Destroy(other, _) if other == id))
    }

    /// Goes on with what is half done.
    fn work(&mut self) {
        let now = self.facts.now;
        for EnvironmentFacts { environment, busy, .. } in self.facts.environments {
            let id = || environment.id.clone();
            match environment.state {
                _ if *busy || self.is_being_destroyed(&environment.id) => {}
                EnvironmentState::Provisioning => self.plan.actions.push(Action::Boot(id())),
                EnvironmentState::Destroying if environment.removal.is_due(now) => {
                    self.plan.actions.push(Action::RetryDestroy(id()));
                }
                _ => {}
            }
        }
        for teardown in self.facts.teardowns {
            if teardown.removal.is_due(now) && !self.facts.tearing.contains(&teardown.vm) {
                self.plan.actions.push(Action::RetryTeardown(teardown.vm.clone()));
            }
        }
    }
}

/// Whether an environment is past a limit, and which.
fn overdue(known: &EnvironmentFacts, limits: &Limits, now: Timestamp) -> Option<(Suspicion, Reason)> {
    let environment = &known.environment;
    let or = |seconds: u64, default: Duration| {
        if seconds == 0 { default } else { Duration::from_secs(seconds) }
    };
    let age = now.since(environment.created_at);
    let runtime = or(environment.spec.max_runtime_seconds, limits.max_runtime);
    if matches!(environment.state, EnvironmentState::Destroying) || environment.state.is_ended() {
        return None;
    }
    if age > runtime {
        let text = format!("ran for {} s, its limit is {} s", age.as_secs(), runtime.as_secs());
        return Some((Suspicion::Expired, Reason::new(ReasonCode::Expired, text)));
    }
    if environment.state == EnvironmentState::Draining {
        let draining = now.since(environment.updated_at);
        return (draining > limits.drain_limit).then(|| {
            let limit = limits.drain_limit.as_secs();
            let text = format!("was draining for {} s, the limit is {limit} s", draining.as_secs());
            (Suspicion::Draining, Reason::new(ReasonCode::DrainTimeout, text))
        });
    }
    let idle_limit = or(environment.spec.idle_timeout_seconds, limits.idle_timeout);
    let idle = now.since(known.used_at);
    let is_idle = environment.state == EnvironmentState::Running
        && !known.attached
        && !known.busy
        && !idle_limit.is_zero()
        && idle > idle_limit;
    is_idle.then(|| {
        let text = format!("was not used for {} s, its limit is {} s", idle.as_secs(), idle_limit.as_secs());
        (Suspicion::Idle, Reason::new(ReasonCode::Idle, text))
    })
}

#[cfg(test)]
mod tests;
