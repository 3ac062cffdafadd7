//! Records with every member set, and with none.

use std::collections::{BTreeMap, BTreeSet};

use fuse_orchestrator::{
    model::{
        AgentSpec, Arch, Attempts, Capacity, CertificatePin, DeadLetter, DeadLetterKind, Environment,
        EnvironmentId, EnvironmentSpec, EnvironmentState, Event, EventKind, Expose, GuestEndpoint, Health,
        HealthState, Healthcheck, HealthcheckProbe, Host, HostId, HostLiveness, HostState, Liveness,
        Observed, PhaseTimings, Reason, ReasonCode, Resources, Seed, Snapshot, SnapshotId, SnapshotMode,
        SnapshotState, Subject, TaskId, Timestamp, VmName,
    },
    secrets::{ApiKey, Scope},
};

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_123_456 + seconds * 1_000_000)
}

pub(crate) fn small() -> Environment {
    Environment {
        id: EnvironmentId::new("fuse-t1").unwrap(),
        task_id: TaskId::new("t1").unwrap(),
        vm: VmName::new("fuse-t1-0123456789abcdef").unwrap(),
        state: EnvironmentState::Provisioning,
        reason: ReasonCode::Requested.into(),
        host_id: HostId::new("default").unwrap(),
        spec: EnvironmentSpec::default(),
        agent: AgentSpec::default(),
        startup_script: String::new(),
        startup_script_timeout_seconds: 0,
        expose: Vec::new(),
        healthcheck: None,
        seed: None,
        url: String::new(),
        endpoints: Vec::new(),
        health: None,
        observed: Observed::Unknown,
        timings: PhaseTimings::default(),
        warnings: Vec::new(),
        boots: 0,
        removal: Attempts::default(),
        created_at: at(0),
        updated_at: at(0),
    }
}

pub(crate) fn environment() -> Environment {
    Environment {
        state: EnvironmentState::Running,
        reason: Reason::new(ReasonCode::Booted, "up in 1.2 s"),
        host_id: HostId::new("h1").unwrap(),
        spec: EnvironmentSpec {
            resources: Resources { cpus: 2, ram_mb: 2048, storage_gb: 10 },
            region: "eu-1".into(),
            max_runtime_seconds: 3600,
            idle_timeout_seconds: 600,
            arch: Some(Arch::Arm64),
            image: "debian-12".into(),
            host_id: Some(HostId::new("h1").unwrap()),
            labels: BTreeMap::from([("disk".into(), "nvme".into())]),
        },
        agent: AgentSpec {
            download_url: Some("https://example.org/agent".into()),
            command: Some("work --all".into()),
            drain_command: Some("work --end".into()),
            gateway: Some("https://gateway.example.org".into()),
            ..AgentSpec::default()
        },
        startup_script: "apt-get install".into(),
        startup_script_timeout_seconds: 20,
        expose: vec![Expose { port: 8080, name: Some("web".into()) }],
        healthcheck: Some(Healthcheck {
            probe: HealthcheckProbe::Http { port: 8080, path: "/healthz".into() },
            interval_seconds: 5,
            timeout_seconds: 1,
            retries: 2,
            start_period_seconds: 30,
        }),
        seed: Some(Seed {
            snapshot_id: SnapshotId::new("snap-1").unwrap(),
            forked_from: Some(EnvironmentId::new("fuse-t0").unwrap()),
        }),
        url: "203.0.113.9:19551".into(),
        endpoints: vec![GuestEndpoint {
            name: Some("web".into()),
            url: "203.0.113.9:30080".into(),
            port: 8080,
        }],
        health: Some(Health {
            state: HealthState::Failing,
            since: at(30),
            failures: 3,
            message: "connection refused".into(),
        }),
        observed: Observed::Present,
        timings: PhaseTimings {
            schedule_us: Some(12),
            create_us: Some(900_000),
            upload_us: Some(40_000),
            start_script_us: Some(150_000),
            agent_us: Some(110_000),
        },
        warnings: vec!["the host's agent does not run commands".into()],
        boots: 1,
        updated_at: at(2),
        ..small()
    }
}

