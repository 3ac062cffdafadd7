//! Environments: made, read, listed, drained, forked, removed.

use std::time::Duration;

use fuse_orchestrator::provider::{
    ProviderErrorKind, Verb,
    stub::{Effect, Fault},
};
use serde_json::{Value, json};

use crate::support::Site;

crate::on_every_backend!(
    a_whole_life,
    one_live_environment_for_a_task,
    lists_have_pages_and_filters,
    a_create_that_is_answered_before_it_runs,
    a_caller_that_goes_away_finds_its_environment,
    drain_and_what_is_not_running,
    forks,
    a_boot_that_fails_says_why_and_frees_the_task,
    what_is_wrong_is_told_before_anything_is_made,
    arch_has_two_names_and_nulls_are_nothing,
    names_in_paths_are_percent_encoded,
);
// A create is answered 5 s before the write time-out, here after 1 s.
crate::on_every_backend!(with &[("write-timeout", "6s")]; a_create_that_takes_too_long_for_a_request_goes_on);

async fn a_whole_life(site: Site) {
    let request = json!({
        "task_id": "t1",
        "spec": {"cpus": 1, "ram_mb": 512, "storage_gb": 10, "labels": {}, "max_runtime_seconds": 600},
        "secrets": {"API": "a-secret-value"},
        "files": {"/workspace/hello.txt": "aGVsbG8="},
        "expose": [{"port": 8000, "as": "web"}],
        "healthcheck": {"http": {"port": 8000, "path": "/"}, "interval_seconds": 10, "timeout_seconds": 2},
        "startup_script": "echo started",
        "a_field_of_the_future": true,
    });
    let made = site.post("/v1/environments", request).await.expect(201).json();
    assert_eq!(made["id"], "fuse-t1");
    assert_eq!((&made["state"], &made["task_id"]), (&json!("running"), &json!("t1")));
    assert!(made["url"].as_str().expect("a url").starts_with("fc://"), "{made}");
    assert_eq!(made["spec"], json!({"cpus": 1, "ram_mb": 512, "storage_gb": 10, "max_runtime_seconds": 600}));
    assert_eq!(made["endpoints"][0]["as"], "web");
    assert_eq!(made["host_id"], "default");
    assert!(made["timings"]["create_us"].is_u64(), "{made}");
    assert_eq!(made["reason"]["code"], "booted");
    for field in ["created_at", "updated_at"] {
        let time = made[field].as_str().expect("a time");
        assert!(time.ends_with('Z') && time.contains('T') && time.contains('.'), "{time}");
    }
    assert_no_nulls(&made);
    let read = site.get("/v1/environments/fuse-t1").await.expect(200).json();
    assert_eq!(read["id"], made["id"]);
    assert!(!format!("{made}{read}").contains("a-secret-value"));
    let gone = site.delete("/v1/environments/fuse-t1").await.expect(204);
    assert!(gone.body.is_empty());
    let again = site.delete("/v1/environments/fuse-t1").await.error(404, "not_found");
    assert_eq!(again, "vm fuse-t1 not found");
    let ended = site.get("/v1/environments/fuse-t1").await.expect(200).json();
    assert_eq!((&ended["state"], &ended["task_id"]), (&json!("destroyed"), &json!("")));
    site.create("t1").await;
}

fn assert_no_nulls(value: &Value) {
    match value {
        Value::Null => panic!("a null"),
        Value::Array(items) => items.iter().for_each(assert_no_nulls),
        Value::Object(members) => members.values().for_each(assert_no_nulls),
        _ => {}
    }
}

