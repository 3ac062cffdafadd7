//! The end: from a live environment to a destroyed one, and VMs that nobody stands for to nothing.

use std::sync::Arc;

use super::{ControlPlane, Inner, boot, change::Change, no_answer, state_event, tasks::Work};
use crate::{
    Error, RecordKind, Result,
    model::{
        Attempts, DeadLetter, DeadLetterKind, Environment, EnvironmentId, EnvironmentState, Event, EventKind,
        Reason, ReasonCode, Subject, Teardown, TeardownCause, Timestamp, VmName,
    },
    provider::{LogSource, Verb},
    store::{Expect, Kind},
};

impl ControlPlane {
    /// Destroys an environment, from whatever state, and waits until its VM is gone.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it is not there or has ended; [`Error::Provider`] when the host did not remove the VM:
    /// the environment is `destroying` then, and the removal is tried again until it succeeds.
    pub async fn destroy(&self, id: &EnvironmentId) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        let reason = Reason::from(ReasonCode::DestroyRequested);
        self.inner.finish(async move { inner.destroy(&id, reason).await }).await
    }
}

impl Inner {
    pub(super) async fn destroy(self: &Arc<Self>, id: &EnvironmentId, reason: Reason) -> Result<()> {
        let environment = self.live(id)?.value;
        if environment.state != EnvironmentState::Destroying {
            self.end(id, &environment.vm, reason).await?;
        }
        self.remove(id, &environment.vm).await
    }

    /// Decides the end of an environment. Returns whether it was this call that did.
    pub(super) async fn end(&self, id: &EnvironmentId, vm: &VmName, reason: Reason) -> Result<bool> {
        let mut first = true;
        let change = |current: &mut Environment, now| {
            if current.vm != *vm || current.state.is_ended() {
                return Err(Error::not_found(RecordKind::Environment, id));
            }
            current.enter(EnvironmentState::Destroying, reason.clone(), now)?;
            let mut change = Change::new().event(state_event(EventKind::VmDestroying, current));
            if let Some(letter) = limit_letter(current, &reason, now) {
                change = change.dead_letter(letter);
            }
            Ok(change)
        };
        match self.change_environment(id, change).await {
            // Somebody else was faster; the end is the same.
            Err(Error::EnvironmentTransition(_)) => first = false,
            result => drop(result?),
        }
        if let Some(activity) = self.fleet().known_activity(vm) {
            activity.cancel.notify_one();
        }
        Ok(first)
    }

    /// Removes the VM of an environment that is being destroyed.
    pub(super) async fn remove(self: &Arc<Self>, id: &EnvironmentId, vm: &VmName) -> Result<()> {
        let _work = Work::begin(self, vm).await;
        let environment = self.environment(id)?.value;
        if environment.vm != *vm || environment.state != EnvironmentState::Destroying {
            // Another removal of it was faster.
            return Ok(());
        }
        let host = &environment.host_id;
        let provider = self.provider(host)?;
        let console = self.console_of(&environment).await;
        let limit = self.config.timeouts.destroy;
        match self.call(host, Verb::Destroy, vm.as_str(), limit, provider.destroy(vm)).await {
            Ok(()) => self.note_removed(&environment, console).await,
            Err(error) => {
                self.note_not_removed(&environment, &error.to_string()).await?;
                Err(error.into())
            }
        }
    }

    pub(super) async fn note_removed(
        &self,
        environment: &Environment,
        console: Option<String>,
    ) -> Result<()> {
        let mut logs = self.kept_logs(&environment.vm).await.unwrap_or_default();
        if let Some(console) = console {
            let vault = self.vault(&environment.vm).await.ok();
            logs.insert(LogSource::Console, vault.map_or(console.clone(), |vault| vault.scrub(&console)));
        }
        let logs = if logs.is_empty() { None } else { Some(boot::encode_logs(&environment.vm, &logs)?) };
        let change = |current: &mut Environment, now| {
            if current.vm != environment.vm {
                return Err(super::not_our_vm(&environment.vm));
            }
            let reason = current.reason.clone();
            current.enter(EnvironmentState::Destroyed, reason, now)?;
            let key = letter_of(current, now).key();
            let mut change = match self.second_look(current, now) {
                None => Change::new(),
                Some(teardown) => Change::new().teardown(teardown),
            };
            change = change
                .delete(Kind::Secret, current.vm.as_str())
                .event(state_event(EventKind::VmRemoved, current));
            if let Some(logs) = logs {
                change = change.put_bytes(Kind::Log, current.vm.as_str(), Expect::Any, logs);
            }
            if self.fleet().dead_letters.contains_key(&key) {
                change = change.drop_dead_letter(&key);
            }
            Ok(change)
        };
        self.change_environment(&environment.id, change).await.map(drop)
    }

    /// A second removal, for a VM of which a creation may still be on its way: one without an answer, or one of a boot
    /// that a restart interrupted, also when a later boot made the VM and it ran.
    fn second_look(&self, environment: &Environment, now: Timestamp) -> Option<Teardown> {
        let unsure = self.fleet().known_activity(&environment.vm).is_some_and(|activity| activity.unsure);
        (unsure || environment.boots > 1).then(|| Teardown {
            vm: environment.vm.clone(),
            host_id: environment.host_id.clone(),
            cause: TeardownCause::FailedBoot,
            environment_id: Some(environment.id.clone()),
            holds: Some(environment.spec.resources),
            unsure: false,
            removal: Attempts { next_at: Some(now.after(self.config.second_look)), ..Attempts::default() },
            created_at: now,
        })
    }

