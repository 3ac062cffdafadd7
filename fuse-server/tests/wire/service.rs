//! Health, readiness, version, figures, unknown routes, request ids.

use serde_json::json;

use crate::support::{Backend, Site, TOKEN, client::request, run};

crate::on_every_backend!(the_outer_routes, readiness_tells_the_truth, figures_have_their_names);

async fn the_outer_routes(site: Site) {
    for path in ["/health", "/ready", "/metrics", "/v1/version"] {
        let reply = site.raw(request("GET", path, &[], None)).await.expect(200);
        assert!(
            !reply.headers.contains_key("server") && !reply.headers.contains_key("x-request-id"),
            "{path}"
        );
    }
    assert_eq!(site.get("/health").await.json(), json!({"status": "ok"}));
    assert_eq!(site.get("/health").await.text(), "{\"status\":\"ok\"}\n");
    let version = site.get("/v1/version").await.json();
    assert_eq!(version["service"], "fuse-orchestrator");
    assert_eq!(version["version"], fuse_server::VERSION);
}

async fn readiness_tells_the_truth(site: Site) {
    let ready = json!({"status": "ready", "checks": {"state_store": "ok", "fleet": "ok"}});
    assert_eq!(site.get("/ready").await.expect(200).json(), ready);
    site.stub.host("default").set_down(true);
    for _ in 0..2 {
        site.server.orchestrator().reconcile().await.expect("a look at the hosts");
    }
    let away = site.get("/ready").await.expect(503).json();
    assert_eq!((&away["status"], &away["checks"]["state_store"]), (&json!("not_ready"), &json!("ok")));
    let why = away["checks"]["fleet"].as_str().expect("a reason");
    assert!(why.contains("none of 1 hosts answers") && why.contains("default"), "{why}");
    site.stub.host("default").set_down(false);
    site.server.orchestrator().reconcile().await.expect("a look at the hosts");
    site.get("/ready").await.expect(200);
}

#[test]
fn unknown_routes_need_no_credentials_and_wrong_methods_no_envelope() {
    run(async {
        let site = Site::start(Backend::Memory).await.expect("a server");
        let reply = site.raw(request("GET", "/v1/nothing?x=1", &[], None)).await;
        assert_eq!(reply.error(404, "route_not_found"), "no such route: GET /v1/nothing");
        assert!(reply.header("server").starts_with("fuse-orchestrator/"));
        assert!(reply.header("x-request-id").starts_with("req_"));
        for (method, path) in
            [("PUT", "/v1/environments"), ("PATCH", "/v1/hosts/h"), ("GET", "/login"), ("POST", "/health")]
        {
            let reply = site.raw(request(method, path, &[], None)).await.expect(405);
            assert!(reply.body.is_empty(), "{method} {path}: {}", reply.text());
        }
    });
}

#[test]
fn request_ids_are_taken_echoed_or_made() {
    run(async {
        let site = Site::start(Backend::Memory).await.expect("a server");
        let of = async |id: &str, path: &str| {
            let reply = site.call_with("GET", path, &[("x-request-id", id)], None).await;
            reply.header("x-request-id").to_owned()
        };
        for path in ["/v1/environments", "/v1/environments/fuse-x", "/v1/nothing"] {
            assert_eq!(of("my_id-7", path).await, "my_id-7");
        }
        for bad in ["has space", "x".repeat(129).as_str(), "a.b", ""] {
            let made = of(bad, "/v1/hosts").await;
            assert!(made.starts_with("req_") && made.len() == 36 && made != bad, "{bad:?}: {made}");
        }
        assert_ne!(of("", "/v1/hosts").await, of("", "/v1/hosts").await);
    });
}

/// Every name and label that dashboards of the original rely on, and ours.
async fn figures_have_their_names(site: Site) {
    site.create("t1").await;
    site.server.orchestrator().reconcile().await.expect("a look at the hosts");
    site.get("/v1/environments/fuse-none").await.expect(404);
    site.raw(request("GET", "/nothing", &[], None)).await;
    site.delete("/v1/environments/fuse-t1").await.expect(204);
    // The follower of events is a moment behind.
    let mut text = String::new();
    for _ in 0..100 {
        text = site.get("/metrics").await.text();
        if text.contains("orchestrator_boot_duration_seconds_count 1") {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let counters = [
        "reconcile_cycles",
        "reconcile_orphans_destroyed",
        "reconcile_orphans_failed",
        "reconcile_orphans_dead_lettered",
        "reconcile_stuck_tasks_suspected",
        "reconcile_stuck_tasks_failed",
        "reconcile_idle_vms_suspected",
        "reconcile_idle_vms_failed",
        "reconcile_vms_missing_provider",
        "boots_failed",
        "events",
        "store_commits_failed",
    ];
    for name in counters {
        assert!(text.contains(&format!("# TYPE orchestrator_{name}_total counter\n")), "{name}\n{text}");
    }
    for name in [
        "fleet_tracked_vms",
        "fleet_provider_vms",
        "reconcile_health_checked_vms",
        "reconcile_health_failing_vms",
        "http_requests_in_flight",
        "event_lag_seconds",
        "event_streams",
    ] {
        assert!(text.contains(&format!("# TYPE orchestrator_{name} gauge\n")), "{name}\n{text}");
    }
    for name in [
        "reconcile_duration_seconds",
        "http_request_duration_seconds",
        "boot_phase_duration_seconds",
        "boot_duration_seconds",
        "store_commit_duration_seconds",
    ] {
        assert!(text.contains(&format!("# TYPE orchestrator_{name} histogram\n")), "{name}\n{text}");
    }
    for line in [
        r#"orchestrator_http_requests_total{route="/v1/environments/{vmId}",method="GET",code="404"} 1"#,
        r#"orchestrator_http_requests_total{route="unknown",method="GET",code="404"} 1"#,
        r#"orchestrator_http_requests_total{route="/v1/environments",method="POST",code="201"} 1"#,
        r#"orchestrator_http_request_duration_seconds_bucket{le="0.005",route="/v1/environments",method="POST"}"#,
        r#"orchestrator_boot_phase_duration_seconds_count{phase="create"} 1"#,
        r#"orchestrator_environments{state="destroyed"} 1"#,
        r#"orchestrator_environments{state="running"} 0"#,
        r#"orchestrator_hosts{host="default",state="active",liveness="ready"} 1"#,
        r#"orchestrator_host_capacity{host="default",resource="cpus"}"#,
        r#"orchestrator_host_allocated{host="default",resource="vms"} 0"#,
        "orchestrator_fleet_provider_vms 1",
        "orchestrator_build_info{",
        "process_resident_memory_bytes ",
        "process_cpu_seconds_total ",
        "process_open_fds ",
        "process_start_time_seconds ",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let commits =
        text.lines().find_map(|line| line.strip_prefix("orchestrator_store_commit_duration_seconds_count "));
    assert!(commits.is_some_and(|count| count.parse().is_ok_and(|count: u64| count >= 4)), "{commits:?}");
    let open = site.call_with("GET", "/metrics", &[("accept", "application/openmetrics-text")], None).await;
    assert!(
        open.header("content-type").starts_with("application/openmetrics-text")
            && open.text().ends_with("# EOF\n")
    );
    assert!(!text.contains(TOKEN));
}
