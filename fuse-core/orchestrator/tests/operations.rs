//! What operators see and do: health, services, emptying a host, taking VMs back, layers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};
use common::{SOON, World, eventually, host, request};
use fuse_orchestrator::{
    Config, ControlPlane, Delivery, Error, HostRegistration,
    model::{
        Arch, EnvironmentId, EnvironmentState, Event, EventKind, HealthState, Healthcheck, HealthcheckProbe,
        HostState, OwnerId, ReasonCode, Resources, Snapshot, SnapshotRequest, Subject, TaskId,
    },
    provider::{
        FileUpload, LogSource, Provider, ProviderErrorKind, Verb,
        stub::{Effect, Fault, StubConnector, StubHost},
    },
};

async fn events(fuse: &ControlPlane, wanted: EventKind) -> Vec<Arc<Event>> {
    let (mut all, mut found) = (fuse.events(0), Vec::new());
    while let Some(Delivery::Event(event)) = all.try_next().await.unwrap() {
        if event.event == wanted {
            found.push(event);
        }
    }
    found
}

// ---- health

async fn verdict(world: &World, id: &EnvironmentId, json: &str) {
    let vm = world.fuse.get(id).unwrap().vm.clone();
    let file = FileUpload { path: "/fuse/health.json".into(), content: json.into(), mode: 0o600 };
    world.h1().upload(&vm, &file).await.unwrap();
}

fn with_healthcheck(task: &str) -> fuse_orchestrator::model::ProvisionRequest {
    let mut wanted = request(task);
    wanted.healthcheck = Some(Healthcheck {
        probe: HealthcheckProbe::Exec(vec!["true".into()]),
        interval_seconds: 0,
        timeout_seconds: 0,
        retries: 0,
        start_period_seconds: 0,
    });
    wanted
}

