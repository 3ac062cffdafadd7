//! The sled database behind the store: opening it, reading it, applying changes to it.
//!
//! sled reports some kinds of damage by panicking, so every call into it goes through [`Medium::ask`], which makes
//! an error of that.
use super::super::lease::LeaseRow;
use super::super::ledger::{Base, Changes, Head, Held, Stub};
use super::super::{Event, Kind, Record, StoreError, StoreResult};
use super::layout::{self, Damage};
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// What to do about damage.
pub(super) const RESTORE: &str =
    "move the directory aside and import the last export into a new store; do not go on with this one";

/// sled moves pages above a quarter of a segment into files that it does not sync. A page can grow to about 30
/// values of [`layout::PIECE`] bytes before it is split, and a quarter of this is more than that.
const SEGMENT: usize = 2 << 20;
/// Removed events that are swept from the medium with one commit.
const SWEEP: usize = 1_024;

#[derive(Clone)]
pub(super) struct Medium {
    name: String,
    db: sled::Db,
    /// A second handle on sled's file: sled asks the system to write its pages, but not to flush the drive.
    file: std::sync::Arc<File>,
}

impl Medium {
    pub(super) fn open(name: &str, dir: &Path, cache_bytes: u64) -> StoreResult<Self> {
        remove_unfinished_snapshots(dir).map_err(|error| io_error("open", name, &error))?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .segment_size(SEGMENT)
            .flush_every_ms(None)
            .mode(sled::Mode::HighThroughput);
        let db = match guarded(name, "open", || config.open()) {
            // The snapshot only shortens the start. Whether the log alone gave everything back, the check of the
            // whole store that follows will tell.
            Err(StoreError::Corrupt { .. })
                if set_snapshots_aside(dir).map_err(|error| io_error("open", name, &error))? =>
            {
                guarded(name, "open", || config.open())?
            }
            opened => opened?,
        };
        let file = File::open(dir.join("db")).map_err(|error| io_error("open", name, &error))?;
        Ok(Self { name: name.to_owned(), db, file: file.into() })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn ask<T>(&self, doing: &'static str, call: impl FnOnce() -> sled::Result<T>) -> StoreResult<T> {
        guarded(&self.name, doing, call)
    }

    pub(super) fn damaged(&self, what: Damage) -> StoreError {
        StoreError::Corrupt { on: self.name.clone(), what, advice: RESTORE }
    }

    fn value(&self, key: &[u8]) -> StoreResult<Option<sled::IVec>> {
        self.ask("read", || self.db.get(key))
    }

    pub(super) fn head(&self) -> StoreResult<Option<Head>> {
        self.value(layout::HEAD)?.map(|value| layout::head(&value).map_err(|d| self.damaged(d))).transpose()
    }

    pub(super) fn is_empty(&self) -> StoreResult<bool> {
        self.ask("read", || self.db.iter().next().transpose()).map(|first| first.is_none())
    }

    /// Reads the pieces after the first of a body of `len` bytes.
    fn body(&self, first: &[u8], len: usize, key: impl Fn(u32) -> Vec<u8>) -> StoreResult<Vec<u8>> {
        let mut body = Vec::with_capacity(first.len());
        body.extend_from_slice(first);
        for n in 1..layout::pieces(len) {
            let piece = self.value(&key(n))?;
            body.extend_from_slice(
                &piece.ok_or_else(|| self.damaged(format!("piece {n} of a body is missing")))?,
            );
        }
        if body.len() == len {
            return Ok(body);
        }
        Err(self.damaged(format!("a body has {} bytes and should have {len}", body.len())))
    }

    fn read_record(&self, kind: Kind, id: &str, value: &[u8]) -> StoreResult<Record> {
        let header = layout::record_header(value).map_err(|d| self.damaged(d))?;
        let body = self.body(header.first, header.body_len, |n| layout::record_piece(kind, id, n))?;
        layout::record(kind, id, header.stub, body).map_err(|d| self.damaged(d))
    }

    pub(super) fn record(&self, kind: Kind, id: &str) -> StoreResult<Option<Record>> {
        let value = self.value(&layout::record_key(kind, id))?;
        value.map(|value| self.read_record(kind, id, &value)).transpose()
    }

    /// The records of a kind after `after`, in order.
    pub(super) fn records<'a>(
        &'a self,
        kind: Kind,
        after: Option<&str>,
    ) -> impl Iterator<Item = StoreResult<Record>> + 'a {
        let prefix = layout::records_of(kind);
        let skip = prefix.len();
        let start =
            after.map_or_else(|| prefix.clone(), |id| [&layout::record_key(kind, id)[..], &[0]].concat());
        let mut entries = self.db.range(start..);
        std::iter::from_fn(move || {
            let entry = self.ask("read", || entries.next().transpose()).transpose()?;
            let (key, value) = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            key.starts_with(&prefix).then(|| {
                let id = layout::id_of(&key, skip).map_err(|d| self.damaged(d))?;
                self.read_record(kind, id, &value)
            })
        })
    }

    fn read_event(&self, seq: u64, value: &[u8]) -> StoreResult<Event> {
        let header = layout::event_header(value).map_err(|d| self.damaged(d))?;
        let body = self.body(header.first, header.body_len, |n| layout::event_piece(seq, n))?;
        layout::event(seq, &header, body).map_err(|d| self.damaged(d))
    }

    /// The event `seq`, which must be there.
    fn event(&self, seq: u64) -> StoreResult<Event> {
        let value = self.value(&layout::event_key(seq))?;
        let value = value.ok_or_else(|| self.damaged(format!("event {seq} is missing from the log")))?;
        self.read_event(seq, &value)
    }

    /// The events after `after`, in order, checked to have no gaps.
    pub(super) fn events(&self, after: u64, last: u64) -> impl Iterator<Item = StoreResult<Event>> + '_ {
        let mut entries = self.db.range(layout::event_key(after.saturating_add(1))..);
        (after.saturating_add(1)..=last).map(move |seq| {
            let entry = self.ask("read", || entries.next().transpose())?;
            match entry {
                Some((key, value)) if *key == *layout::event_key(seq) => self.read_event(seq, &value),
                _ => Err(self.damaged(format!("event {seq} is missing from the log"))),
            }
        })
    }

    /// The events about one record after `after`, in order.
    pub(super) fn events_of<'a>(
        &'a self,
        kind: Kind,
        id: &str,
        after: u64,
    ) -> impl Iterator<Item = StoreResult<Event>> + 'a {
        let prefix = layout::events_of(kind, id);
        let mut entries = self.db.range(layout::subject_key(kind, id, after.saturating_add(1))..);
        std::iter::from_fn(move || {
            let entry = self.ask("read", || entries.next().transpose()).transpose()?;
            let (key, _) = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let ours = key.len() == prefix.len() + 8 && key.starts_with(&prefix);
            ours.then(|| layout::seq_of(&key).map_err(|d| self.damaged(d)).and_then(|seq| self.event(seq)))
        })
    }

    /// Applies changes as one atomic batch and returns when they are on the disk.
    pub(super) fn persist(&self, changes: &Changes) -> StoreResult<()> {
        let mut batch = sled::Batch::default();
        for ((kind, id), held) in &changes.records {
            self.write_record(&mut batch, *kind, id, held.as_ref())?;
        }
        for event in &changes.events {
            batch.insert(layout::event_key(event.seq), layout::event_value(event));
            for n in 1..layout::pieces(event.body.len()) {
                batch.insert(layout::event_piece(event.seq, n), layout::piece(&event.body, n));
            }
            batch.insert(layout::subject_key(event.kind, &event.id, event.seq), &[]);
        }
        for (name, row) in &changes.leases {
            batch.insert(layout::lease_key(name), layout::lease_value(name, row));
        }
        batch.insert(layout::HEAD, layout::head_value(&changes.head));
        self.apply(batch)
    }

    fn write_record(
        &self,
        batch: &mut sled::Batch,
        kind: Kind,
        id: &str,
        new: Option<&Held>,
    ) -> StoreResult<()> {
        let key = layout::record_key(kind, id);
        let old = self.value(&key)?;
        let old = old.as_deref().map(layout::record_header).transpose().map_err(|d| self.damaged(d))?;
        let old_pieces = old.map_or(1, |header| layout::pieces(header.body_len));
        let new_pieces = new.map_or(1, |held| layout::pieces(held.record.body.len()));
        if let Some(Held { record, checksum }) = new {
            batch.insert(key, layout::record_value(record, *checksum));
            for n in 1..new_pieces {
                batch.insert(layout::record_piece(kind, id, n), layout::piece(&record.body, n));
            }
        } else {
            batch.remove(key);
        }
        for n in new_pieces..old_pieces {
            batch.remove(layout::record_piece(kind, id, n));
        }
        Ok(())
    }

    fn apply(&self, batch: sled::Batch) -> StoreResult<()> {
        self.ask("commit", || self.db.apply_batch(batch))?;
        self.sync()
    }

    /// Flushes sled's buffers to its file, and the file to the drive.
    pub(super) fn sync(&self) -> StoreResult<()> {
        self.ask("commit", || self.db.flush())?;
        self.file.sync_data().map_err(|error| io_error("commit", &self.name, &error))
    }

    /// Removes some of the events up to `floor` and says whether more are left. They are invisible already, so
    /// this needs no flush of its own.
    pub(super) fn sweep(&self, floor: u64) -> StoreResult<bool> {
        let mut batch = sled::Batch::default();
        let mut entries = self.db.range(layout::event_key(0)..=layout::event_key(floor));
        let mut swept = 0;
        while swept < SWEEP {
            let Some((key, value)) = self.ask("read", || entries.next().transpose())? else { break };
            let seq = layout::seq_of(&key).map_err(|d| self.damaged(d))?;
            let header = layout::event_header(&value).map_err(|d| self.damaged(d))?;
            batch.remove(layout::subject_key(header.kind, header.id, seq));
            for n in 1..layout::pieces(header.body_len) {
                batch.remove(layout::event_piece(seq, n));
            }
            batch.remove(key);
            swept += 1;
        }
        self.ask("commit", || self.db.apply_batch(batch))?;
        Ok(swept == SWEEP)
    }

    /// Words of kinds that are stored and that this version does not know.
    pub(super) fn unknown_kind(&self) -> StoreResult<Option<String>> {
        let mut from = b"r".to_vec();
        loop {
            let next = self.ask("read", || self.db.range(from..b"s".to_vec()).next().transpose())?;
            let Some((key, _)) = next else { return Ok(None) };
            let word = key[1..].split(|byte| *byte == 0).next().unwrap_or_default();
            let text = String::from_utf8_lossy(word).into_owned();
            if Kind::parse(&text).is_none() {
                return Ok(Some(text));
            }
            from = [b"r", word, &[1]].concat();
        }
    }
}

