//! Requests: what is taken, what is refused, and that nothing is lost on the way.

use std::{collections::BTreeMap, time::Duration};

use fuse_orchestrator::{
    Error, HostRegistration,
    model::{
        Arch, Capacity, CertificatePin, ForkRequest, GuestFile, HostId, ProvisionRequest, SnapshotId,
        SnapshotMode, SnapshotRequest,
    },
    wire,
};
use serde_json::json;

use crate::{golden, samples, sent};

fn problems(body: serde_json::Value) -> Vec<String> {
    let body: wire::CreateEnvironment = serde_json::from_value(body).unwrap();
    match body.request() {
        Err(Error::Invalid(problems)) => problems.into_iter().map(|problem| problem.field).collect(),
        Err(other) => panic!("{other}"),
        Ok(request) => panic!("{request:?}"),
    }
}

fn full() -> ProvisionRequest {
    let like = samples::environment();
    let mut agent = like.agent.clone();
    agent.files.insert("/opt/agent.conf".into(), GuestFile(b"a=1".to_vec()));
    agent.auth_token = Some("agent-token".into());
    agent.gateway_token = Some("gateway-token".into());
    ProvisionRequest {
        task_id: like.task_id,
        spec: like.spec,
        agent,
        manifest_inline: "e30=".into(),
        secrets: BTreeMap::from([("DB".to_owned(), "pass".into())]),
        startup_script: "true".into(),
        startup_script_timeout_seconds: 9,
        expose: like.expose,
        healthcheck: like.healthcheck,
        files: BTreeMap::from([("/etc/x".to_owned(), GuestFile(vec![0, 255]))]),
        seed_snapshot_id: Some(SnapshotId::new("snap-1").unwrap()),
    }
}

#[test]
fn a_create_with_everything() {
    let body = wire::CreateEnvironment::from(&full());
    golden("create", &body);
    let back = sent(&body).request().unwrap();
    // Debug shows no secret, so they are compared on the wire.
    assert_eq!(format!("{back:?}"), format!("{:?}", full()));
    assert_eq!(
        serde_json::to_string(&wire::CreateEnvironment::from(&back)).unwrap(),
        serde_json::to_string(&body).unwrap()
    );
    let debug = format!("{body:?}");
    for secret in ["pass", "agent-token", "gateway-token"] {
        assert!(!debug.contains(secret), "a Debug shows {secret}");
    }
}

#[test]
fn a_create_with_nothing_but_a_task() {
    let body: wire::CreateEnvironment =
        serde_json::from_str(r#"{"task_id":"t1","new":{"thing":1}}"#).unwrap();
    let request = body.request().unwrap();
    request.check(Duration::from_secs(55)).unwrap();
    golden("create_small", &wire::CreateEnvironment::from(&request));
}

#[test]
fn the_gateway_may_be_named_at_the_top() {
    let body = json!({"task_id": "t", "gateway_url": "https://g", "gateway_token": "s3cret"});
    let request = serde_json::from_value::<wire::CreateEnvironment>(body).unwrap().request().unwrap();
    assert_eq!(request.agent.gateway.as_deref(), Some("https://g"));
    assert!(request.agent.gateway_token.is_some());
}

#[test]
fn every_wrong_field_is_named_at_once() {
    let body = json!({
        "task_id": "",
        "spec": {"cpus": -1, "ram_mb": 4294967296_u64, "max_runtime_seconds": -5, "arch": "vax", "host_id": "../h",
                 "gpus": 1},
        "files": {"/a": "%%%"},
        "expose": [{"port": 0}, {"port": 70000}, {"port": 53, "protocol": "udp"}],
        "healthcheck": {"http": {"port": 80}, "exec": ["true"]},
        "startup_script_timeout_seconds": -1,
        "desktop": {"width": 800, "height": 600},
        "egress": {"mode": "proxy"},
    });
    let expected = [
        "task_id",
        "spec.gpus",
        "spec.cpus",
        "spec.ram_mb",
        "spec.max_runtime_seconds",
        "spec.arch",
        "spec.host_id",
        "files",
        "expose.port",
        "expose.port",
        "expose.protocol",
        "healthcheck",
        "startup_script_timeout_seconds",
        "desktop",
        "egress.mode",
    ];
    assert_eq!(problems(body), expected);
    assert_eq!(problems(json!({"task_id": "t", "healthcheck": {}})), ["healthcheck"]);
    assert_eq!(problems(json!({"task_id": "a\nb"})), ["task_id"]);
}

#[test]
fn forks_and_snapshots() {
    let fork = ForkRequest { reuse_snapshot_id: Some(SnapshotId::new("s").unwrap()), comment: "try".into() };
    golden("fork", &wire::ForkEnvironment::from(&fork));
    assert_eq!(sent(&wire::ForkEnvironment::from(&fork)).request().unwrap(), fork);
    assert_eq!(wire::ForkEnvironment::default().request().unwrap(), ForkRequest::default());

    let request = SnapshotRequest {
        comment: "c".into(),
        mode: SnapshotMode::Build,
        retention_seconds: 60,
        metadata: samples::snapshot().metadata,
        live: true,
    };
    golden("snapshot_create", &wire::CreateSnapshot::from(&request));
    assert_eq!(sent(&wire::CreateSnapshot::from(&request)).request().unwrap(), request);
    let bad = json!({"mode": "later", "retention_seconds": -1, "metadata": {"fuse.x": ""}, "export_status": "lost"});
    let error =
        serde_json::from_value::<wire::CreateSnapshot>(bad).unwrap().request().unwrap_err().to_string();
    for field in ["mode", "retention_seconds", "metadata", "export_status"] {
        assert!(error.contains(field), "{field}: {error}");
    }
}

#[test]
fn hosts_to_register() {
    let id = HostId::new("h1").unwrap();
    let registration = HostRegistration {
        url: "https://h1:8090/agent".into(),
        token: Some("host-token".into()),
        region: "eu-1".into(),
        backend: "qemu".into(),
        labels: BTreeMap::from([("disk".into(), "nvme".into())]),
        arch: Some(Arch::Arm64),
        certificate: Some(CertificatePin::of(b"certificate")),
        capacity: Capacity { cpus: 4, ram_mb: 1024, storage_gb: 10, vm_count: 8 },
    };
    let body = wire::RegisterHost::new(&id, &registration);
    golden("host_register", &body);
    assert!(!format!("{body:?}").contains("host-token"));
    let (back_id, back) = sent(&body).registration().unwrap();
    assert_eq!(back_id, id);
    assert_eq!(format!("{back:?}"), format!("{registration:?}"));

    let bad = json!({"url": "http://u:p@h", "capacity": {"cpus": -1, "gpus": 2, "arch": "vax"}});
    let error =
        serde_json::from_value::<wire::RegisterHost>(bad).unwrap().registration().unwrap_err().to_string();
    for field in ["id is required", "url", "capacity.cpus", "capacity.gpus", "capacity.arch"] {
        assert!(error.contains(field), "{field}: {error}");
    }
    assert!(!error.contains("u:p"), "{error}");
}
