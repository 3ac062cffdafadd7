//! Streams of events.

use std::{sync::Arc, time::Duration};

use fuse_orchestrator::{
    ControlPlane, HostRegistration,
    model::ProvisionRequest,
    provider::{
        Verb,
        stub::{Effect, Fault},
    },
    secrets::KeyRing,
    store::Hooked,
};
use fuse_server::{ApiConfig, Listener, router};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{Backend, Site, Stream, TOKEN, client::request, late::Late, run};

crate::on_every_backend!(
    a_stream_from_the_present_state_to_the_end,
    a_stream_is_taken_up_where_it_broke_off,
    an_ended_environment_replays_to_its_end,
    the_fleet_as_a_stream_and_as_a_list,
    a_failure_is_the_last_frame,
    a_stream_does_not_end_before_it_has_told_of_the_end,
);

async fn open(site: &Site, path: &str, headers: &[(&str, &str)]) -> Stream {
    let bearer = format!("Bearer {}", site.token);
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    let mut stream = site.connect().await;
    stream.send(request("GET", path, &all, None)).await;
    let head = stream.head().await.expect("an answer").expect(200);
    assert_eq!(head.header("content-type"), "text/event-stream");
    assert_eq!(head.header("cache-control"), "no-cache");
    assert_eq!(head.header("x-accel-buffering"), "no");
    assert!(head.header("x-request-id").starts_with("req_"));
    stream
}

const PATH: &str = "/v1/environments/fuse-t1/events";

fn state(frame: &Option<(String, Value)>) -> &str {
    frame.as_ref().expect("a frame").1["state"].as_str().expect("a state")
}

async fn a_stream_from_the_present_state_to_the_end(site: Site) {
    site.get(PATH).await.error(404, "not_found");
    site.create("t1").await;
    let mut stream = open(&site, PATH, &[]).await;
    let (id, first) = stream.frame().await.expect("a frame");
    assert_eq!(
        (&first["event"], &first["vm_id"], &first["state"]),
        (&json!("state"), &json!("fuse-t1"), &json!("running"))
    );
    assert_eq!(first["id"], id.as_str());
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    assert!(first["url"].is_string() && first["updated_at"].is_string());
    site.call("POST", "/v1/environments/fuse-t1?action=drain", None).await;
    assert_eq!(state(&stream.frame().await), "draining");
    site.delete("/v1/environments/fuse-t1").await.expect(204);
    assert_eq!(state(&stream.frame().await), "destroying");
    assert_eq!(state(&stream.frame().await), "destroyed");
    assert_eq!(stream.frame().await, None, "it closes after the end");
}

async fn a_stream_is_taken_up_where_it_broke_off(site: Site) {
    site.create("t1").await;
    let mut stream = open(&site, PATH, &[]).await;
    let (id, _) = stream.frame().await.expect("a frame");
    drop(stream);
    site.call("POST", "/v1/environments/fuse-t1?action=drain", None).await;
    let site =
        if site.settings.iter().any(|(name, _)| name == "memory") { site } else { site.restart().await };
    let mut resumed = open(&site, PATH, &[("last-event-id", &id)]).await;
    let (id, draining) = resumed.frame().await.expect("a frame");
    assert_eq!(draining["state"], "draining", "only what follows is sent");
    let mut by_query = open(&site, &format!("{PATH}?last_event_id={id}"), &[]).await;
    site.delete("/v1/environments/fuse-t1").await.expect(204);
    for stream in [&mut resumed, &mut by_query] {
        assert_eq!(state(&stream.frame().await), "destroying");
        assert_eq!(state(&stream.frame().await), "destroyed");
        assert_eq!(stream.frame().await, None);
    }
    site.call_with("GET", PATH, &[("last-event-id", "nonsense")], None).await.error(400, "invalid_argument");
}

async fn an_ended_environment_replays_to_its_end(site: Site) {
    site.create("t1").await;
    site.delete("/v1/environments/fuse-t1").await.expect(204);
    let mut present = open(&site, PATH, &[]).await;
    assert_eq!(state(&present.frame().await), "destroyed");
    assert_eq!(present.frame().await, None);
    let mut all = open(&site, PATH, &[("last-event-id", &"0".repeat(32))]).await;
    let mut states = Vec::new();
    let mut last = String::new();
    while let Some((id, frame)) = all.frame().await {
        states.push(frame["state"].as_str().expect("a state").to_owned());
        last = id;
    }
    assert_eq!(states, ["provisioning", "running", "destroying", "destroyed"]);
    let mut after_the_end = open(&site, PATH, &[("last-event-id", &last)]).await;
    assert_eq!(after_the_end.frame().await, None, "nothing follows, and nobody waits for it");
}

