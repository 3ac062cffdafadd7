//! The state store: everything the control plane must not forget.
//!
//! A [`Store`] is narrow on purpose: read one record, list records, commit a batch, read events, hold leases.
//! Whatever else the control plane needs (filters, indexes, caches) it derives from these, so that a new backend
//! is a small program and every backend means the same. The rules that all of them keep:
//!
//! - **A commit is one thing.** All changes and events of a [`Batch`] are applied, or none; expectations on
//!   revisions and the fencing token are checked against the state that the batch is applied to.
//! - **Acknowledged means durable.** When `commit` returns `Ok`, the batch survives a crash of the process, and
//!   on sled and Postgres a crash of the machine. Readers never see a batch before it is durable.
//! - **One order.** Commits are numbered 1, 2, 3, …; a record's revision is the number of the commit that wrote
//!   it. Event numbers have no gaps, and nobody is shown event `n` before every event below `n` can be read.
//! - **Damage is said.** A store that finds its bytes changed returns [`StoreError::Corrupt`]; it never answers
//!   with data that it cannot vouch for.
//!
//! Many commits at once are cheaper than one after the other: they share a flush. Commit from as many tasks as
//! there is work; do not collect batches by hand.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! use fuse_orchestrator::store::{Batch, Expect, Kind, MemoryStore, Store};
//!
//! let store = MemoryStore::new();
//! let made = store.commit(Batch::new().put(Kind::Host, "h1", Expect::Absent, "{}")).await?;
//! let again = store.commit(Batch::new().put(Kind::Host, "h1", Expect::Absent, "{}")).await;
//! assert!(again.is_err_and(|error| error.is_conflict()));
//! store.commit(Batch::new().put(Kind::Host, "h1", Expect::Revision(made.revision), "[]")).await?;
//! # Ok::<(), fuse_orchestrator::store::StoreError>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
mod batch;
mod dump;
mod error;
mod event;
mod hooked;
mod lease;
mod ledger;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(any(feature = "sled", feature = "postgres"))]
mod queue;
mod record;
mod retention;
#[cfg(feature = "sled")]
mod sled;

#[cfg(feature = "sled")]
pub use self::sled::{SledOptions, SledStore};
pub use batch::{Batch, Committed, Expect, MAX_BATCH, MAX_BATCH_BYTES};
pub use dump::{DumpError, copy, export, import, verify};
pub use error::{Found, StoreError};
pub use event::{Event, EventPage, EventQuery, MAX_EVENT_BODY, MAX_PAGE, NewEvent};
pub use hooked::{Hook, Hooked};
pub use lease::{Fence, LEASE_TTL_MS, Lease};
pub use memory::MemoryStore;
#[cfg(feature = "postgres")]
pub use postgres::{PostgresOptions, PostgresStore};
pub use record::{Kind, MAX_BODY, MAX_ID, Page, Record, lost_field};
pub use retention::{Keep, trim_events};

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Compiles the example of the guide.
#[cfg(all(doctest, feature = "sled"))]
#[doc = include_str!("../../../../docs/state-store.md")]
struct Guide;

/// A store that is shared: clone it freely.
pub type SharedStore = Arc<dyn Store>;

/// The result of every call to a store.
pub type StoreResult<T> = Result<T, StoreError>;

