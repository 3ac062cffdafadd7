//! The cases of the conformance suite.
pub mod events;
pub mod leases;
pub mod many;
pub mod records;
pub mod whole;

use fuse_orchestrator::store::{Batch, Committed, EventQuery, Expect, Kind, NewEvent, Store, StoreError};

/// An event about an environment.
pub fn event(id: &str, body: &str) -> NewEvent {
    NewEvent { kind: Kind::Environment, id: id.into(), at_ms: 7, body: body.to_owned().into() }
}

/// Writes an environment whatever was there.
pub async fn put(store: &dyn Store, id: &str, body: &str) -> Committed {
    let batch = Batch::new().put(Kind::Environment, id, Expect::Any, body.to_owned());
    store.commit(batch).await.expect("an unconditional put")
}

/// The numbers of all events after `after`.
pub async fn seqs(store: &dyn Store, after: u64) -> Vec<u64> {
    let page = store.events(EventQuery::all(after, 1_000)).await.expect("events");
    page.events.iter().map(|event| event.seq).collect()
}

/// Asserts that `result` is the refusal that says `words`.
pub fn refused<T: std::fmt::Debug>(result: Result<T, StoreError>, words: &str) {
    let error = result.expect_err("this must be refused");
    assert!(matches!(error, StoreError::Invalid { .. }), "{error:?}");
    assert!(error.to_string().contains(words), "`{error}` should say `{words}`");
}
