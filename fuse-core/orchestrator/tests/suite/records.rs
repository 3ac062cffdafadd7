use super::{event, put, refused, seqs};
use crate::backends::Backend;
use fuse_orchestrator::store::*;
use std::collections::BTreeSet;

pub async fn reads_what_was_written(backend: &impl Backend) {
    let store = backend.open().await;
    assert_eq!(store.get(Kind::Environment, "a").await, Ok(None));
    let made = put(&*store, "a", "{}").await;
    assert_eq!(made, Committed { revision: 1, events: 1..1 });
    let record = store.get(Kind::Environment, "a").await.unwrap().unwrap();
    assert_eq!((record.id.as_str(), record.revision, &record.body[..]), ("a", 1, &b"{}"[..]));
    assert_eq!(put(&*store, "a", "[]").await.revision, 2);
    let position = store.position().await.unwrap();
    assert_eq!((position.revision, position.records), (2, 1));
    store.commit(Batch::new().delete(Kind::Environment, "a", Expect::Revision(2))).await.unwrap();
    assert_eq!(store.get(Kind::Environment, "a").await, Ok(None));
    let position = store.position().await.unwrap();
    assert_eq!((position.revision, position.records, position.digest), (3, 0, 0));
}

pub async fn expectations_are_checked(backend: &impl Backend) {
    let store = backend.open().await;
    let revision = put(&*store, "there", "1").await.revision;
    let stale = put(&*store, "other", "1").await.revision;
    // For a record that is not there, and for one at `revision`: which expectations hold?
    let cases = [
        (Expect::Absent, true, false),
        (Expect::Present, false, true),
        (Expect::Any, true, true),
        (Expect::Revision(revision), false, true),
        (Expect::Revision(stale), false, false),
    ];
    for (expect, absent_holds, present_holds) in cases {
        for (id, holds, found) in
            [("absent", absent_holds, Found::Absent), ("there", present_holds, Found::Revision(revision))]
        {
            // Fails on its own account if the expectation under test does not: it must leave no trace.
            let probe = Batch::new().put(Kind::Environment, id, expect, "new").put(
                Kind::Environment,
                "other",
                Expect::Revision(revision),
                "never",
            );
            let conflict = store.commit(probe).await.unwrap_err();
            let StoreError::Conflict { id: blamed, found: seen, .. } = &conflict else {
                panic!("{conflict:?}")
            };
            if holds {
                assert_eq!(blamed, "other", "{expect:?} on {id}");
            } else {
                assert_eq!((blamed.as_str(), *seen), (id, found), "{expect:?}");
            }
            let delete = Batch::new().delete(Kind::Environment, id, expect).put(
                Kind::Environment,
                "other",
                Expect::Revision(revision),
                "never",
            );
            let conflict = store.commit(delete).await.unwrap_err();
            assert_eq!(
                conflict.to_string().contains("`other`"),
                holds,
                "delete {expect:?} on {id}: {conflict}"
            );
        }
    }
    assert_eq!(store.position().await.unwrap().revision, stale);
    store.commit(Batch::new().delete(Kind::Task, "never", Expect::Any)).await.unwrap();
}

pub async fn a_batch_is_all_or_nothing(backend: &impl Backend) {
    let store = backend.open().await;
    put(&*store, "a", "1").await;
    let before = store.position().await.unwrap();
    let batch = Batch::new()
        .put(Kind::Environment, "b", Expect::Absent, "1")
        .put(Kind::Task, "t", Expect::Absent, "1")
        .event(event("b", "made"))
        .put(Kind::Environment, "a", Expect::Absent, "2");
    assert!(store.commit(batch.clone()).await.unwrap_err().is_conflict());
    assert_eq!(store.position().await.unwrap(), before);
    assert_eq!(store.get(Kind::Environment, "b").await, Ok(None));
    assert_eq!(store.get(Kind::Task, "t").await, Ok(None));
    assert_eq!(seqs(&*store, 0).await, [0_u64; 0]);
    store.commit(Batch::new().delete(Kind::Environment, "a", Expect::Present)).await.unwrap();
    let made = store.commit(batch).await.unwrap();
    for (kind, id) in [(Kind::Environment, "a"), (Kind::Environment, "b"), (Kind::Task, "t")] {
        assert_eq!(store.get(kind, id).await.unwrap().unwrap().revision, made.revision);
    }
    assert_eq!(made.events, 1..2);
}

