//! Provision: from a request to an accepted environment.

use std::{sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    ControlPlane, Inner,
    boot::{self, Boot},
    change::Change,
    fleet::Entry,
    record, state_event,
    tasks::Work,
    vault::Vault,
};
use crate::{
    Error, RecordKind, Result,
    model::{
        Attempts, Environment, EnvironmentId, EnvironmentState, EventKind, HostId, IdempotencyKey, Observed,
        Phase, PhaseTimings, ProvisionRequest, ReasonCode, Seed, Snapshot, SnapshotState, Timestamp,
    },
    scheduler::Demand,
    store::{Expect, Kind, StoreError},
};

/// The answer that is kept for an idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeptAnswer {
    pub(super) digest: String,
    /// What a provision made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) environment_id: Option<EnvironmentId>,
    /// The answer to other work, sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<String>,
    pub(super) created_at: Timestamp,
}

impl ControlPlane {
    /// Accepts a request: checks it, chooses a host, reserves the capacity, and makes all of it durable.
    ///
    /// The answer is the environment in state `provisioning`; it comes up in the background. Wait for it with
    /// [`ControlPlane::wait_running`], or follow its events.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::TooLarge`]; [`Error::TaskTaken`] when the task has a live environment;
    /// [`Error::Placement`] when no host can take it; [`Error::Store`].
    pub async fn provision(&self, request: ProvisionRequest) -> Result<Arc<Environment>> {
        request.check(self.inner.config.script_ceiling)?;
        let inner = Arc::clone(&self.inner);
        self.inner.finish(async move { inner.provision(request, None).await }).await
    }

    /// The same, once for each key: an equal request with the same key gets the environment that the first one made.
    ///
    /// # Errors
    /// As [`ControlPlane::provision`], and [`Error::KeyReused`] when the key was used for another request.
    pub async fn provision_once(
        &self,
        key: &IdempotencyKey,
        request: ProvisionRequest,
    ) -> Result<Arc<Environment>> {
        request.check(self.inner.config.script_ceiling)?;
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        self.inner.finish(async move { inner.provision_once(&key, request).await }).await
    }

    /// Waits until an environment runs, at most `limit`.
    ///
    /// # Errors
    /// [`Error::BootFailed`] when it failed or was destroyed instead, [`Error::Timeout`] when it takes longer (it
    /// goes on), [`Error::NotFound`], [`Error::Closed`].
    pub async fn wait_running(&self, id: &EnvironmentId, limit: Duration) -> Result<Arc<Environment>> {
        let wait = async {
            let mut changes = self.inner.waits.on(id);
            loop {
                let environment = self.inner.environment(id)?.value;
                match environment.state {
                    EnvironmentState::Running => return Ok(environment),
                    EnvironmentState::Provisioning => {}
                    _ => return Err(boot_failure(&environment)),
                }
                self.inner.check_open()?;
                // The sender is in the map for as long as this receiver is there.
                let _ = changes.changed().await;
            }
        };
        tokio::time::timeout(limit, wait)
            .await
            .unwrap_or_else(|_| Err(Error::Timeout { what: format!("the boot of vm {id}"), after: limit }))
    }
}

/// Why an environment that was waited for does not come to run.
pub(crate) fn boot_failure(environment: &Environment) -> Error {
    let script_timeout = environment.reason.text.contains(boot::SCRIPT_TIMEOUT);
    Error::BootFailed { id: environment.id.clone(), why: environment.reason.to_string(), script_timeout }
}

impl Inner {
    async fn provision_once(
        self: &Arc<Self>,
        key: &IdempotencyKey,
        request: ProvisionRequest,
    ) -> Result<Arc<Environment>> {
        let digest = digest(&request)?;
        if let Some(answer) = self.kept_answer(key, &digest).await? {
            return Ok(answer);
        }
        let asked = request.clone();
        match self.provision(request, Some((key, digest.clone()))).await {
            // Another request with this key was faster.
            Err(error @ (Error::Store(StoreError::Conflict { .. }) | Error::TaskTaken { .. })) => {
                drop(asked);
                self.kept_answer(key, &digest).await?.ok_or(error)
            }
            answer => answer,
        }
    }

