//! Commands, logs and files in guests.

use serde_json::json;

use crate::support::{Backend, Site, client::request, run};

crate::on_every_backend!(
    commands_answer_whatever_their_exit_code,
    logs_and_files,
    a_log_that_is_followed_ends_with_its_environment,
);

async fn commands_answer_whatever_their_exit_code(site: Site) {
    site.create("t1").await;
    let path = "/v1/environments/fuse-t1?action=exec";
    let echo = site.post(path, json!({"cmd": ["echo", "a", "b"]})).await.expect(200).json();
    assert_eq!(echo, json!({"exit_code": 0, "stdout": "a b\n", "stderr": ""}));
    assert_eq!(site.post(path, json!({"shell": "false"})).await.expect(200).json()["exit_code"], 1);
    let slow = site.post(path, json!({"cmd": ["sleep", "30"], "timeout_ms": 100})).await.expect(200).json();
    assert_eq!(slow["exit_code"], 124);
    for wrong in [
        json!({}),
        json!({"cmd": []}),
        json!({"cmd": ["true"], "shell": "true"}),
        json!({"cmd": ["true"], "timeout_ms": -1}),
        json!({"cmd": [""]}),
    ] {
        site.post(path, wrong.clone()).await.error(400, "invalid_argument");
    }
    assert!(
        site.call("POST", path, None).await.error(400, "invalid_argument").starts_with("invalid JSON body:")
    );
    site.post("/v1/environments/fuse-none?action=exec", json!({"cmd": ["true"]}))
        .await
        .error(404, "not_found");
}

async fn logs_and_files(site: Site) {
    let body =
        json!({"task_id": "t1", "startup_script": "echo from-the-script", "agent": {"command": "serve"}});
    site.post("/v1/environments", body).await.expect(201);
    let logs = async |query: &str| site.get(&format!("/v1/environments/fuse-t1/logs{query}")).await;
    let startup = logs("?source=startup").await.expect(200);
    assert!(startup.text().contains("from-the-script"), "{}", startup.text());
    assert!(startup.header("content-type").starts_with("text/plain"));
    assert!(logs("?source=agent").await.expect(200).text().contains("workload: serve"));
    logs("").await.expect(200);
    logs("?source=other").await.error(400, "invalid_argument");
    site.get("/v1/environments/fuse-none/logs").await.error(404, "not_found");

    let bearer = format!("Bearer {}", site.token);
    let put = async |query: &str, bytes: &[u8]| {
        let path = format!("/v1/environments/fuse-t1/files{query}");
        site.raw(request("PUT", &path, &[("authorization", &bearer)], Some(bytes))).await
    };
    put("?path=/data/x&mode=600", b"one two").await.expect(204);
    let cat = site
        .post("/v1/environments/fuse-t1?action=exec", json!({"cmd": ["cat", "/data/x"]}))
        .await
        .expect(200)
        .json();
    assert_eq!(cat["stdout"], "one two");
    put("?path=relative", b"x").await.error(400, "invalid_argument");
    put("?path=/x&mode=9", b"x").await.error(400, "invalid_argument");
    site.delete("/v1/environments/fuse-t1").await.expect(204);
    assert!(
        logs("?source=startup").await.expect(200).text().contains("from-the-script"),
        "kept with the record"
    );
}

async fn a_log_that_is_followed_ends_with_its_environment(site: Site) {
    site.post("/v1/environments", json!({"task_id": "t1", "agent": {"command": "serve"}})).await.expect(201);
    let bearer = format!("Bearer {}", site.token);
    let mut stream = site.connect().await;
    let path = "/v1/environments/fuse-t1/logs?source=agent&follow=true";
    stream.send(request("GET", path, &[("authorization", &bearer)], None)).await;
    stream.head().await.expect("an answer").expect(200);
    let mut seen = String::from_utf8(stream.chunk().await.expect("the end of the log")).expect("text");
    // Restarts the agent, which says so.
    site.call("POST", "/v1/environments/fuse-t1?action=rotate-token", None).await.expect(204);
    while seen.matches("agent started").count() < 2 {
        seen.push_str(&String::from_utf8(stream.chunk().await.expect("more")).expect("text"));
    }
    site.delete("/v1/environments/fuse-t1").await.expect(204);
    while let Some(more) = stream.chunk().await {
        seen.push_str(&String::from_utf8(more).expect("text"));
    }
    assert_eq!(seen.matches("agent started").count(), 2, "{seen}");
}

#[test]
fn the_stub_can_be_as_dumb_as_the_original() {
    run(async {
        let site = Site::start_with(Backend::Memory, &[("stub-compat", "true")]).await.expect("a server");
        site.create("t1").await;
        site.post("/v1/environments/fuse-t1?action=exec", json!({"cmd": ["true"]}))
            .await
            .error(501, "unimplemented");
        let bearer = format!("Bearer {}", site.token);
        let headers =
            [("authorization", bearer.as_str()), ("connection", "upgrade"), ("upgrade", "fuse-attach/1")];
        site.raw(request("GET", "/v1/environments/fuse-t1/attach?tty=1", &headers, None))
            .await
            .error(501, "unimplemented");
    });
}