async fn one_live_environment_for_a_task(site: Site) {
    site.create("t1").await;
    let message = site.post("/v1/environments", json!({"task_id": "t1"})).await.error(409, "conflict");
    assert!(message.contains("fuse-t1") && message.contains("running"), "{message}");
    let body = json!({"task_id": "t2"});
    let (a, b) =
        tokio::join!(site.post("/v1/environments", body.clone()), site.post("/v1/environments", body));
    let mut statuses = [a.status, b.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

async fn lists_have_pages_and_filters(site: Site) {
    assert_eq!(site.get("/v1/environments").await.expect(200).text(), "{\"environments\":[]}\n");
    for task in ["a", "b", "c", "d", "e"] {
        site.create(task).await;
    }
    let ids = |list: &Value| -> Vec<String> {
        list["environments"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|e| e["id"].as_str().expect("an id").to_owned())
            .collect()
    };
    let first = site.get("/v1/environments?limit=2").await.json();
    assert_eq!(ids(&first), ["fuse-a", "fuse-b"]);
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = site.get(&format!("/v1/environments?limit=2&cursor={cursor}")).await.json();
    assert_eq!(ids(&second), ["fuse-c", "fuse-d"]);
    let cursor = second["next_cursor"].as_str().expect("a cursor");
    let last = site.get(&format!("/v1/environments?limit=2&cursor={cursor}")).await.json();
    assert_eq!(ids(&last), ["fuse-e"]);
    assert!(last.get("next_cursor").is_none(), "{last}");
    for nonsense in ["0", "-3", "many", "999"] {
        assert_eq!(
            ids(&site.get(&format!("/v1/environments?limit={nonsense}")).await.json()).len(),
            5,
            "{nonsense}"
        );
    }
    site.get("/v1/environments?cursor=nonsense").await.error(400, "invalid_argument");
    site.get("/v1/environments?state=asleep").await.error(400, "invalid_argument");
    assert_eq!(ids(&site.get("/v1/environments?task_id=c").await.json()), ["fuse-c"]);
    assert_eq!(ids(&site.get("/v1/environments?host_id=other").await.json()).len(), 0);
    site.delete("/v1/environments/fuse-a").await.expect(204);
    assert_eq!(ids(&site.get("/v1/environments").await.json()).len(), 4);
    assert_eq!(ids(&site.get("/v1/environments?state=destroyed").await.json()), ["fuse-a"]);
    assert_eq!(ids(&site.get("/v1/environments?state=running&host_id=default").await.json()).len(), 4);
}

fn slow_create(site: &Site, wait: Duration) {
    site.stub.host("default").inject(Fault::once(Verb::Create, Effect::Delay(wait)));
}

async fn a_create_that_is_answered_before_it_runs(site: Site) {
    slow_create(&site, Duration::from_secs(1));
    let reply = site
        .call_with(
            "POST",
            "/v1/environments",
            &[("prefer", "respond-async")],
            Some(json!({"task_id": "a/b"})),
        )
        .await;
    let accepted = reply.clone().expect(202).json();
    assert_eq!(accepted["state"], "provisioning");
    assert_eq!(reply.header("location"), "/v1/environments/fuse-a%2Fb");
    for _ in 0..200 {
        if site.get(reply.header("location")).await.expect(200).json()["state"] == "running" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never ran");
}

async fn a_caller_that_goes_away_finds_its_environment(site: Site) {
    slow_create(&site, Duration::from_millis(500));
    let mut stream = site.connect().await;
    let bearer = format!("Bearer {}", site.token);
    let body = br#"{"task_id":"left"}"#;
    stream
        .send(crate::support::client::request(
            "POST",
            "/v1/environments",
            &[("authorization", &bearer)],
            Some(body),
        ))
        .await;
    for _ in 0..200 {
        if site.get("/v1/environments/fuse-left").await.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(stream);
    for _ in 0..200 {
        if site.get("/v1/environments/fuse-left").await.expect(200).json()["state"] == "running" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it never ran");
}

async fn drain_and_what_is_not_running(site: Site) {
    site.post("/v1/environments", json!({"task_id": "t1", "agent": {"drain_command": "true"}}))
        .await
        .expect(201);
    let drained = site.call("POST", "/v1/environments/fuse-t1?action=drain", None).await.expect(200).json();
    assert_eq!((&drained["id"], &drained["state"]), (&json!("fuse-t1"), &json!("draining")));
    for action in ["drain", "rotate-token", "fork"] {
        site.call("POST", &format!("/v1/environments/fuse-t1?action={action}"), None)
            .await
            .error(409, "conflict");
        let path = format!("/v1/environments/fuse-none?action={action}");
        assert_eq!(site.call("POST", &path, None).await.error(404, "not_found"), "vm fuse-none not found");
    }
    site.call("POST", "/v1/environments/fuse-t1?action=exec", Some(json!({"cmd": ["true"]})))
        .await
        .error(409, "conflict");
    for path in [
        "/v1/environments/fuse-t1",
        "/v1/environments/fuse-t1?action=",
        "/v1/environments/fuse-t1?action=dance",
    ] {
        let message = site.call("POST", path, None).await.error(400, "invalid_argument");
        assert_eq!(message, "missing or unknown action query parameter");
    }
    site.create("t2").await;
    let rotated = site.call("POST", "/v1/environments/fuse-t2?action=rotate-token", None).await.expect(204);
    assert!(rotated.body.is_empty());
    site.call("POST", "/v1/environments/fuse-t2?action=migrate", Some(json!({})))
        .await
        .error(501, "unimplemented");
    site.get("/v1/environments/fuse-t2/computer").await.error(501, "unimplemented");
    site.get("/v1/environments/fuse-t2/computer/stream").await.error(501, "unimplemented");
}

async fn forks(site: Site) {
    site.create("t1").await;
    for body in [None, Some(json!({})), Some(json!({"comment": "for a test"}))] {
        let fork = site.call("POST", "/v1/environments/fuse-t1?action=fork", body).await.expect(201).json();
        let id = fork["id"].as_str().expect("an id");
        assert!(id.starts_with("fuse-fork-") && id.len() == "fuse-fork-".len() + 32, "{id}");
        assert_eq!((&fork["state"], &fork["forked_from"]), (&json!("running"), &json!("fuse-t1")));
    }
    site.post("/v1/environments/fuse-t1?action=fork", json!({"reuse_snapshot_id": "snap-none"}))
        .await
        .error(404, "not_found");
}

async fn a_boot_that_fails_says_why_and_frees_the_task(site: Site) {
    let failure = Effect::Fail(ProviderErrorKind::Failed, "the disk is a-secret-value".to_owned());
    site.stub.host("default").inject(Fault::once(Verb::Create, failure));
    let request = json!({"task_id": "t1", "secrets": {"S": "a-secret-value"}});
    let message = site.post("/v1/environments", request).await.error(500, "internal");
    assert!(message.contains("[REDACTED]") && !message.contains("a-secret-value"), "{message}");
    let failed = site.get("/v1/environments/fuse-t1").await.expect(200).json();
    assert_eq!(failed["state"], "failed");
    assert!(failed["error"].as_str().is_some_and(|error| error.contains("[REDACTED]")), "{failed}");
    site.create("t1").await;
}

async fn a_create_that_takes_too_long_for_a_request_goes_on(site: Site) {
    slow_create(&site, Duration::from_secs(3));
    let reply = site.post("/v1/environments", json!({"task_id": "t1"})).await;
    assert_eq!(reply.clone().expect(202).json()["state"], "provisioning");
    let id =
        site.server.orchestrator().list(&Default::default(), None, None).expect("a list").items[0].id.clone();
    site.server.orchestrator().wait_running(&id, Duration::from_secs(60)).await.expect("it runs");
}

/// Each row breaks one rule: a 400 that names the field, and nothing is made.
async fn what_is_wrong_is_told_before_anything_is_made(site: Site) {
    let rows = [
        (json!({}), "task_id"),
        (json!({"task_id": ""}), "task_id"),
        (json!({"task_id": "a\nb"}), "task_id"),
        (json!({"task_id": "x".repeat(129)}), "task_id"),
        (json!({"task_id": "t", "spec": {"cpus": -1}}), "spec.cpus"),
        (json!({"task_id": "t", "spec": {"ram_mb": -1}}), "spec.ram_mb"),
        (json!({"task_id": "t", "spec": {"storage_gb": 2147483648_i64}}), "spec.storage_gb"),
        (json!({"task_id": "t", "spec": {"max_runtime_seconds": -1}}), "max_runtime_seconds"),
        (json!({"task_id": "t", "spec": {"idle_timeout_seconds": 59}}), "idle_timeout_seconds"),
        (json!({"task_id": "t", "spec": {"arch": "vax"}}), "arch"),
        (json!({"task_id": "t", "spec": {"labels": {"-x": "y"}}}), "labels"),
        (json!({"task_id": "t", "spec": {"gpus": 1}}), "gpus"),
        (json!({"task_id": "t", "manifest_inline": "%%%"}), "manifest_inline"),
        (json!({"task_id": "t", "startup_script_timeout_seconds": 56}), "startup_script_timeout_seconds"),
        (json!({"task_id": "t", "startup_script_timeout_seconds": -1}), "startup_script_timeout_seconds"),
        (json!({"task_id": "t", "expose": [{"port": 0}]}), "expose.port"),
        (json!({"task_id": "t", "expose": [{"port": 65536}]}), "expose.port"),
        (json!({"task_id": "t", "healthcheck": {}}), "healthcheck"),
        (
            json!({"task_id": "t", "healthcheck": {"http": {"port": 1, "path": "/"}, "exec": ["true"]}}),
            "healthcheck",
        ),
        (json!({"task_id": "t", "healthcheck": {"http": {"port": 1, "path": "x"}}}), "healthcheck.http.path"),
        (
            json!({"task_id": "t", "healthcheck": {"exec": ["true"], "interval_seconds": 1, "timeout_seconds": 2}}),
            "timeout_seconds",
        ),
        (json!({"task_id": "t", "files": {"relative": ""}}), "files"),
        (json!({"task_id": "t", "files": {"/fuse/x": ""}}), "files"),
        (json!({"task_id": "t", "files": {"/a/../b": ""}}), "files"),
        (json!({"task_id": "t", "files": {"/a": "%"}}), "files"),
        (json!({"task_id": "t", "seed_snapshot_id": "s", "spec": {"image": "debian"}}), "seed_snapshot_id"),
        (json!({"task_id": "t", "desktop": {"width": 800, "height": 600}}), "desktop"),
    ];
    for (body, field) in rows {
        let message = site.post("/v1/environments", body.clone()).await.error(400, "invalid_argument");
        assert!(message.contains(field), "{body}: {message}");
    }
    let long = "A".repeat(4 * (512 * 1024 / 3) + 8);
    site.post("/v1/environments", json!({"task_id": "t", "files": {"/a": long}}))
        .await
        .error(413, "payload_too_large");
    site.post("/v1/environments", json!({"task_id": "t", "spec": {"host_id": "none"}}))
        .await
        .error(404, "not_found");
    site.post("/v1/environments", json!({"task_id": "t", "seed_snapshot_id": "none"}))
        .await
        .error(404, "not_found");
    let full = site.post("/v1/environments", json!({"task_id": "t", "spec": {"cpus": 100000}})).await;
    assert!(full.error(503, "unavailable").contains("100000CPU"));
    let nobody =
        site.post("/v1/environments", json!({"task_id": "t", "spec": {"labels": {"disk": "fast"}}})).await;
    assert!(nobody.error(503, "unavailable").contains("disk=fast"));
    assert_eq!(site.get("/v1/environments").await.text(), "{\"environments\":[]}\n");
    let both = json!({"task_id": "", "spec": {"cpus": -1}});
    let message = site.post("/v1/environments", both).await.error(400, "invalid_argument");
    assert!(message.contains("task_id") && message.contains("cpus"), "all at once: {message}");
}

async fn arch_has_two_names_and_nulls_are_nothing(site: Site) {
    let made = site
        .post(
            "/v1/environments",
            json!({"task_id": "t", "spec": {"arch": "x86_64", "region": null}, "secrets": null}),
        )
        .await;
    assert_eq!(made.expect(201).json()["spec"], json!({"arch": "amd64"}));
}

async fn names_in_paths_are_percent_encoded(site: Site) {
    site.create("a b/ü<&>").await;
    let reply = site.get("/v1/environments/fuse-a%20b%2F%C3%BC%3C%26%3E").await.expect(200);
    assert_eq!(reply.json()["task_id"], "a b/ü<&>");
    assert!(reply.text().contains("\\u003c\\u0026\\u003e") && !reply.text().contains('<'));
    site.get("/v1/environments/%FF").await.error(400, "invalid_argument");
    site.get("/v1/environments/%0A").await.error(404, "not_found");
}
