//! The shared store: for state that outlives a machine, or that several orchestrators work on.
mod address;
mod failure;
mod listener;
mod rows;
mod schema;
mod tls;
mod writer;

use super::ledger::{Reply, Request};
use super::queue::{Queue, queue};
use super::*;
use address::Address;
use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use failure::{failure, pool_failure};
use futures_util::{StreamExt, pin_mut};
use rows::{Reader, signed};
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use writer::Writer;

/// Said once on every new connection: commits must be durable whatever the server's default is (a stricter default
/// stays), and a transaction whose process went away must not keep the others waiting.
const GREETING: &str = "SELECT set_config('synchronous_commit', \
    CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' ELSE current_setting('synchronous_commit') END, \
    false), set_config('idle_in_transaction_session_timeout', '30s', false)";

/// How a shared store is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Most connections for reading and writing, 2 to 1,000; one more listens. Default 8.
    pub connections: usize,
    /// How long a commit is tried again while the database is away or busy. Default 30 s.
    pub retry_for: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { connections: 8, retry_for: Duration::from_secs(30) }
    }
}

/// A store in a Postgres database.
pub struct PostgresStore {
    name: Arc<str>,
    pool: Pool,
    queue: Queue,
    hint: watch::Sender<u64>,
    listener: JoinHandle<()>,
}

impl PostgresStore {
    /// Connects with `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…` (or the form of words,
    /// `host=… user=…`), and makes the tables or brings them up to date. `sslmode` is `disable`, `prefer` (the
    /// default), `require` or `verify-full`; `sslrootcert` is a PEM file, or `system`.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a connection string that cannot be used, [`StoreError::Unavailable`] when the
    /// database cannot be reached or refuses, [`StoreError::Incompatible`] when another version wrote it. No error
    /// contains the password.
    pub async fn open(url: &str) -> StoreResult<Self> {
        Self::open_with(url, PostgresOptions::default()).await
    }

    /// As [`PostgresStore::open`], with options.
    ///
    /// # Errors
    /// As [`PostgresStore::open`].
    pub async fn open_with(url: &str, options: PostgresOptions) -> StoreResult<Self> {
        if !(2..=1_000).contains(&options.connections) {
            let why =
                format!("{} connections were asked for, and 2 to 1000 are allowed", options.connections);
            return Err(StoreError::invalid("open", why));
        }
        let address = Address::parse(url)?;
        let name: Arc<str> = address.name.as_str().into();
        let connector = tls::connector(&address)?;
        let pool = pool(&address, connector.clone(), options.connections);
        schema::prepare(&name, &pool).await?;
        let hint = watch::Sender::new(0);
        let (queue, inbox) = queue();
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| StoreError::Unavailable {
            doing: "open",
            on: name.to_string(),
            why: format!("no random bytes: {error}"),
            advice: "check the operating system's random source",
        })?;
        let writer = Writer {
            name: Arc::clone(&name),
            pool: pool.clone(),
            id,
            groups: 0,
            retry_for: options.retry_for,
            hint: hint.clone(),
            inbox,
        };
        tokio::spawn(writer.run());
        let listener = tokio::spawn(listener::listen(address, connector, hint.clone()));
        let store = Self { name, pool, queue, hint, listener };
        let last = store.position().await?.last_event;
        store.hint.send_if_modified(|seen| std::mem::replace(seen, last.max(*seen)) < last);
        Ok(store)
    }

    async fn client(&self, doing: &'static str) -> StoreResult<Object> {
        self.pool.get().await.map_err(|error| pool_failure(doing, &self.name, error).into_error())
    }

    fn failed(&self, error: &tokio_postgres::Error) -> StoreError {
        failure("read", &self.name, error).into_error()
    }

    async fn query(&self, statement: &'static str, values: &[&(dyn ToSql + Sync)]) -> StoreResult<Vec<Row>> {
        let client = self.client("read").await?;
        let prepared = client.prepare_cached(statement).await.map_err(|error| self.failed(&error))?;
        client.query(&prepared, values).await.map_err(|error| self.failed(&error))
    }

    fn reader(&self) -> Reader<'_> {
        Reader { name: &self.name }
    }

    async fn write(&self, request: Request) -> StoreResult<Reply> {
        self.queue.submit(&self.name, request).await
    }

    /// Reads everything within one transaction, so that it is all of one moment.
    async fn dump_with(&self, client: &Object, out: &mpsc::Sender<Item>) -> StoreResult<Position> {
        let failed = |error: tokio_postgres::Error| self.failed(&error);
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(failed)?;
        let reader = self.reader();
        let position = reader.head(&client.query_one(rows::HEAD, &[]).await.map_err(failed)?)?.position;
        for kind in Kind::ALL {
            let stream = client.query_raw(rows::ALL_RECORDS, [kind.as_str()]).await.map_err(failed)?;
            pin_mut!(stream);
            while let Some(row) = stream.next().await {
                let record = reader.record(kind, &row.map_err(failed)?)?;
                if out.send(Item::Record(record)).await.is_err() {
                    return Ok(position);
                }
            }
        }
        let stream = client.query_raw(rows::ALL_EVENTS, [signed(position.floor)]).await.map_err(failed)?;
        pin_mut!(stream);
        while let Some(row) = stream.next().await {
            if out.send(Item::Event(reader.event(&row.map_err(failed)?)?)).await.is_err() {
                return Ok(position);
            }
        }
        client.batch_execute("COMMIT").await.map_err(failed)?;
        Ok(position)
    }
}