#[tokio::test]
async fn the_verdict_of_a_health_check_is_read_and_every_change_is_told() {
    let world = World::new().await;
    let id = world.fuse.provision(with_healthcheck("well")).await.unwrap().id.clone();
    world.fuse.wait_running(&id, SOON).await.unwrap();
    let health = || world.fuse.get(&id).unwrap().health.clone().unwrap();
    assert_eq!(health().state, HealthState::Starting);
    // No verdict yet: nothing changes.
    world.fuse.reconcile().await.unwrap();
    assert_eq!(health().state, HealthState::Starting);
    for (json, state, failures) in [
        (r#"{"state":"passing","since":"2020-01-01T00:00:00Z"}"#, HealthState::Passing, 0),
        (r#"{"state":"passing","failures":1}"#, HealthState::Passing, 1),
        (r#"{"state":"failing","failures":3,"message":"connection refused"}"#, HealthState::Failing, 3),
        ("half a verdi", HealthState::Failing, 3),
    ] {
        verdict(&world, &id, json).await;
        world.fuse.reconcile().await.unwrap();
        assert_eq!((health().state, health().failures), (state, failures), "{json}");
    }
    assert_eq!(health().message, "connection refused");
    let told = events(&world.fuse, EventKind::VmHealthChanged).await;
    let told: Vec<_> = told.iter().map(|event| event.details["health"].as_str()).collect();
    assert_eq!(told, ["passing", "failing"]);
    // It only reports.
    assert_eq!(world.fuse.get(&id).unwrap().state, EnvironmentState::Running);
}

#[tokio::test]
async fn a_guest_that_cannot_be_read_keeps_its_last_verdict_and_holds_up_nobody() {
    let world = World::new().await;
    let slow = world.fuse.provision(with_healthcheck("slow")).await.unwrap().id.clone();
    let well = world.fuse.provision(with_healthcheck("well")).await.unwrap().id.clone();
    for id in [&slow, &well] {
        world.fuse.wait_running(id, SOON).await.unwrap();
        verdict(&world, id, r#"{"state":"passing"}"#).await;
    }
    world.fuse.reconcile().await.unwrap();
    let vm = world.fuse.get(&slow).unwrap().vm.clone();
    world.h1().inject(Fault { vm: vm.to_string(), ..Fault::always(Verb::Exec, Effect::Hang) });
    verdict(&world, &well, r#"{"state":"failing"}"#).await;
    world.fuse.reconcile().await.unwrap();
    let state = |id| world.fuse.get(id).unwrap().health.clone().unwrap().state;
    assert_eq!((state(&slow), state(&well)), (HealthState::Passing, HealthState::Failing));
}

// ---- logs

#[tokio::test]
async fn a_log_is_followed_without_a_gap_and_without_secrets() {
    let world = World::new().await;
    let mut wanted = request("chatty");
    wanted.secrets.insert("password".into(), "correct-horse-battery".into());
    let id = world.fuse.provision(wanted).await.unwrap().id.clone();
    let vm = world.fuse.wait_running(&id, SOON).await.unwrap().vm.clone();
    let mut log = world.fuse.follow_logs(&id, LogSource::Agent).await.unwrap();
    assert_eq!(log.next().await.unwrap().as_deref(), Some("agent started\n"));
    // More than fits into what is kept of a log, in lines that hold a secret.
    let line = format!("{} correct-horse-battery\n", "x".repeat(100));
    let lines = 3 * world.config.log_bytes / line.len();
    world.h1().say(&vm, line.repeat(lines).as_bytes());
    world.h1().say(&vm, b"a prompt> ");
    let mut text = String::new();
    while !text.ends_with("> ") {
        text.push_str(&log.next().await.unwrap().unwrap());
    }
    assert_eq!(text.matches("[REDACTED]").count(), lines, "every line came, once");
    assert!(!text.contains("horse"));
    world.fuse.destroy(&id).await.unwrap();
    while log.next().await.unwrap().is_some() {}
}

// ---- services

const MANIFEST: &str = r#"{"services":{"db":{"image":"db","env":{"PASSWORD":{"secret":"pw"}}}}}"#;

#[tokio::test]
async fn services_run_with_podman_where_the_image_has_it() {
    let world = World::new().await;
    let mut wanted = request("services");
    wanted.manifest_inline = BASE64_STANDARD.encode(MANIFEST);
    wanted.secrets.insert("pw".into(), "hunter2hunter2".into());
    wanted.files.insert("/usr/bin/podman".into(), fuse_orchestrator::model::GuestFile(b"#!".to_vec()));
    let id = world.fuse.provision(wanted).await.unwrap().id.clone();
    let running = world.fuse.wait_running(&id, SOON).await.unwrap();
    let guest = world.h1().vm(&running.vm).unwrap();
    assert_eq!(guest.files["/fuse/services/db.env"], b"PASSWORD=hunter2hunter2\n");
    assert!(guest.files.contains_key("/fuse/compose.yaml"));
}

#[tokio::test]
async fn services_without_podman_are_refused_with_that_reason() {
    let world = World::new().await;
    let mut wanted = request("services");
    wanted.manifest_inline = BASE64_STANDARD.encode(MANIFEST);
    wanted.secrets.insert("pw".into(), "hunter2hunter2".into());
    let id = world.fuse.provision(wanted).await.unwrap().id.clone();
    let error = world.fuse.wait_running(&id, SOON).await.unwrap_err();
    assert!(error.to_string().contains("no podman"), "{error}");
    eventually(|| world.h1().vms().is_empty()).await;
    assert_eq!(world.taken(), 0);
}

#[tokio::test]
async fn services_that_cannot_be_are_refused_before_anything_is_made() {
    let world = World::new().await;
    let mut wanted = request("services");
    wanted.manifest_inline = BASE64_STANDARD.encode(r#"{"services":{"a":{"image":"x","depends_on":["a"]}}}"#);
    let error = world.fuse.provision(wanted).await.unwrap_err();
    assert!(matches!(&error, Error::Invalid(_)) && error.to_string().contains("circle"), "{error}");
}

// ---- emptying a host

#[tokio::test]
async fn a_host_is_emptied_and_its_progress_is_seen() {
    let world = World::new().await;
    world.register("h2").await;
    let mut here = Vec::new();
    for number in 0..5 {
        let mut wanted = request(&format!("t{number}"));
        wanted.spec.host_id = Some(host("h1"));
        let id = world.fuse.provision(wanted).await.unwrap().id.clone();
        world.fuse.wait_running(&id, SOON).await.unwrap();
        here.push(id);
    }
    let elsewhere = {
        let mut wanted = request("elsewhere");
        wanted.spec.host_id = Some(host("h2"));
        let id = world.fuse.provision(wanted).await.unwrap().id.clone();
        world.fuse.wait_running(&id, SOON).await.unwrap();
        id
    };
    assert_eq!(world.fuse.host_drain(&host("h1")).unwrap(), None);
    let progress = world.fuse.drain_host(&host("h1"), None).await.unwrap();
    assert_eq!((progress.order.environments, progress.order.limit_seconds), (5, 900));
    assert_eq!(world.fuse.host(&host("h1")).unwrap().state, HostState::Cordoned);
    let done = || world.fuse.host_drain(&host("h1")).unwrap().unwrap();
    eventually(|| done().is_finished()).await;
    assert_eq!(done().left, 0);
    assert!(world.h1().vms().is_empty());
    for id in &here {
        let ended = world.fuse.get(id).unwrap();
        assert_eq!((ended.state, ended.reason.code), (EnvironmentState::Destroyed, ReasonCode::HostDrained));
    }
    assert_eq!(world.fuse.get(&elsewhere).unwrap().state, EnvironmentState::Running);
    // Each was drained before it was destroyed.
    assert_eq!(events(&world.fuse, EventKind::VmDrained).await.len(), 5);
    assert_eq!(events(&world.fuse, EventKind::HostDrained).await.len(), 1);
    world.fuse.uncordon(&host("h1")).await.unwrap();
    assert_eq!(world.fuse.host_drain(&host("h1")).unwrap(), None);
}

#[tokio::test]
async fn a_drain_that_fails_waits_for_the_limit() {
    let world = World::new().await;
    let id = world.running("stubborn").await;
    world.h1().inject(Fault::always(Verb::Exec, Effect::Fail(ProviderErrorKind::Failed, "no".into())));
    world.fuse.drain_host(&host("h1"), Some(Duration::ZERO)).await.unwrap();
    eventually(|| world.fuse.get(&id).unwrap().state == EnvironmentState::Destroyed).await;
    let reason = world.reason(&id);
    assert!(reason.code == ReasonCode::HostDrained && reason.text.contains("longer than 0 s"), "{reason}");
    let again = World::new().await;
    let id = again.running("stubborn").await;
    again.h1().inject(Fault::always(Verb::Exec, Effect::Fail(ProviderErrorKind::Failed, "no".into())));
    again.fuse.drain_host(&host("h1"), None).await.unwrap();
    eventually(|| again.reason(&id).code == ReasonCode::DrainFailed).await;
    again.fuse.reconcile().await.unwrap();
    assert_eq!(again.fuse.get(&id).unwrap().state, EnvironmentState::Draining, "its limit is not over");
}

#[tokio::test]
async fn emptying_a_host_goes_on_after_a_restart() {
    let mut world = World::new().await;
    let id = world.running("t1").await;
    world.h1().set_down(true);
    world.fuse.drain_host(&host("h1"), None).await.unwrap();
    world.restart().await;
    assert_eq!(world.fuse.host_drain(&host("h1")).unwrap().unwrap().left, 1);
    world.h1().set_down(false);
    for _ in 0..3 {
        world.fuse.reconcile().await.unwrap();
    }
    assert_eq!(world.fuse.get(&id).unwrap().state, EnvironmentState::Destroyed);
    assert!(world.fuse.host_drain(&host("h1")).unwrap().unwrap().is_finished());
}

// ---- taking VMs back

async fn in_memory(stub: &Arc<StubConnector>, owner: Option<&str>) -> ControlPlane {
    let mut config = Config { reconcile_period: None, ..Config::default() };
    config.limits.sighting_gap = Duration::ZERO;
    config.limits.orphan_grace = Duration::ZERO;
    config.owner = owner.map(|owner| OwnerId::new(owner).unwrap());
    let h1 = HostRegistration { url: "stub://h1".into(), ..HostRegistration::default() };
    let fuse =
        ControlPlane::builder().config(config).connector("stub", Arc::clone(stub) as _).open().await.unwrap();
    fuse.register_host(&host("h1"), h1).await.unwrap();
    fuse
}

#[tokio::test]
async fn a_memory_under_a_named_owner_takes_its_vms_back() {
    let stub = Arc::new(StubConnector::new());
    let first = in_memory(&stub, Some("me")).await;
    let id = first.provision(request("Task_1")).await.unwrap().id.clone();
    let before = first.wait_running(&id, SOON).await.unwrap();
    first.halt().await;

    let second = in_memory(&stub, Some("me")).await;
    assert!(second.get(&id).is_err(), "the memory is gone");
    for _ in 0..3 {
        second.reconcile().await.unwrap();
    }
    let back = second.get(&id).unwrap();
    assert_eq!((back.state, &back.vm), (EnvironmentState::Running, &before.vm));
    assert_eq!(back.reason.code, ReasonCode::Recovered);
    assert_eq!(back.task_id, TaskId::new("Task_1").unwrap());
    assert_eq!(back.spec.resources, Resources { cpus: 1, ram_mb: 512, storage_gb: 0 });
    assert_eq!(second.host(&host("h1")).unwrap().allocated.cpus, 1, "its room is taken");
    assert!(back.warnings[0].contains("rotate its token"), "{:?}", back.warnings);
    assert_eq!(second.exec_shell(&id, "echo here").await.unwrap().stdout, b"here\n");
    second.rotate_token(&id).await.unwrap();
    assert!(matches!(second.provision(request("Task_1")).await, Err(Error::TaskTaken { .. })));
    second.destroy(&id).await.unwrap();
    assert!(stub.host("h1").vms().is_empty());
}

#[tokio::test]
async fn a_memory_without_a_name_leaves_the_vms_of_its_predecessor_alone() {
    let stub = Arc::new(StubConnector::new());
    let first = in_memory(&stub, None).await;
    let id = first.provision(request("t1")).await.unwrap().id.clone();
    first.wait_running(&id, SOON).await.unwrap();
    first.halt().await;
    let second = in_memory(&stub, None).await;
    for _ in 0..4 {
        second.reconcile().await.unwrap();
    }
    assert!(second.get(&id).is_err());
    assert_eq!(stub.host("h1").vms().len(), 1, "it is another owner's");
}

#[tokio::test]
async fn a_vm_whose_task_has_a_new_environment_is_not_taken_back() {
    let stub = Arc::new(StubConnector::new());
    let first = in_memory(&stub, Some("me")).await;
    let id = first.provision(request("t1")).await.unwrap().id.clone();
    let old = first.wait_running(&id, SOON).await.unwrap();
    first.halt().await;
    let second = in_memory(&stub, Some("me")).await;
    second.provision(request("t1")).await.unwrap();
    let new = second.wait_running(&id, SOON).await.unwrap();
    for _ in 0..3 {
        second.reconcile().await.unwrap();
    }
    assert_eq!(stub.host("h1").vms(), std::slice::from_ref(&new.vm), "{} is gone", old.vm);
}

// ---- layers, and the log of events

#[tokio::test]
async fn the_newest_ready_snapshot_of_a_layer_is_found() {
    let world = World::new().await;
    let id = world.running("build").await;
    let layer = |key: &str| SnapshotRequest {
        metadata: [(Snapshot::LAYER_KEY.to_owned(), key.to_owned())].into(),
        ..SnapshotRequest::default()
    };
    world.fuse.create_snapshot(&id, layer("one")).await.unwrap();
    let newer = world.fuse.create_snapshot(&id, layer("one")).await.unwrap();
    world.fuse.create_snapshot(&id, layer("two")).await.unwrap();
    world.h1().inject(Fault::once(Verb::Snapshot, Effect::Fail(ProviderErrorKind::Failed, "no".into())));
    world.fuse.create_snapshot(&id, layer("one")).await.unwrap_err();
    let found = world.fuse.resolve_snapshot("one", Arch::Amd64).unwrap();
    assert_eq!(found.id, newer.id);
    assert!(world.fuse.resolve_snapshot("one", Arch::Arm64).is_none());
    assert!(world.fuse.resolve_snapshot("three", Arch::Amd64).is_none());
    assert!(world.fuse.resolve_snapshot("", Arch::Amd64).is_none());
}

#[tokio::test]
async fn every_event_can_be_read_again() {
    let world = World::new().await;
    let id = world.running("t1").await;
    world.fuse.cordon(&host("h1")).await.unwrap();
    let mut about_host = world.fuse.events_about(Subject::Host(host("h1")), 0);
    let mut seen = Vec::new();
    while let Some(Delivery::Event(event)) = about_host.try_next().await.unwrap() {
        seen.push(event.event);
    }
    assert_eq!(seen, [EventKind::HostRegistered, EventKind::HostCordoned]);
    let scheduled = events(&world.fuse, EventKind::VmScheduled).await;
    assert_eq!(scheduled[0].subject, Subject::Environment(id));
    assert_eq!(scheduled[0].details["host_id"], "h1");
}

/// A stub host of its own, so that a test can plant what it likes.
#[tokio::test]
async fn vms_of_others_stay_whatever_they_are_called() {
    let world = World::new().await;
    let stranger = fuse_orchestrator::model::VmName::new("fuse-t1-0123456789abcdef").unwrap();
    let h1: StubHost = world.h1();
    h1.plant(&stranger, &OwnerId::new("somebody-else").unwrap());
    for _ in 0..4 {
        world.fuse.reconcile().await.unwrap();
    }
    assert_eq!(h1.vms(), [stranger]);
}
