use super::{event, put, refused, seqs};
use crate::backends::{Backend, Memory};
use fuse_orchestrator::store::*;
use std::time::Duration;

async fn fill(store: &dyn Store) -> Position {
    for n in 0..30 {
        let kind = Kind::ALL[n % Kind::ALL.len()];
        let batch = Batch::new().put(kind, format!("r{n}"), Expect::Absent, "x".repeat(n * 1_000));
        store.commit(batch.event(event("e", &n.to_string()))).await.unwrap();
    }
    store.commit(Batch::new().delete(Kind::ALL[3], "r3", Expect::Present)).await.unwrap();
    store.truncate_events(12).await.unwrap();
    store.acquire_lease("leader", "me", Duration::from_secs(60)).await.unwrap();
    store.position().await.unwrap()
}

async fn items(store: &dyn Store) -> (Vec<Item>, Position) {
    let (out, mut inbox) = tokio::sync::mpsc::channel(4);
    let collect = async {
        let mut items = Vec::new();
        while let Some(item) = inbox.recv().await {
            items.push(item);
        }
        items
    };
    let (position, items) = tokio::join!(store.dump(out), collect);
    (items, position.unwrap())
}

/// From this store into memory and back into a new store of this kind.
pub async fn a_dump_loads_into_a_new_store(backend: &impl Backend) {
    let memory = Memory.open().await;
    let filled = fill(&*memory).await;
    let (dumped, position) = items(&*memory).await;
    assert_eq!(position, filled);
    let store = backend.open().await;
    for part in dumped.chunks(7) {
        store.load(part.to_vec()).await.unwrap();
    }
    store.finish_load(position).await.unwrap();
    let (back, position) = items(&*store).await;
    assert!(back == dumped);
    assert_eq!((position, store.position().await.unwrap()), (filled, filled));
    // Counters go on where they were, so no revision, token or event number is given twice.
    let made = store.commit(Batch::new().event(event("e", "after"))).await.unwrap();
    assert_eq!(made, Committed { revision: filled.revision + 1, events: 31..32 });
    assert_eq!(seqs(&*store, 0).await, (13..=31).collect::<Vec<_>>());
    if backend.durable() {
        drop(store);
        let store = backend.open().await;
        assert_eq!(store.position().await.unwrap().revision, filled.revision + 1);
    }
}

pub async fn a_load_needs_an_empty_store(backend: &impl Backend) {
    let memory = Memory.open().await;
    fill(&*memory).await;
    let (dumped, _) = items(&*memory).await;
    let store = backend.open().await;
    put(&*store, "a", "").await;
    refused(store.load(dumped).await, "not empty");
}

pub async fn an_unfinished_load_blocks_the_store(backend: &impl Backend) {
    let memory = Memory.open().await;
    let position = fill(&*memory).await;
    let (dumped, _) = items(&*memory).await;
    let mut store = backend.open().await;
    store.load(dumped[..20].to_vec()).await.unwrap();
    if backend.durable() {
        drop(store);
        store = backend.open().await;
    }
    let blocked = store.commit(Batch::new().event(event("a", ""))).await.unwrap_err();
    assert!(matches!(blocked, StoreError::Importing { .. }), "{blocked:?}");
    store.load(dumped[20..].to_vec()).await.unwrap();
    store.finish_load(position).await.unwrap();
    store.commit(Batch::new().event(event("a", ""))).await.unwrap();
}

pub async fn a_wrong_load_is_noticed(backend: &impl Backend) {
    let memory = Memory.open().await;
    let position = fill(&*memory).await;
    let (dumped, _) = items(&*memory).await;
    let store = backend.open().await;
    store.load(dumped[1..].to_vec()).await.unwrap();
    let wrong = store.finish_load(position).await.unwrap_err();
    assert!(matches!(wrong, StoreError::Corrupt { .. }), "{wrong:?}");
    refused(store.load(dumped[1..2].to_vec()).await, "comes twice");
    let Some(Item::Event(last)) = dumped.last().cloned() else { panic!("the last item is an event") };
    let gap = Event { seq: last.seq + 2, ..last };
    refused(store.load(vec![Item::Event(gap)]).await, "follows");
    store.load(dumped[..1].to_vec()).await.unwrap();
    store.finish_load(position).await.unwrap();
}

pub async fn a_closed_store_refuses(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", "").await;
    store.close().await.unwrap();
    let gone = |error: StoreError| assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    gone(store.get(Kind::Environment, "a").await.unwrap_err());
    gone(store.commit(Batch::new().event(event("a", ""))).await.unwrap_err());
    gone(store.position().await.unwrap_err());
}

pub async fn a_reopened_store_has_everything(backend: &impl Backend) {
    if !backend.durable() {
        return;
    }
    let store = backend.open().await;
    let position = fill(&*store).await;
    let (before, _) = items(&*store).await;
    store.close().await.unwrap();
    drop(store);
    let store = backend.open().await;
    assert_eq!(store.position().await.unwrap(), position);
    assert!(items(&*store).await.0 == before);
    assert_eq!(*store.event_hint().borrow(), position.last_event);
    // Without a close too.
    put(&*store, "late", "x").await;
    drop(store);
    let store = backend.open().await;
    assert_eq!(store.get(Kind::Environment, "late").await.unwrap().unwrap().body, "x");
}
