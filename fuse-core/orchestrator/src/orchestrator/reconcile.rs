//! Reconcile, carried out: ask a host, make the plan, do it.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use super::{ControlPlane, Inner, Look, boot::Boot, change::Change, state_event, tasks::Work};
use crate::{
    Error, RecordKind, Result,
    model::{
        Environment, EnvironmentId, EnvironmentState, Event, EventKind, HostId, HostLiveness, Liveness,
        Reason, ReasonCode, Subject, Timestamp,
    },
    provider::Verb,
    reconcile::{Action, EnvironmentFacts, Facts, Listing, Plan, Sightings, Suspicion, plan},
};

/// What one look at a host came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostReport {
    /// Whether the host answered.
    pub answered: bool,
    /// What was done, in the order in which it was begun.
    pub actions: Vec<Action>,
    /// VMs of other owners under our prefix.
    pub foreign: usize,
    /// What is suspected and not acted upon yet.
    pub suspected: usize,
    /// Actions that failed; they are planned again.
    pub failed: usize,
}

impl ControlPlane {
    /// Looks at one host now, does what is needed, and waits until it is done.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Closed`].
    pub async fn reconcile_host(&self, id: &HostId) -> Result<HostReport> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        self.inner.finish(async move { inner.reconcile_host(&id).await }).await
    }

    /// Looks at all hosts now, side by side, does what is needed, and waits until it is done. Then does the
    /// housekeeping that belongs to no host.
    ///
    /// # Errors
    /// [`Error::Closed`]; what housekeeping fails with. A host that does not answer is not an error.
    pub async fn reconcile(&self) -> Result<Vec<(HostId, HostReport)>> {
        let ids: Vec<_> = self.inner.fleet().hosts.keys().cloned().collect();
        let mut looks = tokio::task::JoinSet::new();
        for id in ids {
            let this = self.clone();
            looks.spawn(async move {
                let report = this.reconcile_host(&id).await;
                (id, report)
            });
        }
        let mut reports = Vec::new();
        while let Some(look) = looks.join_next().await {
            let Ok((id, report)) = look else { continue };
            match report {
                Ok(report) => reports.push((id, report)),
                // It was removed meanwhile.
                Err(Error::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        reports.sort_by(|a, b| a.0.cmp(&b.0));
        let inner = Arc::clone(&self.inner);
        self.inner.finish(async move { inner.keep_house().await }).await?;
        Ok(reports)
    }
}

impl Inner {
    /// Looks at a host again and again, while the orchestrator lives and the host is registered.
    pub(super) fn watch_host(self: &Arc<Self>, id: &HostId) {
        let Some(period) = self.config.reconcile_period else { return };
        if !self.fleet().watched.insert(id.clone()) {
            return;
        }
        let (weak, id) = (Arc::downgrade(self), id.clone());
        self.tasks.spawn(async move {
            while let Some(inner) = weak.upgrade() {
                if !inner.fleet().hosts.contains_key(&id) || inner.check_open().is_err() {
                    inner.fleet().watched.remove(&id);
                    return;
                }
                // Actions go on in the background, so a slow one does not hold up the next look.
                let _ = inner.look(&id).await;
                drop(inner);
                tokio::time::sleep(period).await;
            }
        });
    }

    /// Does housekeeping again and again.
    pub(super) fn watch_house(self: &Arc<Self>) {
        let Some(period) = self.config.reconcile_period else { return };
        let weak = Arc::downgrade(self);
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(period).await;
                let Some(inner) = weak.upgrade() else { return };
                if inner.check_open().is_err() {
                    return;
                }
                // What failed is done in the next round.
                let _ = inner.keep_house().await;
            }
        });
    }

    /// Renews the lease again and again.
    pub(super) fn watch_lease(self: &Arc<Self>) {
        let weak = Arc::downgrade(self);
        let ttl = self.config.lease;
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(ttl / 3).await;
                let Some(inner) = weak.upgrade() else { return };
                let lease = inner.lease();
                match inner.store.renew_lease(&lease, ttl).await {
                    Ok(new) => *inner.lease.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = new,
                    Err(error @ crate::store::StoreError::StaleFence { .. }) => {
                        inner.lose_lease(&error);
                        return;
                    }
                    // The store is away. Commits find that out; the lease holds until somebody takes it.
                    Err(_) => {}
                }
            }
        });
    }

    pub(super) async fn look(self: &Arc<Self>, id: &HostId) -> Result<Plan> {
        let (plan, listing) = self.plan(id).await?;
        for action in plan.actions.clone() {
            let (inner, id) = (Arc::clone(self), id.clone());
            self.tasks.spawn(async move {
                // What failed is planned again.
                let _ = inner.act(&id, action).await;
            });
        }
        if matches!(listing, Listing::Answered { .. }) {
            for snapshot in self.unfinished_snapshots(id) {
                let inner = Arc::clone(self);
                self.tasks.spawn(async move {
                    let _ = inner.finish_snapshot(&snapshot).await;
                });
            }
            if self.fleet().has_health_checks(id) {
                let (inner, id) = (Arc::clone(self), id.clone());
                self.tasks.spawn(async move {
                    let _ = inner.read_verdicts(&id).await;
                });
            }
        }
        Ok(plan)
    }

    async fn reconcile_host(self: &Arc<Self>, id: &HostId) -> Result<HostReport> {
        let (plan, listing) = self.plan(id).await?;
        let mut work = Vec::new();
        for action in plan.actions.clone() {
            let (inner, id) = (Arc::clone(self), id.clone());
            work.push(self.begin(async move { inner.act(&id, action).await }));
        }
        let answered = matches!(listing, Listing::Answered { .. });
        if answered {
            for snapshot in self.unfinished_snapshots(id) {
                let inner = Arc::clone(self);
                work.push(self.begin(async move { inner.finish_snapshot(&snapshot).await }));
            }
            let (inner, id) = (Arc::clone(self), id.clone());
            work.push(self.begin(async move { inner.read_verdicts(&id).await }));
        }
        let mut failed = 0;
        for done in work {
            failed += usize::from(!matches!(done.await, Ok(Ok(()))));
        }
        let Plan { actions, sightings, foreign } = plan;
        Ok(HostReport { answered, actions, foreign, suspected: sightings.len(), failed })
    }

    /// Begins work in the background; the answer says how it ended.
    fn begin(
        &self,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> tokio::sync::oneshot::Receiver<Result<()>> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.tasks.spawn(async move {
            let _ = answer.send(work.await);
        });
        answered
    }

    /// Asks a host and makes the plan.
    async fn plan(self: &Arc<Self>, id: &HostId) -> Result<(Plan, Listing)> {
        let provider = self.provider(id)?;
        let began = tokio::time::Instant::now();
        let asked_at = self.now();
        let limit = self.config.timeouts.query;
        let call = provider.list(&self.owner, &self.config.prefix);
        let listing = match self.call(id, Verb::List, "", limit, call).await {
            Ok(vms) => Listing::Answered { asked_at, vms },
            Err(error) => Listing::Silent { why: error.to_string() },
        };
        let now = self.now();
        let mut fleet = self.fleet();
        let entry = fleet.hosts.get(id).ok_or_else(|| Error::not_found(RecordKind::Host, id))?;
        let (host, sightings) = (Arc::clone(&entry.host.value), entry.sightings.clone());
        let environments: Vec<_> =
            fleet.of_host(id).map(|entry| facts_of(&fleet, Arc::clone(&entry.value), now)).collect();
        let teardowns: Vec<_> = fleet.teardowns.values().map(|entry| Arc::clone(&entry.value)).collect();
        let teardowns: Vec<_> = teardowns.into_iter().filter(|teardown| teardown.host_id == *id).collect();
        let tearing: BTreeSet<_> = teardowns
            .iter()
            .map(|teardown| &teardown.vm)
            .filter(|vm| fleet.known_activity(vm).is_some_and(|activity| activity.busy > 0))
            .cloned()
            .collect();
        let plan = plan(&Facts {
            host: &host,
            environments: &environments,
            teardowns: &teardowns,
            tearing: &tearing,
            listing: &listing,
            owner: &self.owner,
            prefix: &self.config.prefix,
            sightings: &sightings,
            limits: &self.config.limits,
            readopt: self.config.readopt,
            now,
        });
        self.tell_watcher(id, began, &listing, &sightings, &plan);
        if let Some(entry) = fleet.hosts.get_mut(id) {
            entry.sightings = plan.sightings.clone();
            if matches!(listing, Listing::Answered { .. }) {
                Arc::make_mut(&mut entry.host.value).last_seen = now;
            }
        }
        Ok((plan, listing))
    }

    fn tell_watcher(
        &self,
        host: &HostId,
        began: tokio::time::Instant,
        listing: &Listing,
        before: &Sightings,
        plan: &Plan,
    ) {
        let Some(watcher) = &self.watcher else { return };
        let newly = |what| plan.sightings.suspected(what).filter(|vm| !before.suspects(what, vm)).count();
        let vms = match listing {
            Listing::Answered { vms, .. } => Some(vms.len().saturating_sub(plan.foreign)),
            Listing::Silent { .. } => None,
        };
        let (newly_stuck, newly_idle) = (newly(Suspicion::Expired), newly(Suspicion::Idle));
        watcher.looked(host, &Look { took: began.elapsed(), vms, newly_stuck, newly_idle });
    }

    async fn act(self: &Arc<Self>, host: &HostId, action: Action) -> Result<()> {
        match action {
            Action::SetLiveness(liveness) => self.set_liveness(host, liveness).await,
            Action::Observe(id, observed) => {
                self.fleet().touch_environment(&id, |environment| environment.observed = observed);
                Ok(())
            }
            Action::Boot(id) => self.boot_again(&id).await,
            Action::Destroy(id, reason) => self.destroy(&id, reason).await,
            Action::RetryDestroy(id) => {
                let vm = self.live(&id)?.value.vm.clone();
                self.remove(&id, &vm).await
            }
            Action::RetryTeardown(vm) => self.tear_down(&vm).await,
            Action::AdoptOrphan(vm) => self.adopt_orphan(host, &vm).await,
            Action::Readopt(vm) => self.readopt(host, &vm).await,
            Action::Empty(id) => self.empty(&id).await,
            Action::NoteEmptied => self.note_emptied(host, self.now()).await,
        }
    }

    async fn set_liveness(&self, id: &HostId, liveness: HostLiveness) -> Result<()> {
        let kind = match liveness.state {
            Liveness::Ready => EventKind::HostReady,
            Liveness::Unreachable => EventKind::HostUnreachable,
            Liveness::Lost => EventKind::HostLost,
        };
        let event =
            Event::new(self.now(), kind, Subject::Host(id.clone())).with_reason(liveness.reason.clone());
        self.change_host(id, |host| host.liveness = liveness, Some(event)).await
    }

    /// Begins the boot of an environment again that nobody boots.
    async fn boot_again(self: &Arc<Self>, id: &EnvironmentId) -> Result<()> {
        let vm = self.live(id)?.value.vm.clone();
        let work = Work::begin(self, &vm).await;
        let tries = self.config.boot_tries;
        let change = |current: &mut Environment, now| {
            if current.vm != vm || current.state != EnvironmentState::Provisioning {
                return Err(super::not_our_vm(&vm));
            }
            current.boots += 1;
            current.updated_at = now;
            current.reason = Reason::new(
                ReasonCode::Recovered,
                format!("a restart interrupted boot {}; it was begun again", current.boots - 1),
            );
            Ok(Change::new().event(state_event(EventKind::VmRecovered, current)))
        };
        let environment = match self.change_environment(id, change).await {
            // It came up, or was ended, while we waited.
            Err(Error::Closed { .. }) if self.check_open().is_ok() => return Ok(()),
            result => result?,
        };
        let boot = Boot::new(self, environment, None, work);
        if boot.is_beyond(tries) {
            boot.give_up().await
        } else {
            boot.run().await;
            Ok(())
        }
    }
}

fn facts_of(fleet: &super::Fleet, environment: Arc<Environment>, now: Timestamp) -> EnvironmentFacts {
    let activity = fleet.known_activity(&environment.vm);
    EnvironmentFacts {
        busy: activity.is_some_and(|activity| activity.busy > 0),
        settled_at: activity.map_or(Timestamp::EPOCH, |activity| activity.settled_at),
        // Nobody has used it since this process began to look.
        used_at: activity.map_or(now, |activity| activity.used_at),
        attached: activity.is_some_and(|activity| activity.attached > 0),
        environment,
    }
}

/// The shortest period that is sensible.
pub(super) const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
