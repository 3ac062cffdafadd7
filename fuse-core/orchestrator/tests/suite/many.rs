use super::event;
use crate::backends::Backend;
use fuse_orchestrator::store::*;
use std::collections::BTreeMap;
use tokio::task::JoinSet;

pub async fn no_update_is_lost(backend: &impl Backend) {
    const TASKS: u64 = 16;
    const EACH: u64 = 10;
    let store = backend.open().await;
    store.commit(Batch::new().put(Kind::Setting, "n", Expect::Absent, "0")).await.unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut done = 0;
            while done < EACH {
                let record = store.get(Kind::Setting, "n").await.unwrap().unwrap();
                let n: u64 = std::str::from_utf8(&record.body).unwrap().parse().unwrap();
                let next = Batch::new()
                    .put(Kind::Setting, "n", Expect::Revision(record.revision), (n + 1).to_string())
                    .event(event("n", &(n + 1).to_string()));
                match store.commit(next).await {
                    Ok(_) => done += 1,
                    Err(error) => assert!(error.is_conflict(), "{error}"),
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(store.get(Kind::Setting, "n").await.unwrap().unwrap().body, (TASKS * EACH).to_string());
    let page = store.events(EventQuery::all(0, 1_000)).await.unwrap();
    let bodies: Vec<_> = page.events.iter().map(|e| String::from_utf8_lossy(&e.body).into_owned()).collect();
    assert_eq!(bodies, (1..=TASKS * EACH).map(|n| n.to_string()).collect::<Vec<_>>());
}

pub async fn a_follower_misses_nothing(backend: &impl Backend) {
    const TASKS: u64 = 32;
    const EACH: u64 = 25;
    let store = backend.open().await;
    let follower = tokio::spawn({
        let store = store.clone();
        async move {
            let (mut after, mut hint) = (0, store.event_hint());
            while after < TASKS * EACH * 2 {
                let page = store.events(EventQuery::all(after, 100)).await.unwrap();
                for event in page.events {
                    assert_eq!(event.seq, after + 1, "an event appeared behind the reader's back");
                    after = event.seq;
                }
                if after == page.last {
                    let wait = hint.wait_for(|last| *last > after);
                    let _ = tokio::time::timeout(std::time::Duration::from_millis(200), wait).await;
                }
            }
        }
    });
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..EACH {
                let id = format!("{task}-{n}");
                let batch = Batch::new().put(Kind::Environment, &id, Expect::Absent, "{}");
                let made = store.commit(batch.event(event(&id, "a")).event(event(&id, "b"))).await.unwrap();
                assert_eq!(made.events.end - made.events.start, 2);
                revisions.push(made.revision);
            }
            assert!(revisions.is_sorted());
            revisions
        });
    }
    let mut revisions: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=TASKS * EACH).collect::<Vec<_>>());
    follower.await.unwrap();
}

/// A model that shares no code with the stores: one map, one list.
#[derive(Default)]
struct Model {
    records: BTreeMap<(Kind, String), (u64, String)>,
    events: Vec<String>,
    revision: u64,
}

impl Model {
    fn commit(
        &mut self,
        changes: &[(Kind, String, Expect, Option<String>)],
        events: &[String],
    ) -> Option<u64> {
        let holds = |(kind, id, expect, _): &(Kind, String, Expect, Option<String>)| {
            let found = self.records.get(&(*kind, id.clone())).map(|(revision, _)| *revision);
            match expect {
                Expect::Any => true,
                Expect::Absent => found.is_none(),
                Expect::Present => found.is_some(),
                Expect::Revision(revision) => found == Some(*revision),
            }
        };
        if !changes.iter().all(holds) {
            return None;
        }
        self.revision += 1;
        for (kind, id, _, body) in changes {
            match body {
                Some(body) => self.records.insert((*kind, id.clone()), (self.revision, body.clone())),
                None => self.records.remove(&(*kind, id.clone())),
            };
        }
        self.events.extend_from_slice(events);
        Some(self.revision)
    }
}

pub async fn agrees_with_a_naive_model(backend: &impl Backend) {
    const STEPS: u64 = 1_500;
    let mut store = backend.open().await;
    let mut model = Model::default();
    // SplitMix64: the same operations on every run.
    let mut state = 42_u64;
    let mut random = move |bound: u64| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    };
    for step in 0..STEPS {
        let mut changes = BTreeMap::new();
        for _ in 0..random(4) {
            let key = ([Kind::Environment, Kind::Task][random(2) as usize], format!("r{}", random(12)));
            let known = model.records.get(&key).map_or(0, |(revision, _)| *revision);
            let expect = match random(6) {
                0 => Expect::Absent,
                1 => Expect::Present,
                2 => Expect::Any,
                3 => Expect::Revision(known.saturating_sub(1)),
                _ => Expect::Revision(known),
            };
            let body = (random(4) > 0).then(|| format!("{step}").repeat(random(5_000) as usize));
            changes.insert(key, (expect, body));
        }
        let changes: Vec<_> = changes.into_iter().map(|((k, id), (e, b))| (k, id, e, b)).collect();
        let events: Vec<_> =
            (0..random(3).max(u64::from(changes.is_empty()))).map(|n| format!("{step}.{n}")).collect();
        let mut batch = Batch::new();
        for (kind, id, expect, body) in &changes {
            batch = match body {
                Some(body) => batch.put(*kind, id, *expect, body.clone()),
                None => batch.delete(*kind, id, *expect),
            };
        }
        batch = events.iter().fold(batch, |batch, body| batch.event(event("m", body)));
        let got = store.commit(batch).await;
        match (model.commit(&changes, &events), got) {
            (Some(revision), Ok(made)) => assert_eq!(made.revision, revision, "step {step}"),
            (None, Err(error)) => assert!(error.is_conflict(), "step {step}: {error}"),
            (expected, got) => panic!("step {step}: {expected:?} against {got:?}"),
        }
        if step % 300 == 299 {
            agree(&*store, &model).await;
            if backend.durable() {
                drop(store);
                store = backend.open().await;
                agree(&*store, &model).await;
            }
        }
    }
}

async fn agree(store: &dyn Store, model: &Model) {
    let mut stored = BTreeMap::new();
    for kind in Kind::ALL {
        for record in store.list(kind, None, 1_000).await.unwrap().records {
            let body = String::from_utf8(record.body.to_vec()).unwrap();
            stored.insert((kind, record.id), (record.revision, body));
        }
    }
    assert!(stored == model.records);
    let position = store.position().await.unwrap();
    assert_eq!((position.records, position.last_event), (stored.len() as u64, model.events.len() as u64));
    let mut events = Vec::new();
    while events.len() < model.events.len() {
        let page = store.events(EventQuery::all(events.len() as u64, 1_000)).await.unwrap();
        assert!(!page.events.is_empty());
        events.extend(page.events.into_iter().map(|e| String::from_utf8(e.body.to_vec()).unwrap()));
    }
    assert_eq!(events, model.events);
}
