//! Snapshots.

use fuse_orchestrator::{
    Orchestrator,
    provider::{
        ProviderErrorKind, Verb,
        stub::{Effect, Fault},
    },
};
use serde_json::{Value, json};

use crate::support::{Site, TOKEN};

crate::on_every_backend!(
    made_listed_restored_deleted,
    lineage_keeps_parents,
    layers_are_resolved,
    bodies_may_be_absent_or_wrong,
    what_a_provider_cannot_do,
    copies_are_told,
);

async fn snapshot(site: &Site, body: Value) -> Value {
    site.post("/v1/environments/fuse-t1/snapshots", body).await.expect(201).json()
}

async fn exec(site: &Site, line: &str) -> String {
    let reply =
        site.post("/v1/environments/fuse-t1?action=exec", json!({"shell": line})).await.expect(200).json();
    reply["stdout"].as_str().expect("text").to_owned()
}

async fn made_listed_restored_deleted(site: Site) {
    site.create("t1").await;
    let asked =
        json!({"comment": "first", "retention_seconds": 3600, "metadata": {"name": "base", "k": "v"}});
    let made = snapshot(&site, asked).await;
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!((&made["vm_id"], &made["task_id"]), (&json!("fuse-t1"), &json!("t1")));
    assert_eq!(
        (&made["mode"], &made["state"], &made["comment"]),
        (&json!("manual"), &json!("ready"), &json!("first"))
    );
    assert_eq!(
        (&made["name"], &made["kind"], &made["metadata"]["k"]),
        (&json!("base"), &json!("disk"), &json!("v"))
    );
    assert!(made["retention_until"].is_string() && made["created_at"].is_string());
    let path = format!("/v1/snapshots/{id}");
    assert_eq!(site.get(&path).await.expect(200).json()["id"], id.as_str());
    for query in
        ["", "?vm_id=fuse-t1", "?task_id=t1&state=ready", "?mode=manual", "?name=base", "?arch=amd64"]
    {
        let list = site.get(&format!("/v1/snapshots{query}")).await.expect(200).json();
        assert_eq!(list["snapshots"].as_array().map(Vec::len), Some(1), "{query}");
    }
    for query in ["?vm_id=fuse-unknown", "?state=error", "?name=other", "?tenant_id=x", "?mode=build"] {
        assert_eq!(
            site.get(&format!("/v1/snapshots{query}")).await.expect(200).text(),
            "{\"snapshots\":[]}\n",
            "{query}"
        );
    }
    assert_eq!(exec(&site, "echo hello").await, "hello\n");
    let restored = site.call("POST", &format!("{path}?action=restore"), None).await.expect(204);
    assert!(restored.body.is_empty());
    site.call("POST", &format!("{path}?action=dance"), None).await.error(400, "invalid_argument");
    site.delete(&path).await.expect(204);
    site.get(&path).await.error(404, "not_found");
    site.delete(&path).await.error(404, "not_found");
    site.call("POST", &format!("{path}?action=restore"), None).await.error(404, "not_found");
}

async fn lineage_keeps_parents(site: Site) {
    site.create("t1").await;
    let parent = snapshot(&site, json!({})).await;
    let child = snapshot(&site, json!({})).await;
    assert_eq!(child["parent_snapshot_id"], parent["id"]);
    let path = |snapshot: &Value| format!("/v1/snapshots/{}", snapshot["id"].as_str().expect("an id"));
    let message = site.delete(&path(&parent)).await.error(409, "conflict");
    assert!(message.contains("child"), "{message}");
    let newest = site.get("/v1/snapshots?limit=1").await.json();
    assert_eq!(newest["snapshots"][0]["id"], child["id"]);
    let cursor = newest["next_cursor"].as_str().expect("a cursor");
    let older = site.get(&format!("/v1/snapshots?limit=1&cursor={cursor}")).await.json();
    assert_eq!(older["snapshots"][0]["id"], parent["id"]);
    site.delete(&path(&child)).await.expect(204);
    site.delete(&path(&parent)).await.expect(204);
}

