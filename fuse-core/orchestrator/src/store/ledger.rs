//! The rules of a commit, apart from any medium.
//!
//! A writer (there is one per store) folds requests one after the other over what is stored, collects what they
//! change, makes that durable in one go, and only then lets it be seen and answers. The three stores differ in
//! how they look a record up and how they persist [`Changes`], and in nothing else.
use super::lease::LeaseRow;
use super::record::id_problem;
use super::{
    Batch, Committed, Event, Fence, Item, Kind, LEASE_TTL_MS, Lease, Position, Record, StoreError,
    StoreResult,
};
use std::collections::BTreeMap;

/// What a writer can be asked to do.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Commit(Batch),
    Truncate { through: u64 },
    Acquire { name: String, holder: String, ttl_ms: u64 },
    Renew { lease: Lease, ttl_ms: u64 },
    Release { lease: Lease },
    Load(Vec<Item>),
    FinishLoad(Position),
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Committed(Committed),
    Floor(u64),
    Lease(Lease),
    Done,
}

/// The counters of a store, persisted with every group of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) position: Position,
    /// A load was begun and not finished.
    pub(crate) loading: bool,
}

/// What is known of a stored record without reading its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stub {
    pub(crate) revision: u64,
    pub(crate) checksum: u128,
}

/// A record and its checksum, which is computed once.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) record: Record,
    pub(crate) checksum: u128,
}

impl Held {
    fn new(record: Record) -> Self {
        let checksum = record.checksum();
        Self { record, checksum }
    }

    pub(crate) fn stub(&self) -> Stub {
        Stub { revision: self.record.revision, checksum: self.checksum }
    }
}

/// What the writer looks up in the medium.
pub(crate) trait Base {
    fn stub(&self, kind: Kind, id: &str) -> StoreResult<Option<Stub>>;
    fn lease(&self, name: &str) -> StoreResult<Option<LeaseRow>>;
    fn describe(&self) -> &str;
}

/// What a group of requests changes. `None` deletes.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) records: BTreeMap<(Kind, String), Option<Held>>,
    pub(crate) events: Vec<Event>,
    pub(crate) leases: BTreeMap<String, LeaseRow>,
    pub(crate) head: Head,
}

/// Folds requests over a base. A refused request leaves no trace.
pub(crate) struct Fold<'a, B: Base> {
    base: &'a B,
    now_ms: u64,
    pub(crate) changes: Changes,
    pub(crate) changed: bool,
}

impl<'a, B: Base> Fold<'a, B> {
    pub(crate) fn new(base: &'a B, head: Head, now_ms: u64) -> Self {
        let changes = Changes { head, ..Changes::default() };
        Self { base, now_ms, changes, changed: false }
    }

    pub(crate) fn apply(&mut self, request: Request) -> StoreResult<Reply> {
        if self.changes.head.loading && !matches!(request, Request::Load(_) | Request::FinishLoad(_)) {
            return Err(StoreError::Importing { doing: "write", on: self.base.describe().to_owned() });
        }
        let reply = match request {
            Request::Commit(batch) => self.commit(batch).map(Reply::Committed),
            Request::Truncate { through } => Ok(Reply::Floor(self.truncate(through))),
            Request::Acquire { name, holder, ttl_ms } => self.acquire(name, holder, ttl_ms).map(Reply::Lease),
            Request::Renew { lease, ttl_ms } => self.renew(lease, ttl_ms).map(Reply::Lease),
            Request::Release { lease } => self.release(&lease).map(|()| Reply::Done),
            Request::Load(items) => self.load(items).map(|()| Reply::Done),
            Request::FinishLoad(position) => self.finish_load(position).map(|()| Reply::Done),
        };
        self.changed |= reply.is_ok();
        reply
    }

    fn stub(&self, kind: Kind, id: &str) -> StoreResult<Option<Stub>> {
        // A tuple key cannot be looked up by reference without owning the id; groups are small.
        match self.changes.records.get(&(kind, id.to_owned())) {
            Some(held) => Ok(held.as_ref().map(Held::stub)),
            None => self.base.stub(kind, id),
        }
    }

    fn lease(&self, name: &str) -> StoreResult<Option<LeaseRow>> {
        match self.changes.leases.get(name) {
            Some(row) => Ok(Some(row.clone())),
            None => self.base.lease(name),
        }
    }