pub async fn revisions_never_come_back(backend: &impl Backend) {
    let store = backend.open().await;
    let first = put(&*store, "a", "1").await.revision;
    store.commit(Batch::new().delete(Kind::Environment, "a", Expect::Revision(first))).await.unwrap();
    let second = put(&*store, "a", "1").await.revision;
    assert!(second > first);
    let late = Batch::new().put(Kind::Environment, "a", Expect::Revision(first), "from before");
    assert!(store.commit(late).await.unwrap_err().is_conflict());
}

pub async fn lists_in_byte_order(backend: &impl Backend) {
    let store = backend.open().await;
    let ids =
        ["a", "B", "a-b", "a.b", "ab", "a b", "é", "e\u{301}", "z", "\u{10ffff}", "a\u{7ff}", "_", "~", "aa"];
    for id in ids {
        put(&*store, id, id).await;
    }
    let page = store.list(Kind::Environment, None, 100).await.unwrap();
    let listed: Vec<_> = page.records.iter().map(|record| record.id.as_str()).collect();
    let sorted: Vec<_> = BTreeSet::from(ids).into_iter().collect();
    assert_eq!((listed, page.next), (sorted.clone(), None));
    for (at, id) in sorted.iter().enumerate() {
        let page = store.list(Kind::Environment, Some(id), 1).await.unwrap();
        assert_eq!(page.records.first().map(|r| r.id.as_str()), sorted.get(at + 1).copied(), "after {id}");
    }
}

pub async fn pages_do_not_overlap(backend: &impl Backend) {
    let store = backend.open().await;
    let put = |batch: Batch, n| batch.put(Kind::Host, format!("h{n:04}"), Expect::Absent, "{}");
    store.commit((0..1_000).fold(Batch::new(), put)).await.unwrap();
    store.commit((1_000..1_001).fold(Batch::new(), put)).await.unwrap();
    for limit in [1_000, 999, 7] {
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(Kind::Host, after.as_deref(), limit).await.unwrap();
            assert!(page.records.len() <= limit);
            seen.extend(page.records.into_iter().map(|record| record.id));
            let Some(next) = page.next else { break };
            assert_eq!(Some(&next), seen.last());
            after = Some(next);
        }
        assert_eq!(seen, (0..1_001).map(|n| format!("h{n:04}")).collect::<Vec<_>>(), "limit {limit}");
    }
    // A cursor need not name a record that is there.
    let page = store.list(Kind::Host, Some("h0499x"), 1).await.unwrap();
    assert_eq!(page.records[0].id, "h0500");
    assert_eq!(store.list(Kind::Host, Some("i"), 1).await.unwrap(), Page { records: vec![], next: None });
    for limit in [0, 1_001] {
        refused(store.list(Kind::Host, None, limit).await, "1 to 1000");
    }
}

pub async fn kinds_are_apart(backend: &impl Backend) {
    let store = backend.open().await;
    for kind in Kind::ALL {
        store.commit(Batch::new().put(kind, "same", Expect::Absent, kind.as_str())).await.unwrap();
    }
    for kind in Kind::ALL {
        let page = store.list(kind, None, 10).await.unwrap();
        assert_eq!(page.records.len(), 1, "{kind}");
        assert_eq!(page.records[0].body, kind.as_str());
    }
}

pub async fn bodies_are_opaque(backend: &impl Backend) {
    let store = backend.open().await;
    let bodies: [&[u8]; 5] = [b"", b"\0", &[0xff, 0xfe, 0], b"{\"b\": 1, \"a\":1 }", "\u{1f980}".as_bytes()];
    for body in bodies {
        let event =
            NewEvent { kind: Kind::Log, id: "x".into(), at_ms: u64::MAX >> 1, body: body.to_vec().into() };
        let batch = Batch::new().put(Kind::Log, "x", Expect::Any, body.to_vec()).event(event);
        let seq = store.commit(batch).await.unwrap().events.start;
        assert_eq!(store.get(Kind::Log, "x").await.unwrap().unwrap().body, body);
        let page = store.events(EventQuery::all(seq - 1, 1)).await.unwrap();
        assert_eq!((&page.events[0].body[..], page.events[0].at_ms), (body, u64::MAX >> 1));
    }
}

