//! A tour of every route and every answer that it gives, against the server's own count and its description of itself.
//!
//! What the answers look like is the subject of the other tests; here it is that each can be had, and that there are no
//! others.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use fuse_orchestrator::provider::{
    ProviderErrorKind::{self, Failed, Unreachable, Unsupported},
    Verb,
    stub::{Effect, Fault},
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{Site, client::request};

crate::on_every_backend!(with &[("body-timeout", "1s")]; every_route_and_every_answer);

/// A route and the statuses that it can answer with, besides those that every route has (429 and the 403 of a network:
/// they come before it is known what is asked for) and those of a store that fails.
struct Route {
    method: &'static str,
    /// As the figures and the description name it.
    pattern: &'static str,
    /// A request that is refused for who asks or for its body, before anything is looked up.
    path: &'static str,
    statuses: &'static [u16],
}

const fn route(
    method: &'static str,
    pattern: &'static str,
    path: &'static str,
    statuses: &'static [u16],
) -> Route {
    Route { method, pattern, path, statuses }
}

#[rustfmt::skip]
const ROUTES: &[Route] = &[
    route("POST", "/login", "/login", &[204, 400, 401, 408, 413]),
    route("POST", "/logout", "/logout", &[204]),
    route("GET", "/v1/environments", "/v1/environments", &[200, 400, 401]),
    route("POST", "/v1/environments", "/v1/environments", &[201, 202, 400, 401, 403, 404, 408, 409, 413, 500, 503]),
    route("GET", "/v1/environments/{vmId}", "/v1/environments/x", &[200, 400, 401, 404]),
    route("POST", "/v1/environments/{vmId}", "/v1/environments/x?action=exec", &[200, 201, 202, 204, 400, 401, 403, 404, 408, 409, 413, 500, 501, 503]),
    route("DELETE", "/v1/environments/{vmId}", "/v1/environments/x", &[204, 400, 401, 403, 404, 500, 503]),
    route("GET", "/v1/environments/{vmId}/events", "/v1/environments/x/events", &[200, 400, 401, 404]),
    route("GET", "/v1/environments/{vmId}/attach", "/v1/environments/x/attach", &[101, 400, 401, 403, 404, 409, 500, 501, 503]),
    route("GET", "/v1/environments/{vmId}/logs", "/v1/environments/x/logs", &[200, 400, 401, 404]),
    route("PUT", "/v1/environments/{vmId}/files", "/v1/environments/x/files?path=/x", &[204, 400, 401, 403, 404, 408, 409, 413, 500, 501, 503]),
    route("GET", "/v1/environments/{vmId}/computer", "/v1/environments/x/computer", &[400, 401, 403, 501]),
    route("POST", "/v1/environments/{vmId}/computer", "/v1/environments/x/computer", &[400, 401, 403, 501]),
    route("GET", "/v1/environments/{vmId}/computer/stream", "/v1/environments/x/computer/stream", &[400, 401, 403, 501]),
    route("POST", "/v1/environments/{vmId}/snapshots", "/v1/environments/x/snapshots", &[201, 400, 401, 403, 404, 408, 409, 413, 500, 501, 503]),
    route("GET", "/v1/snapshots", "/v1/snapshots", &[200, 400, 401]),
    route("GET", "/v1/snapshots/resolve", "/v1/snapshots/resolve", &[200, 400, 401]),
    route("GET", "/v1/snapshots/{snapshotId}", "/v1/snapshots/x", &[200, 400, 401, 404]),
    route("POST", "/v1/snapshots/{snapshotId}", "/v1/snapshots/x?action=restore", &[204, 400, 401, 403, 404, 408, 409, 413, 500, 501, 503]),
    route("DELETE", "/v1/snapshots/{snapshotId}", "/v1/snapshots/x", &[204, 400, 401, 403, 404, 409, 500, 503]),
    route("GET", "/v1/hosts", "/v1/hosts", &[200, 400, 401]),
    route("POST", "/v1/hosts", "/v1/hosts", &[201, 400, 401, 403, 408, 413, 502]),
    route("GET", "/v1/hosts/{hostId}", "/v1/hosts/x", &[200, 400, 401, 404]),
    route("POST", "/v1/hosts/{hostId}", "/v1/hosts/x?action=cordon", &[200, 204, 400, 401, 403, 404, 408, 413]),
    route("DELETE", "/v1/hosts/{hostId}", "/v1/hosts/x", &[204, 400, 401, 403, 404, 409]),
    route("GET", "/v1/hosts/{hostId}/drain", "/v1/hosts/x/drain", &[200, 400, 401, 404]),
    route("GET", "/v1/api-keys", "/v1/api-keys", &[200, 401, 403]),
    route("POST", "/v1/api-keys", "/v1/api-keys", &[201, 400, 401, 403, 408, 413]),
    route("DELETE", "/v1/api-keys/{keyId}", "/v1/api-keys/x", &[204, 400, 401, 403, 404]),
    route("GET", "/v1/events", "/v1/events", &[200, 400, 401]),
    route("GET", "/v1/dead-letters", "/v1/dead-letters", &[200, 401]),
    route("POST", "/v1/dead-letters/{letterId}", "/v1/dead-letters/x?action=retry", &[204, 400, 401, 403, 404, 408, 413, 500]),
    route("GET", "/v1/openapi.json", "/v1/openapi.json", &[200, 401]),
];