async fn the_fleet_as_a_stream_and_as_a_list(site: Site) {
    let mut stream = open(&site, "/v1/events", &[("accept", "text/event-stream")]).await;
    site.create("t1").await;
    site.post("/v1/hosts", json!({"id": "h2", "url": "stub://h2"})).await.expect(201);
    let mut kinds = Vec::new();
    let mut last = String::new();
    while !kinds.contains(&"host.registered".to_owned()) {
        let (id, event) = stream.frame().await.expect("a frame");
        assert_eq!(event["id"], id.as_str());
        kinds.push(event["event"].as_str().expect("a kind").to_owned());
        last = id;
    }
    assert!(kinds.starts_with(&["vm.provisioning".to_owned(), "vm.scheduled".to_owned()]), "{kinds:?}");
    assert!(kinds.contains(&"vm.running".to_owned()), "{kinds:?}");
    site.call("POST", "/v1/hosts/h2?action=cordon", None).await.expect(204);
    let mut resumed =
        open(&site, "/v1/events", &[("accept", "text/event-stream"), ("last-event-id", &last)]).await;
    assert_eq!(resumed.frame().await.expect("a frame").1["event"], "host.cordoned");

    let list = site.get("/v1/events?limit=3").await.expect(200).json();
    let events = list["events"].as_array().expect("a list");
    assert_eq!(events.len(), 3);
    assert_eq!((&events[0]["sequence"], &list["next_after"]), (&json!(1), &json!(3)));
    let rest = site.get("/v1/events?after=3&limit=200").await.expect(200).json();
    assert_eq!(rest["events"][0]["sequence"], 4);
    let about = site.get("/v1/events?subject_kind=host&subject_id=h2").await.expect(200).json();
    let kinds: Vec<_> =
        about["events"].as_array().expect("a list").iter().map(|e| e["event"].clone()).collect();
    assert_eq!(kinds, ["host.registered", "host.cordoned"]);
    let accepted = site.get("/v1/events?subject_kind=environment&subject_id=fuse-t1").await.json();
    assert_eq!(accepted["events"][1]["details"]["host_id"], "default", "audit: who was chosen");
    for wrong in ["?after=-1", "?subject_kind=horse&subject_id=x", "?subject_id=x"] {
        site.get(&format!("/v1/events{wrong}")).await.error(400, "invalid_argument");
    }
}

/// The stream of an environment that fails tells why, and ends.
async fn a_failure_is_the_last_frame(site: Site) {
    let host = site.stub.host("default");
    host.inject(Fault::once(Verb::Create, Effect::Delay(Duration::from_millis(300))));
    host.inject(Fault::once(
        Verb::StartAgent,
        Effect::Fail(fuse_orchestrator::provider::ProviderErrorKind::Failed, "no agent".into()),
    ));
    let create = site
        .call_with("POST", "/v1/environments", &[("prefer", "respond-async")], Some(json!({"task_id": "t1"})))
        .await;
    create.expect(202);
    let mut stream = open(&site, PATH, &[]).await;
    assert_eq!(state(&stream.frame().await), "provisioning");
    let (_, failed) = stream.frame().await.expect("a frame");
    assert_eq!(failed["state"], "failed");
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("no agent")), "{failed}");
    assert_eq!(stream.frame().await, None);
}

