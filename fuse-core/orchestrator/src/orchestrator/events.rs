//! Events to subscribers: in order, without loss, at nobody's cost but the reader's.
//!
//! Nothing is pushed. The newest events lie in a ring; a subscription is a place in the order, and reads on from
//! there when it is told that there is more. A reader that falls out of the ring reads from the store; a reader that
//! never reads costs nothing.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::record;
use crate::{
    Result,
    model::{Event, Subject},
    store::{self, EventQuery, SharedStore},
};

/// How many events are kept in memory.
const RING: usize = 16_384;
/// How many events a subscription takes at once.
const BATCH: usize = 256;

#[derive(Debug, Default)]
struct Ring {
    /// Consecutive events.
    events: VecDeque<Arc<Event>>,
    /// The number of the first event in `events`, or of the next when there is none.
    first: u64,
    /// Events that wait for an earlier one whose commit has not been reported yet.
    early: BTreeMap<u64, Arc<Event>>,
}

impl Ring {
    fn next(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    fn insert(&mut self, event: Arc<Event>) {
        if event.sequence < self.next() {
            return;
        }
        self.early.insert(event.sequence, event);
        self.settle();
        // An event that never comes was committed by another process or its answer was lost. What lies before it is
        // in the store; the ring goes on after it.
        if self.early.len() > RING / 4
            && let Some(first) = self.early.keys().next().copied()
        {
            self.events.clear();
            self.first = first;
            self.settle();
        }
    }

    fn settle(&mut self) {
        while let Some(event) = self.early.remove(&self.next()) {
            self.events.push_back(event);
            if self.events.len() > RING {
                self.events.pop_front();
                self.first += 1;
            }
        }
    }
}

/// Where events are published.
#[derive(Debug)]
pub(super) struct EventHub {
    store: SharedStore,
    ring: Mutex<Ring>,
    newest: watch::Sender<u64>,
}

impl EventHub {
    /// A hub for a store whose newest event has this number.
    pub(super) fn new(store: SharedStore, last: u64) -> Self {
        let ring = Mutex::new(Ring { first: last + 1, ..Ring::default() });
        Self { store, ring, newest: watch::Sender::new(last) }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes the events of a commit under the numbers that the store gave them.
    pub(super) fn publish(&self, events: Vec<Event>, numbers: Range<u64>) {
        if events.is_empty() {
            return;
        }
        let newest = {
            let mut ring = self.ring();
            for (mut event, sequence) in events.into_iter().zip(numbers) {
                event.sequence = sequence;
                ring.insert(Arc::new(event));
            }
            ring.next() - 1
        };
        self.announce(newest);
    }

    /// Goes on after `last`: what lies before is read from the store.
    pub(super) fn skip_to(&self, last: u64) {
        {
            let mut ring = self.ring();
            if last >= ring.next() {
                ring.events.clear();
                ring.first = last + 1;
                ring.early = ring.early.split_off(&(last + 1));
                ring.settle();
            }
        }
        self.announce(last);
    }

    fn announce(&self, newest: u64) {
        self.newest.send_if_modified(|seen| std::mem::replace(seen, newest.max(*seen)) < newest);
    }

    pub(super) fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    fn read_ring(&self, after: u64) -> Option<Vec<Arc<Event>>> {
        let ring = self.ring();
        let skip = usize::try_from((after + 1).checked_sub(ring.first)?).ok()?;
        Some(ring.events.iter().skip(skip).take(BATCH).cloned().collect())
    }
}

/// What a subscription yields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// An event.
    Event(Arc<Event>),
    /// Events that were asked for were removed from the log before they could be read, or a newer version wrote them.
    Lost {
        /// How many, counting events about everything.
        count: u64,
    },
}

/// A place in the order of events. Reads on from there, for ever.
///
/// Reading is safe to give up at any await: nothing is lost.
#[derive(Debug)]
pub(crate) struct Reader {
    hub: Arc<EventHub>,
    newest: watch::Receiver<u64>,
    after: u64,
    subject: Option<Subject>,
    ready: VecDeque<Arc<Event>>,
}

impl Reader {
    pub(super) fn new(hub: Arc<EventHub>, after: u64, subject: Option<Subject>) -> Self {
        let newest = hub.newest.subscribe();
        Self { hub, newest, after, subject, ready: VecDeque::new() }
    }

    pub(crate) const fn position(&self) -> u64 {
        self.after
    }

    pub(crate) async fn next(&mut self) -> Result<Option<Delivery>> {
        loop {
            if let Some(delivery) = self.take_ready() {
                return Ok(Some(delivery));
            }
            if let Some(lost) = self.fill().await? {
                return Ok(Some(lost));
            }
            if self.ready.is_empty() {
                let after = self.after;
                if self.newest.wait_for(|newest| *newest > after).await.is_err() {
                    return Ok(None);
                }
            }
        }
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<Delivery>> {
        loop {
            if let Some(delivery) = self.take_ready() {
                return Ok(Some(delivery));
            }
            let before = self.after;
            if let Some(lost) = self.fill().await? {
                return Ok(Some(lost));
            }
            if self.ready.is_empty() && (self.after == before || self.after >= self.hub.newest()) {
                return Ok(None);
            }
        }
    }

    fn take_ready(&mut self) -> Option<Delivery> {
        while let Some(event) = self.ready.pop_front() {
            self.after = event.sequence;
            if self.subject.as_ref().is_none_or(|subject| *subject == event.subject) {
                return Some(Delivery::Event(event));
            }
        }
        None
    }

    /// Fetches what comes next: from the ring, else from the store.
    async fn fill(&mut self) -> Result<Option<Delivery>> {
        if self.after >= self.hub.newest() {
            return Ok(None);
        }
        if let Some(events) = self.hub.read_ring(self.after) {
            self.ready.extend(events);
            return Ok(None);
        }
        let query = EventQuery {
            after: self.after,
            limit: BATCH,
            subject: self.subject.as_ref().map(|subject| (record::kind_of(subject), subject.id().to_owned())),
        };
        let page = self.hub.store.events(query).await?;
        let lost = page.lost(self.after);
        if lost > 0 {
            self.after = page.floor;
            return Ok(Some(Delivery::Lost { count: lost }));
        }
        let full = page.events.len() == BATCH;
        for event in page.events {
            match decode(&event) {
                Ok(event) => self.ready.push_back(Arc::new(event)),
                // A newer version wrote it. Whoever reads is told that one was missed.
                Err(error) if self.ready.is_empty() => {
                    tracing::debug!("{error}");
                    self.after = event.seq;
                    return Ok(Some(Delivery::Lost { count: 1 }));
                }
                Err(_) => return Ok(None),
            }
        }
        if !full && self.ready.is_empty() {
            self.after = self.after.max(page.last);
        }
        Ok(None)
    }
}

fn decode(stored: &store::Event) -> Result<Event> {
    let mut event: Event = record::decode("event", &stored.seq.to_string(), &stored.body)?;
    event.sequence = stored.seq;
    Ok(event)
}
