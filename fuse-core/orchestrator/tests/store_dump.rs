//! Export, import, copy and verify between the stores, and what damaged exports do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]
mod backends;

use backends::{Backend, Memory, Sled};
use fuse_orchestrator::store::*;
use std::io::Cursor;

async fn filled() -> SharedStore {
    let store = Memory.open().await;
    let bodies: [&[u8]; 9] = [
        br#"{"state":"running","n":1.0}"#,
        b"[1, 2 ]",
        b"null",
        b"",
        b"{\"a\":\n1}",
        b" {} ",
        b"plain \"text\"\twith \x7f",
        &[0xff, 0, 1],
        b"{not json}",
    ];
    for (n, body) in bodies.into_iter().enumerate() {
        let event =
            NewEvent { kind: Kind::Host, id: "h".into(), at_ms: n as u64, body: body.to_vec().into() };
        let batch = Batch::new().put(Kind::ALL[n], format!("id \"{n}\" é"), Expect::Absent, body.to_vec());
        store.commit(batch.event(event)).await.unwrap();
    }
    store.truncate_events(3).await.unwrap();
    store
}

async fn text_of(store: &dyn Store) -> Vec<u8> {
    let mut out = Vec::new();
    export(store, &mut out).await.unwrap();
    out
}

#[tokio::test]
async fn an_export_imports_into_every_store_unchanged() {
    let source = filled().await;
    let text = text_of(&*source).await;
    assert_eq!(text.iter().filter(|b| **b == b'\n').count(), 1 + 9 + 6 + 1);
    let sled = Sled::new();
    for store in [Memory.open().await, sled.open().await] {
        let position = import(&*store, Cursor::new(text.clone())).await.unwrap();
        assert_eq!(position, source.position().await.unwrap());
        assert_eq!(verify(&*store).await, Ok(position));
        assert!(text_of(&*store).await == text, "an export of the import is the same file");
    }
}

#[tokio::test]
async fn an_empty_store_exports_and_imports() {
    let text = text_of(&*Memory.open().await).await;
    let store = Memory.open().await;
    assert_eq!(import(&*store, Cursor::new(text)).await, Ok(Position::default()));
    store.commit(Batch::new().put(Kind::Host, "h", Expect::Absent, "")).await.unwrap();
}

#[tokio::test]
async fn a_copy_needs_no_file() {
    let source = filled().await;
    let sled = Sled::new();
    let store = sled.open().await;
    assert_eq!(copy(&*source, &*store).await, source.position().await);
    assert!(text_of(&*store).await == text_of(&*source).await);
    let again = copy(&*source, &*store).await.unwrap_err();
    assert!(again.to_string().contains("not empty"), "{again}");
}

#[tokio::test]
async fn every_cut_and_every_changed_byte_is_refused() {
    let text = text_of(&*filled().await).await;
    for len in 0..text.len() {
        let store = Memory.open().await;
        let result = import(&*store, Cursor::new(text[..len].to_vec())).await;
        assert!(matches!(result, Err(DumpError::Line { .. })), "cut at {len}: {result:?}");
    }
    for at in 0..text.len() {
        let mut changed = text.clone();
        changed[at] ^= 1;
        let store = Memory.open().await;
        let result = import(&*store, Cursor::new(changed)).await;
        assert!(
            result.is_err(),
            "byte {at} changed: {:?}",
            String::from_utf8_lossy(&text[at.saturating_sub(20)..at])
        );
    }
}

#[tokio::test]
async fn lines_that_change_places_are_refused() {
    let text = text_of(&*filled().await).await;
    let mut lines: Vec<_> = text.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    lines.swap(2, 3);
    let error = import(&*Memory.open().await, Cursor::new(lines.concat())).await.unwrap_err();
    assert!(error.to_string().contains("SHA-256"), "{error}");
    let error =
        import(&*Memory.open().await, Cursor::new(b"{\"fuse_export\":2}\n".to_vec())).await.unwrap_err();
    assert!(error.to_string().contains("line 1: it is of format 2"), "{error}");
}

#[tokio::test]
async fn a_failed_import_leaves_a_store_that_says_so() {
    let text = text_of(&*filled().await).await;
    let sled = Sled::new();
    let store = sled.open().await;
    assert!(import(&*store, Cursor::new(text[..text.len() - 1].to_vec())).await.is_err());
    // Small imports are loaded in one part, at the end; load something so that the store has begun.
    let item = Record { kind: Kind::Host, id: "h".into(), revision: 1, body: "".into() };
    store.load(vec![Item::Record(item)]).await.unwrap();
    drop(store);
    let store = sled.open().await;
    let blocked = store.truncate_events(1).await.unwrap_err();
    assert!(blocked.to_string().contains("unfinished import"), "{blocked}");
}
