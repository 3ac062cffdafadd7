//! The whole state as JSON lines: out of any store, into any store, and checked.
//!
//! ```text
//! {"fuse_export":1}
//! {"record":"environment","id":"fuse-t1","revision":7,"checksum":"…","json":{…}}
//! {"event":12,"record":"environment","id":"fuse-t1","at_ms":1760000000000,"checksum":"…","json":{…}}
//! {"end":{"revision":9,"last_event":12,"floor":3,"records":1,"digest":"…"},"sha256":"…"}
//! ```
//! A body is written as it is (`json`) when it is one line of JSON, else as a string (`text`), else as `base64`.
//! Checksums and the last line make a changed, cut or reordered export fail to import, with the line named.
use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Longest line that an import accepts, in bytes: a body of [`MAX_BODY`] with every byte escaped.
const MAX_LINE: u64 = 6 * MAX_BODY as u64 + 64 * 1_024;
/// Items, and bytes, that are loaded at once.
const PART: usize = 512;
const PART_BYTES: usize = 4 << 20;
const FORMAT: u32 = 1;

/// Why an export or an import stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file could not be read or written.
    #[error("{doing} failed: {why}; check the file and run it again")]
    Io {
        /// `export` or `import`.
        doing: &'static str,
        /// The system's words.
        why: String,
    },
    /// The file is not a complete, unchanged export.
    #[error("import stopped at line {line}: {why}; empty the store and import a complete, unchanged export")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
}

/// One line: a header, a record, an event or the end, told apart by what is present.
#[derive(Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    fuse_export: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    record: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    json: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<End>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct End {
    revision: u64,
    last_event: u64,
    floor: u64,
    records: u64,
    digest: String,
}

/// Writes everything in `store`, as of one moment, to `out`, and returns that moment's position.
///
/// # Errors
/// [`DumpError::Store`] when the store fails or is damaged (nothing of a damaged store is passed off as complete),
/// [`DumpError::Io`] when `out` does.
pub async fn export(
    store: &dyn Store,
    out: &mut (impl AsyncWrite + Unpin + Send),
) -> Result<Position, DumpError> {
    let (items, mut inbox) = mpsc::channel(256);
    let write = async move {
        let mut writer = LineWriter { out, hash: Sha256::new() };
        writer.line(&Line { fuse_export: Some(FORMAT), ..Line::default() }).await?;
        let mut audit = Audit::default();
        while let Some(item) = inbox.recv().await {
            audit.add(&item);
            writer.line(&item_line(item)).await?;
        }
        Ok::<_, DumpError>((writer, audit))
    };
    let (position, written) = tokio::join!(store.dump(items), write);
    // When the file failed, the store stopped quietly; its own failure comes first.
    let position = position?;
    let (mut writer, audit) = written?;
    audit.compare(store.describe(), &position)?;
    let Position { revision, last_event, floor, records, digest } = position;
    let end = End { revision, last_event, floor, records, digest: hex::encode(digest.to_be_bytes()) };
    let sha256 = Some(seal(writer.hash.clone(), &end));
    writer.line(&Line { end: Some(end), sha256, ..Line::default() }).await?;
    writer.out.flush().await.map_err(|error| io("export", &error))?;
    Ok(position)
}

/// Reads an export into `store`, which must never have been written to, and returns the position it then has:
/// revisions, event numbers and the counters for new ones are those of the exported store. When it fails the
/// store stays unusable until it is emptied, so that half a state is never taken for a whole one.
///
/// # Errors
/// [`DumpError::Line`] when the export is not complete and unchanged, [`DumpError::Store`] when the store refuses,
/// [`DumpError::Io`] when the input cannot be read.
pub async fn import(
    store: &dyn Store,
    input: impl AsyncBufRead + Unpin + Send,
) -> Result<Position, DumpError> {
    let mut reader = LineReader { input, number: 0, hash: Sha256::new(), raw: Vec::new() };
    let header = reader.next().await?;
    match header.fuse_export {
        Some(FORMAT) => {}
        Some(other) => return reader.wrong(format!("it is of format {other}, and this Fuse reads {FORMAT}")),
        None => return reader.wrong("it does not start as an export of Fuse does"),
    }
    let mut loader = Loader::new(store);
    loop {
        let before = reader.hash.clone();
        let line = reader.next().await?;
        if let Some(end) = line.end {
            if line.sha256.as_deref() != Some(&seal(before, &end)) {
                return reader.wrong("it or the lines before it were changed: their SHA-256 differs");
            }
            let position = end_position(&end).or_else(|why| reader.wrong(why))?;
            return loader.finish(position).await.map_err(DumpError::Store);
        }
        let item = line_item(line).or_else(|why| reader.wrong(why))?;
        loader.add(item).await?;
    }
}

