//! Idempotency keys.

use serde_json::json;

use crate::support::{Reply, Site};

crate::on_every_backend!(a_create_is_made_once, every_other_post_is_done_once, one_at_a_time_under_a_key);

async fn keyed(site: &Site, path: &str, key: &str, body: Option<serde_json::Value>) -> Reply {
    site.call_with("POST", path, &[("idempotency-key", key)], body).await
}

async fn a_create_is_made_once(site: Site) {
    let body = || Some(json!({"task_id": "t1", "secrets": {"A": "one-secret"}}));
    let first = keyed(&site, "/v1/environments", "k1", body()).await.expect(201).json();
    let again = keyed(&site, "/v1/environments", "k1", body()).await.expect(201).json();
    assert_eq!(first["created_at"], again["created_at"]);
    let other = Some(json!({"task_id": "t1", "secrets": {"A": "two-secret"}}));
    keyed(&site, "/v1/environments", "k1", other).await.error(409, "conflict");
    keyed(&site, "/v1/environments", "k2", body()).await.error(409, "conflict");
    keyed(&site, "/v1/environments", &"k".repeat(256), body()).await.error(400, "invalid_argument");
    // The key of another caller is another key.
    let api_key = site.key(&[]).await;
    let headers = [("authorization", format!("Bearer {api_key}")), ("idempotency-key", "k1".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    site.call_with("POST", "/v1/environments", &headers, Some(json!({"task_id": "t3"}))).await.expect(201);
}

async fn every_other_post_is_done_once(site: Site) {
    site.create("t1").await;
    let fork = keyed(&site, "/v1/environments/fuse-t1?action=fork", "f", None).await.expect(201);
    let again = keyed(&site, "/v1/environments/fuse-t1?action=fork", "f", None).await.expect(201);
    assert_eq!((fork.text(), fork.header("content-type")), (again.text(), again.header("content-type")));
    keyed(&site, "/v1/environments/fuse-t1?action=fork", "f", Some(json!({"comment": "x"})))
        .await
        .error(409, "conflict");

    let path = "/v1/environments/fuse-t1/snapshots";
    let one = keyed(&site, path, "s", Some(json!({"comment": "c"}))).await.expect(201).json();
    let two = keyed(&site, path, "s", Some(json!({"comment": "c"}))).await.expect(201).json();
    assert_eq!(one["id"], two["id"]);

    let one = keyed(&site, "/v1/api-keys", "a", None).await.expect(201).json();
    let two = keyed(&site, "/v1/api-keys", "a", None).await.expect(201).json();
    assert_eq!(one["key"], two["key"]);

    for _ in 0..2 {
        keyed(&site, "/v1/hosts/default?action=cordon", "c", None).await.expect(204);
        keyed(&site, "/v1/environments/fuse-t1?action=drain", "d", None).await.expect(200);
    }
    // What failed may be tried again under the same key.
    keyed(&site, "/v1/hosts/none?action=cordon", "n", None).await.error(404, "not_found");
    keyed(&site, "/v1/hosts/none?action=cordon", "n", None).await.error(404, "not_found");

    let durable = !site.settings.iter().any(|(name, _)| name == "memory");
    if durable {
        let site = site.restart().await;
        let again = keyed(&site, "/v1/environments/fuse-t1?action=fork", "f", None).await.expect(201);
        assert_eq!(fork.text(), again.text(), "also after a restart");
    }
}

async fn one_at_a_time_under_a_key(site: Site) {
    site.create("t1").await;
    let path = "/v1/environments/fuse-t1?action=exec";
    let body = || Some(json!({"cmd": ["sleep", "1"]}));
    let (a, b) = tokio::join!(keyed(&site, path, "x", body()), keyed(&site, path, "x", body()));
    assert_eq!((a.status, b.status), (200, 200), "the second waits for the first, and has its answer");
    keyed(&site, path, "x", body()).await.expect(200);
    let spent = site.stub.host("default").calls(fuse_orchestrator::provider::Verb::Exec);
    assert_eq!(spent, 1, "it ran once");
}
