//! Reading: one, many, and the events.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{ControlPlane, events::Reader, fleet::Fleet};
use crate::{
    Error, RecordKind, Result, Subscription,
    model::{
        Environment, EnvironmentFilter, EnvironmentId, EnvironmentState, Host, HostId, Liveness, Observed,
        Snapshot, SnapshotFilter, SnapshotId, Subject, Teardown, Timestamp,
    },
};

/// How many entries a page has when nothing is said.
const PAGE_DEFAULT: usize = 50;
/// The most entries that a page has.
const PAGE_MOST: usize = 200;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page begins; none on the last.
    pub next_cursor: Option<String>,
}

/// A cursor that is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the cursor is not one that a list gave out")]
pub struct CursorError;

impl From<CursorError> for Error {
    fn from(error: CursorError) -> Self {
        Self::invalid("cursor", error.to_string())
    }
}

#[derive(Serialize, Deserialize)]
struct IdCursor<T> {
    id: T,
}

#[derive(Serialize, Deserialize)]
struct TimeCursor {
    created_at: Timestamp,
    id: SnapshotId,
}

fn encode<T: Serialize>(cursor: &T) -> Option<String> {
    serde_json::to_vec(cursor).ok().map(|json| BASE64_URL_SAFE_NO_PAD.encode(json))
}

fn decode<T: DeserializeOwned>(cursor: &str) -> Result<T, CursorError> {
    let json = BASE64_URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CursorError)?;
    serde_json::from_slice(&json).map_err(|_| CursorError)
}

fn size(limit: Option<usize>) -> usize {
    limit.filter(|limit| *limit > 0).unwrap_or(PAGE_DEFAULT).min(PAGE_MOST)
}