    fn commit(&mut self, batch: Batch) -> StoreResult<Committed> {
        if let Some(fence) = &batch.fence {
            self.check_fence("commit", fence)?;
        }
        let mut found = Vec::with_capacity(batch.changes.len());
        for change in &batch.changes {
            let stub = self.stub(change.kind, &change.id)?;
            change.expect.check(change.kind, &change.id, stub.map(|s| s.revision))?;
            found.push(stub);
        }
        // Nothing below can fail.
        self.changes.head.position.revision += 1;
        let revision = self.changes.head.position.revision;
        for (change, found) in batch.changes.into_iter().zip(found) {
            let record =
                change.body.map(|body| Record { kind: change.kind, id: change.id.clone(), revision, body });
            self.replace(change.kind, change.id, found, record);
        }
        let position = &mut self.changes.head.position;
        let first = position.last_event + 1;
        for event in batch.events {
            position.last_event += 1;
            let seq = position.last_event;
            let (kind, id, at_ms, body) = (event.kind, event.id, event.at_ms, event.body);
            self.changes.events.push(Event { seq, kind, id, at_ms, body });
        }
        Ok(Committed { revision, events: first..position.last_event + 1 })
    }

    fn replace(&mut self, kind: Kind, id: String, found: Option<Stub>, record: Option<Record>) {
        let position = &mut self.changes.head.position;
        if let Some(old) = found {
            position.records = position.records.saturating_sub(1);
            position.digest = position.digest.wrapping_sub(old.checksum);
        }
        let held = record.map(Held::new);
        if let Some(new) = &held {
            position.records += 1;
            position.digest = position.digest.wrapping_add(new.checksum);
        }
        self.changes.records.insert((kind, id), held);
    }

    fn truncate(&mut self, through: u64) -> u64 {
        let position = &mut self.changes.head.position;
        let floor = through.min(position.last_event).max(position.floor);
        position.revision += u64::from(floor > position.floor);
        position.floor = floor;
        self.changes.events.retain(|event| event.seq > floor);
        floor
    }

    fn check_fence(&self, doing: &'static str, fence: &Fence) -> StoreResult<LeaseRow> {
        let current = match self.lease(&fence.lease)? {
            Some(row) if row.token == fence.token && !row.released => return Ok(row),
            Some(row) if row.token == fence.token => "it was released".to_owned(),
            Some(row) => format!("the newest is {}, given to `{}`", row.token, row.holder),
            None => "nobody ever held the lease here".to_owned(),
        };
        Err(StoreError::StaleFence { doing, lease: fence.lease.clone(), token: fence.token, current })
    }

    fn acquire(&mut self, name: String, holder: String, ttl_ms: u64) -> StoreResult<Lease> {
        if let Some(row) = self.lease(&name)? {
            let remaining_ms = row.expires_ms.saturating_sub(self.now_ms);
            if !row.released && remaining_ms > 0 && row.holder != holder {
                return Err(StoreError::LeaseHeld { lease: name, holder: row.holder, remaining_ms });
            }
        }
        // Tokens share the counter of commits: they rise, are never used twice, and survive an export.
        self.changes.head.position.revision += 1;
        let token = self.changes.head.position.revision;
        let expires_ms = self.now_ms.saturating_add(ttl_ms);
        let row = LeaseRow { holder: holder.clone(), token, expires_ms, released: false };
        self.changes.leases.insert(name.clone(), row);
        Ok(Lease { name, holder, token, expires_ms })
    }

    fn renew(&mut self, lease: Lease, ttl_ms: u64) -> StoreResult<Lease> {
        let mut row = self.check_fence("renew", &lease.fence())?;
        // Counted like a commit, so that a store that comes back without it is seen to be behind.
        self.changes.head.position.revision += 1;
        row.expires_ms = self.now_ms.saturating_add(ttl_ms);
        let expires_ms = row.expires_ms;
        self.changes.leases.insert(lease.name.clone(), row);
        Ok(Lease { expires_ms, ..lease })
    }

    fn release(&mut self, lease: &Lease) -> StoreResult<()> {
        let mut row = self.check_fence("release", &lease.fence())?;
        self.changes.head.position.revision += 1;
        row.released = true;
        self.changes.leases.insert(lease.name.clone(), row);
        Ok(())
    }

    fn load(&mut self, items: Vec<Item>) -> StoreResult<()> {
        if !self.changes.head.loading && self.changes.head.position != Position::default() {
            let why = format!("{} is not empty; import into a new store", self.base.describe());
            return Err(StoreError::invalid("import", why));
        }
        self.check_items(&items)?;
        self.changes.head.loading = true;
        for item in items {
            match item {
                Item::Record(record) => self.replace(record.kind, record.id.clone(), None, Some(record)),
                Item::Event(event) => {
                    self.changes.head.position.last_event = event.seq;
                    self.changes.events.push(event);
                }
            }
        }
        Ok(())
    }

