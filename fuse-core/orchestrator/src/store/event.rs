//! Events: what happened, in one order.
use super::record::first_16;
use super::{Kind, StoreError};
use bytes::Bytes;
use sha2::{Digest, Sha256};

/// Largest body of an event, in bytes (256 KiB).
pub const MAX_EVENT_BODY: usize = 256 << 10;
/// Most entries that one page of records or events can have.
pub const MAX_PAGE: usize = 1_000;

/// An event that a commit appends.
#[derive(Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// Kind of the record that the event is about.
    pub kind: Kind,
    /// Id of that record. The record need not exist.
    pub id: String,
    /// When it happened, in milliseconds since the Unix epoch, by the caller's clock. Stores only keep it.
    /// At most 2^63 - 1.
    pub at_ms: u64,
    /// What happened: JSON for Fuse, opaque for a store. Up to [`MAX_EVENT_BODY`] bytes.
    pub body: Bytes,
}

/// An event of the log.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// Its place in the log. Numbers start at 1 and have no gaps; they are given in commit order, and a
    /// reader that saw number `n` will never be shown a new event with a number below `n`.
    pub seq: u64,
    /// Kind of the record that the event is about.
    pub kind: Kind,
    /// Id of that record.
    pub id: String,
    /// When it happened, as [`NewEvent::at_ms`].
    pub at_ms: u64,
    /// What happened.
    pub body: Bytes,
}

impl Event {
    /// A checksum over every field: the first 16 bytes of their SHA-256.
    #[must_use]
    pub fn checksum(&self) -> u128 {
        let mut hash = Sha256::new();
        hash.update(b"fuse-event-1\0");
        hash.update(self.seq.to_be_bytes());
        hash.update(self.kind.as_str());
        hash.update([0]);
        hash.update(self.id.as_bytes());
        hash.update([0]);
        hash.update(self.at_ms.to_be_bytes());
        hash.update(&self.body);
        first_16(hash)
    }
}

impl std::fmt::Debug for NewEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewEvent")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("at_ms", &self.at_ms)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("seq", &self.seq)
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("at_ms", &self.at_ms)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

/// Which events to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventQuery {
    /// Read events with a sequence number above this one; 0 reads from the start.
    pub after: u64,
    /// Most events to return, 1 to [`MAX_PAGE`].
    pub limit: usize,
    /// Only events about this record.
    pub subject: Option<(Kind, String)>,
}

impl EventQuery {
    /// The events of all records after `after`, at most `limit` of them.
    #[must_use]
    pub fn all(after: u64, limit: usize) -> Self {
        Self { after, limit, subject: None }
    }

    /// The events of one record after `after`, at most `limit` of them.
    #[must_use]
    pub fn of(kind: Kind, id: impl Into<String>, after: u64, limit: usize) -> Self {
        Self { after, limit, subject: Some((kind, id.into())) }
    }

    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if (1..=MAX_PAGE).contains(&self.limit) { Ok(()) } else { Err(StoreError::page_limit(self.limit)) }
    }
}

/// One page of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPage {
    /// The events, by rising sequence number.
    pub events: Vec<Event>,
    /// The newest event that was removed from the log; 0 when none was. A reader that asked for events after a
    /// smaller number has missed what lies between: see [`EventPage::lost`].
    pub floor: u64,
    /// The newest event of the whole log when the page was read.
    pub last: u64,
}

impl EventPage {
    /// How many events between `after` and the first one still kept were removed before they could be read,
    /// counting events about every record.
    #[must_use]
    pub fn lost(&self, after: u64) -> u64 {
        self.floor.saturating_sub(after)
    }
}
