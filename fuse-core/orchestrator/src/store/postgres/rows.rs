//! The statements, and what goes between rows and values.
use super::super::lease::LeaseRow;
use super::super::ledger::{Changes, Head, Held, Stub};
use super::super::{Event, Kind, Position, Record, StoreError, StoreResult};
use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

pub(super) const HEAD: &str = "SELECT revision, last_event, floor, records, digest, loading FROM fuse_head";

/// Waits for whoever else is committing; everything read after it is the newest state.
pub(super) const LOCK_HEAD: &str = "SELECT revision, last_event, floor, records, digest, loading, \
     (extract(epoch FROM clock_timestamp()) * 1000)::bigint AS now_ms, \
     (SELECT groups FROM fuse_writers WHERE writer = $1) AS groups FROM fuse_head FOR UPDATE";

// LATERAL with a limit makes it one index look-up per key, whatever the planner believes of the sizes.
pub(super) const STUBS: &str = "SELECT k.kind, k.id, r.revision, r.checksum \
     FROM unnest($1::text[], $2::text[]) AS k(kind, id) \
     CROSS JOIN LATERAL (SELECT revision, checksum FROM fuse_records \
         WHERE kind = k.kind AND id = k.id LIMIT 1) AS r";

pub(super) const LEASES: &str =
    "SELECT name, holder, token, expires_ms, released FROM fuse_leases WHERE name = ANY($1::text[])";

pub(super) const PUT_RECORDS: &str = "INSERT INTO fuse_records (kind, id, revision, checksum, body) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bytea[], $5::bytea[]) \
     ON CONFLICT (kind, id) DO UPDATE SET revision = excluded.revision, checksum = excluded.checksum, \
         body = excluded.body";

pub(super) const DELETE_RECORDS: &str = "DELETE FROM fuse_records AS r \
     USING unnest($1::text[], $2::text[]) AS k(kind, id) WHERE r.kind = k.kind AND r.id = k.id";

pub(super) const PUT_EVENTS: &str = "INSERT INTO fuse_events (seq, kind, id, at_ms, checksum, body) \
     SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bytea[], $6::bytea[])";

pub(super) const PUT_LEASES: &str = "INSERT INTO fuse_leases (name, holder, token, expires_ms, released) \
     SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[]) \
     ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, token = excluded.token, \
         expires_ms = excluded.expires_ms, released = excluded.released";

/// The counters, and the writer's own number.
pub(super) const PUT_HEAD: &str = "WITH writer AS ( \
         INSERT INTO fuse_writers (writer, groups) VALUES ($7, $8) \
         ON CONFLICT (writer) DO UPDATE SET groups = excluded.groups, at = now()) \
     UPDATE fuse_head SET revision = $1, last_event = $2, floor = $3, records = $4, digest = $5, loading = $6";

/// A word to whoever listens, delivered with the commit.
pub(super) const NOTIFY: &str = "SELECT pg_notify('fuse_events', $1::bigint::text)";

/// Removed events are invisible at once; their rows go in slices that nobody waits for.
pub(super) const SWEEP: &str = "DELETE FROM fuse_events WHERE seq IN \
     (SELECT seq FROM fuse_events WHERE seq <= $1 ORDER BY seq LIMIT 5000)";

pub(super) const FORGET_WRITERS: &str = "DELETE FROM fuse_writers WHERE at < now() - interval '7 days'";

pub(super) const GET: &str =
    "SELECT id, revision, checksum, body FROM fuse_records WHERE kind = $1 AND id = $2";

pub(super) const LIST: &str = "SELECT id, revision, checksum, body FROM fuse_records \
     WHERE kind = $1 AND id > $2 ORDER BY id LIMIT $3";

pub(super) const ALL_RECORDS: &str =
    "SELECT id, revision, checksum, body FROM fuse_records WHERE kind = $1 ORDER BY id";

// One statement sees one moment: the events and the floor that they are judged by belong together.
pub(super) const EVENTS: &str = "SELECT h.floor, h.last_event, e.* FROM fuse_head AS h \
     LEFT JOIN LATERAL (SELECT seq, kind, id, at_ms, checksum, body FROM fuse_events \
         WHERE seq > greatest($1, h.floor) ORDER BY seq LIMIT $2) AS e ON true ORDER BY e.seq";

