//! API keys.

use serde_json::json;

use crate::support::Site;

crate::on_every_backend!(made_shown_once_used_revoked, keys_outlive_a_restart);

async fn made_shown_once_used_revoked(site: Site) {
    let made = site.post("/v1/api-keys", json!({"label": "ci"})).await.expect(201).json();
    let (id, key) = (made["id"].as_str().expect("an id"), made["key"].as_str().expect("a key"));
    assert!(id.starts_with("ak_") && id.len() == 19, "{id}");
    assert!(key.starts_with("fuse_sk_") && key.len() == 51);
    assert_eq!((&made["label"], &made["scopes"]), (&json!("ci"), &json!(["read", "write"])));
    // Keys are in order by the millisecond.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let empty = site.call("POST", "/v1/api-keys", None).await.expect(201).json();
    assert!(empty.get("label").is_none());
    site.call_as(key, "GET", "/v1/environments", None).await.expect(200);
    let list = site.get("/v1/api-keys").await.expect(200);
    assert!(!list.text().contains(key));
    let list = list.json();
    assert_eq!(list["api_keys"][0]["id"], empty["id"], "newest first");
    assert_eq!(list["api_keys"][1]["id"], id);
    assert!(list["api_keys"][1].get("key").is_none());
    for _ in 0..2 {
        site.delete(&format!("/v1/api-keys/{id}")).await.expect(204);
    }
    site.call_as(key, "GET", "/v1/environments", None).await.error(401, "unauthorized");
    let revoked = site.get("/v1/api-keys").await.json();
    assert!(revoked["api_keys"][1]["revoked_at"].is_string());
    site.delete("/v1/api-keys/ak_none").await.error(404, "not_found");
    for wrong in [json!({"label": "x".repeat(201)}), json!({"scopes": ["everything"]}), json!({"label": 7})] {
        site.post("/v1/api-keys", wrong).await.error(400, "invalid_argument");
    }
}

async fn keys_outlive_a_restart(site: Site) {
    let key = site.key(&["read"]).await;
    site.create("t1").await;
    let durable = !site.settings.iter().any(|(name, _)| name == "memory");
    let site = site.restart().await;
    if durable {
        site.call_as(&key, "GET", "/v1/environments/fuse-t1", None).await.expect(200);
    } else {
        site.call_as(&key, "GET", "/v1/environments/fuse-t1", None).await.error(401, "unauthorized");
    }
}
