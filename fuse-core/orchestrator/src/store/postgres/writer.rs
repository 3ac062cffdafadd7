//! The task that writes for this process: one transaction for all commits that wait.
//!
//! Each transaction first locks the row of `fuse_head`. So transactions of all processes come one after the other,
//! event numbers appear in order, and what a transaction reads after the lock is the newest state.
//!
//! A connection that breaks leaves the question whether the commit went through. The transaction therefore also
//! writes the writer's group number; the next attempt reads it behind the same lock (which waits for the broken
//! transaction to end, one way or the other) and knows.
use super::super::lease::LeaseRow;
use super::super::ledger::{Base, Changes, Fold, Head, Reply, Request, Stub};
use super::super::queue::{Group, Job, Message, gather, refuse_rest};
use super::super::{Item, Kind, StoreError, StoreResult};
use super::failure::{Failure, failure, pool_failure};
use super::rows::{self, Columns, Reader, signed};
use deadpool_postgres::{Object, Pool};
use futures_util::future::{join, join_all, join4, try_join};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_postgres::types::ToSql;

/// First and longest pause between two attempts.
const PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Writer {
    pub(super) name: Arc<str>,
    pub(super) pool: Pool,
    pub(super) id: [u8; 16],
    /// Groups that this writer has committed.
    pub(super) groups: i64,
    pub(super) retry_for: Duration,
    pub(super) hint: watch::Sender<u64>,
    pub(super) inbox: mpsc::Receiver<Message>,
}

/// What an attempt read, and what the requests asked of it.
struct Snapshot {
    name: Arc<str>,
    stubs: HashMap<(Kind, String), Stub>,
    leases: HashMap<String, LeaseRow>,
}

impl Base for Snapshot {
    fn stub(&self, kind: Kind, id: &str) -> StoreResult<Option<Stub>> {
        Ok(self.stubs.get(&(kind, id.to_owned())).copied())
    }

    fn lease(&self, name: &str) -> StoreResult<Option<LeaseRow>> {
        Ok(self.leases.get(name).cloned())
    }

    fn describe(&self) -> &str {
        &self.name
    }
}

/// What the requests of a group touch.
#[derive(Default)]
struct Touched {
    kinds: Vec<&'static str>,
    ids: Vec<String>,
    leases: Vec<String>,
}

impl Touched {
    fn by(jobs: &[Job]) -> Self {
        let (mut keys, mut leases) = (BTreeSet::new(), BTreeSet::new());
        for job in jobs {
            match &job.request {
                Request::Commit(batch) => {
                    keys.extend(batch.changes.iter().map(|change| (change.kind, change.id.as_str())));
                    leases.extend(batch.fence.as_ref().map(|fence| fence.lease.as_str()));
                }
                Request::Load(items) => keys.extend(items.iter().filter_map(|item| match item {
                    Item::Record(record) => Some((record.kind, record.id.as_str())),
                    Item::Event(_) => None,
                })),
                Request::Acquire { name, .. } => drop(leases.insert(name)),
                Request::Renew { lease, .. } | Request::Release { lease } => drop(leases.insert(&lease.name)),
                Request::Truncate { .. } | Request::FinishLoad(_) => {}
            }
        }
        let (kinds, ids) = keys.into_iter().map(|(kind, id)| (kind.as_str(), id.to_owned())).unzip();
        Self { kinds, ids, leases: leases.into_iter().map(str::to_owned).collect() }
    }
}

/// What was decided in an attempt, to be answered once it is durable.
struct Decided {
    replies: Vec<StoreResult<Reply>>,
    head: Head,
    /// The truncation of this group left rows behind.
    unswept: bool,
}

impl Writer {
    pub(super) async fn run(mut self) {
        let mut close = None;
        while close.is_none() {
            let Some(first) = self.inbox.recv().await else { break };
            let Group { jobs, close: asked } = gather(first, &mut self.inbox);
            if !jobs.is_empty() {
                self.write(jobs).await;
            }
            close = asked;
        }
        refuse_rest(&mut self.inbox, &self.name);
        self.pool.close();
        if let Some(reply) = close {
            let _ = reply.send(Ok(()));
        }
    }