pub(super) const EVENTS_OF: &str = "SELECT h.floor, h.last_event, e.* FROM fuse_head AS h \
     LEFT JOIN LATERAL (SELECT seq, kind, id, at_ms, checksum, body FROM fuse_events \
         WHERE kind = $3 AND id = $4 AND seq > greatest($1, h.floor) ORDER BY seq LIMIT $2) AS e ON true \
     ORDER BY e.seq";

pub(super) const ALL_EVENTS: &str =
    "SELECT seq, kind, id, at_ms, checksum, body FROM fuse_events WHERE seq > $1 ORDER BY seq";

pub(super) const UNKNOWN_KIND: &str = "SELECT kind FROM fuse_records WHERE kind <> ALL($1::text[]) LIMIT 1";

/// Turns rows into values, and damage into an error that names the database.
pub(super) struct Reader<'a> {
    pub(super) name: &'a str,
}

impl Reader<'_> {
    pub(super) fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::Corrupt {
            on: self.name.to_owned(),
            what: what.into(),
            advice: "something else than Fuse wrote to its tables, or the disk did; restore a backup or import an export",
        }
    }

    fn column<'r, T: tokio_postgres::types::FromSql<'r>>(&self, row: &'r Row, name: &str) -> StoreResult<T> {
        row.try_get(name).map_err(|error| self.damaged(super::failure::words(&error)))
    }

    pub(super) fn number(&self, row: &Row, name: &str) -> StoreResult<u64> {
        let number: i64 = self.column(row, name)?;
        u64::try_from(number).map_err(|_| self.damaged(format!("its column {name} holds {number}")))
    }

    fn sum(&self, row: &Row, name: &str) -> StoreResult<u128> {
        let bytes: &[u8] = self.column(row, name)?;
        let bytes =
            bytes.try_into().map_err(|_| self.damaged(format!("its column {name} is not 16 bytes")))?;
        Ok(u128::from_be_bytes(bytes))
    }

    fn kind(&self, row: &Row) -> StoreResult<Kind> {
        let word: &str = self.column(row, "kind")?;
        Kind::parse(word).ok_or_else(|| self.damaged(format!("a row is of the unknown kind {word:?}")))
    }

    pub(super) fn head(&self, row: &Row) -> StoreResult<Head> {
        let position = Position {
            revision: self.number(row, "revision")?,
            last_event: self.number(row, "last_event")?,
            floor: self.number(row, "floor")?,
            records: self.number(row, "records")?,
            digest: self.sum(row, "digest")?,
        };
        Ok(Head { position, loading: self.column(row, "loading")? })
    }

    /// The newest group of this writer that was committed; 0 when there is none.
    pub(super) fn groups(&self, row: &Row) -> StoreResult<i64> {
        Ok(self.column::<Option<i64>>(row, "groups")?.unwrap_or(0))
    }

    pub(super) fn stub(&self, row: &Row) -> StoreResult<((Kind, String), Stub)> {
        let stub = Stub { revision: self.number(row, "revision")?, checksum: self.sum(row, "checksum")? };
        Ok(((self.kind(row)?, self.column(row, "id")?), stub))
    }

    pub(super) fn lease(&self, row: &Row) -> StoreResult<(String, LeaseRow)> {
        let row_out = LeaseRow {
            holder: self.column(row, "holder")?,
            token: self.number(row, "token")?,
            expires_ms: self.number(row, "expires_ms")?,
            released: self.column(row, "released")?,
        };
        Ok((self.column(row, "name")?, row_out))
    }

    pub(super) fn record(&self, kind: Kind, row: &Row) -> StoreResult<Record> {
        let body: &[u8] = self.column(row, "body")?;
        let (id, revision) = (self.column(row, "id")?, self.number(row, "revision")?);
        let record = Record { kind, id, revision, body: Bytes::copy_from_slice(body) };
        if record.checksum() == self.sum(row, "checksum")? {
            return Ok(record);
        }
        Err(self
            .damaged(format!("the checksum of {kind} `{}` at revision {revision} does not match", record.id)))
    }

    pub(super) fn event(&self, row: &Row) -> StoreResult<Event> {
        let body: &[u8] = self.column(row, "body")?;
        let event = Event {
            seq: self.number(row, "seq")?,
            kind: self.kind(row)?,
            id: self.column(row, "id")?,
            at_ms: self.number(row, "at_ms")?,
            body: Bytes::copy_from_slice(body),
        };
        if event.checksum() == self.sum(row, "checksum")? {
            return Ok(event);
        }
        Err(self.damaged(format!("the checksum of event {} does not match", event.seq)))
    }

    /// The event of a row that has one: a page without events is a row without an event.
    pub(super) fn event_if_any(&self, row: &Row) -> StoreResult<Option<Event>> {
        let seq: Option<i64> = self.column(row, "seq")?;
        seq.map(|_| self.event(row)).transpose()
    }
}