pub async fn large_bodies_grow_and_shrink(backend: &impl Backend) {
    let store = backend.open().await;
    let body = |len: usize| (0..len).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>();
    for len in [MAX_BODY, 1, 100_000, 12_288, 12_289, 40_000, 0] {
        let batch = Batch::new().put(Kind::Secret, "big", Expect::Any, body(len));
        store.commit(batch).await.unwrap();
        assert!(store.get(Kind::Secret, "big").await.unwrap().unwrap().body == body(len), "{len} bytes");
    }
    let event = NewEvent { kind: Kind::Log, id: "x".into(), at_ms: 0, body: body(MAX_EVENT_BODY).into() };
    store.commit(Batch::new().event(event)).await.unwrap();
    let page = store.events(EventQuery::of(Kind::Log, "x", 0, 1)).await.unwrap();
    assert!(page.events[0].body == body(MAX_EVENT_BODY));
}

pub async fn limits_are_enforced(backend: &impl Backend) {
    let store = backend.open().await;
    let put = |id: String| Batch::new().put(Kind::Task, id, Expect::Any, "");
    store.commit(put("i".repeat(MAX_ID))).await.unwrap();
    let event = |len| NewEvent { kind: Kind::Task, id: "t".into(), at_ms: 0, body: vec![0; len].into() };
    let puts = |n, len| {
        (0..n).fold(Batch::new(), |b, i| b.put(Kind::Task, format!("t{i}"), Expect::Any, vec![0; len]))
    };
    store.commit(puts(MAX_BATCH, 0)).await.unwrap();
    let before = store.position().await.unwrap();
    refused(store.commit(Batch::new()).await, "empty");
    refused(store.commit(put(String::new())).await, "0 bytes");
    refused(store.commit(put("i".repeat(MAX_ID + 1))).await, "257 bytes");
    refused(store.commit(put("a\0b".into())).await, "control character");
    refused(store.commit(put("a\nb".into())).await, "control character");
    refused(store.commit(put("a".into()).delete(Kind::Task, "a", Expect::Any)).await, "twice");
    refused(store.commit(puts(1, MAX_BODY + 1)).await, "4194305 bytes");
    refused(store.commit(puts(MAX_BATCH + 1, 0)).await, "1025 changes");
    refused(store.commit(puts(5, MAX_BODY)).await, "split it");
    refused(store.commit(Batch::new().event(event(MAX_EVENT_BODY + 1))).await, "262145 bytes");
    let many = (0..=MAX_BATCH).fold(Batch::new(), |b, _| b.event(event(0)));
    refused(store.commit(many).await, "1025 events");
    assert_eq!(store.position().await.unwrap(), before);
}

/// What callers ask for comes from outside: ids that can never be stored are simply not there.
pub async fn odd_ids_are_not_there(backend: &impl Backend) {
    let store = backend.open().await;
    for id in ["a", "b"] {
        store
            .commit(Batch::new().put(Kind::Host, id, Expect::Absent, "").event(event(id, "")))
            .await
            .unwrap();
    }
    for odd in ["", "\0", "a\0b", "a\n", &"x".repeat(100_000)] {
        assert_eq!(store.get(Kind::Host, odd).await, Ok(None));
        let page = store.events(EventQuery::of(Kind::Host, odd, 0, 10)).await.unwrap();
        assert_eq!((page.events.len(), page.last), (0, 2));
        let page = store.list(Kind::Host, Some(odd), 10).await.unwrap();
        let expected = ["a", "b"].into_iter().filter(|id| *id > odd).count();
        assert_eq!(page.records.len(), expected, "after {odd:?}");
    }
}