    /// No record twice, no gap between events; said before any of it is applied.
    fn check_items(&self, items: &[Item]) -> StoreResult<()> {
        let mut last_event = self.changes.head.position.last_event;
        let mut seen = std::collections::BTreeSet::new();
        for item in items {
            let problem = match item {
                Item::Record(record) => {
                    let twice = !seen.insert((record.kind, record.id.as_str()))
                        || self.stub(record.kind, &record.id)?.is_some();
                    twice.then(|| format!("{} `{}` comes twice", record.kind, record.id))
                }
                Item::Event(event) => {
                    let follows = last_event == 0 || event.seq == last_event.saturating_add(1);
                    let why = format!("event {} follows event {last_event}", event.seq);
                    last_event = event.seq;
                    (!follows || event.seq == 0).then_some(why)
                }
            };
            if let Some(why) = problem {
                return Err(StoreError::invalid("import", why));
            }
        }
        Ok(())
    }

    fn finish_load(&mut self, position: Position) -> StoreResult<()> {
        let head = &mut self.changes.head;
        let same = head.position.records == position.records && head.position.digest == position.digest;
        let events = head.position.last_event == position.last_event
            || (head.position.last_event == 0 && position.floor == position.last_event);
        let untouched = head.loading || head.position == Position::default();
        if !(same && events && untouched) {
            return Err(StoreError::Corrupt {
                on: self.base.describe().to_owned(),
                what: format!(
                    "after the import it holds {} records up to event {}, and the export says {} up to event {}",
                    head.position.records, head.position.last_event, position.records, position.last_event
                ),
                advice: "empty the store and import a complete, unchanged export",
            });
        }
        head.position = position;
        head.loading = false;
        Ok(())
    }
}

fn check_ttl(doing: &'static str, ttl_ms: u64) -> StoreResult<()> {
    if LEASE_TTL_MS.contains(&ttl_ms) {
        return Ok(());
    }
    let (low, high) = (LEASE_TTL_MS.start(), LEASE_TTL_MS.end());
    Err(StoreError::invalid(
        doing,
        format!("a lease of {ttl_ms} ms was asked for, and {low} to {high} ms are allowed"),
    ))
}

impl Request {
    /// Checks everything that needs no store: sizes, ids, times. A fold takes it for granted.
    pub(crate) fn check(&self) -> StoreResult<()> {
        match self {
            Self::Commit(batch) => batch.check(),
            Self::Acquire { name, holder, ttl_ms } => {
                let problem = id_problem("the name of the lease", name);
                if let Some(why) = problem.or_else(|| id_problem("the holder", holder)) {
                    return Err(StoreError::invalid("acquire", why));
                }
                check_ttl("acquire", *ttl_ms)
            }
            Self::Renew { ttl_ms, .. } => check_ttl("renew", *ttl_ms),
            Self::Load(items) => items.iter().try_for_each(Item::check),
            Self::Truncate { .. } | Self::Release { .. } | Self::FinishLoad(_) => Ok(()),
        }
    }

    pub(crate) fn acquire(name: &str, holder: &str, ttl: std::time::Duration) -> Self {
        Self::Acquire { name: name.to_owned(), holder: holder.to_owned(), ttl_ms: millis(ttl) }
    }

    pub(crate) fn renew(lease: &Lease, ttl: std::time::Duration) -> Self {
        Self::Renew { lease: lease.clone(), ttl_ms: millis(ttl) }
    }
}

fn millis(ttl: std::time::Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

impl Reply {
    pub(crate) fn committed(self) -> StoreResult<Committed> {
        if let Self::Committed(committed) = self { Ok(committed) } else { Err(self.mismatch()) }
    }

    pub(crate) fn floor(self) -> StoreResult<u64> {
        if let Self::Floor(floor) = self { Ok(floor) } else { Err(self.mismatch()) }
    }

    pub(crate) fn lease(self) -> StoreResult<Lease> {
        if let Self::Lease(lease) = self { Ok(lease) } else { Err(self.mismatch()) }
    }

    /// A reply that does not belong to its request is a defect of this crate; it is said, not panicked.
    fn mismatch(&self) -> StoreError {
        StoreError::invalid(
            "a write",
            format!("the writer answered with {self:?}; this is a defect of Fuse, report it"),
        )
    }
}
