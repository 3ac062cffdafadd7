//! The known weak spots of the control plane that this one replaces: ours must not have them. Each test has the number
//! of its spot. 18, 25 and 27 are in `remote.rs`, as far as they touch the library. Not here, since a library cannot
//! have it: 28 (the server).
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use common::{SOON, World, eventually, host, request};
use fuse_orchestrator::{
    Config, ControlPlane, Delivery, Error, ErrorCode, HostRegistration,
    model::{
        Capacity, EnvironmentFilter, EnvironmentState, EventKind, ForkRequest, Healthcheck, HostState,
        Liveness, Observed, OwnerId, ProvisionRequest, ReasonCode, SnapshotRequest, VmName,
    },
    provider::{
        ProviderErrorKind, Verb,
        stub::{Effect, Fault, StubConnector, StubHost},
    },
    secrets::{ExposeSecret, Scope},
};

#[tokio::test]
async fn spot_01_a_host_that_is_away_at_restart_loses_no_vm() {
    let mut world = World::new().await;
    let id = world.running("t1").await;
    world.h1().set_down(true);
    world.restart().await;
    for _ in 0..5 {
        world.fuse.reconcile().await.unwrap();
    }
    assert_eq!(world.fuse.get(&id).unwrap().state, EnvironmentState::Running);
    world.h1().set_down(false);
    world.fuse.reconcile().await.unwrap();
    assert_eq!(world.fuse.get(&id).unwrap().observed, Observed::Present);
    assert_eq!(world.h1().vms().len(), 1);
}

#[tokio::test]
async fn spot_02_one_dead_host_freezes_nobody() {
    let world = World::new().await;
    world.register("dead").await;
    world.stub.host("dead").inject(Fault::always(Verb::List, Effect::Hang));
    let id = world.running("t1").await;
    let on = world.fuse.get(&id).unwrap().host_id.clone();
    let vm = world.fuse.get(&id).unwrap().vm.clone();
    world.stub.host(on.as_str()).clear_faults();
    world.stub.host(on.as_str()).vanish(&vm);
    for _ in 0..3 {
        tokio::time::timeout(SOON, world.fuse.reconcile_host(&on)).await.unwrap().unwrap();
    }
    assert_eq!(world.reason(&id).code, ReasonCode::VmMissing);
}

#[tokio::test(start_paused = true)]
async fn spot_03_a_boot_that_ends_during_a_listing_is_not_missing() {
    let world = World::new().await;
    // The listing is answered late, with what was true when it was asked.
    let id = world.running("t1").await;
    let fuse = world.fuse.clone();
    world.h1().inject(Fault::always(Verb::List, Effect::SlowAnswer(Duration::from_secs(5))));
    tokio::time::sleep(Duration::from_secs(1)).await;
    for number in 0..5 {
        let fuse = fuse.clone();
        let look = tokio::spawn(async move { fuse.reconcile().await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let late = world.running(&format!("late-{number}")).await;
        look.await.unwrap().unwrap();
        for id in [&id, &late] {
            let known = world.fuse.get(id).unwrap();
            assert_eq!((known.state, known.observed), (EnvironmentState::Running, Observed::Present));
        }
    }
}

#[tokio::test]
async fn spot_04_registering_again_wipes_nothing() {
    let world = World::new().await;
    world.running("t1").await;
    world.fuse.cordon(&host("h1")).await.unwrap();
    let before = world.fuse.host(&host("h1")).unwrap();
    world.register("h1").await;
    let after = world.fuse.host(&host("h1")).unwrap();
    assert_eq!((after.state, after.created_at), (HostState::Cordoned, before.created_at));
    assert_eq!(after.allocated, before.allocated);
}

#[tokio::test(start_paused = true)]
async fn spot_05_hosts_that_die_are_noticed_and_take_nothing_new() {
    let world = World::new().await;
    world.register("h2").await;
    world.stub.host("h2").set_down(true);
    for _ in 0..2 {
        world.fuse.reconcile().await.unwrap();
    }
    assert_eq!(world.fuse.host(&host("h2")).unwrap().liveness.state, Liveness::Unreachable);
    for number in 0..4 {
        let id = world.running(&format!("t{number}")).await;
        assert_eq!(world.fuse.get(&id).unwrap().host_id, host("h1"));
    }
    tokio::time::sleep(Duration::from_secs(301)).await;
    world.fuse.reconcile().await.unwrap();
    let lost = world.fuse.host(&host("h2")).unwrap().liveness;
    assert_eq!((lost.state, lost.reason.code), (Liveness::Lost, ReasonCode::NoAnswer));
}

#[tokio::test(start_paused = true)]
async fn spot_06_a_failed_destroy_is_tried_until_it_succeeds() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let refuse = Effect::Fail(ProviderErrorKind::Failed, "busy".into());
    world.h1().inject(Fault { times: 7, ..Fault::once(Verb::Destroy, refuse) });
    world.fuse.destroy(&id).await.unwrap_err();
    let mut letters = 0;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        world.fuse.reconcile().await.unwrap();
        letters = letters.max(world.fuse.dead_letters().len());
    }
    assert_eq!(world.fuse.get(&id).unwrap().state, EnvironmentState::Destroyed);
    assert!(world.h1().vms().is_empty());
    assert_eq!(
        (letters, world.fuse.dead_letters().len()),
        (1, 0),
        "an operator could see it while it lasted"
    );
}