fn pool(address: &Address, connector: tokio_postgres_rustls::MakeRustlsConnect, connections: usize) -> Pool {
    let recycling = ManagerConfig { recycling_method: RecyclingMethod::Fast };
    let manager = Manager::from_config(address.config.clone(), connector, recycling);
    let greet = deadpool_postgres::Hook::async_fn(|client, _| {
        Box::pin(async move {
            client.simple_query(GREETING).await.map(drop).map_err(deadpool_postgres::HookError::Backend)
        })
    });
    let builder = Pool::builder(manager)
        .max_size(connections)
        .runtime(Runtime::Tokio1)
        .create_timeout(Some(Duration::from_secs(10)))
        .wait_timeout(Some(Duration::from_secs(30)))
        .post_create(greet);
    match builder.build() {
        Ok(pool) => pool,
        // The builder only refuses time-outs without a runtime, and one is given above.
        Err(deadpool_postgres::BuildError::NoRuntimeSpecified) => {
            unreachable!("the pool was given a runtime")
        }
    }
}

impl Drop for PostgresStore {
    fn drop(&mut self) {
        // The writer ends by itself once its queue is gone.
        self.listener.abort();
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PostgresStore").field(&self.name).finish()
    }
}

#[async_trait::async_trait]
impl Store for PostgresStore {
    fn describe(&self) -> &str {
        &self.name
    }

    async fn get(&self, kind: Kind, id: &str) -> StoreResult<Option<Record>> {
        // Ids that cannot be stored are not there; Postgres would refuse to hear of some of them.
        if record::id_problem("the id", id).is_some() {
            return Ok(None);
        }
        let rows = self.query(rows::GET, &[&kind.as_str(), &id]).await?;
        rows.first().map(|row| self.reader().record(kind, row)).transpose()
    }

    async fn list(&self, kind: Kind, after: Option<&str>, limit: usize) -> StoreResult<Page> {
        if !(1..=MAX_PAGE).contains(&limit) {
            return Err(StoreError::page_limit(limit));
        }
        // No id contains a NUL, so what comes after "a\0…" is what comes after "a"; Postgres takes no NUL.
        let after = after.and_then(|id| id.split('\0').next()).unwrap_or_default();
        let one_more = signed(limit as u64 + 1);
        let rows = self.query(rows::LIST, &[&kind.as_str(), &after, &one_more]).await?;
        let reader = self.reader();
        let records =
            rows.iter().take(limit).map(|row| reader.record(kind, row)).collect::<StoreResult<Vec<_>>>()?;
        let next = records.last().filter(|_| rows.len() > limit).map(|record| record.id.clone());
        Ok(Page { records, next })
    }

    async fn commit(&self, batch: Batch) -> StoreResult<Committed> {
        self.write(Request::Commit(batch)).await.and_then(Reply::committed)
    }

    async fn events(&self, query: EventQuery) -> StoreResult<EventPage> {
        query.check()?;
        let (after, limit) = (signed(query.after), signed(query.limit as u64));
        let rows = match &query.subject {
            None => self.query(rows::EVENTS, &[&after, &limit]).await?,
            // An id that cannot be stored has no events, like the empty one.
            Some((kind, id)) if record::id_problem("the id", id).is_some() => {
                self.query(rows::EVENTS_OF, &[&after, &limit, &kind.as_str(), &""]).await?
            }
            Some((kind, id)) => self.query(rows::EVENTS_OF, &[&after, &limit, &kind.as_str(), id]).await?,
        };
        let reader = self.reader();
        let Some(first) = rows.first() else { return Err(reader.damaged("its counters are missing")) };
        let (floor, last) = (reader.number(first, "floor")?, reader.number(first, "last_event")?);
        let events: Vec<_> =
            rows.iter().filter_map(|row| reader.event_if_any(row).transpose()).collect::<StoreResult<_>>()?;
        if query.subject.is_none() {
            let expected = query.after.max(floor).saturating_add(1)..;
            if let Some((event, seq)) = events.iter().zip(expected).find(|(event, seq)| event.seq != *seq) {
                return Err(
                    reader.damaged(format!("event {seq} is missing from the log, {} follows", event.seq))
                );
            }
        }
        Ok(EventPage { events, floor, last })
    }

    async fn truncate_events(&self, through: u64) -> StoreResult<u64> {
        self.write(Request::Truncate { through }).await.and_then(Reply::floor)
    }

    fn event_hint(&self) -> watch::Receiver<u64> {
        self.hint.subscribe()
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
        let rows = self.query(rows::HEAD, &[]).await?;
        let reader = self.reader();
        let row = rows.first().ok_or_else(|| reader.damaged("its counters are missing"))?;
        Ok(reader.head(row)?.position)
    }

    async fn dump(&self, out: mpsc::Sender<Item>) -> StoreResult<Position> {
        let client = self.client("read").await?;
        let dumped = self.dump_with(&client, &out).await;
        // The connection may be in the middle of a transaction or of a stream.
        drop(Object::take(client));
        dumped
    }

    async fn load(&self, items: Vec<Item>) -> StoreResult<()> {
        self.write(Request::Load(items)).await.map(drop)
    }

    async fn finish_load(&self, position: Position) -> StoreResult<()> {
        self.write(Request::FinishLoad(position)).await.map(drop)
    }

    async fn close(&self) -> StoreResult<()> {
        self.listener.abort();
        self.queue.close(&self.name).await
    }
}
