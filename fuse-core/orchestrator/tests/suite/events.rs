use super::{event, put, refused, seqs};
use crate::backends::Backend;
use fuse_orchestrator::store::*;

pub async fn numbers_have_no_gaps(backend: &impl Backend) {
    let store = backend.open().await;
    assert_eq!(
        store.events(EventQuery::all(0, 10)).await.unwrap(),
        EventPage { events: vec![], floor: 0, last: 0 }
    );
    let made = store.commit(Batch::new().event(event("a", "1")).event(event("b", "2"))).await.unwrap();
    assert_eq!(made.events, 1..3);
    put(&*store, "x", "no event").await;
    // A refused commit uses no number.
    let refusal = Batch::new().put(Kind::Environment, "x", Expect::Absent, "").event(event("a", "never"));
    assert!(store.commit(refusal).await.is_err());
    let made = store
        .commit(Batch::new().put(Kind::Environment, "y", Expect::Absent, "").event(event("a", "3")))
        .await;
    assert_eq!(made.unwrap().events, 3..4);
    let page = store.events(EventQuery::all(0, 10)).await.unwrap();
    let bodies: Vec<_> = page.events.iter().map(|e| (e.seq, e.id.as_str(), e.at_ms, &e.body[..])).collect();
    assert_eq!(bodies, [(1, "a", 7, &b"1"[..]), (2, "b", 7, b"2"), (3, "a", 7, b"3")]);
    assert_eq!((page.floor, page.last), (0, 3));
    assert_eq!(seqs(&*store, 2).await, [3]);
    assert_eq!(seqs(&*store, 3).await, [0_u64; 0]);
    assert_eq!(seqs(&*store, u64::MAX).await, [0_u64; 0]);
    let page = store.events(EventQuery::all(1, 1)).await.unwrap();
    assert_eq!(page.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [2]);
    for limit in [0, 1_001] {
        refused(store.events(EventQuery::all(0, limit)).await, "1 to 1000");
    }
}

pub async fn events_of_one_record(backend: &impl Backend) {
    let store = backend.open().await;
    for n in 0..50 {
        let id = ["a", "ab", "a b"][n % 3];
        store.commit(Batch::new().event(event(id, &n.to_string()))).await.unwrap();
    }
    store.commit(Batch::new().event(NewEvent { kind: Kind::Host, ..event("a", "host") })).await.unwrap();
    let of = |id: &str, after, limit| EventQuery::of(Kind::Environment, id, after, limit);
    let page = store.events(of("a", 0, 1_000)).await.unwrap();
    let numbers: Vec<_> = page.events.iter().map(|e| e.seq).collect();
    assert_eq!(numbers, (1..=50).filter(|n| n % 3 == 1).collect::<Vec<u64>>());
    assert!(page.events.iter().all(|e| e.id == "a" && e.kind == Kind::Environment));
    let page = store.events(of("ab", 8, 2)).await.unwrap();
    assert_eq!(page.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [11, 14]);
    assert_eq!(store.events(of("never", 0, 1)).await.unwrap().events, []);
}

pub async fn truncation_is_visible(backend: &impl Backend) {
    let store = backend.open().await;
    assert_eq!(store.truncate_events(9).await, Ok(0), "there is nothing to remove yet");
    for n in 0..10 {
        store.commit(Batch::new().event(event("a", &n.to_string()))).await.unwrap();
    }
    assert_eq!(store.truncate_events(4).await, Ok(4));
    let page = store.events(EventQuery::all(2, 3)).await.unwrap();
    assert_eq!(page.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [5, 6, 7]);
    assert_eq!((page.floor, page.last, page.lost(2), page.lost(4), page.lost(9)), (4, 10, 2, 0, 0));
    let page = store.events(EventQuery::of(Kind::Environment, "a", 0, 2)).await.unwrap();
    assert_eq!(page.events.iter().map(|e| e.seq).collect::<Vec<_>>(), [5, 6]);
    assert_eq!(store.truncate_events(2).await, Ok(4), "the floor never falls");
    assert_eq!(store.truncate_events(u64::MAX).await, Ok(10), "and never passes the newest event");
    assert_eq!(seqs(&*store, 0).await, [0_u64; 0]);
    assert_eq!(store.commit(Batch::new().event(event("a", "x"))).await.unwrap().events, 11..12);
    assert_eq!(seqs(&*store, 0).await, [11]);
}

pub async fn a_long_log_is_truncated(backend: &impl Backend) {
    let store = backend.open().await;
    let batch = (0..1_000).fold(Batch::new(), |batch, _| batch.event(event("a", "x")));
    for _ in 0..5 {
        store.commit(batch.clone()).await.unwrap();
    }
    assert_eq!(store.truncate_events(4_321).await, Ok(4_321));
    assert_eq!(seqs(&*store, 0).await, (4_322..=5_000).collect::<Vec<u64>>());
    drop(store);
    if backend.durable() {
        let store = backend.open().await;
        assert_eq!(seqs(&*store, 0).await, (4_322..=5_000).collect::<Vec<u64>>());
        let page = store.events(EventQuery::of(Kind::Environment, "a", 0, 1)).await.unwrap();
        assert_eq!(page.events[0].seq, 4_322);
    }
}

pub async fn the_hint_moves(backend: &impl Backend) {
    let store = backend.open().await;
    let mut hint = store.event_hint();
    assert_eq!(*hint.borrow_and_update(), 0);
    let writer = store.clone();
    let writing = tokio::spawn(async move {
        for n in 0..20 {
            writer.commit(Batch::new().event(event("a", &n.to_string()))).await.unwrap();
        }
    });
    hint.wait_for(|last| *last >= 20).await.unwrap();
    writing.await.unwrap();
    assert_eq!(seqs(&*store, 0).await.len(), 20);
}

pub async fn old_events_are_trimmed(backend: &impl Backend) {
    let store = backend.open().await;
    let trim = async |newest, since_ms| trim_events(&*store, Keep { newest, since_ms }).await.unwrap();
    assert_eq!(trim(10, 0).await, 0);
    for n in 1..=100 {
        let event = NewEvent { at_ms: n * 10, ..event("a", "") };
        store.commit(Batch::new().event(event)).await.unwrap();
    }
    assert_eq!(trim(1_000, 0).await, 0, "nothing is too old, nothing too many");
    assert_eq!(trim(1_000, 10).await, 0);
    assert_eq!(trim(1_000, 11).await, 1);
    assert_eq!(trim(80, 11).await, 20, "more than the newest 80 were there");
    assert_eq!(trim(80, 555).await, 55);
    assert_eq!(trim(80, 0).await, 55);
    assert_eq!(seqs(&*store, 0).await, (56..=100).collect::<Vec<_>>());
    assert_eq!(trim(80, u64::MAX).await, 100);
    assert_eq!(trim(0, 0).await, 100);
}