/// The four that are asked for without credentials, and not counted.
const OUTER: [&str; 4] = ["/health", "/metrics", "/ready", "/v1/version"];

async fn every_route_and_every_answer(site: Site) {
    refusals(&site).await;
    environments(&site).await;
    guests(&site).await;
    snapshots(&site).await;
    hosts(&site).await;
    the_rest(&site).await;
    compare(&site).await;
}

/// What each route says to callers that it does not take, and to bodies that it does not wait for.
async fn refusals(site: &Site) {
    let reader = site.key(&["read"]).await;
    let bearer = format!("Bearer {}", site.token);
    let mut slow = Vec::new();
    for Route { method, pattern, path, statuses } in ROUTES {
        if statuses.contains(&401) && *pattern != "/login" {
            site.call_as("wrong", method, path, None).await.error(401, "unauthorized");
        }
        if statuses.contains(&403) {
            site.call_as(&reader, method, path, None).await.error(403, "unauthorized");
        }
        if let Some((before, after)) = path.split_once("/x").filter(|_| pattern.contains('{')) {
            let reply = site.call(method, &format!("{before}/%FF{after}"), None).await;
            assert!(reply.error(400, "invalid_argument").contains("UTF-8"), "{method} {path}");
        }
        let head = |length: usize| {
            format!(
                "{method} {path} HTTP/1.1\r\nhost: t\r\nauthorization: {bearer}\r\ncontent-length: {length}\r\n\r\n"
            )
        };
        if statuses.contains(&413) {
            // Refused by the length that is told, before anything of it comes.
            site.raw(head(usize::from(u16::MAX) * 1_000)).await.error(413, "payload_too_large");
        }
        if statuses.contains(&408) {
            let whole = format!("{}{{", head(100));
            slow.push(async move { site.raw(whole).await.error(408, "invalid_argument") });
        }
    }
    join_all(slow).await;
}

fn fail(site: &Site, verb: Verb, kind: ProviderErrorKind) {
    site.stub
        .host("default")
        .inject(Fault::once(verb, Effect::Fail(kind, "as the test wants it".to_owned())));
}

/// The three ways in which a host does not do what it is asked, and what becomes of them.
const FAULTS: [(ProviderErrorKind, u16, &str); 3] =
    [(Failed, 500, "internal"), (Unsupported, 501, "unimplemented"), (Unreachable, 503, "unavailable")];