    async fn kept_answer(&self, key: &IdempotencyKey, digest: &str) -> Result<Option<Arc<Environment>>> {
        let Some(found) = self.store.get(Kind::Idempotency, key.as_str()).await? else {
            return Ok(None);
        };
        let kept: KeptAnswer = record::decode("idempotency", key.as_str(), &found.body)?;
        if self.now().since(kept.created_at) > self.config.keep_idempotency {
            return Ok(None);
        }
        let Some(environment_id) = kept.environment_id else { return Ok(None) };
        if kept.digest != digest {
            return Err(Error::KeyReused { key: key.to_string(), environment_id });
        }
        Ok(Some(self.environment(&environment_id)?.value))
    }

    async fn provision(
        self: &Arc<Self>,
        request: ProvisionRequest,
        key: Option<(&IdempotencyKey, String)>,
    ) -> Result<Arc<Environment>> {
        let seed = self.seed(&request)?;
        let id = self.config.prefix.environment(&request.task_id);
        let vm = self.config.prefix.vm(&id, &self.fresh("")?);
        let now = self.now();
        let vault = Vault::new(&request, self.credentials_for(&request, &vm, now)?)?;
        let mut demand = Demand::from(&request.spec);
        if let Some(snapshot) = &seed {
            self.place_seed(snapshot, &mut demand)?;
        }
        let seed = seed.map(|snapshot| Seed { snapshot_id: snapshot.id.clone(), forked_from: None });
        let environment = new_environment(&request, id, vm, seed, now);
        self.accept(environment, vault, &demand, key).await
    }

    /// Places an environment, makes it durable, and begins its boot.
    pub(super) async fn accept(
        self: &Arc<Self>,
        environment: Environment,
        vault: Vault,
        demand: &Demand,
        key: Option<(&IdempotencyKey, String)>,
    ) -> Result<Arc<Environment>> {
        let (id, vm) = (environment.id.clone(), environment.vm.clone());
        let sealed = self.seal(&vm, &vault)?;
        let held = self.locks.hold(RecordKind::Environment, id.as_str()).await;
        let started = tokio::time::Instant::now();
        let reserved = self.reserve(environment, demand)?;
        let (mut environment, replaced) = reserved;
        environment.timings.note(Phase::Schedule, micros(started.elapsed()));

        let work = Work::begin(self, &vm).await;
        let scheduled = state_event(EventKind::VmScheduled, &environment)
            .with("host_id", &environment.host_id)
            .with("policy", self.config.policy.as_str());
        let mut change = Change::new()
            .put_bytes(Kind::Secret, vm.as_str(), Expect::Absent, sealed)
            .event(state_event(EventKind::VmProvisioning, &environment))
            .event(scheduled);
        if let Some(old) = &replaced {
            change = change.delete(Kind::Log, old.value.vm.as_str());
        }
        if let Some((key, digest)) = key {
            change = self.keep_answer(change, key, digest, &environment).await?;
        }
        let result = self.commit(change.environment(environment.clone(), replaced.map(|e| e.revision))).await;
        if let Err(error) = result {
            // The record may be durable all the same when the answer was lost; recovery then boots it.
            drop(work);
            let mut fleet = self.fleet();
            fleet.scheduler.release(&vm);
            fleet.forget_activity(&vm);
            if fleet.environment(&id).is_none_or(|entry| entry.value.state.is_ended()) {
                fleet.give_task_back(&environment.task_id);
            }
            return Err(error);
        }
        drop(held);
        let accepted = self.environment(&id)?.value;
        let boot = Boot::new(self, Arc::clone(&accepted), Some(vault), work);
        self.tasks.spawn(boot.run());
        Ok(accepted)
    }

    async fn keep_answer(
        &self,
        change: Change,
        key: &IdempotencyKey,
        digest: String,
        environment: &Environment,
    ) -> Result<Change> {
        let answer = KeptAnswer {
            digest,
            environment_id: Some(environment.id.clone()),
            answer: None,
            created_at: environment.created_at,
        };
        let body = record::encode("idempotency", key.as_str(), &answer)?;
        // An answer that is there still is one whose time is over; the revision keeps two of us apart.
        let found = self.store.get(Kind::Idempotency, key.as_str()).await?;
        let expect = found.map_or(Expect::Absent, |record| Expect::Revision(record.revision));
        Ok(change.put_bytes(Kind::Idempotency, key.as_str(), expect, body))
    }