/// Postgres knows no unsigned numbers; the counters never come near this limit.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A statement and its values.
pub(super) type Work<'a> = (&'static str, Vec<&'a (dyn ToSql + Sync)>);

/// Changes as the columns of the statements above.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) put_kinds: Vec<&'a str>,
    pub(super) put_ids: Vec<&'a str>,
    pub(super) put_revisions: Vec<i64>,
    pub(super) put_sums: Vec<Vec<u8>>,
    pub(super) put_bodies: Vec<&'a [u8]>,
    pub(super) gone_kinds: Vec<&'a str>,
    pub(super) gone_ids: Vec<&'a str>,
    pub(super) seqs: Vec<i64>,
    pub(super) event_kinds: Vec<&'a str>,
    pub(super) event_ids: Vec<&'a str>,
    pub(super) event_times: Vec<i64>,
    pub(super) event_sums: Vec<Vec<u8>>,
    pub(super) event_bodies: Vec<&'a [u8]>,
    pub(super) lease_names: Vec<&'a str>,
    pub(super) lease_holders: Vec<&'a str>,
    pub(super) lease_tokens: Vec<i64>,
    pub(super) lease_ends: Vec<i64>,
    pub(super) lease_released: Vec<bool>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(changes: &'a Changes) -> Self {
        let mut columns = Self::default();
        for ((kind, id), held) in &changes.records {
            let Some(Held { record, checksum }) = held else {
                columns.gone_kinds.push(kind.as_str());
                columns.gone_ids.push(id);
                continue;
            };
            columns.put_kinds.push(kind.as_str());
            columns.put_ids.push(id);
            columns.put_revisions.push(signed(record.revision));
            columns.put_sums.push(checksum.to_be_bytes().to_vec());
            columns.put_bodies.push(&record.body);
        }
        for event in &changes.events {
            columns.seqs.push(signed(event.seq));
            columns.event_kinds.push(event.kind.as_str());
            columns.event_ids.push(&event.id);
            columns.event_times.push(signed(event.at_ms));
            columns.event_sums.push(event.checksum().to_be_bytes().to_vec());
            columns.event_bodies.push(&event.body);
        }
        for (name, row) in &changes.leases {
            columns.lease_names.push(name);
            columns.lease_holders.push(&row.holder);
            columns.lease_tokens.push(signed(row.token));
            columns.lease_ends.push(signed(row.expires_ms));
            columns.lease_released.push(row.released);
        }
        columns
    }

    /// The statements that have something to do.
    pub(super) fn work(&self) -> Vec<Work<'_>> {
        let mut work: Vec<Work<'_>> = Vec::new();
        if !self.put_ids.is_empty() {
            let values: [&(dyn ToSql + Sync); 5] =
                [&self.put_kinds, &self.put_ids, &self.put_revisions, &self.put_sums, &self.put_bodies];
            work.push((PUT_RECORDS, values.to_vec()));
        }
        if !self.gone_ids.is_empty() {
            work.push((DELETE_RECORDS, vec![&self.gone_kinds, &self.gone_ids]));
        }
        if !self.seqs.is_empty() {
            let who: [&(dyn ToSql + Sync); 3] = [&self.seqs, &self.event_kinds, &self.event_ids];
            let what: [&(dyn ToSql + Sync); 3] = [&self.event_times, &self.event_sums, &self.event_bodies];
            work.push((PUT_EVENTS, [who, what].concat()));
        }
        if !self.lease_names.is_empty() {
            let who: [&(dyn ToSql + Sync); 2] = [&self.lease_names, &self.lease_holders];
            let what: [&(dyn ToSql + Sync); 3] = [&self.lease_tokens, &self.lease_ends, &self.lease_released];
            work.push((PUT_LEASES, who.into_iter().chain(what).collect()));
        }
        work
    }
}