/// The record of an environment tells of its end while its event still waits for that of a commit that is answered
/// late. A stream that is opened then does not end before it has told.
async fn a_stream_does_not_end_before_it_has_told_of_the_end(site: Site) {
    let late = Late::shared();
    let (store, _dir) = site.into_store().await;
    let host = HostRegistration { url: "stub://default".into(), ..HostRegistration::default() };
    let keys = Arc::new(KeyRing::generate().expect("a key"));
    let plane = ControlPlane::builder()
        .store(Hooked::shared(store, Arc::clone(&late)))
        .secrets(keys)
        .default_host(host);
    let fuse = plane.open().await.expect("a control plane");
    let config = ApiConfig { auth_token: Some(TOKEN.into()), ..ApiConfig::default() };
    let listener = Listener::bind("127.0.0.1", 0, 100).await.expect("a listener");
    let address = listener.address().expect("an address");
    let stop = CancellationToken::new();
    tokio::spawn(listener.serve(router(fuse.clone(), config), stop.clone(), Duration::from_secs(5)));
    let one = fuse.provision(ProvisionRequest::new("t1".parse().expect("a name"))).await.expect("accepted");
    fuse.wait_running(&one.id, Duration::from_secs(60)).await.expect("it runs");
    let seen = format!("{:032x}", fuse.newest_durable_event().await.expect("a number"));

    late.arm();
    let other = ProvisionRequest::new("t2".parse().expect("a name"));
    let other = tokio::spawn({
        let fuse = fuse.clone();
        async move { fuse.provision(other).await }
    });
    late.kept.notified().await;
    fuse.destroy(&one.id).await.expect("it goes");
    let bearer = format!("Bearer {TOKEN}");
    let mut stream = Stream::open(address).await;
    let headers = [("authorization", bearer.as_str()), ("last-event-id", seen.as_str())];
    stream.send(request("GET", PATH, &headers, None)).await;
    stream.head().await.expect("an answer").expect(200);
    let early = tokio::time::timeout(Duration::from_millis(300), stream.frame()).await;
    assert!(early.is_err(), "nothing can be told yet, and it has not ended: {early:?}");
    late.release.notify_one();
    assert_eq!(state(&stream.frame().await), "destroying");
    assert_eq!(state(&stream.frame().await), "destroyed");
    assert_eq!(stream.frame().await, None);
    other.await.expect("it ends").expect("accepted");
    stop.cancel();
    fuse.close().await.expect("it closes");
}

/// A reader for whom events were removed from the log is told how many, and goes on.
#[test]
fn what_a_slow_reader_lost_is_told() {
    run(async {
        for backend in [Backend::Sled, Backend::Postgres] {
            if let Some(site) = Site::start_with(backend, &[("keep-events", "0s")]).await {
                what_a_slow_reader_of_this_lost_is_told(site).await;
            }
        }
    });
}

async fn what_a_slow_reader_of_this_lost_is_told(site: Site) {
    site.create("t1").await;
    site.create("t2").await;
    // A new process has nothing in memory; housekeeping removes what is older than nothing.
    let site = site.restart().await;
    site.server.orchestrator().reconcile().await.expect("a look at the hosts, and housekeeping");
    let list = site.get("/v1/events?after=0").await.expect(200).json();
    assert!(list["lost"].as_u64().is_some_and(|lost| lost > 0), "{list}");
    let first = "0".repeat(32);
    let mut fleet =
        open(&site, "/v1/events", &[("accept", "text/event-stream"), ("last-event-id", &first)]).await;
    let (id, lost) = fleet.frame().await.expect("a frame");
    assert_eq!((&lost["event"], &lost["id"]), (&json!("lost"), &json!(id)));
    assert!(lost["count"].as_u64().expect("a count") >= 5, "{lost}");
    let mut one = open(&site, PATH, &[("last-event-id", &first)]).await;
    let (_, lost) = one.frame().await.expect("a frame");
    assert_eq!(
        (&lost["event"], &lost["state"], &lost["vm_id"]),
        (&json!("lost"), &json!("running"), &json!("fuse-t1"))
    );
    assert!(lost["count"].as_u64().expect("a count") >= 5 && lost["updated_at"].is_string(), "{lost}");
}

#[test]
fn a_stream_says_that_it_lives_and_ends_with_the_server() {
    run(async {
        let site = Site::start(Backend::Memory).await.expect("a server");
        site.create("t1").await;
        let mut stream = open(&site, PATH, &[]).await;
        stream.frame().await.expect("a frame");
        let began = tokio::time::Instant::now();
        assert_eq!(stream.chunk().await.expect("a sign of life"), b": keepalive\n\n");
        assert!(began.elapsed() >= Duration::from_secs(14), "every 15 s");
        let Site { server, .. } = site;
        server.stop();
        assert_eq!(stream.frame().await, None);
        assert_eq!(server.wait().await.expect("it closes"), 0, "nobody was cut off");
    });
}
