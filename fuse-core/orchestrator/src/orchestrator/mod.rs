//! The control plane: intent made durable, then made fact.
//!
//! See [`ControlPlane`].

mod boot;
mod builder;
mod change;
mod config;
mod deadletters;
#[cfg(feature = "sled")]
mod directory;
mod drain;
mod evacuate;
mod events;
mod fleet;
mod fork;
mod guest;
mod health;
mod hosts;
mod housekeeping;
mod keys;
mod lists;
mod locks;
mod logs;
mod moves;
mod once;
mod profile;
mod provision;
mod readopt;
mod reconcile;
mod record;
mod recover;
mod remove;
mod resolve;
mod services;
mod snapshots;
mod tasks;
mod vault;
mod waits;
mod watcher;

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    Error, RecordKind, Result,
    model::{
        Clock, Environment, EnvironmentId, HostId, OwnerId, Reason, ReasonCode, Subject, Timestamp, VmName,
    },
    provider::{Connector, Provider, ProviderError, ProviderErrorKind, ProviderResult, Verb},
    store::{Lease, SharedStore, StoreError},
};

pub use builder::Builder;
pub use config::{Config, Timeouts};
pub use evacuate::HostDrainProgress;
pub use events::Delivery;
pub(crate) use events::Reader;
pub use hosts::{HostRegistration, Removal};
pub use keys::Refusal;
pub use lists::{CursorError, Page};
pub(crate) use logs::Follower;
pub use once::{Once, OnceAnswer};
pub(crate) use provision::boot_failure;
pub use reconcile::HostReport;
pub use vault::SecretKeeper;
pub use watcher::{Look, ReconcileWatcher};

use change::Change;
use events::EventHub;
use fleet::{Entry, Fleet};
use locks::Locks;
use tasks::Tasks;
use waits::Waits;

/// The control plane of a fleet, in this process: cheap to clone, safe to use from many tasks at once.
///
/// [`ControlPlane`](crate::ControlPlane) is what programs use, and serves a control plane in this process as well as
/// one behind the REST API. This type has in addition what only the process that acts can do: who a key belongs to,
/// looking at the hosts now, credentials, figures. What it knows it tells at once, without waiting.
///
/// Every change that a method makes is durable when the method returns, and is finished in the background even when
/// the method's future is dropped: a caller that goes away loses the answer, not the environment.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// use fuse_orchestrator::{ControlPlane, model::{ProvisionRequest, TaskId}};
///
/// let plane = ControlPlane::in_memory().await?;
/// let accepted = plane.provision(ProvisionRequest::new(TaskId::new("t1")?)).await?;
/// assert_eq!(plane.get(&accepted.id)?.task_id, accepted.task_id);
/// for (host, report) in plane.reconcile().await? {
///     println!("{host}: {report:?}");
/// }
/// plane.close().await?;
/// # Ok::<(), fuse_orchestrator::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct ControlPlane {
    inner: Arc<Inner>,
    /// Ends the background work when the last clone goes.
    _guard: Arc<Guard>,
}

#[derive(Debug)]
struct Guard(Arc<Inner>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.tasks.abort();
    }
}

#[derive(Debug)]
struct Inner {
    config: Config,
    owner: OwnerId,
    store: SharedStore,
    clock: Arc<dyn Clock>,
    secrets: Arc<dyn SecretKeeper>,
    connectors: BTreeMap<String, Arc<dyn Connector>>,
    fleet: Mutex<Fleet>,
    hub: Arc<EventHub>,
    lease: Mutex<Lease>,
    locks: Locks,
    waits: Waits,
    /// Why this orchestrator does not act any more.
    closed: Mutex<Option<String>>,
    tasks: Tasks,
    watcher: Option<Arc<dyn ReconcileWatcher>>,
}

impl Inner {
    fn fleet(&self) -> MutexGuard<'_, Fleet> {
        // Nothing panics while it holds the lock: the maps are whole in any case.
        self.fleet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(&self) -> Lease {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn lose_lease(&self, error: &StoreError) {
        self.close_because(error.to_string());
    }

    fn close_because(&self, why: String) {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
        self.waits.wake_all();
    }

    fn check_open(&self) -> Result<()> {
        match &*self.closed.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(()),
            Some(why) => Err(Error::Closed { why: why.clone() }),
        }
    }

    /// Does `work` to its end, whether or not the caller waits for it.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        self.check_open()?;
        let (answer, answered) = tokio::sync::oneshot::channel();
        self.tasks.spawn(async move {
            // A caller that went away does not want the answer.
            let _ = answer.send(work.await);
        });
        answered.await.unwrap_or_else(|_| Err(Error::Closed { why: "it was closed".to_owned() }))
    }

    fn environment(&self, id: &EnvironmentId) -> Result<Entry<Environment>> {
        self.fleet().environment(id).cloned().ok_or_else(|| Error::not_found(RecordKind::Environment, id))
    }

    /// The environment, when it has not ended.
    fn live(&self, id: &EnvironmentId) -> Result<Entry<Environment>> {
        let entry = self.environment(id)?;
        if entry.value.state.is_ended() {
            return Err(Error::not_found(RecordKind::Environment, id));
        }
        Ok(entry)
    }

    fn provider(&self, host: &HostId) -> Result<Arc<dyn Provider>> {
        let fleet = self.fleet();
        let entry = fleet.hosts.get(host).ok_or_else(|| Error::not_found(RecordKind::Host, host))?;
        Ok(Arc::clone(&entry.provider))
    }

    /// Waits for a verb, for as long as it may take.
    async fn call<T>(
        &self,
        host: &HostId,
        verb: Verb,
        target: &str,
        limit: Duration,
        call: impl Future<Output = ProviderResult<T>>,
    ) -> ProviderResult<T> {
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
            let message = format!("no answer within {} s; it may still happen", limit.as_secs_f32());
            Err(ProviderError::new(ProviderErrorKind::TimedOut, verb, host, target, message))
        })
    }

    /// Changes the record of an environment: `change` edits a copy and may add to the commit.
    async fn change_environment(
        &self,
        id: &EnvironmentId,
        change: impl FnOnce(&mut Environment, Timestamp) -> Result<Change>,
    ) -> Result<Arc<Environment>> {
        let _held = self.locks.hold(RecordKind::Environment, id.as_str()).await;
        let Entry { value, revision } = self.environment(id)?;
        let mut environment = (*value).clone();
        let more = change(&mut environment, self.now())?;
        self.commit(more.environment(environment, Some(revision))).await?;
        Ok(self.environment(id)?.value)
    }

    /// A fresh name: `prefix` and 32 random hexadecimal digits.
    fn fresh(&self, prefix: &str) -> Result<String> {
        let mut bytes = [0; 16];
        self.secrets.random(&mut bytes)?;
        Ok(format!("{prefix}{:032x}", u128::from_be_bytes(bytes)))
    }
}

/// The event of a change of state, with what subscribers want to know of it.
fn state_event(kind: crate::model::EventKind, environment: &Environment) -> crate::model::Event {
    let subject = Subject::Environment(environment.id.clone());
    let event = crate::model::Event::new(environment.updated_at, kind, subject)
        .with_state(environment.state)
        .with_reason(environment.reason.clone())
        .with("vm", &environment.vm);
    if environment.url.is_empty() { event } else { event.with("url", &environment.url) }
}

fn no_answer(error: &ProviderError) -> Reason {
    Reason::new(ReasonCode::ProviderFailed, error.to_string())
}

fn not_our_vm(vm: &VmName) -> Error {
    Error::Closed { why: format!("the work on {vm} was overtaken by a newer environment of the same task") }
}