async fn environments(site: &Site) {
    let create = async |body: Value| site.post("/v1/environments", body).await;
    let t1 = "/v1/environments/fuse-t1";
    create(json!({"task_id": "t1"})).await.expect(201);
    create(json!({"task_id": "t1"})).await.error(409, "conflict");
    create(json!({})).await.error(400, "invalid_argument");
    let slow = json!({"task_id": "t", "startup_script": "sleep 9", "startup_script_timeout_seconds": 1});
    assert!(create(slow).await.error(400, "invalid_argument").contains("startup script"));
    create(json!({"task_id": "t", "startup_script": "false"})).await.error(500, "internal");
    create(json!({"task_id": "t", "spec": {"host_id": "none"}})).await.error(404, "not_found");
    create(json!({"task_id": "t", "spec": {"cpus": 65}})).await.error(503, "unavailable");
    let at_once = [("prefer", "respond-async")];
    let body = json!({"task_id": "later"});
    let reply = site.call_with("POST", "/v1/environments", &at_once, Some(body)).await.expect(202);
    assert_eq!(reply.header("location"), "/v1/environments/fuse-later");

    site.get("/v1/environments").await.expect(200);
    site.get("/v1/environments?cursor=x").await.error(400, "invalid_argument");
    site.get(t1).await.expect(200);
    assert_eq!(
        site.get("/v1/environments/fuse-none").await.error(404, "not_found"),
        "vm fuse-none not found"
    );

    let act = async |id: &str, action: &str, body: Option<Value>| {
        site.call("POST", &format!("/v1/environments/{id}?action={action}"), body).await
    };
    act("fuse-t1", "rotate-token", None).await.expect(204);
    act("fuse-t1", "dance", None).await.error(400, "invalid_argument");
    act("fuse-t1", "migrate", None).await.error(501, "unimplemented");
    for action in ["drain", "fork", "rotate-token"] {
        act("fuse-none", action, None).await.error(404, "not_found");
    }
    let fork = act("fuse-t1", "fork", None).await.expect(201).json();
    let path = format!("{t1}?action=fork");
    let reply = site.call_with("POST", &path, &at_once, None).await.expect(202);
    let place = reply.header("location").to_owned();
    assert!(place.starts_with("/v1/environments/fuse-fork-"), "{place}");
    site.get(&place).await.expect(200);
    create(json!({"task_id": "large", "spec": {"cpus": 40}})).await.expect(201);
    act("fuse-large", "fork", None).await.error(503, "unavailable");
    let other = json!({"reuse_snapshot_id": fork["seed_snapshot_id"]});
    assert!(act("fuse-large", "fork", Some(other)).await.status >= 400, "a snapshot of another one");
    act("fuse-large", "drain", None).await.expect(200);
    for action in ["drain", "fork", "rotate-token"] {
        act("fuse-large", action, None).await.error(409, "conflict");
    }
    // A drain that fails leaves it draining, and says so.
    create(json!({"task_id": "sticky", "agent": {"drain_command": "false"}})).await.expect(201);
    act("fuse-sticky", "drain", None).await.error(500, "internal");
    assert_eq!(site.get("/v1/environments/fuse-sticky").await.json()["state"], "draining");

    for (kind, status, code) in [FAULTS[0], FAULTS[2]] {
        fail(site, Verb::Destroy, kind);
        site.delete("/v1/environments/fuse-large").await.error(status, code);
        assert_eq!(site.get("/v1/environments/fuse-large").await.json()["state"], "destroying");
    }
    site.delete("/v1/environments/fuse-large").await.expect(204);
    site.delete("/v1/environments/fuse-large").await.error(404, "not_found");
}