/// The durable state of a control plane.
///
/// Every method may be called from many tasks at once. Dropping the future of a `commit` does not undo it: the
/// commit then happens or does not, as if its answer had been lost.
#[async_trait::async_trait]
pub trait Store: Send + Sync + std::fmt::Debug + 'static {
    /// What it is and where, for messages and logs: `memory`, `sled at /var/lib/fuse`, `postgres at db:5432/fuse`.
    /// Never contains a password.
    fn describe(&self) -> &str;

    /// Reads one record.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Unavailable`].
    async fn get(&self, kind: Kind, id: &str) -> StoreResult<Option<Record>>;

    /// Reads the records of a kind in the byte order of their ids: those after the id `after` (exclusive; it need
    /// not exist), at most `limit` (1 to [`MAX_PAGE`]). Each page is consistent in itself; pages are read one
    /// after the other, so a record that changes between two of them is seen in one state or the other.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a limit out of range, [`StoreError::Corrupt`], [`StoreError::Unavailable`].
    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> StoreResult<Page>;

    /// Applies a batch, and returns once it is durable.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::StaleFence`] and [`StoreError::Invalid`] when the batch was refused;
    /// [`StoreError::Full`], [`StoreError::Unavailable`] and [`StoreError::OutcomeUnknown`] when it failed.
    async fn commit(&self, batch: Batch) -> StoreResult<Committed>;

    /// Reads events in their order.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a limit out of range, [`StoreError::Corrupt`], [`StoreError::Unavailable`].
    async fn events(&self, query: EventQuery) -> StoreResult<EventPage>;

    /// Removes every event up to and including `through` (capped at the newest event) and returns the new floor.
    /// The floor never falls.
    ///
    /// # Errors
    /// As [`Store::commit`].
    async fn truncate_events(&self, through: u64) -> StoreResult<u64>;

    /// The number of the newest event, as far as this process has heard. A hint to read again, nothing more: it
    /// may be late (Postgres: another process committed), and it may skip numbers.
    fn event_hint(&self) -> watch::Receiver<u64>;

    /// Takes the lease `name` for `holder`, for `ttl` ([`LEASE_TTL_MS`]): when nobody has it, when it expired, when
    /// it was released, or when the same holder has it already (a restarted holder takes over from its former
    /// self). The new token makes every older one stale.
    ///
    /// # Errors
    /// [`StoreError::LeaseHeld`], [`StoreError::Invalid`], and as [`Store::commit`].
    async fn acquire_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<Lease>;

    /// Extends a lease to `ttl` from now, keeping its token. Works after the expiry too, as long as nobody else
    /// took the lease.
    ///
    /// # Errors
    /// [`StoreError::StaleFence`], [`StoreError::Invalid`], and as [`Store::commit`].
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> StoreResult<Lease>;

    /// Gives a lease back; its token is stale from then on.
    ///
    /// # Errors
    /// [`StoreError::StaleFence`], and as [`Store::commit`].
    async fn release_lease(&self, lease: &Lease) -> StoreResult<()>;

    /// Where the store stands now. Reaches the backend, so it doubles as the check behind a readiness answer.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], [`StoreError::Corrupt`].
    async fn position(&self) -> StoreResult<Position>;

    /// Sends every record (by kind in the order of [`Kind::ALL`], then id) and every kept event (by number) of one
    /// moment into `out`, and returns the position of that moment. Commits wait meanwhile on sled, and go on on the
    /// others. Stops quietly when the receiver is dropped.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`], [`StoreError::Unavailable`].
    async fn dump(&self, out: mpsc::Sender<Item>) -> StoreResult<Position>;

    /// Writes items of another store's [`Store::dump`] unchanged, with their revisions and numbers. Only into a
    /// store that was never written to; until [`Store::finish_load`] every other write is refused.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] when the store is not empty, and as [`Store::commit`].
    async fn load(&self, items: Vec<Item>) -> StoreResult<()>;

    /// Ends a load: sets the counters to `position` and opens the store for use.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] when what was loaded is not what `position` says, and as [`Store::commit`].
    async fn finish_load(&self, position: Position) -> StoreResult<()>;

    /// Finishes what is under way and refuses everything after. Files and connections are given back when the
    /// last handle on the store is dropped.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the last flush failed.
    async fn close(&self) -> StoreResult<()>;
}

/// One line of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record(Record),
    /// An event.
    Event(Event),
}

impl Item {
    /// Bytes of id and body.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Record(record) => record.id.len() + record.body.len(),
            Self::Event(event) => event.id.len() + event.body.len(),
        }
    }

    /// What a commit would have refused is refused in a load too.
    fn check(&self) -> StoreResult<()> {
        let (id, len, most) = match self {
            Self::Record(record) => (&record.id, record.body.len(), MAX_BODY),
            Self::Event(event) => (&event.id, event.body.len(), MAX_EVENT_BODY),
        };
        let too_long = || (len > most).then(|| format!("a body has {len} bytes, and {most} are allowed"));
        match record::id_problem("the id", id).or_else(too_long) {
            Some(why) => Err(StoreError::invalid("import", why)),
            None => Ok(()),
        }
    }
}

/// Where a store stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Number of the last commit (truncations and changes of leases count too); 0 for a new store.
    pub revision: u64,
    /// Number of the last event; 0 when there never was one.
    pub last_event: u64,
    /// Number of the last removed event; 0 when none was removed.
    pub floor: u64,
    /// How many records there are.
    pub records: u64,
    /// The sum, modulo 2^128, of [`Record::checksum`] over all records: equal for equal contents, whatever the
    /// backend.
    pub digest: u128,
}