/// Copies everything from one store into another one that was never written to.
///
/// # Errors
/// Those of [`Store::dump`], [`Store::load`] and [`Store::finish_load`], and [`StoreError::Corrupt`] when `from`
/// does not hold what it should.
pub async fn copy(from: &dyn Store, to: &dyn Store) -> StoreResult<Position> {
    let (items, mut inbox) = mpsc::channel(256);
    let load = async move {
        let mut loader = Loader::new(to);
        while let Some(item) = inbox.recv().await {
            loader.add(item).await?;
        }
        Ok::<_, StoreError>(loader)
    };
    let (position, loaded) = tokio::join!(from.dump(items), load);
    let position = position?;
    loaded?.finish(position).await
}

/// Reads everything and compares it with the store's own checksums, counts and numbers.
///
/// # Errors
/// [`StoreError::Corrupt`] when something does not match.
pub async fn verify(store: &dyn Store) -> StoreResult<Position> {
    let (items, mut inbox) = mpsc::channel(256);
    let read = async move {
        let mut audit = Audit::default();
        while let Some(item) = inbox.recv().await {
            audit.add(&item);
        }
        audit
    };
    let (position, audit) = tokio::join!(store.dump(items), read);
    let position = position?;
    audit.compare(store.describe(), &position)?;
    Ok(position)
}

/// What went by, to compare with the position.
#[derive(Default)]
struct Audit {
    records: u64,
    digest: u128,
    first_event: Option<u64>,
    last_event: u64,
    events: u64,
}

impl Audit {
    fn add(&mut self, item: &Item) {
        match item {
            Item::Record(record) => {
                self.records += 1;
                self.digest = self.digest.wrapping_add(record.checksum());
            }
            Item::Event(event) => {
                self.first_event.get_or_insert(event.seq);
                self.last_event = event.seq;
                self.events += 1;
            }
        }
    }

    fn compare(&self, on: &str, position: &Position) -> StoreResult<()> {
        let kept = position.last_event.saturating_sub(position.floor);
        let ends = self.events == 0
            || self.first_event == Some(position.floor + 1) && self.last_event == position.last_event;
        let what = if self.records != position.records {
            format!("it should hold {} records and has {}", position.records, self.records)
        } else if self.digest != position.digest {
            "the sum of the checksums of its records is wrong: one of them was changed or is old".to_owned()
        } else if self.events != kept || !ends {
            format!(
                "it should hold events {} to {} and has {}",
                position.floor + 1,
                position.last_event,
                self.events
            )
        } else {
            return Ok(());
        };
        Err(StoreError::Corrupt {
            on: on.to_owned(),
            what,
            advice: "import the last good export into a new store",
        })
    }
}

/// Loads items in parts.
struct Loader<'a> {
    store: &'a dyn Store,
    part: Vec<Item>,
    bytes: usize,
    audit: Audit,
}

impl<'a> Loader<'a> {
    fn new(store: &'a dyn Store) -> Self {
        Self { store, part: Vec::new(), bytes: 0, audit: Audit::default() }
    }

    async fn add(&mut self, item: Item) -> StoreResult<()> {
        self.audit.add(&item);
        self.bytes += item.bytes();
        self.part.push(item);
        if self.part.len() >= PART || self.bytes >= PART_BYTES { self.load().await } else { Ok(()) }
    }

    async fn load(&mut self) -> StoreResult<()> {
        self.bytes = 0;
        self.store.load(std::mem::take(&mut self.part)).await
    }

    async fn finish(mut self, position: Position) -> StoreResult<Position> {
        // Also when nothing is left, so that an empty export marks the store as being loaded all the same.
        self.load().await?;
        self.audit.compare("the export", &position)?;
        self.store.finish_load(position).await?;
        Ok(position)
    }
}

struct LineWriter<'a, W> {
    out: &'a mut W,
    hash: Sha256,
}

impl<W: AsyncWrite + Unpin> LineWriter<'_, W> {
    async fn line(&mut self, line: &Line) -> Result<(), DumpError> {
        let encode = |error: serde_json::Error| DumpError::Io { doing: "export", why: error.to_string() };
        let mut bytes = serde_json::to_vec(line).map_err(encode)?;
        bytes.push(b'\n');
        self.hash.update(&bytes);
        self.out.write_all(&bytes).await.map_err(|error| io("export", &error))
    }
}

struct LineReader<R> {
    input: R,
    number: u64,
    hash: Sha256,
    raw: Vec<u8>,
}