pub(crate) fn host() -> Host {
    Host {
        id: HostId::new("h1").unwrap(),
        url: "http://203.0.113.9:8090".into(),
        region: "eu-1".into(),
        backend: "firecracker".into(),
        labels: BTreeMap::from([("disk".into(), "nvme".into())]),
        arch: Arch::Arm64,
        state: HostState::Cordoned,
        liveness: HostLiveness {
            state: Liveness::Unreachable,
            since: at(60),
            reason: Reason::new(ReasonCode::NoAnswer, "connection refused"),
        },
        capacity: Capacity { cpus: 8, ram_mb: 16_384, storage_gb: 200, vm_count: 32 },
        allocated: Capacity::default(),
        last_seen: at(50),
        created_at: at(0),
        updated_at: at(60),
        warnings: vec!["cpus is declared as 8, and the host says 4".into()],
        certificate: Some(CertificatePin::of(b"certificate")),
        drain: None,
    }
}

pub(crate) fn snapshot() -> Snapshot {
    Snapshot {
        id: SnapshotId::new("snap-2").unwrap(),
        environment_id: EnvironmentId::new("fuse-t1").unwrap(),
        vm: VmName::new("fuse-t1-0123456789abcdef").unwrap(),
        task_id: TaskId::new("t1").unwrap(),
        host_id: HostId::new("h1").unwrap(),
        parent_snapshot_id: Some(SnapshotId::new("snap-1").unwrap()),
        mode: SnapshotMode::Manual,
        state: SnapshotState::Ready,
        reason: ReasonCode::Requested.into(),
        comment: "before the upgrade".into(),
        metadata: BTreeMap::from([
            ("name".into(), "base".into()),
            ("team".into(), "blue".into()),
            ("fuse.layer_key".into(), "abc".into()),
            ("fuse.export_ref".into(), "s3://bucket/x".into()),
            ("fuse.export_status".into(), "ready".into()),
        ]),
        copies: BTreeMap::from([(HostId::new("h2").unwrap(), "snap-2".into())]),
        artifact: "snap-17-abc".into(),
        digest: "ab".repeat(32),
        size_bytes: 4_294_967_296,
        live: false,
        arch: Arch::Amd64,
        retention_until: Some(at(3600)),
        removal: Attempts::default(),
        created_at: at(0),
        updated_at: at(3),
    }
}

pub(crate) fn api_key() -> ApiKey {
    let mut made =
        ApiKey::generate("ci", BTreeSet::from([Scope::Read, Scope::Write]), at(0).as_micros() / 1_000)
            .unwrap();
    made.record.last_used_ms = Some(at(60).as_micros() / 1_000);
    made.record.revoked_ms = Some(at(90).as_micros() / 1_000);
    made
}

pub(crate) fn dead_letter() -> DeadLetter {
    DeadLetter {
        kind: DeadLetterKind::Destroy,
        entity_id: "fuse-t1".into(),
        task_id: Some(TaskId::new("t1").unwrap()),
        host_id: Some(HostId::new("h1").unwrap()),
        reason: "destroy fuse-t1 on h1 failed: busy".into(),
        retry_count: 5,
        first_seen_at: at(0),
        last_seen_at: at(75),
    }
}

pub(crate) fn event() -> Event {
    let subject = Subject::Environment(EnvironmentId::new("fuse-t1").unwrap());
    let mut event = Event::new(at(4), EventKind::VmProvisionFailed, subject)
        .with_state(EnvironmentState::Failed)
        .with_reason(Reason::new(ReasonCode::BootFailed, "no kernel"))
        .with("vm", "fuse-t1-0123456789abcdef");
    event.sequence = 42;
    event
}