async fn guests(site: &Site) {
    site.create("g").await;
    site.create("idle").await;
    site.call("POST", "/v1/environments/fuse-idle?action=drain", None).await.expect(200);
    let bearer = format!("Bearer {}", site.token);
    let upgrade =
        [("authorization", bearer.as_str()), ("connection", "upgrade"), ("upgrade", "fuse-attach/1")];
    let attach = async |id: &str, headers: &[(&str, &str)]| {
        site.raw(request("GET", &format!("/v1/environments/{id}/attach?tty=1"), headers, None)).await
    };
    let put = async |id: &str, path: &str| {
        let path = format!("/v1/environments/{id}/files?path={path}");
        site.raw(request("PUT", &path, &[("authorization", &bearer)], Some(b"x"))).await
    };
    let exec =
        async |id: &str, body: Value| site.post(&format!("/v1/environments/{id}?action=exec"), body).await;
    let ask = || json!({"cmd": ["true"]});
    exec("fuse-g", ask()).await.expect(200);
    exec("fuse-g", json!({})).await.error(400, "invalid_argument");
    put("fuse-g", "/x").await.expect(204);
    put("fuse-g", "x").await.error(400, "invalid_argument");
    attach("fuse-g", &upgrade).await.expect(101);
    attach("fuse-g", &upgrade[..1]).await.error(400, "invalid_argument");
    for (kind, status, code) in FAULTS {
        fail(site, Verb::Exec, kind);
        exec("fuse-g", ask()).await.error(status, code);
        fail(site, Verb::Upload, kind);
        put("fuse-g", "/x").await.error(status, code);
        fail(site, Verb::Attach, kind);
        attach("fuse-g", &upgrade).await.error(status, code);
    }
    for (id, status, code) in [("fuse-none", 404, "not_found"), ("fuse-idle", 409, "conflict")] {
        exec(id, ask()).await.error(status, code);
        put(id, "/x").await.error(status, code);
        attach(id, &upgrade).await.error(status, code);
    }
    for (method, path) in [("GET", "computer"), ("POST", "computer"), ("GET", "computer/stream")] {
        let path = format!("/v1/environments/fuse-g/{path}");
        site.call(method, &path, None).await.error(501, "unimplemented");
    }
    for what in ["logs", "events"] {
        site.get(&format!("/v1/environments/fuse-none/{what}")).await.error(404, "not_found");
    }
    site.get("/v1/environments/fuse-g/logs").await.expect(200);
    site.get("/v1/environments/fuse-g/logs?follow=perhaps").await.error(400, "invalid_argument");
    let mut events = site.connect().await;
    events.send(request("GET", "/v1/environments/fuse-g/events", &upgrade[..1], None)).await;
    events.head().await.expect("an answer").expect(200);
    site.get("/v1/environments/fuse-g/events?last_event_id=x").await.error(400, "invalid_argument");
}

async fn snapshots(site: &Site) {
    let of = |id: &str| format!("/v1/environments/{id}/snapshots");
    let path = |snapshot: &Value| format!("/v1/snapshots/{}", snapshot["id"].as_str().expect("an id"));
    let restore = async |path: &str| site.call("POST", &format!("{path}?action=restore"), None).await;
    let make = async || site.post(&of("fuse-g"), json!({})).await.expect(201).json();
    let parent = make().await;
    let child = make().await;
    site.post(&of("fuse-g"), json!({"mode": "weird"})).await.error(400, "invalid_argument");
    site.post(&of("fuse-none"), json!({})).await.error(404, "not_found");
    site.post(&of("fuse-idle"), json!({})).await.error(409, "conflict");
    for (kind, status, code) in FAULTS {
        fail(site, Verb::Snapshot, kind);
        site.post(&of("fuse-g"), json!({})).await.error(status, code);
    }
    let failed = site.get("/v1/snapshots?state=error&limit=1").await.expect(200).json();
    let broken = path(&failed["snapshots"][0]);
    assert!(failed["snapshots"][0]["last_error"].as_str().is_some_and(|why| why.contains("as the test")));
    restore(&broken).await.error(409, "conflict");
    let seeded = json!({"task_id": "seeded", "seed_snapshot_id": failed["snapshots"][0]["id"]});
    site.post("/v1/environments", seeded).await.error(409, "conflict");
    site.delete(&broken).await.expect(204);
    let seeded = json!({"task_id": "seeded", "seed_snapshot_id": child["id"]});
    let seeded = site.post("/v1/environments", seeded).await.expect(201).json();
    assert_eq!(seeded["seed_snapshot_id"], child["id"]);

    site.get("/v1/snapshots?state=odd").await.error(400, "invalid_argument");
    site.get(&path(&child)).await.expect(200);
    site.get("/v1/snapshots/snap-none").await.error(404, "not_found");
    site.get("/v1/snapshots/resolve").await.error(400, "invalid_argument");
    site.get("/v1/snapshots/resolve?layer_key=k&arch=amd64").await.expect(200);
    restore(&path(&child)).await.expect(204);
    restore("/v1/snapshots/snap-none").await.error(404, "not_found");
    for (kind, status, code) in FAULTS {
        let snapshot = make().await;
        fail(site, Verb::Restore, kind);
        restore(&path(&snapshot)).await.error(status, code);
    }
    site.delete(&path(&parent)).await.error(409, "conflict");
    site.delete("/v1/snapshots/snap-none").await.error(404, "not_found");
    let last = make().await;
    for (kind, status, code) in [FAULTS[0], FAULTS[2]] {
        fail(site, Verb::DeleteSnapshot, kind);
        site.delete(&path(&last)).await.error(status, code);
    }
    site.delete(&path(&last)).await.expect(204);
}