    async fn note_not_removed(&self, environment: &Environment, error: &str) -> Result<()> {
        let change = |current: &mut Environment, now| {
            if current.vm != environment.vm {
                return Err(super::not_our_vm(&environment.vm));
            }
            current.removal.note_failure(error, now);
            let subject = Subject::Environment(current.id.clone());
            let mut change = Change::new().event(
                Event::new(now, EventKind::VmRemoveFailed, subject)
                    .with("tries", current.removal.failed)
                    .with_reason(Reason::new(ReasonCode::ProviderFailed, error)),
            );
            if current.removal.failed >= self.config.dead_letter_after {
                change = change.dead_letter(letter_of(current, now));
            }
            Ok(change)
        };
        self.change_environment(&environment.id, change).await.map(drop)
    }

    /// The end of the console of a VM, if the host tells it. Never holds anything up for long.
    pub(super) async fn console_of(&self, environment: &Environment) -> Option<String> {
        let (host, vm) = (&environment.host_id, &environment.vm);
        let provider = self.provider(host).ok()?;
        let limit = self.config.timeouts.query;
        let call = provider.logs(vm, LogSource::Console, self.config.log_bytes);
        let bytes = self.call(host, Verb::Logs, vm.as_str(), limit, call).await.ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (!text.is_empty()).then(|| boot::tail(&text, self.config.log_bytes).to_owned())
    }

    /// Removes a VM that no environment stands for.
    pub(super) async fn tear_down(self: &Arc<Self>, vm: &VmName) -> Result<()> {
        let _work = Work::begin(self, vm).await;
        let Some(teardown) = self.fleet().teardowns.get(vm).map(|entry| Arc::clone(&entry.value)) else {
            return Ok(());
        };
        let host = &teardown.host_id;
        let provider = self.provider(host)?;
        let limit = self.config.timeouts.destroy;
        let result = self.call(host, Verb::Destroy, vm.as_str(), limit, provider.destroy(vm)).await;
        let now = self.now();
        match result {
            Ok(()) if teardown.unsure => {
                let mut again = (*teardown).clone();
                again.unsure = false;
                again.removal.next_at = Some(now.after(self.config.second_look));
                self.commit(Change::new().teardown(again)).await
            }
            Ok(()) => {
                let key = teardown_letter(&teardown, now).key();
                let subject = Subject::Vm(vm.clone());
                let event = Event::new(now, EventKind::VmOrphanRemoved, subject).with("host_id", host);
                let mut change = Change::new().drop_teardown(vm).event(event);
                if self.fleet().dead_letters.contains_key(&key) {
                    change = change.drop_dead_letter(&key);
                }
                self.commit(change).await
            }
            Err(error) => {
                let mut failed = (*teardown).clone();
                failed.removal.note_failure(error.to_string(), now);
                let mut change = Change::new();
                if failed.removal.failed >= self.config.dead_letter_after {
                    change = change.dead_letter(teardown_letter(&failed, now));
                }
                if failed.removal.failed == self.config.dead_letter_after {
                    let subject = Subject::Vm(vm.clone());
                    let event = Event::new(now, EventKind::VmOrphanDeadLettered, subject);
                    change = change.event(event.with("host_id", host).with_reason(no_answer(&error)));
                }
                self.commit(change.teardown(failed)).await?;
                Err(error.into())
            }
        }
    }

    /// Takes up a VM of ours that no record knows: from now on it must go.
    pub(super) async fn adopt_orphan(
        self: &Arc<Self>,
        host: &crate::model::HostId,
        vm: &VmName,
    ) -> Result<()> {
        let now = self.now();
        let teardown = Teardown {
            vm: vm.clone(),
            host_id: host.clone(),
            cause: TeardownCause::Orphan,
            environment_id: None,
            holds: None,
            unsure: false,
            removal: Attempts::default(),
            created_at: now,
        };
        let event = Event::new(now, EventKind::VmOrphanFound, Subject::Vm(vm.clone())).with("host_id", host);
        self.commit(Change::new().teardown(teardown).event(event)).await?;
        self.tear_down(vm).await
    }
}

/// The dead letter of an environment whose VM cannot be removed.
pub(super) fn letter_of(environment: &Environment, now: Timestamp) -> DeadLetter {
    DeadLetter {
        kind: DeadLetterKind::Destroy,
        entity_id: environment.id.to_string(),
        task_id: Some(environment.task_id.clone()),
        host_id: Some(environment.host_id.clone()),
        reason: environment.removal.last_error.clone(),
        retry_count: environment.removal.failed,
        first_seen_at: environment.updated_at,
        last_seen_at: now,
    }
}

/// The letter that tells the operator that an environment ran into a limit.
fn limit_letter(environment: &Environment, reason: &Reason, now: Timestamp) -> Option<DeadLetter> {
    let kind = match reason.code {
        ReasonCode::Expired => DeadLetterKind::StuckTask,
        ReasonCode::Idle => DeadLetterKind::IdleTimeout,
        _ => return None,
    };
    Some(DeadLetter {
        kind,
        entity_id: environment.id.to_string(),
        task_id: Some(environment.task_id.clone()),
        host_id: Some(environment.host_id.clone()),
        reason: reason.to_string(),
        retry_count: 0,
        first_seen_at: now,
        last_seen_at: now,
    })
}

fn teardown_letter(teardown: &Teardown, now: Timestamp) -> DeadLetter {
    DeadLetter {
        kind: DeadLetterKind::OrphanDestroy,
        entity_id: teardown.vm.to_string(),
        task_id: None,
        host_id: Some(teardown.host_id.clone()),
        reason: teardown.removal.last_error.clone(),
        retry_count: teardown.removal.failed,
        first_seen_at: teardown.created_at,
        last_seen_at: now,
    }
}
