//! The bodies of the REST API, byte for byte: what clients depend on, as files under `golden/`.
//!
//! `FUSE_BLESS=1` writes the files anew; a change of one of them is a change of the API.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end with a panic")]

mod errors;
mod requests;
mod samples;

use std::path::Path;

use fuse_orchestrator::{
    model::{self, EnvironmentState, HealthState, SnapshotState},
    wire,
};
use serde::{Serialize, de::DeserializeOwned};

/// Compares `value` as JSON with the file of this name.
pub(crate) fn golden(name: &str, value: &impl Serialize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/golden").join(format!("{name}.json"));
    let text = serde_json::to_string_pretty(value).unwrap() + "\n";
    if std::env::var_os("FUSE_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(text, kept, "{name} is not what clients know");
}

/// The value after a way over the wire.
pub(crate) fn sent<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[test]
fn a_running_environment() {
    let environment = samples::environment();
    let body = wire::Environment::from(&environment);
    golden("environment", &body);
    let back = model::Environment::try_from(sent(&body)).unwrap();
    assert_eq!(serde_json::to_value(&back).unwrap(), {
        let mut without = environment;
        // The wire does not tell the script.
        without.startup_script = String::new();
        without.startup_script_timeout_seconds = 0;
        serde_json::to_value(&without).unwrap()
    });
}

#[test]
fn an_environment_with_nothing_but_a_task() {
    let body = wire::Environment::from(&samples::small());
    golden("environment_small", &body);
    let text = serde_json::to_string(&body).unwrap();
    assert!(!text.contains("null"), "{text}");
    for always in ["id", "state", "task_id", "url", "spec", "created_at", "updated_at"] {
        assert!(text.contains(&format!("\"{always}\":")), "{always} is missing: {text}");
    }
}

#[test]
fn the_task_is_free_from_destroying_on() {
    for state in EnvironmentState::ALL {
        let mut environment = samples::small();
        environment.state = state;
        let body = wire::Environment::from(&environment);
        let gone = matches!(
            state,
            EnvironmentState::Destroying | EnvironmentState::Destroyed | EnvironmentState::Failed
        );
        assert_eq!(body.task_id.is_empty(), gone, "{state}");
        assert_eq!(
            model::Environment::try_from(sent(&body)).unwrap().task_id,
            environment.task_id,
            "{state}"
        );
    }
}

#[test]
fn the_reply_of_an_older_server_is_read() {
    let json = r#"{"id":"fuse-t1","state":"running","task_id":"t1","url":"203.0.113.9:19551",
        "spec":{"cpus":1,"ram_mb":512,"storage_gb":10},
        "created_at":"2026-01-02T03:04:05.678901234Z","updated_at":"2026-01-02T03:04:05Z"}"#;
    let body: wire::Environment = serde_json::from_str(json).unwrap();
    let environment = model::Environment::try_from(body).unwrap();
    assert_eq!((environment.id.as_str(), environment.task_id.as_str()), ("fuse-t1", "t1"));
    assert_eq!(environment.spec.resources.ram_mb, 512);
    assert_eq!(environment.created_at.to_string(), "2026-01-02T03:04:05.678901Z");
}

#[test]
fn a_reason_of_a_newer_server_is_read() {
    let mut json = serde_json::to_value(wire::Environment::from(&samples::small())).unwrap();
    json["reason"] = serde_json::json!({"code": "solar_flare", "text": "bits fell over"});
    json["new_field"] = serde_json::json!([1, 2]);
    let body: wire::Environment = serde_json::from_value(json).unwrap();
    let environment = model::Environment::try_from(body).unwrap();
    assert_eq!(environment.reason.to_string(), "unknown: bits fell over");
}

#[test]
fn lists_are_there_when_they_are_empty() {
    golden("environments_empty", &wire::EnvironmentList::default());
    golden("hosts_empty", &wire::HostList::default());
    golden("snapshots_empty", &wire::SnapshotList::default());
    golden("api_keys_empty", &wire::ApiKeyList::default());
    golden("dead_letters_empty", &wire::DeadLetterList::default());
    golden("resolved_nothing", &wire::Resolved::default());
}

