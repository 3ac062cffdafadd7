//! The life of environments, over a store in memory and stub hosts.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{SOON, World, eventually, host, request};
use fuse_orchestrator::{
    Error, ErrorCode, Removal,
    model::{
        EnvironmentFilter, EnvironmentState, EventKind, ForkRequest, IdempotencyKey, Liveness, Observed,
        ReasonCode, SnapshotRequest, SnapshotState,
    },
    provider::{
        AttachInput, AttachOutput, AttachRequest, FileUpload, LogSource, ProviderErrorKind, Verb,
        stub::{Effect, Fault},
    },
};
use secrecy::ExposeSecret;

#[tokio::test]
async fn an_environment_lives_its_whole_life() {
    let world = World::new().await;
    let mut wanted = request("Task_1");
    wanted.startup_script = "echo hello > /greeting".into();
    wanted.secrets.insert("password".into(), "correct horse".into());
    wanted.agent.command = Some("serve".into());
    let accepted = world.fuse.provision(wanted).await.unwrap();
    let running = world.fuse.wait_running(&accepted.id, SOON).await.unwrap();
    assert_eq!(running.id.as_str(), "fuse-Task_1");
    assert_eq!((running.state, running.observed), (EnvironmentState::Running, Observed::Present));
    assert!(running.url.starts_with("fc://fuse-task-1-"), "{}", running.url);
    assert!(running.timings.create_us.is_some() && running.timings.start_script_us.is_some());
    assert_eq!(world.taken(), 1);

    let output = world.fuse.exec_shell(&running.id, "cat /greeting").await.unwrap();
    assert_eq!(output.stdout, b"hello\n");
    let guest = world.h1().vm(&running.vm).unwrap();
    assert_eq!(guest.files.get("/fuse/secrets.json").unwrap(), br#"{"password":"correct horse"}"#);
    assert_eq!(guest.command.as_deref(), Some("serve"), "the command of the agent spec is honoured");

    let drained = world.fuse.drain(&running.id).await.unwrap();
    assert_eq!(drained.state, EnvironmentState::Draining);
    world.fuse.destroy(&running.id).await.unwrap();
    let gone = world.fuse.get(&running.id).unwrap();
    assert_eq!(gone.state, EnvironmentState::Destroyed);
    assert_eq!(world.taken(), 0);
    assert!(world.h1().vms().is_empty());
    assert!(world.fuse.list(&EnvironmentFilter::default(), None, None).unwrap().items.is_empty());
    assert!(matches!(world.fuse.destroy(&running.id).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn events_tell_the_story_in_order_and_replay() {
    let world = World::new().await;
    let id = world.running("t1").await;
    world.fuse.destroy(&id).await.unwrap();
    let mut events = world.fuse.events_about(fuse_orchestrator::model::Subject::Environment(id.clone()), 0);
    let mut seen = Vec::new();
    let mut last = 0;
    while let Some(fuse_orchestrator::Delivery::Event(event)) = events.try_next().await.unwrap() {
        assert!(event.sequence > last);
        last = event.sequence;
        seen.push(event.event);
    }
    assert_eq!(
        seen,
        [
            EventKind::VmProvisioning,
            EventKind::VmScheduled,
            EventKind::VmRunning,
            EventKind::VmDestroying,
            EventKind::VmRemoved
        ]
    );
}

#[tokio::test]
async fn one_task_has_one_live_environment() {
    let world = World::new().await;
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let fuse = world.fuse.clone();
        attempts.spawn(async move { fuse.provision(request("same")).await });
    }
    let (mut accepted, mut refused) = (0, 0);
    while let Some(attempt) = attempts.join_next().await {
        match attempt.unwrap() {
            Ok(_) => accepted += 1,
            Err(Error::TaskTaken { environment_id, .. }) => {
                assert_eq!(environment_id.as_str(), "fuse-same");
                refused += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((accepted, refused), (1, 19));
}

#[tokio::test]
async fn a_task_is_free_again_when_its_environment_ended() {
    let world = World::new().await;
    let first = world.running("t1").await;
    let first_vm = world.fuse.get(&first).unwrap().vm.clone();
    world.fuse.destroy(&first).await.unwrap();
    let second = world.running("t1").await;
    assert_eq!(first, second);
    assert_ne!(world.fuse.get(&second).unwrap().vm, first_vm, "a VM name is never used twice");
}

#[tokio::test]
async fn an_idempotency_key_makes_one_environment() {
    let world = World::new().await;
    let key = IdempotencyKey::new("k1").unwrap();
    let mut attempts = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (fuse, key) = (world.fuse.clone(), key.clone());
        attempts.spawn(async move { fuse.provision_once(&key, request("t1")).await.unwrap().vm.clone() });
    }
    let vms = attempts.join_all().await;
    assert!(vms.iter().all(|vm| vm == &vms[0]), "{vms:?}");
    let other = world.fuse.provision_once(&key, request("t2")).await.unwrap_err();
    assert_eq!(other.code(), ErrorCode::Conflict);
    let mut secret = request("t1");
    secret.secrets.insert("s".into(), "v".into());
    assert!(matches!(world.fuse.provision_once(&key, secret).await, Err(Error::KeyReused { .. })));
}

#[tokio::test]
async fn a_failed_boot_frees_the_task_and_leaves_nothing() {
    let world = World::new().await;
    for verb in [Verb::Create, Verb::Upload, Verb::StartAgent] {
        let effect = Effect::Fail(ProviderErrorKind::Failed, "disk full".into());
        world.h1().inject(Fault::once(verb, effect));
        let accepted = world.fuse.provision(request("t1")).await.unwrap();
        let error = world.fuse.wait_running(&accepted.id, SOON).await.unwrap_err();
        assert!(error.to_string().contains("disk full"), "{error}");
        let failed = world.fuse.get(&accepted.id).unwrap();
        assert_eq!((failed.state, failed.reason.code), (EnvironmentState::Failed, ReasonCode::BootFailed));
        eventually(|| world.taken() == 0 && world.h1().vms().is_empty()).await;
    }
    world.running("t1").await;
}

#[tokio::test]
async fn a_failed_script_says_why_and_keeps_its_output() {
    let world = World::new().await;
    let mut wanted = request("t1");
    wanted.secrets.insert("token".into(), "hunter2-hunter2".into());
    wanted.startup_script = "echo using hunter2-hunter2; false".into();
    let id = world.fuse.provision(wanted).await.unwrap().id.clone();
    let error = world.fuse.wait_running(&id, SOON).await.unwrap_err().to_string();
    assert!(error.contains("exit code 1") && error.contains("using [REDACTED]"), "{error}");
    assert_eq!(world.fuse.logs(&id, LogSource::Startup).await.unwrap(), "using [REDACTED]\n");
}

#[tokio::test(start_paused = true)]
async fn a_slow_script_is_the_callers_fault() {
    let world = World::new().await;
    let mut wanted = request("t1");
    wanted.startup_script = "sleep 31".into();
    let id = world.fuse.provision(wanted).await.unwrap().id.clone();
    let error = world.fuse.wait_running(&id, Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_create_leaks_nothing() {
    let world = World::new().await;
    for effect in [
        Effect::FailAfter(ProviderErrorKind::TimedOut, "no answer".into()),
        Effect::FailThenHappen(ProviderErrorKind::Unreachable, Duration::from_millis(50)),
    ] {
        world.h1().inject(Fault::once(Verb::Create, effect));
        let id = world.fuse.provision(request("t1")).await.unwrap().id.clone();
        world.fuse.wait_running(&id, SOON).await.unwrap_err();
        // The request may be on its way yet, so the VM is removed once more after a minute.
        tokio::time::sleep(Duration::from_secs(61)).await;
        assert_eq!(world.taken(), 1);
        world.fuse.reconcile().await.unwrap();
        assert_eq!(world.taken(), 0);
        assert!(world.h1().vms().is_empty());
    }
}

#[tokio::test]
async fn a_request_that_arrives_twice_boots_once() {
    let world = World::new().await;
    world.h1().inject(Fault::once(Verb::Create, Effect::Twice));
    world.running("t1").await;
    assert_eq!(world.h1().vms().len(), 1);
}

#[tokio::test]
async fn a_failed_destroy_is_tried_again_until_it_succeeds() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let effect = Effect::Fail(ProviderErrorKind::Busy, "try later".into());
    world.h1().inject(Fault { times: 1, ..Fault::always(Verb::Destroy, effect) });
    let error = world.fuse.destroy(&id).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Unavailable);
    let stuck = world.fuse.get(&id).unwrap();
    assert_eq!((stuck.state, stuck.removal.failed), (EnvironmentState::Destroying, 1));
    assert_eq!(world.taken(), 1, "the VM is there, so its capacity is taken");
    assert!(matches!(world.fuse.provision(request("t1")).await, Err(Error::TaskTaken { .. })));
    world.fuse.destroy(&id).await.unwrap();
    assert_eq!(world.taken(), 0);
}

#[tokio::test]
async fn overlapping_destroys_give_capacity_back_once() {
    let world = World::new().await;
    world.running("other").await;
    let id = world.running("t1").await;
    let delay = Effect::Delay(Duration::from_millis(30));
    world.h1().inject(Fault::always(Verb::Destroy, delay));
    let mut destroys = tokio::task::JoinSet::new();
    for _ in 0..5 {
        let (fuse, id) = (world.fuse.clone(), id.clone());
        destroys.spawn(async move { fuse.destroy(&id).await });
    }
    for result in destroys.join_all().await {
        assert!(matches!(result, Ok(()) | Err(Error::NotFound { .. })), "{result:?}");
    }
    assert_eq!(world.taken(), 1);
}

#[tokio::test]
async fn a_destroy_during_boot_ends_the_boot() {
    let world = World::new().await;
    let mut wanted = request("t1");
    wanted.startup_script = "sleep 25".into();
    let id = world.fuse.provision(wanted).await.unwrap().id.clone();
    eventually(|| world.h1().calls(Verb::Exec) == 1).await;
    world.fuse.destroy(&id).await.unwrap();
    assert!(world.h1().vms().is_empty());
    assert_eq!(world.taken(), 0);
}

#[tokio::test]
async fn a_long_exec_blocks_no_destroy() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let (fuse, exec_id) = (world.fuse.clone(), id.clone());
    let exec = tokio::spawn(async move { fuse.exec_shell(&exec_id, "sleep 50").await });
    eventually(|| world.h1().calls(Verb::Exec) == 1).await;
    tokio::time::timeout(SOON, world.fuse.destroy(&id)).await.unwrap().unwrap();
    exec.abort();
}

#[tokio::test]
async fn wrong_states_are_named() {
    let world = World::new().await;
    let id = world.running("t1").await;
    world.fuse.drain(&id).await.unwrap();
    let again = world.fuse.drain(&id).await.unwrap_err();
    assert_eq!(again.to_string(), "vm fuse-t1 is draining and cannot become draining");
    let exec = world.fuse.exec_shell(&id, "true").await.unwrap_err();
    assert_eq!(exec.to_string(), "cannot exec in vm fuse-t1: it is draining, and must be running");
    assert_eq!(exec.code(), ErrorCode::Conflict);
    assert_eq!(world.fuse.rotate_token(&id).await.unwrap_err().code(), ErrorCode::Conflict);
    let snapshot = world.fuse.create_snapshot(&id, SnapshotRequest::default()).await;
    assert_eq!(snapshot.unwrap_err().code(), ErrorCode::Conflict);
    assert_eq!(world.fuse.fork(&id, ForkRequest::default()).await.unwrap_err().code(), ErrorCode::Conflict);
}

#[tokio::test]
async fn a_failed_drain_stays_draining_and_says_so() {
    let world = World::new().await;
    let mut wanted = request("t1");
    wanted.agent.drain_command = Some("exit 7".into());
    let id = world.fuse.provision(wanted).await.unwrap().id.clone();
    world.fuse.wait_running(&id, SOON).await.unwrap();
    world.fuse.drain(&id).await.unwrap_err();
    let draining = world.fuse.get(&id).unwrap();
    assert_eq!((draining.state, draining.reason.code), (EnvironmentState::Draining, ReasonCode::DrainFailed));
    assert!(draining.reason.text.contains("exit code 7"), "{}", draining.reason);
}

#[tokio::test]
async fn snapshots_keep_what_was_and_forks_begin_with_it() {
    let world = World::new().await;
    let id = world.running("t1").await;
    world.fuse.exec_shell(&id, "echo one > /data").await.unwrap();
    let first = world.fuse.create_snapshot(&id, SnapshotRequest::default()).await.unwrap();
    assert_eq!((first.state, first.digest.len()), (SnapshotState::Ready, 64));
    world.fuse.exec_shell(&id, "echo two > /data").await.unwrap();
    let second = world.fuse.create_snapshot(&id, SnapshotRequest::default()).await.unwrap();
    assert_eq!(second.parent_snapshot_id.as_ref(), Some(&first.id));
    let lineage = world.fuse.lineage(&second.id).unwrap();
    assert_eq!(lineage.iter().map(|s| &s.id).collect::<Vec<_>>(), [&first.id]);

    world.fuse.restore_snapshot(&first.id).await.unwrap();
    assert_eq!(world.fuse.exec_shell(&id, "cat /data").await.unwrap().stdout, b"one\n");

    let reuse = ForkRequest { reuse_snapshot_id: Some(second.id.clone()), comment: String::new() };
    let fork = world.fuse.fork(&id, reuse).await.unwrap();
    world.fuse.wait_running(&fork.id, SOON).await.unwrap();
    assert!(fork.id.as_str().starts_with("fuse-fork-"), "{}", fork.id);
    assert_eq!(world.fuse.exec_shell(&fork.id, "cat /data").await.unwrap().stdout, b"two\n");
    world.fuse.exec_shell(&fork.id, "echo three > /data").await.unwrap();
    assert_eq!(world.fuse.exec_shell(&id, "cat /data").await.unwrap().stdout, b"one\n");
    let (a, b) =
        (world.fuse.credentials(&id).await.unwrap(), world.fuse.credentials(&fork.id).await.unwrap());
    assert_ne!(a.token().expose_secret(), b.token().expose_secret(), "a fork has credentials of its own");

    let refused = world.fuse.delete_snapshot(&first.id).await.unwrap_err();
    assert!(matches!(refused, Error::HasChildren { children: 1, .. }), "{refused}");
    world.fuse.delete_snapshot(&second.id).await.unwrap();
    world.fuse.delete_snapshot(&first.id).await.unwrap();
    assert_eq!(world.h1().snapshot_count(), 0, "the bytes are freed");
    assert!(matches!(world.fuse.delete_snapshot(&first.id).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_fork_that_does_not_fit_is_refused_before_anything_is_made() {
    let world = World::new().await;
    let mut large = request("t1");
    large.spec.resources.cpus = 40;
    let id = world.fuse.provision(large).await.unwrap().id.clone();
    world.fuse.wait_running(&id, SOON).await.unwrap();
    let refused = world.fuse.fork(&id, ForkRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Unavailable, "{refused}");
    assert_eq!(world.h1().snapshot_count(), 0);
}

#[tokio::test]
async fn a_snapshot_whose_answer_was_lost_is_found_again() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let lost = Effect::FailAfter(ProviderErrorKind::Unreachable, "reset".into());
    world.h1().inject(Fault::once(Verb::Snapshot, lost));
    world.fuse.create_snapshot(&id, SnapshotRequest::default()).await.unwrap_err();
    let page = world.fuse.snapshots(&Default::default(), None, None).unwrap();
    assert_eq!(page.items[0].state, SnapshotState::Creating);
    world.fuse.reconcile().await.unwrap();
    assert_eq!(world.fuse.snapshot(&page.items[0].id).unwrap().state, SnapshotState::Ready);
}

#[tokio::test]
async fn a_rotated_token_is_the_only_one_that_works() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let vm = world.fuse.get(&id).unwrap().vm.clone();
    let old = world.fuse.credentials(&id).await.unwrap();
    assert!(world.h1().takes_token(&vm, old.token().expose_secret()));
    world.fuse.rotate_token(&id).await.unwrap();
    let new = world.fuse.credentials(&id).await.unwrap();
    assert!(!world.h1().takes_token(&vm, old.token().expose_secret()));
    assert!(world.h1().takes_token(&vm, new.token().expose_secret()));
    let file = world.h1().vm(&vm).unwrap().files.get("/fuse/auth-token").cloned().unwrap();
    assert_eq!(file, new.token().expose_secret().as_bytes());
}

#[tokio::test]
async fn hosts_that_do_not_answer_keep_their_environments() {
    let world = World::new().await;
    let id = world.running("t1").await;
    world.h1().set_down(true);
    for _ in 0..5 {
        world.fuse.reconcile().await.unwrap();
    }
    let (known, host_record) = (world.fuse.get(&id).unwrap(), world.fuse.host(&host("h1")).unwrap());
    assert_eq!((known.state, known.observed), (EnvironmentState::Running, Observed::Unknown));
    assert_eq!(host_record.liveness.state, Liveness::Unreachable);
    let refused = world.fuse.provision(request("t2")).await.unwrap_err();
    assert!(refused.to_string().contains("1 not answering"), "{refused}");
    world.h1().set_down(false);
    world.fuse.reconcile().await.unwrap();
    let known = world.fuse.get(&id).unwrap();
    assert_eq!((known.state, known.observed), (EnvironmentState::Running, Observed::Present));
    world.running("t2").await;
}

#[tokio::test]
async fn one_dead_host_holds_up_no_other() {
    let world = World::new().await;
    world.running("t1").await;
    world.register("h2").await;
    world.stub.host("h2").inject(Fault::always(Verb::List, Effect::Hang));
    let vm = fuse_orchestrator::model::VmName::new("fuse-orphan").unwrap();
    world.h1().plant(&vm, world.fuse.owner());
    for _ in 0..2 {
        tokio::time::timeout(SOON, world.fuse.reconcile_host(&host("h1"))).await.unwrap().unwrap();
    }
    assert!(world.h1().vm(&vm).is_none(), "the orphan of the living host is gone");
}

#[tokio::test]
async fn registering_again_keeps_what_is_known() {
    let world = World::new().await;
    world.running("t1").await;
    world.fuse.cordon(&host("h1")).await.unwrap();
    let before = world.fuse.host(&host("h1")).unwrap();
    world.register("h1").await;
    let after = world.fuse.host(&host("h1")).unwrap();
    assert_eq!(
        (after.state, after.allocated, after.created_at),
        (before.state, before.allocated, before.created_at)
    );
}

#[tokio::test]
async fn a_host_in_use_is_removed_only_by_force() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let refused = world.fuse.remove_host(&host("h1"), Removal::Empty).await.unwrap_err();
    assert!(matches!(refused, Error::HostInUse { environments: 1, .. }), "{refused}");
    world.running("t2").await;
    world.h1().set_down(true);
    world.fuse.remove_host(&host("h1"), Removal::Forced).await.unwrap();
    assert_eq!(world.reason(&id).code, ReasonCode::HostRemoved);
    assert_eq!(world.fuse.get(&id).unwrap().state, EnvironmentState::Destroyed);
    assert!(matches!(world.fuse.host(&host("h1")), Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn terminals_and_uploads_reach_the_guest() {
    let world = World::new().await;
    let id = world.running("t1").await;
    let file = FileUpload { path: "/note".into(), content: b"hi there\n".to_vec(), mode: 0o644 };
    world.fuse.upload(&id, file).await.unwrap();
    let open = AttachRequest { argv: Vec::new(), rows: 24, cols: 80 };
    let mut terminal = world.fuse.attach(&id, open).await.unwrap();
    terminal.input.send(AttachInput::Stdin(b"cat /note\nexit 3\n".to_vec())).await.unwrap();
    assert_eq!(terminal.output.recv().await, Some(AttachOutput::Stdout(b"hi there\n".to_vec())));
    assert_eq!(terminal.output.recv().await, Some(AttachOutput::Exit(3)));
}

#[tokio::test]
async fn pages_follow_each_other_to_the_end() {
    let world = World::new().await;
    for number in 0..7 {
        world.running(&format!("t{number}")).await;
    }
    let (mut cursor, mut seen) = (None, Vec::new());
    loop {
        let page = world.fuse.list(&EnvironmentFilter::default(), Some(3), cursor.as_deref()).unwrap();
        seen.extend(page.items.iter().map(|environment| environment.task_id.to_string()));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["t0", "t1", "t2", "t3", "t4", "t5", "t6"]);
    let bad = world.fuse.list(&EnvironmentFilter::default(), None, Some("%")).unwrap_err();
    assert_eq!(bad.code(), ErrorCode::InvalidArgument);
}
