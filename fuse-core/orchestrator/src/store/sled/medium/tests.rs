//! Damage that sled itself cannot see: its pages are intact, and what is in them is not what was written.
use super::super::super::*;
use super::super::SledStore;
use super::*;
use std::path::Path;

async fn make(dir: &Path) -> StoreResult<()> {
    let store = SledStore::open(dir).await?;
    for n in 0..4 {
        let event = NewEvent { kind: Kind::Host, id: "h".into(), at_ms: 0, body: vec![n; 20_000].into() };
        let batch = Batch::new().put(Kind::Host, format!("h{n}"), Expect::Any, vec![n; 30_000]);
        store.commit(batch.put(Kind::Task, "t", Expect::Any, vec![n]).event(event)).await?;
    }
    store.close().await
}

/// Changes the key space behind the store's back, and opens it.
async fn opened_after(change: impl FnOnce(&::sled::Db) -> ::sled::Result<()>) -> StoreResult<SledStore> {
    let dir = tempfile::tempdir().map_err(|error| io_error("open", "a directory", &error))?;
    make(dir.path()).await?;
    let medium = Medium::open("test", &dir.path().join("sled"), 1 << 20)?;
    medium.ask("commit", || change(&medium.db))?;
    medium.sync()?;
    drop(medium);
    SledStore::open(dir.path()).await
}

fn flip(db: &::sled::Db, key: Vec<u8>, at: usize) -> ::sled::Result<()> {
    let mut value = db.get(&key)?.map(|value| value.to_vec()).unwrap_or_default();
    value[at] ^= 1;
    db.insert(key, value).map(drop)
}

#[tokio::test]
async fn an_untouched_store_opens() -> StoreResult<()> {
    opened_after(|_| Ok(())).await.map(drop)
}

#[tokio::test]
async fn damage_inside_intact_pages_is_said() {
    type Damage = Box<dyn FnOnce(&::sled::Db) -> ::sled::Result<()>>;
    let key = || layout::record_key(Kind::Host, "h2");
    let cases: Vec<(&str, Damage)> = vec![
        ("checksum of host `h2`", Box::new(move |db| flip(db, key(), 200))),
        ("checksum of host `h2`", Box::new(|db| flip(db, layout::record_piece(Kind::Host, "h2", 1), 5))),
        ("checksum of host `h2`", Box::new(move |db| flip(db, key(), 20))),
        ("bytes and should have", Box::new(move |db| flip(db, key(), 27))),
        (
            "piece 2 of a body is missing",
            Box::new(|db| db.remove(layout::record_piece(Kind::Host, "h2", 2)).map(drop)),
        ),
        ("should hold 5 records and has 4", Box::new(move |db| db.remove(key()).map(drop))),
        // A record as it was earlier, with the checksum that it had then.
        (
            "some of them are old",
            Box::new(|db| {
                let old = Record { kind: Kind::Task, id: "t".into(), revision: 1, body: vec![0].into() };
                db.insert(layout::record_key(Kind::Task, "t"), layout::record_value(&old, old.checksum()))
                    .map(drop)
            }),
        ),
        // A record under another record's id.
        (
            "checksum of host `h1`",
            Box::new(|db| {
                let other = db.get(layout::record_key(Kind::Host, "h2"))?.unwrap_or_default();
                db.insert(layout::record_key(Kind::Host, "h1"), other).map(drop)
            }),
        ),
        ("checksum of event 3", Box::new(|db| flip(db, layout::event_key(3), 100))),
        ("event 3 is missing", Box::new(|db| db.remove(layout::event_key(3)).map(drop))),
        ("event 4 is missing", Box::new(|db| db.remove(layout::event_key(4)).map(drop))),
        ("checksum of \"head\"", Box::new(|db| flip(db, layout::HEAD.to_vec(), 30))),
        ("counters are missing", Box::new(|db| db.remove(layout::HEAD).map(drop))),
        ("unknown kind \"planet\"", Box::new(|db| db.insert(b"rplanet\0x", b"").map(drop))),
    ];
    for (says, damage) in cases {
        let error = opened_after(damage)
            .await
            .map_or_else(|error| error, |_| StoreError::invalid("open", "it opened"));
        assert!(
            matches!(error, StoreError::Corrupt { .. } | StoreError::Incompatible { .. }),
            "{says}: {error:?}"
        );
        assert!(error.to_string().contains(says), "`{error}` should say `{says}`");
    }
}