    async fn write(&mut self, jobs: Vec<Job>) {
        let touched = Touched::by(&jobs);
        let started = Instant::now();
        let (mut pause, mut last) = (PAUSE, None);
        let decided = loop {
            match self.attempt(&jobs, &touched, &mut last).await {
                Ok(decided) => break Ok(decided),
                Err(Failure::Again(error)) if started.elapsed() < self.retry_for => {
                    tracing::warn!(store = %self.name, %error, "a commit failed and is tried again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(failure) => break Err(failure.into_error()),
            }
        };
        match decided {
            Ok(decided) => {
                self.announce(decided.head.position.last_event);
                answer(jobs.into_iter().zip(decided.replies));
                if decided.unswept {
                    tokio::spawn(sweep(self.pool.clone(), decided.head.position.floor));
                }
            }
            Err(error) => {
                // If the last attempt that got as far as COMMIT was never resolved, nobody knows its outcome.
                let error = match last {
                    Some(_) => {
                        let (on, why) = (self.name.to_string(), error.to_string());
                        StoreError::OutcomeUnknown { doing: "commit", on, why }
                    }
                    None => error,
                };
                answer(jobs.into_iter().map(|job| (job, Err(error.clone()))));
            }
        }
    }

    fn announce(&self, last_event: u64) {
        self.hint.send_if_modified(|seen| std::mem::replace(seen, last_event.max(*seen)) < last_event);
    }

    /// Runs one transaction. `pending` carries what was decided in an earlier attempt whose COMMIT was sent and
    /// never answered.
    async fn attempt(
        &mut self,
        jobs: &[Job],
        touched: &Touched,
        pending: &mut Option<Decided>,
    ) -> Result<Decided, Failure> {
        let client = self.pool.get().await.map_err(|error| pool_failure("commit", &self.name, error))?;
        let result = self.transact(&client, jobs, touched, pending).await;
        if result.is_err() {
            // Whatever state this connection is in, nobody shall find it there.
            drop(Object::take(client));
        }
        result
    }

    async fn transact(
        &mut self,
        client: &Object,
        jobs: &[Job],
        touched: &Touched,
        pending: &mut Option<Decided>,
    ) -> Result<Decided, Failure> {
        let (head, groups, now_ms, base) = self.lock_and_read(client, touched).await?;
        if groups > self.groups {
            // The COMMIT that was not answered went through.
            self.groups = groups;
            if let Some(decided) = pending.take() {
                self.end(client, "ROLLBACK").await?;
                return Ok(decided);
            }
        }
        *pending = None;
        let mut fold = Fold::new(&base, head, now_ms);
        let replies: Vec<_> = jobs.iter().map(|job| fold.apply(job.request.clone())).collect();
        let (changed, changes) = (fold.changed, fold.changes);
        let unswept = changes.head.position.floor > head.position.floor;
        let decided = Decided { replies, head: changes.head, unswept };
        if !changed {
            self.end(client, "ROLLBACK").await?;
            return Ok(decided);
        }
        let next = self.groups + 1;
        let written = self.write_and_commit(client, &changes, next, head).await;
        match written {
            Ok(()) => {
                self.groups = next;
                Ok(decided)
            }
            Err(failure) => {
                *pending = Some(decided);
                Err(failure)
            }
        }
    }

    /// Begins, locks the head, and reads what the requests touch, in one round trip.
    async fn lock_and_read(
        &self,
        client: &Object,
        touched: &Touched,
    ) -> Result<(Head, i64, u64, Snapshot), Failure> {
        let failed = |error: tokio_postgres::Error| failure("commit", &self.name, &error);
        let prepared = try_join(client.prepare_cached(rows::LOCK_HEAD), client.prepare_cached(rows::STUBS));
        let ((lock_head, stubs), leases) =
            try_join(prepared, client.prepare_cached(rows::LEASES)).await.map_err(failed)?;
        let (id, none) = (&self.id[..], touched.leases.is_empty());
        let read_leases =
            async { if none { Ok(Vec::new()) } else { client.query(&leases, &[&touched.leases]).await } };
        // The futures are polled, and so sent, in this order.
        let (begun, head, stubs, leases) = join4(
            client.batch_execute("BEGIN ISOLATION LEVEL READ COMMITTED"),
            client.query_one(&lock_head, &[&id]),
            client.query(&stubs, &[&touched.kinds, &touched.ids]),
            read_leases,
        )
        .await;
        begun.map_err(failed)?;
        let row = head.map_err(failed)?;
        let reader = Reader { name: &self.name };
        let stubs = stubs.map_err(failed)?.iter().map(|row| reader.stub(row)).collect::<StoreResult<_>>()?;
        let leases =
            leases.map_err(failed)?.iter().map(|row| reader.lease(row)).collect::<StoreResult<_>>()?;
        let base = Snapshot { name: Arc::clone(&self.name), stubs, leases };
        Ok((reader.head(&row)?, reader.groups(&row)?, reader.number(&row, "now_ms")?, base))
    }

    /// Sends all statements and the COMMIT at once. When one of them fails, the server makes a rollback of the
    /// COMMIT.
    async fn write_and_commit(
        &self,
        client: &Object,
        changes: &Changes,
        group: i64,
        before: Head,
    ) -> Result<(), Failure> {
        let failed = |error: tokio_postgres::Error| failure("commit", &self.name, &error);
        let position = &changes.head.position;
        let [revision, last_event, floor, records] =
            [position.revision, position.last_event, position.floor, position.records].map(signed);
        let (digest, loading, id) = (&position.digest.to_be_bytes()[..], changes.head.loading, &self.id[..]);
        let columns = Columns::of(changes);
        let mut work = columns.work();
        let head: [&(dyn ToSql + Sync); 8] =
            [&revision, &last_event, &floor, &records, &digest, &loading, &id, &group];
        work.push((rows::PUT_HEAD, head.to_vec()));
        if position.last_event != before.position.last_event {
            work.push((rows::NOTIFY, vec![&last_event]));
        }
        let mut prepared = Vec::with_capacity(work.len());
        for (statement, values) in work {
            prepared.push((client.prepare_cached(statement).await.map_err(failed)?, values));
        }
        // Everything is prepared, so each of these sends when it is first polled, and they are polled in order.
        let statements =
            join_all(prepared.iter().map(|(statement, values)| client.execute(statement, values)));
        let (done, committed) = join(statements, self.end(client, "COMMIT")).await;
        for result in done {
            result.map_err(failed)?;
        }
        committed
    }

    async fn end(&self, client: &Object, word: &str) -> Result<(), Failure> {
        client.batch_execute(word).await.map_err(|error| failure("commit", &self.name, &error))
    }
}

fn answer(replies: impl Iterator<Item = (Job, StoreResult<Reply>)>) {
    for (job, result) in replies {
        let reply: oneshot::Sender<_> = job.reply;
        // The caller may have gone; what it asked for is done all the same.
        let _ = reply.send(result);
    }
}

/// Removes the rows of removed events. A failure leaves them for the next time.
async fn sweep(pool: Pool, floor: u64) {
    loop {
        let Ok(client) = pool.get().await else { return };
        match client.execute(rows::SWEEP, &[&signed(floor)]).await {
            Ok(swept) if swept > 0 => {}
            _ => return,
        }
    }
}