impl Base for Medium {
    fn stub(&self, kind: Kind, id: &str) -> StoreResult<Option<Stub>> {
        let value = self.value(&layout::record_key(kind, id))?;
        let header = value.as_deref().map(layout::record_header).transpose();
        header.map(|header| header.map(|h| h.stub)).map_err(|d| self.damaged(d))
    }

    fn lease(&self, name: &str) -> StoreResult<Option<LeaseRow>> {
        let value = self.value(&layout::lease_key(name))?;
        value.map(|value| layout::lease(name, &value)).transpose().map_err(|d| self.damaged(d))
    }

    fn describe(&self) -> &str {
        &self.name
    }
}

/// sled 0.34 writes its snapshot into a `.generating` file and renames it; a crash in between leaves the half
/// file behind, and the next start takes it for the snapshot and refuses to open. Without it sled starts from the
/// snapshot before, or from its log, and both are complete.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for path in snapshots(dir)? {
        if path.to_string_lossy().ends_with(".generating") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Renames sled's snapshots so that it starts from its log, and says whether there was one.
fn set_snapshots_aside(dir: &Path) -> io::Result<bool> {
    let snapshots = snapshots(dir)?;
    for path in &snapshots {
        if let Some(name) = path.file_name() {
            fs::rename(path, dir.join(format!("damaged-{}", name.to_string_lossy())))?;
        }
    }
    Ok(!snapshots.is_empty())
}

