//! The embedded store: one directory, one process, no server.
//!
//! sled gives the ordered key space and atomic batches. What this module adds, because a control plane must not
//! lose what it acknowledged: a real flush of the drive before a commit is acknowledged, shared by all commits
//! that wait; a checksum on every value and over the whole; a [witness](witness) that notices when acknowledged
//! commits went missing; a check of everything when the store is opened.
mod layout;
mod medium;
mod witness;
mod writer;

use super::ledger::{Changes, Head, Reply, Request};
use super::memory::{Clock, system_clock};
use super::queue::{Queue, queue};
use super::*;
use medium::{Medium, RESTORE, io_error};
use std::fs::{self, File, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::RwLock;
use witness::{Testimony, Witness};
use writer::{Shared, Writer};

/// How an embedded store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SledOptions {
    /// Bytes of stored data that are kept in memory for reading. Default 64 MiB.
    pub cache_bytes: u64,
}

impl Default for SledOptions {
    fn default() -> Self {
        Self { cache_bytes: 64 << 20 }
    }
}

/// A store in a directory of the local file system.
///
/// One process at a time can open it. Dropping it waits for the commits that are under way.
pub struct SledStore {
    name: String,
    // Dropped first, so that the writer ends; then `drop` joins it.
    queue: Option<Queue>,
    writer: Mutex<Option<JoinHandle<()>>>,
    shared: Arc<Shared>,
    _lock: File,
}

impl SledStore {
    /// Opens the store in `dir`, making it (mode 0700) where there is none, and checks everything in it: the
    /// checksum of every record and event, their number, that no event is missing, and that no acknowledged
    /// commit was lost.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when another process has it open, [`StoreError::Corrupt`] when it is damaged,
    /// [`StoreError::Incompatible`] when another version wrote it, [`StoreError::Unavailable`] and
    /// [`StoreError::Full`] when the file system refuses.
    pub async fn open(dir: impl Into<PathBuf>) -> StoreResult<Self> {
        Self::open_with(dir, SledOptions::default()).await
    }

    /// As [`SledStore::open`], with options.
    ///
    /// # Errors
    /// As [`SledStore::open`].
    pub async fn open_with(dir: impl Into<PathBuf>, options: SledOptions) -> StoreResult<Self> {
        let dir = dir.into();
        let name = format!("sled at {}", dir.display());
        let on = name.clone();
        let opening = tokio::task::spawn_blocking(move || open(&dir, on, options, system_clock()));
        opening.await.unwrap_or_else(|error| {
            let what = format!("opening it ended in a panic: {error}");
            Err(StoreError::Corrupt { on: name, what, advice: RESTORE })
        })
    }

    /// Runs `call` on a thread that may block, while no group is between being applied and being durable.
    async fn read<T: Send + 'static>(
        &self,
        call: impl FnOnce(&Shared) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.shared.usable()?;
        let gate = Arc::clone(&self.shared.gate).read_owned().await;
        let shared = Arc::clone(&self.shared);
        let reading = tokio::task::spawn_blocking(move || {
            let result = shared.usable().and_then(|()| call(&shared));
            drop(gate);
            result
        });
        reading.await.unwrap_or_else(|error| {
            let what = format!("reading it ended in a panic: {error}");
            Err(StoreError::Corrupt { on: self.name.clone(), what, advice: RESTORE })
        })
    }

    async fn write(&self, request: Request) -> StoreResult<Reply> {
        match &self.queue {
            Some(queue) => queue.submit(&self.name, request).await,
            None => Err(queue::closed("a write", &self.name)),
        }
    }
}

fn open(dir: &Path, name: String, options: SledOptions, clock: Clock) -> StoreResult<SledStore> {
    let failed = |error: std::io::Error| io_error("open", &name, &error);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    let lock = lock(dir, &name)?;
    let witness = dir.join("witness");
    let testimony = witness::read(&witness).map_err(failed)?;
    let medium = Medium::open(&name, &dir.join("sled"), options.cache_bytes)?;
    let head = check(&medium, &testimony)?;
    let witness = Witness::open(&witness, head.position.revision).map_err(failed)?;
    // The names of new files are durable only when their directories are.
    for dir in [dir.join("sled").as_path(), dir].into_iter().chain(dir.parent()) {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    }
    let shared = Arc::new(Shared {
        medium,
        gate: Arc::new(RwLock::new(())),
        head: Mutex::new(head),
        hint: watch::Sender::new(head.position.last_event),
        failed: Mutex::new(None),
    });
    let (queue, inbox) = queue();
    let writer = Writer { shared: Arc::clone(&shared), witness, clock, inbox };
    let thread =
        std::thread::Builder::new().name("fuse-sled".into()).spawn(move || writer.run()).map_err(failed)?;
    let (queue, writer) = (Some(queue), Mutex::new(Some(thread)));
    Ok(SledStore { name, queue, writer, shared, _lock: lock })
}

/// How long a store that is open elsewhere is waited for: a process that was told to end may not have ended yet, and one
/// that was just forked holds what its parent holds until it runs its program.
const LOCK_WAIT: Duration = Duration::from_secs(2);

fn lock(dir: &Path, name: &str) -> StoreResult<File> {
    let options = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).to_owned();
    let file = options.open(dir.join("lock")).map_err(|error| io_error("open", name, &error))?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked { on: name.to_owned(), why: "it is open already".into() });
            }
            Err(TryLockError::Error(error)) => return Err(io_error("open", name, &error)),
        }
    }
}