#[tokio::test(start_paused = true)]
async fn spot_07_draining_ends() {
    let world = World::new().await;
    let id = world.running("t1").await;
    world.fuse.drain(&id).await.unwrap();
    tokio::time::sleep(Duration::from_secs(15 * 60 + 1)).await;
    world.fuse.reconcile().await.unwrap();
    assert_eq!(world.fuse.get(&id).unwrap().state, EnvironmentState::Draining, "not on one sighting");
    world.fuse.reconcile().await.unwrap();
    assert_eq!(world.reason(&id).code, ReasonCode::DrainTimeout);
}

#[tokio::test]
async fn spot_08_the_bytes_of_snapshots_are_freed_and_no_error_loops() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let first = world.fuse.create_snapshot(&id, SnapshotRequest::default()).await.unwrap();
    world.fuse.delete_snapshot(&first.id).await.unwrap();
    assert_eq!(world.h1().snapshot_count(), 0);
    // A host that has no such snapshot, or cannot delete any, ends the matter.
    for kind in [ProviderErrorKind::Unsupported] {
        let made = world.fuse.create_snapshot(&id, SnapshotRequest::default()).await.unwrap();
        world.h1().inject(Fault::once(Verb::DeleteSnapshot, Effect::Fail(kind, "no route".into())));
        world.fuse.delete_snapshot(&made.id).await.unwrap();
        assert!(world.fuse.snapshot(&made.id).is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn spot_09_a_restart_without_memory_kills_no_vm() {
    let stub = Arc::new(StubConnector::new());
    let open = |owner: Option<&str>| {
        let owner = owner.map(|owner| OwnerId::new(owner).unwrap());
        let config = Config { reconcile_period: None, owner, ..Config::default() };
        let builder = ControlPlane::builder().config(config).connector("stub", stub.clone());
        let url = "stub://h1".to_owned();
        builder.default_host(HostRegistration { url, ..HostRegistration::default() }).open()
    };
    let fuse = open(None).await.unwrap();
    let id = fuse.provision(request("t1")).await.unwrap().id.clone();
    fuse.wait_running(&id, SOON).await.unwrap();
    fuse.halt().await;
    // Another one with an empty memory is somebody else to the host.
    let fuse = open(None).await.unwrap();
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        fuse.reconcile().await.unwrap();
    }
    assert_eq!(stub.host("h1").vms().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn spot_09_orphans_have_grace() {
    let world = World::with(|config| config.limits.orphan_grace = Duration::from_secs(120)).await;
    let vm = VmName::new("fuse-forgotten").unwrap();
    world.h1().plant(&vm, world.fuse.owner());
    for _ in 0..4 {
        world.fuse.reconcile().await.unwrap();
        assert!(world.h1().vm(&vm).is_some());
        tokio::time::sleep(Duration::from_secs(29)).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    world.fuse.reconcile().await.unwrap();
    assert!(world.h1().vm(&vm).is_none());
}

#[tokio::test(start_paused = true)]
async fn spot_10_two_control_planes_share_a_host_in_peace() {
    let stub = Arc::new(StubConnector::new());
    let mut planes = Vec::new();
    for name in ["one", "two"] {
        let config = Config { reconcile_period: None, ..Config::default() };
        let registration = HostRegistration { url: "stub://shared".into(), ..HostRegistration::default() };
        let builder = ControlPlane::builder().config(config).connector("stub", stub.clone());
        let fuse = builder.default_host(registration).open().await.unwrap();
        let id = fuse.provision(request(name)).await.unwrap().id.clone();
        fuse.wait_running(&id, SOON).await.unwrap();
        planes.push((fuse, id));
    }
    for _ in 0..20 {
        tokio::time::sleep(Duration::from_secs(30)).await;
        for (fuse, _) in &planes {
            fuse.reconcile().await.unwrap();
        }
    }
    for (fuse, id) in &planes {
        assert_eq!(fuse.get(id).unwrap().state, EnvironmentState::Running);
    }
    assert_eq!(stub.host("shared").vms().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn spot_11_a_create_outlasts_its_caller() {
    let world = World::new().await;
    world.h1().inject(Fault::once(Verb::Create, Effect::Delay(Duration::from_secs(200))));
    let id = world.fuse.provision(request("t1")).await.unwrap().id.clone();
    // The caller gives up after a minute, as an HTTP client does.
    let waited = world.fuse.wait_running(&id, Duration::from_secs(60)).await;
    assert!(matches!(waited, Err(Error::Timeout { .. })));
    world.fuse.wait_running(&id, Duration::from_secs(200)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn spot_12_creates_run_side_by_side_and_an_exec_blocks_no_destroy() {
    let world = World::new().await;
    let slow = Fault::always(Verb::Create, Effect::Delay(Duration::from_secs(10)));
    world.h1().inject(slow);
    let started = tokio::time::Instant::now();
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(world.fuse.provision(request(&format!("t{number}"))).await.unwrap().id.clone());
    }
    for id in &ids {
        world.fuse.wait_running(id, SOON).await.unwrap();
    }
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let (fuse, id) = (world.fuse.clone(), ids[0].clone());
    let exec = tokio::spawn(async move { fuse.exec_shell(&id, "sleep 59").await });
    eventually(|| world.h1().calls(Verb::Exec) == 1).await;
    let started = tokio::time::Instant::now();
    world.fuse.destroy(&ids[0]).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(1));
    exec.abort();
}

#[tokio::test]
async fn spot_13_task_ids_that_agents_would_rewrite_survive_reconcile() {
    let world = World::new().await;
    let ids = [world.running("UPPER_case").await, world.running("upper-case").await];
    for _ in 0..3 {
        world.fuse.reconcile().await.unwrap();
    }
    for id in ids {
        assert_eq!(world.fuse.get(&id).unwrap().state, EnvironmentState::Running);
    }
    assert!(world.h1().vms().iter().all(|vm| !vm.as_str().contains(char::is_uppercase)));
}

#[test]
fn spot_14_negative_sizes_never_reach_the_scheduler() {
    for field in ["cpus", "ram_mb", "storage_gb"] {
        let json = format!(r#"{{"task_id":"t","spec":{{"{field}":-1}}}}"#);
        assert!(serde_json::from_str::<ProvisionRequest>(&json).is_err());
    }
}

#[tokio::test]
async fn spot_15_concurrent_creates_of_a_task_make_one() {
    let world = World::new().await;
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let fuse = world.fuse.clone();
        attempts.spawn(async move { fuse.provision(request("same")).await.is_ok() });
    }
    let accepted = attempts.join_all().await.into_iter().filter(|ok| *ok).count();
    assert_eq!((accepted, world.taken()), (1, 1));
}

#[tokio::test]
async fn spot_15_a_task_that_is_being_destroyed_is_not_overwritten() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let refuse = Effect::Fail(ProviderErrorKind::Failed, "busy".into());
    world.h1().inject(Fault::once(Verb::Destroy, refuse));
    world.fuse.destroy(&id).await.unwrap_err();
    let refused = world.fuse.provision(request("t1")).await.unwrap_err();
    assert!(matches!(refused, Error::TaskTaken { state: EnvironmentState::Destroying, .. }), "{refused}");
    assert_eq!(world.taken(), 1);
}

#[tokio::test]
async fn spot_16_rotation_is_effective() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let vm = world.fuse.get(&id).unwrap().vm.clone();
    let old = world.fuse.credentials(&id).await.unwrap();
    world.fuse.rotate_token(&id).await.unwrap();
    assert!(!world.h1().takes_token(&vm, old.token().expose_secret()));
    let new = world.fuse.credentials(&id).await.unwrap();
    assert!(world.h1().takes_token(&vm, new.token().expose_secret()));
}

#[tokio::test(start_paused = true)]
async fn spot_17_certificates_are_renewed_before_they_end() {
    let world = World::with(|config| config.lease = Duration::from_secs(86_400)).await;
    let mut forever = request("t1");
    forever.spec.max_runtime_seconds = 400 * 86_400;
    let id = world.fuse.provision(forever).await.unwrap().id.clone();
    world.fuse.wait_running(&id, SOON).await.unwrap();
    let first = world.fuse.credentials(&id).await.unwrap();
    let mut now_ms = first.expires_ms() - 90 * 86_400_000;
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_secs(86_400)).await;
        now_ms += 86_400_000;
        world.fuse.reconcile().await.unwrap();
        let current = world.fuse.credentials(&id).await.unwrap();
        assert!(current.expires_ms() > now_ms + 86_400_000, "a day before its end it is renewed");
    }
    let last = world.fuse.credentials(&id).await.unwrap();
    assert_ne!(last.certificate(), first.certificate());
    assert_eq!(last.token().expose_secret(), first.token().expose_secret(), "callers go on with their token");
}

#[tokio::test]
async fn spot_19_slots_and_disk_are_what_the_host_says() {
    let stub = Arc::new(StubConnector::new());
    let capacity = Capacity { cpus: 1_000, ram_mb: 1_000_000, storage_gb: 600, vm_count: 400 };
    stub.add(StubHost::new("large", capacity));
    let config = Config { reconcile_period: None, ..Config::default() };
    let registration = HostRegistration { url: "stub://large".into(), ..HostRegistration::default() };
    let builder = ControlPlane::builder().config(config).connector("stub", stub.clone());
    let fuse = builder.default_host(registration).open().await.unwrap();
    for number in 0..300 {
        let mut wanted = request(&format!("t{number}"));
        wanted.spec.resources.storage_gb = 2;
        fuse.provision(wanted).await.unwrap();
    }
    let mut wanted = request("one-more");
    wanted.spec.resources.storage_gb = 1;
    let refused = fuse.provision(wanted).await.unwrap_err();
    assert!(refused.to_string().contains("0GB"), "{refused}");
}

#[tokio::test]
async fn spot_20_api_keys_have_scopes() {
    let world = World::new().await;
    let key = world.fuse.create_api_key("ci", BTreeSet::from([Scope::Read])).await.unwrap();
    let record = world.fuse.authenticate(&key.secret).unwrap();
    assert!(record.allows(Scope::Read) && !record.allows(Scope::Write) && !record.allows(Scope::Admin));
    world.fuse.revoke_api_key(&record.id).await.unwrap();
    assert!(world.fuse.authenticate(&key.secret).is_none());
}

#[tokio::test]
async fn spot_21_a_slow_reader_loses_nothing_and_costs_nobody() {
    let world = World::new().await;
    let mut slow = world.fuse.events(0);
    let first = slow.next().await.unwrap();
    assert!(matches!(first, Some(Delivery::Event(_))));
    for number in 0..200 {
        let id = world.running(&format!("t{number}")).await;
        world.fuse.destroy(&id).await.unwrap();
    }
    let mut last = 1;
    while let Some(Delivery::Event(event)) = slow.try_next().await.unwrap() {
        assert_eq!(event.sequence, last + 1);
        last = event.sequence;
    }
    assert_eq!(last, world.fuse.newest_event());
    assert!(last >= 1_000);
}

#[tokio::test]
async fn spot_22_a_refused_placement_leaves_no_trace() {
    let world = World::new().await;
    let mut huge = request("t1");
    huge.spec.resources.cpus = 10_000;
    let before = world.fuse.newest_event();
    let refused = world.fuse.provision(huge).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Unavailable);
    assert_eq!((world.taken(), world.fuse.newest_event()), (0, before));
    assert!(world.fuse.list(&EnvironmentFilter::default(), None, None).unwrap().items.is_empty());
    world.running("t1").await;
}

#[tokio::test]
async fn spot_23_what_was_acknowledged_is_durable_at_once() {
    let mut world = World::new().await;
    for number in 0..20 {
        world.h1().inject(Fault::once(Verb::Create, Effect::Hang));
        let accepted = world.fuse.provision(request(&format!("t{number}"))).await.unwrap();
        world.restart().await;
        let known = world.fuse.get(&accepted.id).unwrap();
        assert_eq!((known.state, &known.vm), (EnvironmentState::Provisioning, &accepted.vm));
        world.h1().clear_faults();
        world.fuse.reconcile().await.unwrap();
        world.fuse.wait_running(&accepted.id, SOON).await.unwrap();
    }
    assert_eq!(world.h1().vms().len(), 20);
}

#[tokio::test]
async fn spot_24_a_restart_keeps_the_whole_request() {
    let mut world = World::new().await;
    let mut wanted = request("t1");
    wanted.spec.image = "debian-12".into();
    wanted.spec.idle_timeout_seconds = 3_600;
    wanted.healthcheck =
        Some(serde_json::from_str::<Healthcheck>(r#"{"exec":["true"],"retries":7}"#).unwrap());
    wanted.agent.command = Some("serve".into());
    wanted.agent.drain_command = Some("sleep 0".into());
    let id = world.fuse.provision(wanted).await.unwrap().id.clone();
    let before = world.fuse.wait_running(&id, SOON).await.unwrap();
    world.restart().await;
    let after = world.fuse.get(&id).unwrap();
    assert_eq!(after.spec, before.spec);
    assert_eq!(after.healthcheck, before.healthcheck);
    assert_eq!(after.agent.command, before.agent.command);
    assert_eq!(after.agent.drain_command, before.agent.drain_command);
    assert_eq!((&after.url, &after.vm, after.timings), (&before.url, &before.vm, before.timings));
}

#[tokio::test]
async fn spot_26_forks_never_overcommit() {
    let world = World::new().await;
    let mut large = request("t1");
    large.spec.resources.cpus = 20;
    let id = world.fuse.provision(large).await.unwrap().id.clone();
    world.fuse.wait_running(&id, SOON).await.unwrap();
    let mut forks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (fuse, id) = (world.fuse.clone(), id.clone());
        forks.spawn(async move { fuse.fork(&id, ForkRequest::default()).await });
    }
    let mut made = 0;
    for fork in forks.join_all().await {
        match fork {
            Ok(_) => made += 1,
            Err(refused) => assert_eq!(refused.code(), ErrorCode::Unavailable, "{refused}"),
        }
    }
    // 64 processors take three of 20.
    assert_eq!(made, 2);
    let taken = world.fuse.host(&host("h1")).unwrap().allocated;
    assert_eq!(taken.cpus, 60);
}

#[tokio::test]
async fn every_end_of_an_environment_has_a_last_event() {
    let world = World::new().await;
    let id = world.running("t1").await;
    world.fuse.destroy(&id).await.unwrap();
    let mut events = world.fuse.events(0);
    let mut last = None;
    while let Some(Delivery::Event(event)) = events.try_next().await.unwrap() {
        if event.subject.id() == id.as_str() {
            last = Some((event.event, event.state));
        }
    }
    assert_eq!(last, Some((EventKind::VmRemoved, Some(EnvironmentState::Destroyed))));
}
