//! Batches: what one commit changes.
use super::record::id_problem;
use super::{Fence, Found, Kind, Lease, MAX_BODY, MAX_EVENT_BODY, NewEvent, StoreError};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::ops::Range;

/// Most changes, and most events, that one commit can carry.
pub const MAX_BATCH: usize = 1_024;
/// Most bytes of ids and bodies that one commit can carry (16 MiB).
pub const MAX_BATCH_BYTES: usize = 16 << 20;

/// What a change expects of the record that it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// There is no such record.
    Absent,
    /// The record exists, at this revision.
    Revision(u64),
    /// The record exists, at whatever revision.
    Present,
    /// Anything: the last writer wins. For records that one writer owns.
    Any,
}

impl Expect {
    pub(crate) fn check(self, kind: Kind, id: &str, found: Option<u64>) -> Result<(), StoreError> {
        let expected = match (self, found) {
            (Self::Any, _) | (Self::Absent, None) | (Self::Present, Some(_)) => return Ok(()),
            (Self::Revision(want), Some(have)) if want == have => return Ok(()),
            (Self::Absent, _) => Found::Absent,
            (Self::Present, _) => Found::Present,
            (Self::Revision(want), _) => Found::Revision(want),
        };
        let found = found.map_or(Found::Absent, Found::Revision);
        Err(StoreError::Conflict { kind, id: id.to_owned(), expected, found })
    }
}

/// One change of a batch; `body` is `None` for a delete.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    pub(crate) expect: Expect,
    pub(crate) body: Option<Bytes>,
}

/// The changes and events of one commit: all of them are applied, or none.
///
/// ```
/// use fuse_orchestrator::store::{Batch, Expect, Kind, NewEvent};
/// let batch = Batch::new()
///     .put(Kind::Environment, "fuse-t1", Expect::Absent, r#"{"state":"provisioning"}"#)
///     .event(NewEvent {
///         kind: Kind::Environment,
///         id: "fuse-t1".into(),
///         at_ms: 0,
///         body: r#"{"event":"state"}"#.into(),
///     });
/// # let _ = batch;
/// ```
#[derive(Clone, PartialEq, Eq, Default)]
#[must_use = "a batch does nothing until it is committed"]
pub struct Batch {
    pub(crate) changes: Vec<Change>,
    pub(crate) events: Vec<NewEvent>,
    pub(crate) fence: Option<Fence>,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a record.
    pub fn put(mut self, kind: Kind, id: impl Into<String>, expect: Expect, body: impl Into<Bytes>) -> Self {
        self.changes.push(Change { kind, id: id.into(), expect, body: Some(body.into()) });
        self
    }

    /// Deletes a record. With [`Expect::Any`] a record that is not there is not an error.
    pub fn delete(mut self, kind: Kind, id: impl Into<String>, expect: Expect) -> Self {
        self.changes.push(Change { kind, id: id.into(), expect, body: None });
        self
    }

    /// Appends an event. Events get consecutive sequence numbers in the order in which they were added.
    pub fn event(mut self, event: NewEvent) -> Self {
        self.events.push(event);
        self
    }

    /// Applies the batch only while `lease` has not passed to another holder and was not released.
    pub fn fenced_by(mut self, lease: &Lease) -> Self {
        self.fence = Some(lease.fence());
        self
    }

    /// Whether it changes nothing and appends nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.events.is_empty()
    }

    /// Bytes of ids and bodies, as [`MAX_BATCH_BYTES`] counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let changes = self.changes.iter().map(|c| c.id.len() + c.body.as_ref().map_or(0, Bytes::len));
        let events = self.events.iter().map(|e| e.id.len() + e.body.len());
        changes.chain(events).sum()
    }

    /// Checks everything that needs no store: sizes, ids, no record twice.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        let refuse = |why: String| Err(StoreError::invalid("commit", why));
        if self.is_empty() {
            return refuse("the batch is empty; add a change or an event".into());
        }
        for (what, count) in [("changes", self.changes.len()), ("events", self.events.len())] {
            if count > MAX_BATCH {
                return refuse(format!(
                    "the batch has {count} {what}, and {MAX_BATCH} are allowed; split it"
                ));
            }
        }
        let bytes = self.bytes();
        if bytes > MAX_BATCH_BYTES {
            return refuse(format!(
                "the batch has {bytes} bytes, and {MAX_BATCH_BYTES} are allowed; split it"
            ));
        }
        let mut seen = BTreeSet::new();
        for change in &self.changes {
            if let Some(why) = id_problem("the id", &change.id) {
                return refuse(why);
            }
            if !seen.insert((change.kind, change.id.as_str())) {
                return refuse(format!("{} `{}` is changed twice in one batch", change.kind, change.id));
            }
            let size = change.body.as_ref().map_or(0, Bytes::len);
            if size > MAX_BODY {
                return refuse(format!(
                    "the body of {} `{}` has {size} bytes, and {MAX_BODY} are allowed",
                    change.kind, change.id
                ));
            }
        }
        for event in &self.events {
            if let Some(why) = id_problem("the id of an event", &event.id) {
                return refuse(why);
            }
            if event.at_ms > i64::MAX as u64 {
                return refuse(format!("the time of an event, {} ms, is past {}", event.at_ms, i64::MAX));
            }
            if event.body.len() > MAX_EVENT_BODY {
                return refuse(format!(
                    "an event about {} `{}` has {} bytes, and {MAX_EVENT_BODY} are allowed",
                    event.kind,
                    event.id,
                    event.body.len()
                ));
            }
        }
        Ok(())
    }
}

/// Prints ids and sizes, never bodies.
impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let changes: Vec<_> = self
            .changes
            .iter()
            .map(|c| format!("{} {} `{}`", if c.body.is_some() { "put" } else { "delete" }, c.kind, c.id))
            .collect();
        f.debug_struct("Batch")
            .field("changes", &changes)
            .field("events", &self.events.len())
            .field("fence", &self.fence)
            .finish()
    }
}

/// What a commit was given: proof that it is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The number of the commit, and so the new revision of every record that it put.
    pub revision: u64,
    /// The sequence numbers of its events, in the order of the batch. Empty when it had none.
    pub events: Range<u64>,
}