async fn layers_are_resolved(site: Site) {
    site.create("t1").await;
    site.get("/v1/snapshots/resolve").await.error(400, "invalid_argument");
    site.get("/v1/snapshots/resolve?layer_key=k").await.error(400, "invalid_argument");
    assert_eq!(
        site.get("/v1/snapshots/resolve?layer_key=k&arch=amd64").await.expect(200).json(),
        json!({"found": false})
    );
    snapshot(&site, json!({"mode": "build", "layer_key": "k"})).await;
    let newest = snapshot(&site, json!({"mode": "build", "layer_key": "k"})).await;
    let found = site.get("/v1/snapshots/resolve?layer_key=k&arch=x86_64").await.expect(200).json();
    assert_eq!((&found["found"], &found["snapshot"]["id"]), (&json!(true), &newest["id"]));
    assert_eq!(
        site.get("/v1/snapshots/resolve?layer_key=k&arch=arm64").await.json(),
        json!({"found": false})
    );
    let list = site.get("/v1/snapshots?layer_key=k").await.json();
    assert_eq!(list["snapshots"].as_array().map(Vec::len), Some(2));
}

async fn bodies_may_be_absent_or_wrong(site: Site) {
    site.create("t1").await;
    site.call("POST", "/v1/environments/fuse-t1/snapshots", None).await.expect(201);
    let bearer = format!("authorization: Bearer {}", site.token);
    let chunked = format!(
        "POST /v1/environments/fuse-t1/snapshots HTTP/1.1\r\nhost: t\r\n{bearer}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    );
    site.raw(chunked).await.expect(201);
    for wrong in
        [json!({"mode": "weird"}), json!({"export_status": "gone"}), json!({"retention_seconds": -1})]
    {
        site.post("/v1/environments/fuse-t1/snapshots", wrong).await.error(400, "invalid_argument");
    }
    site.post("/v1/environments/fuse-none/snapshots", json!({})).await.error(404, "not_found");
    let noted = snapshot(&site, json!({"export_ref": "s3://b/k"})).await;
    assert_eq!(
        (&noted["export_ref"], &noted["exports"][0]["status"]),
        (&json!("s3://b/k"), &json!("pending"))
    );
}

async fn what_a_provider_cannot_do(site: Site) {
    site.create("t1").await;
    let cannot = Effect::Fail(ProviderErrorKind::Unsupported, "no snapshots here".to_owned());
    site.stub.host("default").inject(Fault::once(Verb::Snapshot, cannot));
    site.post("/v1/environments/fuse-t1/snapshots", json!({})).await.error(501, "unimplemented");
}

async fn copies_are_told(site: Site) {
    site.create("t1").await;
    site.post("/v1/hosts", json!({"id": "h2", "url": "stub://h2"})).await.expect(201);
    let made = snapshot(&site, json!({})).await;
    assert!(made.get("copies").is_none(), "{made}");
    let seeded = json!({"task_id": "t2", "seed_snapshot_id": made["id"], "spec": {"host_id": "h2"}});
    let seeded = site.post("/v1/environments", seeded).await.expect(201).json();
    assert_eq!((&seeded["host_id"], &seeded["seed_snapshot_id"]), (&json!("h2"), &made["id"]));
    let path = format!("/v1/snapshots/{}", made["id"].as_str().expect("an id"));
    let told = site.get(&path).await.expect(200).json();
    assert_eq!((&told["host_id"], &told["copies"]), (&json!("default"), &json!({"h2": made["id"]})));
    let url = format!("http://{}", site.address);
    let client = Orchestrator::connect(&url, Some(TOKEN.into())).await.expect("a client");
    let snapshot = client.snapshot(&made["id"].as_str().expect("an id").parse().expect("an id")).await;
    let copies = snapshot.expect("a snapshot").copies.clone();
    assert_eq!(copies.into_iter().map(|(host, _)| host.to_string()).collect::<Vec<_>>(), ["h2"]);
}