    fn credentials_for(
        &self,
        request: &ProvisionRequest,
        vm: &crate::model::VmName,
        now: Timestamp,
    ) -> Result<crate::secrets::Credentials> {
        Ok(self.secrets.credentials(vm, request.agent.auth_token.as_ref(), now)?)
    }

    /// The snapshot that a request boots from.
    fn seed(&self, request: &ProvisionRequest) -> Result<Option<Arc<Snapshot>>> {
        let Some(id) = &request.seed_snapshot_id else {
            return Ok(None);
        };
        let snapshot = self.snapshot(id)?.value;
        if snapshot.state != SnapshotState::Ready {
            let state = snapshot.state;
            return Err(Error::SnapshotNotReady { operation: "boot from", id: id.clone(), state });
        }
        Ok(Some(snapshot))
    }

    /// Takes the task and the capacity, in one step, before anything is durable.
    ///
    /// Returns the environment with its host, and the ended record that it replaces.
    fn reserve(
        &self,
        mut environment: Environment,
        demand: &Demand,
    ) -> Result<(Environment, Option<Entry<Environment>>)> {
        let mut fleet = self.fleet();
        if let Some(holder) = fleet.holder_of(&environment.task_id) {
            let state = fleet.environment(holder).map_or(EnvironmentState::Provisioning, |e| e.value.state);
            return Err(Error::TaskTaken {
                task_id: environment.task_id,
                environment_id: holder.clone(),
                state,
            });
        }
        let host = fleet.scheduler.place(demand)?;
        fleet.scheduler.charge(&environment.vm, &host, environment.spec.resources);
        fleet.take_task(&environment.task_id, &environment.id);
        environment.host_id = host;
        let replaced = fleet.environment(&environment.id).cloned();
        Ok((environment, replaced))
    }
}

fn new_environment(
    request: &ProvisionRequest,
    id: EnvironmentId,
    vm: crate::model::VmName,
    seed: Option<Seed>,
    now: Timestamp,
) -> Environment {
    Environment {
        id,
        task_id: request.task_id.clone(),
        vm,
        state: EnvironmentState::Provisioning,
        reason: ReasonCode::Requested.into(),
        host_id: HostId::first(),
        spec: request.spec.clone(),
        agent: request.agent.kept(),
        startup_script: request.startup_script.clone(),
        startup_script_timeout_seconds: request.startup_script_timeout_seconds,
        expose: request.expose.clone(),
        healthcheck: request.healthcheck.clone(),
        seed,
        url: String::new(),
        endpoints: Vec::new(),
        health: None,
        observed: Observed::Unknown,
        timings: PhaseTimings::default(),
        warnings: Vec::new(),
        boots: 1,
        removal: Attempts::default(),
        created_at: now,
        updated_at: now,
    }
}

/// What makes two requests equal: everything in them, secrets included.
fn digest(request: &ProvisionRequest) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(record::encode("request", request.task_id.as_str(), request)?);
    for (name, value) in &request.secrets {
        hash.update([0]);
        hash.update(name);
        hash.update([0]);
        hash.update(value.expose_secret());
    }
    for token in [&request.agent.auth_token, &request.agent.gateway_token] {
        hash.update([1]);
        hash.update(token.as_ref().map_or("", ExposeSecret::expose_secret));
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(super) fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

/// A new environment that is asked for what `source` was asked for.
pub(super) fn fresh_copy(
    source: &Environment,
    id: EnvironmentId,
    task_id: crate::model::TaskId,
    vm: crate::model::VmName,
    now: Timestamp,
) -> Environment {
    let mut request = ProvisionRequest::new(task_id);
    request.spec.clone_from(&source.spec);
    request.agent = source.agent.clone();
    request.expose.clone_from(&source.expose);
    request.healthcheck.clone_from(&source.healthcheck);
    new_environment(&request, id, vm, None, now)
}