#[test]
fn hosts() {
    let host = samples::host();
    let body = wire::Host::from(&host);
    golden("host", &body);
    assert_eq!(model::Host::try_from(sent(&body)).unwrap(), host);
    let older = r#"{"id":"h1","url":"http://h1:8090","state":"active",
        "capacity":{"cpus":4,"ram_mb":8192,"storage_gb":100,"vm_count":16},
        "allocated":{"cpus":0,"ram_mb":0,"storage_gb":0,"vm_count":0},
        "last_seen":"2026-01-02T03:04:05Z","created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z"}"#;
    let older: wire::Host = serde_json::from_str(older).unwrap();
    assert_eq!(model::Host::try_from(older).unwrap().capacity.vm_count, 16);
}

#[test]
fn snapshots() {
    let snapshot = samples::snapshot();
    let body = wire::Snapshot::from(&snapshot);
    golden("snapshot", &body);
    let back = model::Snapshot::try_from(sent(&body)).unwrap();
    // The host's own name of the bytes stays with the server.
    assert_eq!(back, model::Snapshot { artifact: String::new(), ..snapshot.clone() });

    let mut failed = snapshot;
    failed.state = SnapshotState::Error;
    failed.reason = model::Reason::new(model::ReasonCode::ProviderFailed, "disk full");
    assert_eq!(wire::Snapshot::from(&failed).last_error, "disk full");
}

#[test]
fn keys_are_shown_once() {
    let made = samples::api_key();
    let mut body = wire::ApiKey::from(&made);
    let secret = serde_json::to_value(&body).unwrap()["key"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("fuse_sk_") && secret.len() == 51);
    body.id = "ak_0123456789abcdef".to_owned();
    body.key = Some(wire::Secret("fuse_sk_0000000000000000000000000000000000000000000".into()));
    golden("api_key_new", &body);
    assert!(!format!("{body:?}").contains("fuse_sk_00"), "a Debug shows the key");
    golden("api_key", &wire::ApiKey { key: None, ..body });
    let back = sent(&wire::ApiKey::from(&made)).into_new().unwrap();
    assert_eq!(back.record, made.record);
    assert!(sent(&wire::ApiKey::from(&made.record)).into_new().is_err());
}

#[test]
fn dead_letters() {
    let letter = samples::dead_letter();
    let body = wire::DeadLetter::from(&letter);
    golden("dead_letter", &body);
    assert_eq!(model::DeadLetter::try_from(sent(&body)).unwrap(), letter);
}

#[test]
fn events() {
    let event = samples::event();
    let body = wire::Event::from(&event);
    golden("event", &body);
    let frame = wire::Frame::read(&serde_json::to_string(&body).unwrap()).unwrap();
    let wire::Frame::Event(read) = frame else { panic!("{frame:?}") };
    assert_eq!(*std::sync::Arc::<model::Event>::try_from(read).unwrap(), event);

    let lost = wire::Lost::new(7, 41);
    golden("event_lost", &lost);
    assert_eq!(wire::Frame::read(&serde_json::to_string(&lost).unwrap()).unwrap(), wire::Frame::Lost(lost));
    assert!(wire::Frame::read("{}").is_err());
    assert!(wire::Frame::read("not json").is_err());

    let newer = serde_json::to_string(&body).unwrap().replace("vm.provision_failed", "vm.teleported");
    let wire::Frame::Event(read) = wire::Frame::read(&newer).unwrap() else { panic!("{newer}") };
    assert_eq!(read.event, model::EventKind::Unknown);
}

#[test]
fn the_state_events_that_old_clients_read() {
    let state = wire::StateEvent::told_by(&samples::event()).unwrap();
    golden("event_state", &state);
    assert!(state.is_last());
    let present = wire::StateEvent::present(&samples::environment(), 12);
    golden("event_state_present", &present);
    assert!(!present.is_last());
}

#[test]
fn the_service() {
    golden("health", &wire::ServiceHealth::default());
    golden("version", &wire::Version { service: wire::SERVICE.to_owned(), version: "1.2.3".to_owned() });
    golden("ready", &wire::Readiness::of(Ok(()), Ok(())));
    let long = wire::Readiness::of(Err("x".repeat(500)), Ok(()));
    golden("not_ready", &long);
    assert!(!long.is_ready() && wire::Readiness::of(Ok(()), Ok(())).is_ready());
}

#[test]
fn health_verdicts() {
    let mut environment = samples::small();
    let since = environment.created_at;
    environment.health =
        Some(model::Health { state: HealthState::Passing, since, failures: 0, message: String::new() });
    golden("health_passing", &wire::Environment::from(&environment).health);
}