impl ControlPlane {
    /// One environment; also one that ended, while its record is kept.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn get(&self, id: &EnvironmentId) -> Result<Arc<Environment>> {
        let environment = self.inner.environment(id)?.value;
        Ok(as_known(&self.inner.fleet(), environment))
    }

    /// A page of environments, by id. The default filter leaves out those that ended. A page has at most 200
    /// entries, 50 when nothing is said.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that no list gave out.
    pub fn list(
        &self,
        filter: &EnvironmentFilter,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Result<Page<Arc<Environment>>> {
        let after: Option<IdCursor<EnvironmentId>> = cursor.map(decode).transpose()?;
        let after = after.map(|cursor| cursor.id);
        let fleet = self.inner.fleet();
        let (mut items, more) = fleet.environments(filter, after.as_ref(), size(limit));
        if !fleet.hosts_all_answer() {
            items = items.into_iter().map(|environment| as_known(&fleet, environment)).collect();
        }
        drop(fleet);
        let last = items.last().filter(|_| more).map(|last| IdCursor { id: last.id.clone() });
        Ok(Page { items, next_cursor: last.as_ref().and_then(encode) })
    }

    /// The VMs that must go and that no environment stands for any more.
    #[must_use]
    pub fn teardowns(&self) -> Vec<Arc<Teardown>> {
        self.inner.fleet().teardowns.values().map(|entry| Arc::clone(&entry.value)).collect()
    }

    /// How many environments are in each state.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<EnvironmentState, usize> {
        self.inner.fleet().counts()
    }

    /// One host.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn host(&self, id: &HostId) -> Result<Host> {
        let fleet = self.inner.fleet();
        let entry = fleet.hosts.get(id).ok_or_else(|| Error::not_found(RecordKind::Host, id))?;
        let allocated = fleet.scheduler.taken(id);
        Ok(Host { allocated, ..(*entry.host.value).clone() })
    }

    /// A page of hosts, by id.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that no list gave out.
    pub fn hosts(&self, limit: Option<usize>, cursor: Option<&str>) -> Result<Page<Host>> {
        let after: Option<IdCursor<HostId>> = cursor.map(decode).transpose()?;
        let fleet = self.inner.fleet();
        let from = after.as_ref().map_or(std::ops::Bound::Unbounded, |c| std::ops::Bound::Excluded(&c.id));
        let mut rest = fleet.hosts.range::<HostId, _>((from, std::ops::Bound::Unbounded));
        let items: Vec<Host> = rest
            .by_ref()
            .take(size(limit))
            .map(|(id, entry)| Host { allocated: fleet.scheduler.taken(id), ..(*entry.host.value).clone() })
            .collect();
        let last =
            items.last().filter(|_| rest.next().is_some()).map(|last| IdCursor { id: last.id.clone() });
        Ok(Page { next_cursor: last.as_ref().and_then(encode), items })
    }

    /// One snapshot.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn snapshot(&self, id: &SnapshotId) -> Result<Arc<Snapshot>> {
        let fleet = self.inner.fleet();
        let entry = fleet.snapshot(id).ok_or_else(|| Error::not_found(RecordKind::Snapshot, id))?;
        Ok(Arc::clone(&entry.value))
    }

    /// A page of snapshots, newest first.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a cursor that no list gave out.
    pub fn snapshots(
        &self,
        filter: &SnapshotFilter,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Result<Page<Arc<Snapshot>>> {
        let after: Option<TimeCursor> = cursor.map(decode).transpose()?;
        let after = after.map(|cursor| (cursor.created_at, cursor.id));
        let (items, more) = self.inner.fleet().snapshots(filter, after, size(limit));
        let last = items.last().filter(|_| more);
        let last = last.map(|last| TimeCursor { created_at: last.created_at, id: last.id.clone() });
        Ok(Page { items, next_cursor: last.as_ref().and_then(encode) })
    }

    /// The ancestors of a snapshot, its parent first. At most 1,000.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn lineage(&self, id: &SnapshotId) -> Result<Vec<Arc<Snapshot>>> {
        let mut line = Vec::new();
        let mut next = self.snapshot(id)?.parent_snapshot_id.clone();
        while let Some(parent) = next.filter(|_| line.len() < 1_000) {
            let Ok(snapshot) = self.snapshot(&parent) else { break };
            next = snapshot.parent_snapshot_id.clone();
            line.push(snapshot);
        }
        Ok(line)
    }

    /// Events from after the sequence number `after` on, for ever: 0 replays everything that is kept.
    #[must_use]
    pub fn events(&self, after: u64) -> Subscription {
        Reader::new(Arc::clone(&self.inner.hub), after, None).into()
    }

    /// Events about one thing, from after the sequence number `after` on.
    #[must_use]
    pub fn events_about(&self, subject: Subject, after: u64) -> Subscription {
        Reader::new(Arc::clone(&self.inner.hub), after, Some(subject)).into()
    }

    /// Events about one environment, from now on.
    #[must_use]
    pub fn events_of(&self, id: &EnvironmentId) -> Subscription {
        self.events_about(Subject::Environment(id.clone()), self.newest_event())
    }

    /// The sequence number of the newest event; 0 when there is none.
    #[must_use]
    pub fn newest_event(&self) -> u64 {
        self.inner.hub.newest()
    }

    /// The sequence number of the newest event that is durable. Subscribers see it in a moment, if they do not yet:
    /// commits that end at the same time are told in their order.
    ///
    /// # Errors
    /// [`Error::Store`] when the store does not answer.
    pub async fn newest_durable_event(&self) -> Result<u64> {
        Ok(self.inner.store.position().await?.last_event)
    }

    /// Asks the store whether it is there. What a readiness check wants to know.
    ///
    /// # Errors
    /// [`Error::Closed`], [`Error::Store`].
    pub async fn check(&self, limit: Duration) -> Result<()> {
        self.inner.check_open()?;
        match tokio::time::timeout(limit, self.inner.store.position()).await {
            Ok(position) => Ok(position.map(drop)?),
            Err(_) => Err(Error::Timeout { what: "the store".to_owned(), after: limit }),
        }
    }
}

/// The environment as far as it is known: unknown where its host does not answer.
fn as_known(fleet: &Fleet, environment: Arc<Environment>) -> Arc<Environment> {
    let host = fleet.hosts.get(&environment.host_id);
    let answers = host.is_some_and(|entry| entry.host.value.liveness.state == Liveness::Ready);
    if answers || environment.observed == Observed::Unknown {
        return environment;
    }
    Arc::new(Environment { observed: Observed::Unknown, ..(*environment).clone() })
}
