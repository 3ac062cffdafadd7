//! How much of the event log is kept.
use super::{EventQuery, Store, StoreResult};

/// What to keep of the event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// At most this many of the newest events.
    pub newest: u64,
    /// Only events from this moment on, in milliseconds since the Unix epoch, by the times that they carry.
    pub since_ms: u64,
}

/// Removes the events that `keep` does not keep, and returns the new floor. Costs about 20 reads of one event,
/// however long the log is. Events are taken to be in the order of their times; where clocks differed a little, the
/// border is a little off.
///
/// # Errors
/// Those of [`Store::events`] and [`Store::truncate_events`].
pub async fn trim_events(store: &dyn Store, keep: Keep) -> StoreResult<u64> {
    let position = store.position().await?;
    let too_many = position.last_event.saturating_sub(keep.newest);
    // The events up to `low` are too old, those after `high` are not.
    let (mut low, mut high) = (position.floor.max(too_many), position.last_event);
    while low < high {
        let middle = low + (high - low) / 2;
        let page = store.events(EventQuery::all(middle, 1)).await?;
        match page.events.first() {
            Some(event) if event.at_ms < keep.since_ms => low = event.seq.max(middle + 1),
            _ => high = middle,
        }
    }
    if low > position.floor { store.truncate_events(low).await } else { Ok(position.floor) }
}