impl<R: AsyncBufRead + Unpin> LineReader<R> {
    async fn next(&mut self) -> Result<Line, DumpError> {
        self.raw.clear();
        self.number += 1;
        let mut limited = (&mut self.input).take(MAX_LINE);
        limited.read_until(b'\n', &mut self.raw).await.map_err(|error| io("import", &error))?;
        match self.raw.last() {
            None => self.wrong("the export ends before its last line"),
            Some(b'\n') => {
                self.hash.update(&self.raw);
                serde_json::from_slice(&self.raw).or_else(|error| self.wrong(error.to_string()))
            }
            Some(_) if self.raw.len() as u64 == MAX_LINE => {
                self.wrong(format!("it is longer than the {MAX_LINE} bytes that are allowed"))
            }
            Some(_) => self.wrong("it is cut off"),
        }
    }

    fn wrong<T>(&self, why: impl Into<String>) -> Result<T, DumpError> {
        Err(DumpError::Line { line: self.number, why: why.into() })
    }
}

/// The SHA-256 over all lines before the last one and over what the last one says.
fn seal(mut lines: Sha256, end: &End) -> String {
    for number in [end.revision, end.last_event, end.floor, end.records] {
        lines.update(number.to_be_bytes());
    }
    lines.update(&end.digest);
    hex::encode(lines.finalize())
}

fn io(doing: &'static str, error: &std::io::Error) -> DumpError {
    DumpError::Io { doing, why: error.to_string() }
}

fn item_line(item: Item) -> Line {
    let (mut line, body) = match item {
        Item::Record(record) => {
            let line = Line {
                record: Some(record.kind.as_str().to_owned()),
                revision: Some(record.revision),
                checksum: Some(hex::encode(record.checksum().to_be_bytes())),
                id: Some(record.id),
                ..Line::default()
            };
            (line, record.body)
        }
        Item::Event(event) => {
            let line = Line {
                event: Some(event.seq),
                record: Some(event.kind.as_str().to_owned()),
                at_ms: Some(event.at_ms),
                checksum: Some(hex::encode(event.checksum().to_be_bytes())),
                id: Some(event.id),
                ..Line::default()
            };
            (line, event.body)
        }
    };
    match std::str::from_utf8(&body) {
        Ok(text) => match raw_json(text) {
            Some(json) => line.json = Some(json),
            None => line.text = Some(text.to_owned()),
        },
        Err(_) => line.base64 = Some(STANDARD.encode(&body)),
    }
    line
}

/// The body as raw JSON, if it is an object or an array that comes back byte for byte from within a line.
fn raw_json(text: &str) -> Option<Box<RawValue>> {
    let framed = text.starts_with('{') && text.ends_with('}') || text.starts_with('[') && text.ends_with(']');
    if !framed || text.contains(['\n', '\r']) {
        return None;
    }
    RawValue::from_string(text.to_owned()).ok()
}

fn line_item(line: Line) -> Result<Item, String> {
    let missing = |what| move || format!("it has no `{what}`");
    let kind = line.record.ok_or_else(missing("record"))?;
    let kind = Kind::parse(&kind).ok_or_else(|| format!("it is about the unknown kind {kind:?}"))?;
    let id = line.id.ok_or_else(missing("id"))?;
    let body = match (line.json, line.text, line.base64) {
        (Some(json), None, None) => Bytes::from(json.get().to_owned()),
        (None, Some(text), None) => Bytes::from(text),
        (None, None, Some(base64)) => STANDARD.decode(base64).map_err(|error| error.to_string())?.into(),
        _ => return Err("it has not exactly one of `json`, `text` and `base64`".into()),
    };
    let (item, checksum) = if let Some(seq) = line.event {
        let event = Event { seq, kind, id, at_ms: line.at_ms.ok_or_else(missing("at_ms"))?, body };
        let checksum = event.checksum();
        (Item::Event(event), checksum)
    } else {
        let record = Record { kind, id, revision: line.revision.ok_or_else(missing("revision"))?, body };
        let checksum = record.checksum();
        (Item::Record(record), checksum)
    };
    if line.checksum.is_some_and(|said| said == hex::encode(checksum.to_be_bytes())) {
        Ok(item)
    } else {
        Err("it was changed: its checksum differs".into())
    }
}

fn end_position(end: &End) -> Result<Position, String> {
    let mut digest = [0; 16];
    hex::decode_to_slice(&end.digest, &mut digest)
        .map_err(|error| format!("its `digest` is not one: {error}"))?;
    let (revision, last_event, floor, records) = (end.revision, end.last_event, end.floor, end.records);
    Ok(Position { revision, last_event, floor, records, digest: u128::from_be_bytes(digest) })
}