/// An agent that takes no token.
async fn closed_agent() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let answer =
                b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 12\r\nconnection: close\r\n\r\nunauthorized";
            let _ = stream.write_all(answer).await;
        }
    });
    format!("http://{address}")
}

async fn hosts(site: &Site) {
    let register = async |body: Value| site.post("/v1/hosts", body).await;
    let all = json!({"cpus": 65, "ram_mb": 1024, "storage_gb": 10, "vm_count": 2});
    let made = register(json!({"id": "h2", "url": "stub://h2", "capacity": all})).await.expect(201).json();
    let warning = made["warnings"][0].as_str().unwrap_or_default();
    assert!(warning.contains("declared as 65") && warning.contains("64"), "{made}");
    register(json!({"id": "h", "url": "ftp//h"})).await.error(400, "invalid_argument");
    let other = json!({"id": "h", "url": "stub://h", "capacity": {"arch": "arm64"}});
    assert!(register(other).await.error(400, "invalid_argument").contains("capacity.arch"));
    register(json!({"id": "h", "url": "http://127.0.0.1:9", "token": "t"})).await.error(502, "internal");
    let closed = closed_agent().await;
    register(json!({"id": "h", "url": closed, "token": "t", "capacity": all}))
        .await
        .error(502, "unauthorized");

    site.get("/v1/hosts").await.expect(200);
    site.get("/v1/hosts?cursor=x").await.error(400, "invalid_argument");
    site.get("/v1/hosts/h2").await.expect(200);
    for path in ["/v1/hosts/none", "/v1/hosts/none/drain", "/v1/hosts/h2/drain"] {
        site.get(path).await.error(404, "not_found");
    }
    let pinned = json!({"task_id": "pinned", "spec": {"host_id": "h2"}});
    site.post("/v1/environments", pinned).await.expect(201);
    site.delete("/v1/hosts/h2").await.error(409, "conflict");
    let act = async |path: &str| site.call("POST", path, None).await;
    act("/v1/hosts/h2?action=cordon").await.expect(204);
    act("/v1/hosts/h2?action=uncordon").await.expect(204);
    act("/v1/hosts/none?action=cordon").await.error(404, "not_found");
    act("/v1/hosts/none?action=drain").await.error(404, "not_found");
    act("/v1/hosts/h2?action=dance").await.error(400, "invalid_argument");
    act("/v1/hosts/h2?action=drain&limit_seconds=soon").await.error(400, "invalid_argument");
    let drain = act("/v1/hosts/h2?action=drain").await.expect(200).json();
    assert_eq!(drain["environments"], 1, "{drain}");
    for _ in 0..200 {
        if site.get("/v1/hosts/h2/drain").await.expect(200).json()["left"] == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(site.get("/v1/environments/fuse-pinned").await.json()["state"], "destroyed");
    site.delete("/v1/hosts/h2").await.expect(204);
    site.delete("/v1/hosts/h2").await.error(404, "not_found");
}

async fn the_rest(site: &Site) {
    let login = async |body: &str| site.raw(request("POST", "/login", &[], Some(body.as_bytes()))).await;
    login(&json!({"token": site.token}).to_string()).await.expect(204);
    login("{}").await.error(401, "unauthorized");
    login("[").await.error(400, "invalid_argument");
    site.raw(request("POST", "/logout", &[], None)).await.expect(204);

    let key = site.post("/v1/api-keys", json!({})).await.expect(201).json();
    site.post("/v1/api-keys", json!({"label": 7})).await.error(400, "invalid_argument");
    site.get("/v1/api-keys").await.expect(200);
    site.delete(&format!("/v1/api-keys/{}", key["id"].as_str().expect("an id"))).await.expect(204);
    site.delete("/v1/api-keys/ak_none").await.error(404, "not_found");

    site.get("/v1/events").await.expect(200);
    site.get("/v1/events?after=x").await.error(400, "invalid_argument");
    site.get("/v1/openapi.json").await.expect(200);

    letters(site).await;
}

/// Dead letters: one that is taken away, and one whose work is done after all.
async fn letters(site: &Site) {
    let act = async |action: &str| {
        site.call("POST", &format!("/v1/dead-letters/destroy:fuse-stuck?action={action}"), None).await
    };
    site.create("stuck").await;
    let always = Effect::Fail(Failed, "as the test wants it".to_owned());
    site.stub.host("default").inject(Fault::always(Verb::Destroy, always));
    let until_told = async || {
        for _ in 0..20 {
            site.delete("/v1/environments/fuse-stuck").await.error(500, "internal");
            let letters = site.get("/v1/dead-letters").await.expect(200).json();
            if let Some(letter) = letters["dead_letters"].get(0) {
                return letter.clone();
            }
        }
        panic!("no letter");
    };
    let letter = until_told().await;
    assert_eq!((&letter["kind"], &letter["entity_id"]), (&json!("destroy"), &json!("fuse-stuck")));
    assert!(letter["reason"].as_str().is_some_and(|why| why.contains("as the test wants it")), "{letter}");
    act("eat").await.error(400, "invalid_argument");
    act("retry").await.error(500, "internal");
    act("dismiss").await.expect(204);
    act("dismiss").await.error(404, "not_found");
    until_told().await;
    site.stub.host("default").clear_faults();
    act("retry").await.expect(204);
    act("retry").await.error(404, "not_found");
    assert_eq!(site.get("/v1/environments/fuse-stuck").await.json()["state"], "destroyed");
}

type Counted = BTreeMap<(String, String), BTreeSet<u16>>;

/// What the server counted: by method and route, the statuses that it answered with.
fn counted(figures: &str) -> Counted {
    let mut all = Counted::new();
    for line in figures.lines().filter_map(|line| line.strip_prefix("orchestrator_http_requests_total{")) {
        let label = |name: &str| {
            let after = line.split_once(&format!("{name}=\"")).expect("a label").1;
            after.split_once('"').expect("its end").0.to_owned()
        };
        let status = label("code").parse().expect("a status");
        all.entry((label("method"), label("route"))).or_default().insert(status);
    }
    all
}

async fn compare(site: &Site) {
    let here = counted(&site.get("/metrics").await.text());
    let expected: Counted = ROUTES
        .iter()
        .map(|one| ((one.method.to_owned(), one.pattern.to_owned()), one.statuses.iter().copied().collect()))
        .collect();
    for (route, statuses) in &expected {
        let seen = here.get(route).cloned().unwrap_or_default();
        let (missing, surplus) = (statuses - &seen, &seen - statuses);
        assert!(missing.is_empty() && surplus.is_empty(), "{route:?}: never {missing:?}, also {surplus:?}");
    }
    assert_eq!(here.len(), expected.len(), "{:?}", here.keys());

    let description = serde_json::to_value(fuse_server::openapi()).expect("JSON");
    for (path, item) in description["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("methods") {
            let Some(statuses) = expected.get(&(method.to_uppercase(), path.clone())) else {
                assert!(OUTER.contains(&path.as_str()), "{method} {path} is not on the tour");
                continue;
            };
            let described = operation["responses"].as_object().expect("answers");
            for status in statuses {
                assert!(described.contains_key(&status.to_string()), "{method} {path}: {status}");
            }
        }
    }
}