/// Reads everything and compares it with the counters and with the witness.
fn check(medium: &Medium, testimony: &Testimony) -> StoreResult<Head> {
    let head = match (medium.head()?, testimony) {
        (Some(head), Testimony::Commit(commit)) if head.position.revision < *commit => {
            let found = head.position.revision;
            return Err(medium.damaged(format!(
                "commit {commit} was acknowledged, and the newest one that can be read is {found}"
            )));
        }
        (Some(head), Testimony::Commit(_)) => head,
        (None, Testimony::Missing) if medium.is_empty()? => return begin(medium),
        // A crash right after `begin`, before the witness was made.
        (Some(head), Testimony::Missing) if head == Head::default() => head,
        (_, Testimony::Damaged) => return Err(medium.damaged("its file `witness` cannot be read".into())),
        (Some(_), Testimony::Missing) => return Err(medium.damaged("its file `witness` is missing".into())),
        (None, _) => return Err(medium.damaged("its counters are missing".into())),
    };
    if let Some(kind) = medium.unknown_kind()? {
        return Err(StoreError::Incompatible {
            on: medium.name().to_owned(),
            why: format!("it holds records of the unknown kind {kind:?}"),
            advice: "open it with the version of Fuse that wrote it",
        });
    }
    let (mut records, mut digest) = (0_u64, 0_u128);
    for kind in Kind::ALL {
        for record in medium.records(kind, None) {
            digest = digest.wrapping_add(record?.checksum());
            records += 1;
        }
    }
    let position = head.position;
    if (records, digest) != (position.records, position.digest) {
        return Err(medium.damaged(format!(
            "it should hold {} records and has {records}, or some of them are old",
            position.records
        )));
    }
    if !head.loading {
        medium.events(position.floor, position.last_event).try_for_each(|event| event.map(drop))?;
    }
    Ok(head)
}

fn begin(medium: &Medium) -> StoreResult<Head> {
    medium.persist(&Changes::default())?;
    Ok(Head::default())
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.queue = None;
        let writer = self.writer.get_mut().map_or_else(|poisoned| poisoned.into_inner().take(), Option::take);
        if let Some(writer) = writer {
            // A writer that panicked has answered nobody; there is nothing left to do for it.
            let _ = writer.join();
        }
    }
}

impl std::fmt::Debug for SledStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SledStore").field(&self.name).finish()
    }
}

#[async_trait::async_trait]
impl Store for SledStore {
    fn describe(&self) -> &str {
        &self.name
    }

    async fn get(&self, kind: Kind, id: &str) -> StoreResult<Option<Record>> {
        let id = id.to_owned();
        self.read(move |shared| shared.medium.record(kind, &id)).await
    }

    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> StoreResult<Page> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(StoreError::page_limit(limit));
        }
        let after = after.map(str::to_owned);
        self.read(move |shared| {
            let mut rest = shared.medium.records(kind, after.as_deref());
            let records = rest.by_ref().take(limit).collect::<StoreResult<Vec<_>>>()?;
            let more = rest.next().transpose()?.is_some();
            let next = records.last().filter(|_| more).map(|record| record.id.clone());
            Ok(Page { records, next })
        })
        .await
    }

    async fn commit(&self, batch: Batch) -> StoreResult<Committed> {
        self.write(Request::Commit(batch)).await.and_then(Reply::committed)
    }

    async fn events(&self, query: EventQuery) -> StoreResult<EventPage> {
        query.check()?;
        self.read(move |shared| {
            let Position { floor, last_event: last, .. } = shared.head().position;
            let after = query.after.max(floor);
            let events = match &query.subject {
                None => shared.medium.events(after, last).take(query.limit).collect::<StoreResult<_>>(),
                Some((kind, id)) => shared.medium.events_of(*kind, id, after).take(query.limit).collect(),
            }?;
            Ok(EventPage { events, floor, last })
        })
        .await
    }

    async fn truncate_events(&self, through: u64) -> StoreResult<u64> {
        self.write(Request::Truncate { through }).await.and_then(Reply::floor)
    }

    fn event_hint(&self) -> watch::Receiver<u64> {
        self.shared.hint.subscribe()
    }

    async fn acquire_lease(&self, name: &str, holder: &str, ttl: Duration) -> StoreResult<Lease> {
        self.write(Request::acquire(name, holder, ttl)).await.and_then(Reply::lease)
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> StoreResult<Lease> {
        self.write(Request::renew(lease, ttl)).await.and_then(Reply::lease)
    }

    async fn release_lease(&self, lease: &Lease) -> StoreResult<()> {
        self.write(Request::Release { lease: lease.clone() }).await.map(drop)
    }

    async fn position(&self) -> StoreResult<Position> {
        self.read(|shared| Ok(shared.head().position)).await
    }

    async fn dump(&self, out: mpsc::Sender<Item>) -> StoreResult<Position> {
        self.read(move |shared| {
            let position = shared.head().position;
            let records = Kind::ALL.into_iter().flat_map(|kind| shared.medium.records(kind, None));
            let events = shared.medium.events(position.floor, position.last_event);
            for item in records.map(|r| r.map(Item::Record)).chain(events.map(|e| e.map(Item::Event))) {
                if out.blocking_send(item?).is_err() {
                    break;
                }
            }
            Ok(position)
        })
        .await
    }

    async fn load(&self, items: Vec<Item>) -> StoreResult<()> {
        self.write(Request::Load(items)).await.map(drop)
    }

    async fn finish_load(&self, position: Position) -> StoreResult<()> {
        self.write(Request::FinishLoad(position)).await.map(drop)
    }

    async fn close(&self) -> StoreResult<()> {
        let Some(queue) = &self.queue else { return Err(queue::closed("close", &self.name)) };
        queue.close(&self.name).await
    }
}