fn snapshots(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn guarded<T>(on: &str, doing: &'static str, call: impl FnOnce() -> sled::Result<T>) -> StoreResult<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(sled_error(on, doing, &error)),
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str);
            let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no reason given");
            let what = format!("sled gave up while it was asked to {doing}: {said}");
            Err(StoreError::Corrupt { on: on.to_owned(), what, advice: RESTORE })
        }
    }
}

fn sled_error(on: &str, doing: &'static str, error: &sled::Error) -> StoreError {
    let on = on.to_owned();
    match error {
        sled::Error::Io(error) => io_error(doing, &on, error),
        sled::Error::Corruption { at, .. } => {
            let what = format!("sled found bytes that it did not write, at {at:?}");
            StoreError::Corrupt { on, what, advice: RESTORE }
        }
        sled::Error::Unsupported(why) => StoreError::Incompatible {
            on,
            why: why.clone(),
            advice: "open it with the version of Fuse that wrote it, and export from there",
        },
        sled::Error::ReportableBug(_) | sled::Error::CollectionNotFound(_) => {
            StoreError::Corrupt { on, what: error.to_string(), advice: RESTORE }
        }
    }
}

pub(super) fn io_error(doing: &'static str, on: &str, error: &io::Error) -> StoreError {
    let on = on.to_owned();
    let why = error.to_string();
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full { on, why },
        _ => StoreError::Unavailable {
            doing,
            on,
            why,
            advice: "check the disk and the rights on the directory, then open the store again",
        },
    }
}
