//! Hosts.

use serde_json::json;

use crate::support::Site;

crate::on_every_backend!(
    registered_cordoned_removed,
    registering_again_loses_nothing,
    urls_capacities_and_agents_are_checked,
);

async fn registered_cordoned_removed(site: Site) {
    let body = json!({"id": "h1", "url": "stub://h1", "token": "an-agent-token", "region": "eu", "labels": {"disk": "fast"},
        "capacity": {"cpus": 4, "ram_mb": 8192, "storage_gb": 100, "vm_count": 8}});
    let made = site.post("/v1/hosts", body).await.expect(201).json();
    assert_eq!(
        (&made["id"], &made["url"], &made["state"]),
        (&json!("h1"), &json!("stub://h1"), &json!("active"))
    );
    assert_eq!(made["allocated"], json!({"cpus": 0, "ram_mb": 0, "storage_gb": 0, "vm_count": 0}));
    assert_eq!((&made["capacity"]["cpus"], &made["capacity"]["arch"]), (&json!(4), &json!("amd64")));
    assert_eq!((&made["region"], &made["labels"]["disk"]), (&json!("eu"), &json!("fast")));
    assert_eq!(made["liveness"]["state"], "ready");
    assert!(
        made["last_seen"].is_string() && made["created_at"].is_string() && made["updated_at"].is_string()
    );
    assert!(!made.to_string().contains("an-agent-token"));
    let list = site.get("/v1/hosts").await.expect(200).json();
    assert_eq!(list["hosts"].as_array().map(Vec::len), Some(2), "the default one and this");
    let first = site.get("/v1/hosts?limit=1").await.json();
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    assert_eq!(site.get(&format!("/v1/hosts?limit=1&cursor={cursor}")).await.json()["hosts"][0]["id"], "h1");
    site.get("/v1/hosts?cursor=x").await.error(400, "invalid_argument");

    site.call("POST", "/v1/hosts/h1?action=cordon", None).await.expect(204);
    assert_eq!(site.get("/v1/hosts/h1").await.json()["state"], "cordoned");
    let pinned = json!({"task_id": "t1", "spec": {"host_id": "h1"}});
    assert!(
        site.post("/v1/environments", pinned.clone()).await.error(503, "unavailable").contains("cordoned")
    );
    site.call("POST", "/v1/hosts/h1?action=uncordon", None).await.expect(204);
    assert_eq!(site.post("/v1/environments", pinned).await.expect(201).json()["host_id"], "h1");
    assert_eq!(site.get("/v1/hosts/h1").await.json()["allocated"]["vm_count"], 1);
    site.delete("/v1/hosts/h1").await.error(409, "conflict");
    site.delete("/v1/environments/fuse-t1").await.expect(204);
    site.delete("/v1/hosts/h1").await.expect(204);
    assert_eq!(site.delete("/v1/hosts/h1").await.error(404, "not_found"), "host h1 not found");
    for path in ["/v1/hosts/h1?action=cordon", "/v1/hosts/h1?action=uncordon"] {
        site.call("POST", path, None).await.error(404, "not_found");
    }
    site.call("POST", "/v1/hosts/default?action=dance", None).await.error(400, "invalid_argument");
}

async fn registering_again_loses_nothing(site: Site) {
    site.create("t1").await;
    site.call("POST", "/v1/hosts/default?action=cordon", None).await.expect(204);
    let before = site.get("/v1/hosts/default").await.json();
    let again =
        site.post("/v1/hosts", json!({"id": "default", "url": "stub://default"})).await.expect(201).json();
    assert_eq!((&again["state"], &again["created_at"]), (&json!("cordoned"), &before["created_at"]));
    assert_eq!(again["allocated"]["vm_count"], 1);
}

async fn urls_capacities_and_agents_are_checked(site: Site) {
    let host = |url: &str, more: serde_json::Value| {
        let mut body = json!({"id": "h", "url": url, "capacity": {"cpus": 1, "ram_mb": 1, "storage_gb": 1, "vm_count": 1}});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        body
    };
    for url in
        ["", "h:8090", "http://", "http://u:p@h", "http://h?x=1", "http://h#f", "http://h:0", "ftp://h"]
    {
        site.post("/v1/hosts", host(url, json!({}))).await.error(400, "invalid_argument");
    }
    for more in [
        json!({"id": ""}),
        json!({"id": "../h"}),
        json!({"labels": {"-": "x"}}),
        json!({"capacity": {"cpus": -1}}),
        json!({"capacity": {"gpus": 1}}),
        json!({"capacity": {"arch": "vax"}}),
    ] {
        site.post("/v1/hosts", host("stub://h", more)).await.error(400, "invalid_argument");
    }
    // Nobody listens there, and the capacity is not declared.
    site.post("/v1/hosts", json!({"id": "h", "url": "http://127.0.0.1:9"})).await.error(502, "internal");
    // Nobody listens there, and everything is declared.
    let made = site.post("/v1/hosts", host("http://127.0.0.1:9", json!({}))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert!(
        made.json()["warnings"][0].as_str().is_some_and(|w| w.contains("did not answer")),
        "{}",
        made.text()
    );
}
