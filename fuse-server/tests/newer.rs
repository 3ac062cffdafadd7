//! State that a newer version wrote: what this one does not know is refused by name and left as it is, and events that
//! it cannot read are told as missed. Nothing is lost in silence.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod support;

use std::sync::Arc;

use fuse_orchestrator::{
    provider::stub::StubConnector,
    store::{Batch, EventQuery, Expect, Kind, NewEvent, Record},
};
use fuse_server::{ServeError, Server, open_store};
use serde_json::{Value, json};
use support::{
    Reply, Stream, TOKEN,
    client::request,
    run,
    site::{Stub, resolve},
};
use tempfile::TempDir;

/// A state on disk, and the hosts that it is about.
struct State {
    dir: TempDir,
    hosts: Arc<StubConnector>,
}

impl State {
    /// The state of a server that made the environment `fuse-t1`.
    async fn new() -> Self {
        let state = Self { dir: tempfile::tempdir().expect("a directory"), hosts: Arc::default() };
        let server = state.start().await.expect("it starts");
        ask(&server, "POST", "/v1/environments", Some(json!({"task_id": "t1"}))).await.expect(201);
        stop(server).await;
        state
    }

    fn settings(&self) -> Vec<(String, String)> {
        let dir = self.dir.path().display().to_string();
        let all = [("listen", "127.0.0.1:0"), ("auth-token", TOKEN), ("data-dir", dir.as_str())];
        all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
    }

    async fn start(&self) -> Result<Server, ServeError> {
        Server::start(resolve(&self.settings()), Some(Arc::new(Stub(Arc::clone(&self.hosts))))).await
    }

    async fn record(&self) -> Record {
        let store = open_store(&resolve(&self.settings())).await.expect("the store opens");
        let record = store.get(Kind::Environment, "fuse-t1").await.expect("it reads").expect("it is there");
        store.close().await.expect("it closes");
        record
    }

    /// Does what another version might have done.
    async fn commit(&self, batch: Batch) {
        let store = open_store(&resolve(&self.settings())).await.expect("the store opens");
        store.commit(batch).await.expect("it is written");
        store.close().await.expect("it closes");
    }
}

async fn stop(server: Server) {
    server.stop();
    server.wait().await.expect("it closes");
}

async fn ask(server: &Server, method: &str, path: &str, body: Option<Value>) -> Reply {
    let bearer = format!("Bearer {TOKEN}");
    let body = body.map(|body| body.to_string());
    let mut stream = Stream::open(server.address()).await;
    let bytes = request(method, path, &[("authorization", &bearer)], body.as_deref().map(str::as_bytes));
    stream.send(bytes).await;
    stream.reply().await.expect("an answer")
}

#[test]
fn a_record_that_says_more_is_refused_and_left_alone() {
    run(async {
        let state = State::new().await;
        let original = state.record().await;
        let known: Value = serde_json::from_slice(&original.body).expect("JSON");
        let mut newer = [known.clone(), known.clone(), known];
        newer[0]["migrated_from"] = json!("h9");
        newer[1]["spec"]["numa_nodes"] = json!(2);
        newer[2]["state"] = json!("hibernating");
        let named = ["migrated_from", "numa_nodes", "hibernating"];
        for (body, named) in newer.into_iter().zip(named) {
            let body = serde_json::to_vec(&body).expect("JSON");
            state.commit(Batch::new().put(Kind::Environment, "fuse-t1", Expect::Any, body.clone())).await;
            let Err(refused) = state.start().await else { panic!("it starts in spite of {named}") };
            let refused = refused.to_string();
            assert!(refused.contains("fuse-t1") && refused.contains(named), "{refused}");
            assert!(refused.contains("newer version"), "it says what to do: {refused}");
            assert!(state.record().await.body == body, "it is as it was");
            assert_eq!(state.hosts.host("default").vms().len(), 1, "its VM runs on");
        }
        let back = Batch::new().put(Kind::Environment, "fuse-t1", Expect::Any, original.body);
        state.commit(back).await;
        let server = state.start().await.expect("what it knows it takes");
        let seen = ask(&server, "GET", "/v1/environments/fuse-t1", None).await.expect(200).json();
        assert_eq!(seen["state"], "running");
        stop(server).await;
    });
}

#[test]
fn events_that_cannot_be_read_are_told_as_missed() {
    run(async {
        let state = State::new().await;
        let store = open_store(&resolve(&state.settings())).await.expect("the store opens");
        let known = store.events(EventQuery { after: 0, limit: 1, subject: None }).await.expect("it reads");
        let known = known.events.first().expect("an event").clone();
        store.close().await.expect("it closes");
        drop(store);
        // About something that this version has no word for.
        let mut body: Value = serde_json::from_slice(&known.body).expect("JSON");
        body["subject"]["kind"] = json!("volume");
        let body = serde_json::to_vec(&body).expect("JSON");
        let (kind, id) = (Kind::Environment, "fuse-t1".to_owned());
        state.commit(Batch::new().event(NewEvent { kind, id, at_ms: known.at_ms, body: body.into() })).await;

        let server = state.start().await.expect("it starts");
        let all = ask(&server, "GET", "/v1/events?limit=200", None).await.expect(200).json();
        assert_eq!(all["lost"], 1, "{all}");
        let kinds: Vec<_> =
            all["events"].as_array().expect("a list").iter().map(|one| &one["event"]).collect();
        assert!(kinds.contains(&&json!("vm.running")), "{all}");

        let bearer = format!("Bearer {TOKEN}");
        let first = "0".repeat(32);
        let headers = [("authorization", bearer.as_str()), ("last-event-id", first.as_str())];
        let mut stream = Stream::open(server.address()).await;
        stream.send(request("GET", "/v1/environments/fuse-t1/events", &headers, None)).await;
        stream.head().await.expect("an answer").expect(200);
        ask(&server, "DELETE", "/v1/environments/fuse-t1", None).await.expect(204);
        let mut told = Vec::new();
        while let Some((_, frame)) = stream.frame().await {
            let what = if frame["event"] == "lost" { &frame["event"] } else { &frame["state"] };
            told.push(what.as_str().expect("text").to_owned());
        }
        assert_eq!(told, ["provisioning", "running", "lost", "destroying", "destroyed"]);
        stop(server).await;
    });
}
