//! Emptying a host: no new environments, and those that it has are drained and then destroyed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::{ControlPlane, Inner};
use crate::{
    Error, Result,
    model::{
        EnvironmentId, EnvironmentState, Event, EventKind, HostDrain, HostId, HostState, Reason, ReasonCode,
        Subject, Timestamp,
    },
};

/// How often a host that is being emptied is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How the emptying of a host goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDrainProgress {
    /// The order: when it was given, how long a drain may take, how many environments there were.
    pub order: HostDrain,
    /// How many environments and teardowns the host still has.
    pub left: usize,
    /// The environments that it still has, by state.
    pub states: BTreeMap<EnvironmentState, usize>,
}

impl HostDrainProgress {
    /// Whether the host is empty.
    #[must_use]
    pub const fn is_finished(&self) -> bool {
        self.order.finished_at.is_some()
    }
}

impl ControlPlane {
    /// Empties a host: cordons it, drains each of its environments, and destroys each when its drain command has ended,
    /// or when `limit` is over (none: the drain limit of the configuration, 15 min). Those that are being provisioned
    /// come up first. Returns when the order is durable; it is carried out in the background, also after a restart, and
    /// [`ControlPlane::host_drain`] tells how it goes. An uncordon takes the order back.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn drain_host(&self, id: &HostId, limit: Option<Duration>) -> Result<HostDrainProgress> {
        let (inner, key) = (Arc::clone(&self.inner), id.clone());
        self.inner.finish(async move { inner.drain_host(&key, limit).await }).await?;
        self.host_drain(id)?.ok_or_else(|| Error::not_found(crate::RecordKind::Host, id))
    }

    /// How the emptying of a host goes; none when nobody asked for it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn host_drain(&self, id: &HostId) -> Result<Option<HostDrainProgress>> {
        let host = self.host(id)?;
        let fleet = self.inner.fleet();
        let Some(order) = host.drain else { return Ok(None) };
        let mut states = BTreeMap::new();
        for entry in fleet.of_host(id) {
            *states.entry(entry.value.state).or_default() += 1;
        }
        Ok(Some(HostDrainProgress { order, left: fleet.weight_of_host(id), states }))
    }
}

impl Inner {
    async fn drain_host(self: &Arc<Self>, id: &HostId, limit: Option<Duration>) -> Result<()> {
        let now = self.now();
        let limit = limit.unwrap_or(self.config.limits.drain_limit);
        let order = HostDrain {
            since: now,
            limit_seconds: limit.as_secs(),
            environments: self.fleet().of_host(id).count(),
            finished_at: None,
        };
        let event = Event::new(now, EventKind::HostDraining, Subject::Host(id.clone()))
            .with("environments", order.environments);
        let set = |host: &mut crate::model::Host| {
            host.state = HostState::Cordoned;
            host.drain = Some(order);
        };
        self.change_host(id, set, Some(event)).await?;
        let (inner, id) = (Arc::clone(self), id.clone());
        self.tasks.spawn(async move { inner.watch_drain(&id).await });
        Ok(())
    }

    /// Looks at a host often while it is being emptied. After a restart, its ordinary looks go on with it.
    async fn watch_drain(self: &Arc<Self>, id: &HostId) {
        let open = |inner: &Self| {
            let order = inner.fleet().hosts.get(id).and_then(|entry| entry.host.value.drain);
            order.is_some_and(|order| order.finished_at.is_none()) && inner.check_open().is_ok()
        };
        while open(self) {
            // What failed is planned again.
            let _ = self.look(id).await;
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Drains an environment of a host that is being emptied, and destroys it when its drain command has ended. One whose
    /// drain failed waits for the limit.
    pub(super) async fn empty(self: &Arc<Self>, id: &EnvironmentId) -> Result<()> {
        self.drain(id).await?;
        self.destroy(id, Reason::new(ReasonCode::HostDrained, "its host is being emptied")).await
    }

    /// Notes that a host is empty.
    pub(super) async fn note_emptied(self: &Arc<Self>, id: &HostId, now: Timestamp) -> Result<()> {
        let event = Event::new(now, EventKind::HostDrained, Subject::Host(id.clone()));
        let set = |host: &mut crate::model::Host| {
            if let Some(order) = &mut host.drain {
                order.finished_at.get_or_insert(now);
            }
        };
        self.change_host(id, set, Some(event)).await
    }
}
