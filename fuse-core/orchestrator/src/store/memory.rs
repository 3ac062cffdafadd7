//! The store that forgets: for tests, for the simulator, and for embedders who keep their state elsewhere.
use super::lease::LeaseRow;
use super::ledger::{Base, Changes, Fold, Head, Held, Reply, Request, Stub};
use super::*;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// The time for leases, in milliseconds since the Unix epoch.
pub(crate) type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

pub(crate) fn system_clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A store in memory. It starts no task and no thread and never waits, so a simulation that drives it is
/// deterministic. It never loses a commit, except all of them when it is dropped.
pub struct MemoryStore {
    state: Mutex<State>,
    clock: Clock,
    hint: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    records: BTreeMap<Kind, BTreeMap<String, Held>>,
    events: VecDeque<Event>,
    leases: BTreeMap<String, LeaseRow>,
    head: Head,
    closed: bool,
}

impl MemoryStore {
    /// An empty store that reads the system clock for its leases.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(system_clock())
    }

    /// An empty store whose leases go by `clock`: milliseconds since the Unix epoch.
    #[must_use]
    pub fn with_clock(clock: Arc<dyn Fn() -> u64 + Send + Sync>) -> Self {
        Self { state: Mutex::default(), clock, hint: watch::Sender::new(0) }
    }

    fn state(&self) -> StoreResult<MutexGuard<'_, State>> {
        // A panic in here would have to come from the allocator; what it left is still one whole state.
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            let on = self.describe().to_owned();
            return Err(StoreError::Unavailable {
                doing: "a call",
                on,
                why: "it was closed".into(),
                advice: "open a new one",
            });
        }
        Ok(state)
    }

    fn write(&self, request: Request) -> StoreResult<Reply> {
        request.check()?;
        let mut state = self.state()?;
        let now_ms = (self.clock)();
        let mut fold = Fold::new(&*state, state.head, now_ms);
        let reply = fold.apply(request)?;
        let changes = fold.changes;
        let last = changes.head.position.last_event;
        state.take(changes);
        drop(state);
        self.hint.send_if_modified(|seen| std::mem::replace(seen, last.max(*seen)) < last);
        Ok(reply)
    }
}

impl State {
    fn take(&mut self, changes: Changes) {
        for ((kind, id), held) in changes.records {
            let records = self.records.entry(kind).or_default();
            match held {
                Some(held) => drop(records.insert(id, held)),
                None => drop(records.remove(&id)),
            }
        }
        let floor = changes.head.position.floor;
        while self.events.front().is_some_and(|event| event.seq <= floor) {
            self.events.pop_front();
        }
        self.events.extend(changes.events);
        self.leases.extend(changes.leases);
        self.head = changes.head;
    }
}

impl Base for State {
    fn stub(&self, kind: Kind, id: &str) -> StoreResult<Option<Stub>> {
        let held = self.records.get(&kind).and_then(|records| records.get(id));
        Ok(held.map(Held::stub))
    }

    fn lease(&self, name: &str) -> StoreResult<Option<LeaseRow>> {
        Ok(self.leases.get(name).cloned())
    }

    fn describe(&self) -> &str {
        "memory"
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryStore")
    }
}

#[async_trait::async_trait]
impl Store for MemoryStore {
    fn describe(&self) -> &str {
        "memory"
    }

    async fn get(&self, kind: Kind, id: &str) -> StoreResult<Option<Record>> {
        let state = self.state()?;
        Ok(state.records.get(&kind).and_then(|records| records.get(id)).map(|held| held.record.clone()))
    }

    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> StoreResult<Page> {
        use std::ops::Bound::{Excluded, Unbounded};
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(StoreError::page_limit(limit));
        }
        let state = self.state()?;
        let Some(of_kind) = state.records.get(&kind) else {
            return Ok(Page { records: Vec::new(), next: None });
        };
        let from = after.map_or(Unbounded, Excluded);
        let mut rest = of_kind.range::<str, _>((from, Unbounded)).map(|(_, held)| held.record.clone());
        let records: Vec<_> = rest.by_ref().take(limit).collect();
        let next = rest.next().and_then(|_| records.last().map(|record| record.id.clone()));
        Ok(Page { records, next })
    }

    async fn commit(&self, batch: Batch) -> StoreResult<Committed> {
        self.write(Request::Commit(batch)).and_then(Reply::committed)
    }

    async fn events(&self, query: EventQuery) -> StoreResult<EventPage> {
        query.check()?;
        let state = self.state()?;
        let Position { floor, last_event: last, .. } = state.head.position;
        let skip = usize::try_from(query.after.saturating_sub(floor)).unwrap_or(usize::MAX);
        let wanted = |event: &&Event| {
            query.subject.as_ref().is_none_or(|(kind, id)| event.kind == *kind && event.id == *id)
        };
        let events = state.events.iter().skip(skip).filter(wanted).take(query.limit).cloned().collect();
        Ok(EventPage { events, floor, last })
    }

    async fn truncate_events(&self, through: u64) -> StoreResult<u64> {
        self.write(Request::Truncate { through }).and_then(Reply::floor)
    }

    fn event_hint(&self) -> watch::Receiver<u64> {
        self.hint.subscribe()
    }

    async fn acquire_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<Lease> {
        self.write(Request::acquire(name, holder, ttl)).and_then(Reply::lease)
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> StoreResult<Lease> {
        self.write(Request::renew(lease, ttl)).and_then(Reply::lease)
    }

    async fn release_lease(&self, lease: &Lease) -> StoreResult<()> {
        self.write(Request::Release { lease: lease.clone() }).map(drop)
    }

    async fn position(&self) -> StoreResult<Position> {
        Ok(self.state()?.head.position)
    }

    async fn dump(&self, out: mpsc::Sender<Item>) -> StoreResult<Position> {
        // Bodies are shared, not copied, so taking everything under the lock is cheap.
        let (position, records, events) = {
            let state = self.state()?;
            let records = |kind| state.records.get(&kind).into_iter().flat_map(BTreeMap::values);
            let records: Vec<_> =
                Kind::ALL.into_iter().flat_map(records).map(|held| held.record.clone()).collect();
            (state.head.position, records, state.events.clone())
        };
        let items = records.into_iter().map(Item::Record).chain(events.into_iter().map(Item::Event));
        for item in items {
            if out.send(item).await.is_err() {
                break;
            }
        }
        Ok(position)
    }

    async fn load(&self, items: Vec<Item>) -> StoreResult<()> {
        self.write(Request::Load(items)).map(drop)
    }

    async fn finish_load(&self, position: Position) -> StoreResult<()> {
        self.write(Request::FinishLoad(position)).map(drop)
    }

    async fn close(&self) -> StoreResult<()> {
        self.state()?.closed = true;
        Ok(())
    }
}
