//! A control plane over hosts behind agents: registration, whose VMs are whose, what an older agent lacks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod agent;
mod common;

use std::time::Duration;

use agent::{Agent, Flavour, TOKEN};
use common::{SOON, eventually, host, request};
use fuse_orchestrator::{
    Config, ControlPlane, Error, HostRegistration,
    model::{Capacity, EnvironmentState, ForkRequest, Liveness, OwnerId, SnapshotRequest, VmName},
    provider::{
        AttachInput, AttachOutput, AttachRequest, FileUpload, LogSource, ProviderErrorKind, Verb,
        stub::{Effect, Fault},
    },
};

async fn open() -> ControlPlane {
    open_with(|_| {}).await
}

async fn open_with(adjust: impl FnOnce(&mut Config)) -> ControlPlane {
    let mut config = Config { reconcile_period: None, ..Config::default() };
    config.limits.sighting_gap = Duration::ZERO;
    config.limits.orphan_grace = Duration::ZERO;
    adjust(&mut config);
    ControlPlane::builder().config(config).open().await.unwrap()
}

fn registration(agent: &Agent) -> HostRegistration {
    HostRegistration {
        url: agent.url(),
        token: Some(TOKEN.into()),
        certificate: agent.pin,
        capacity: Capacity { vm_count: 20, ..Capacity::default() },
        ..HostRegistration::default()
    }
}

/// The whole life of an environment, with everything that is done in guests.
async fn whole_life(agent: &Agent) -> ControlPlane {
    let fuse = open().await;
    fuse.register_host(&host("remote"), registration(agent)).await.unwrap();
    let mut wanted = request("Task_1");
    wanted.startup_script = "echo hello > /greeting".into();
    wanted.agent.command = Some("serve".into());
    wanted.secrets.insert("password".into(), "correct horse".into());
    let accepted = fuse.provision(wanted).await.unwrap();
    let running = fuse.wait_running(&accepted.id, SOON).await.unwrap();
    let id = &running.id;
    let read = |line: &'static str| {
        let (fuse, id) = (fuse.clone(), id.clone());
        async move { fuse.exec_shell(&id, line).await.unwrap().stdout }
    };
    assert_eq!(read("cat /greeting").await, b"hello\n");
    let token = fuse.credentials(id).await.unwrap();
    assert!(agent.stub.takes_token(&running.vm, secrecy::ExposeSecret::expose_secret(token.token())));
    let snapshot = fuse.create_snapshot(id, SnapshotRequest::default()).await.unwrap();
    let file = FileUpload { path: "/greeting".into(), content: b"changed\n".to_vec(), mode: 0o644 };
    fuse.upload(id, file).await.unwrap();
    assert_eq!(read("cat /greeting").await, b"changed\n");
    let forked = fuse.fork(id, ForkRequest::default()).await.unwrap();
    fuse.wait_running(&forked.id, SOON).await.unwrap();
    fuse.restore_snapshot(&snapshot.id).await.unwrap();
    assert_eq!(read("cat /greeting").await, b"hello\n");
    let mut terminal = fuse.attach(id, AttachRequest { argv: Vec::new(), rows: 24, cols: 80 }).await.unwrap();
    terminal.input.send(AttachInput::Stdin(b"echo typed\nexit 4\n".to_vec())).await.unwrap();
    let mut shown = Vec::new();
    while let Some(item) = terminal.output.recv().await {
        shown.push(item);
    }
    assert_eq!(shown, [AttachOutput::Stdout(b"typed\n".to_vec()), AttachOutput::Exit(4)]);
    fuse.rotate_token(id).await.unwrap();
    fuse.drain(id).await.unwrap();
    for id in [id, &forked.id] {
        fuse.destroy(id).await.unwrap();
    }
    assert!(agent.stub.vms().is_empty());
    assert_eq!(fuse.host(&host("remote")).unwrap().allocated, Capacity::default());
    fuse
}

#[tokio::test]
async fn an_environment_lives_its_whole_life_behind_our_agent() {
    let agent = Agent::start_tls().await;
    let fuse = whole_life(&agent).await;
    let id = fuse.environment_of("Task_1");
    let ended = fuse.get(&id).unwrap();
    assert_eq!(ended.warnings, Vec::<String>::new());
    assert_eq!(agent.stub.calls(Verb::StartAgent), 4);
    // A snapshot's bytes are freed.
    let snapshot = fuse.snapshots(&Default::default(), None, None).unwrap().items;
    for one in &snapshot {
        fuse.delete_snapshot(&one.id).await.unwrap();
    }
    assert_eq!(agent.stub.snapshot_count(), 0);
}

#[tokio::test]
async fn an_environment_lives_its_whole_life_behind_the_original_agent() {
    let agent = Agent::start(Flavour::Original).await;
    let fuse = whole_life(&agent).await;
    let ended = fuse.get(&fuse.environment_of("Task_1")).unwrap();
    assert!(ended.warnings.iter().any(|text| text.contains("command does not run")), "{:?}", ended.warnings);
    // Its agent cannot delete a snapshot; the record goes and the event says that the bytes stay.
    let snapshot = fuse.snapshots(&Default::default(), None, None).unwrap().items.remove(0);
    fuse.delete_snapshot(&snapshot.id).await.unwrap();
    assert!(agent.stub.snapshot_count() > 0);
    let error = fuse.logs(&ended.id, LogSource::Agent).await;
    assert_eq!(error, Ok(String::new()), "an ended environment has what was kept");
}

trait Named {
    fn environment_of(&self, task: &str) -> fuse_orchestrator::model::EnvironmentId;
}

impl Named for ControlPlane {
    fn environment_of(&self, task: &str) -> fuse_orchestrator::model::EnvironmentId {
        format!("fuse-{task}").parse().unwrap()
    }
}

#[tokio::test]
async fn a_registration_asks_the_agent_for_what_was_not_declared() {
    let agent = Agent::start(Flavour::Original).await;
    let fuse = open().await;
    let known = fuse.register_host(&host("remote"), registration(&agent)).await.unwrap();
    assert_eq!((known.capacity.cpus, known.capacity.vm_count), (64, 20));
    assert_eq!(known.backend, "firecracker");
    let error = fuse
        .register_host(
            &host("no-slots"),
            HostRegistration { capacity: Capacity::default(), ..registration(&agent) },
        )
        .await
        .unwrap_err();
    assert!(error.to_string().contains("capacity.vm_count"), "{error}");
    let first = Agent::start(Flavour::First).await;
    let error = fuse.register_host(&host("first"), registration(&first)).await.unwrap_err();
    assert!(error.to_string().contains("capacity.cpus"), "it does not say what it has: {error}");
    let capacity = Capacity { cpus: 4, ram_mb: 4_096, storage_gb: 10, vm_count: 4 };
    fuse.register_host(&host("first"), HostRegistration { capacity, ..registration(&first) }).await.unwrap();
}

#[tokio::test]
async fn a_registration_tells_a_wrong_token_from_no_answer() {
    let agent = Agent::start(Flavour::Ours).await;
    let fuse = open().await;
    let wrong = HostRegistration { token: Some("not-the-token-of-it".into()), ..registration(&agent) };
    let capacity = Capacity { cpus: 4, ram_mb: 4_096, storage_gb: 10, vm_count: 4 };
    // However much is declared.
    let declared = HostRegistration { capacity, ..wrong };
    let error = fuse.register_host(&host("remote"), declared.clone()).await.unwrap_err();
    assert!(matches!(&error, Error::Provider(e) if e.kind == ProviderErrorKind::Unauthorized), "{error}");
    assert!(!error.to_string().contains("not-the-token"), "{error}");
    let url = agent.url();
    drop(agent);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let known = fuse.register_host(&host("remote"), HostRegistration { url, ..declared }).await.unwrap();
    assert!(known.warnings.iter().any(|text| text.contains("did not answer")), "{:?}", known.warnings);
    for bad in ["http://user:pass@h:1", "http://h:1/?q", "http://", "http://h:0"] {
        let bad = HostRegistration { url: bad.into(), ..HostRegistration::default() };
        let error = fuse.register_host(&host("bad"), bad).await.unwrap_err();
        assert!(!error.to_string().contains("pass@"), "{error}");
    }
}

// ---- whose VMs are whose

#[tokio::test]
async fn two_control_planes_share_our_agent_in_peace() {
    let agent = Agent::start(Flavour::Ours).await;
    let (one, two) = (open().await, open().await);
    for fuse in [&one, &two] {
        fuse.register_host(&host("shared"), registration(&agent)).await.unwrap();
        let id = fuse.provision(request("same")).await.unwrap().id.clone();
        fuse.wait_running(&id, SOON).await.unwrap();
    }
    for _ in 0..3 {
        for fuse in [&one, &two] {
            let report = fuse.reconcile().await.unwrap().remove(0).1;
            assert_eq!(report.foreign, 1, "it sees the other's VM and leaves it alone");
        }
    }
    assert_eq!(agent.stub.vms().len(), 2);
}

#[tokio::test]
async fn an_agent_without_owner_tags_is_refused_to_a_second_owner() {
    let agent = Agent::start(Flavour::Original).await;
    let (one, two) = (open().await, open().await);
    one.register_host(&host("shared"), registration(&agent)).await.unwrap();
    let id = one.provision(request("t1")).await.unwrap().id.clone();
    one.wait_running(&id, SOON).await.unwrap();
    let error = two.register_host(&host("shared"), registration(&agent)).await.unwrap_err();
    assert!(error.to_string().contains("keeps no owner tags"), "{error}");
    // Registering again is no stranger's, and neither is another prefix.
    one.register_host(&host("shared"), registration(&agent)).await.unwrap();
    let other = open_with(|config| config.prefix = "other-".parse().unwrap()).await;
    other.register_host(&host("shared"), registration(&agent)).await.unwrap();
    // Nor is the same host under a second name, which would count it twice.
    let error = one.register_host(&host("again"), registration(&agent)).await.unwrap_err();
    assert!(error.to_string().contains("keeps no owner tags"), "{error}");
}

#[tokio::test]
async fn vms_that_carry_no_tag_are_nobodys_on_a_host_that_keeps_tags() {
    let agent = Agent::start(Flavour::Ours).await;
    let fuse = open().await;
    fuse.register_host(&host("shared"), registration(&agent)).await.unwrap();
    let theirs = VmName::new("fuse-made-by-the-original").unwrap();
    agent.stub.plant(&theirs, &OwnerId::new("untagged").unwrap());
    for _ in 0..4 {
        fuse.reconcile().await.unwrap();
    }
    assert_eq!(agent.stub.vms(), [theirs]);
}

// ---- weak spots of the original that touch the client of the agent

#[tokio::test]
async fn spot_18_a_host_that_isolates_nothing_says_so() {
    let fuse = ControlPlane::in_memory().await.unwrap();
    let stub = fuse.host(&host("default")).unwrap();
    assert!(stub.warnings.iter().any(|text| text.contains("isolates nothing")), "{:?}", stub.warnings);
    let agent = Agent::start(Flavour::Ours).await;
    let real = fuse.register_host(&host("remote"), registration(&agent)).await.unwrap();
    assert_eq!(real.warnings, Vec::<String>::new());
}

#[tokio::test]
async fn spot_25_tokens_cross_the_network_encrypted_or_with_a_warning() {
    let fuse = open().await;
    let capacity = Capacity { cpus: 4, ram_mb: 4_096, storage_gb: 10, vm_count: 4 };
    let clear = HostRegistration {
        // An address that is set aside for documentation: nobody answers there.
        url: "http://192.0.2.1:8090".into(),
        token: Some(TOKEN.into()),
        capacity,
        ..HostRegistration::default()
    };
    let known = fuse.register_host(&host("clear"), clear).await.unwrap();
    assert!(known.warnings.iter().any(|text| text.contains("in the clear")), "{:?}", known.warnings);

    let agent = Agent::start_tls().await;
    let known = fuse.register_host(&host("pinned"), registration(&agent)).await.unwrap();
    assert_eq!((known.certificate, known.warnings), (agent.pin, Vec::new()));
    // The same host with another certificate: whoever answers there now gets nothing.
    let other = Agent::start_tls().await;
    let moved = HostRegistration { url: other.url(), ..registration(&agent) };
    let error = fuse.register_host(&host("moved"), moved).await.unwrap_err();
    assert!(error.to_string().contains("not the pinned one"), "{error}");
    assert_eq!(other.stub.calls(Verb::Probe), 0);
}

#[tokio::test]
async fn spot_25_the_pin_survives_a_restart() {
    let agent = Agent::start_tls().await;
    let store: fuse_orchestrator::store::SharedStore =
        std::sync::Arc::new(fuse_orchestrator::store::MemoryStore::new());
    let keys = std::sync::Arc::new(fuse_orchestrator::secrets::KeyRing::generate().unwrap());
    let config = Config { reconcile_period: None, ..Config::default() };
    let open = || async {
        let builder = ControlPlane::builder().config(config.clone()).store(store.clone());
        builder.secrets(keys.clone()).open().await.unwrap()
    };
    let first = open().await;
    first.register_host(&host("pinned"), registration(&agent)).await.unwrap();
    first.halt().await;
    let second = open().await;
    let id = second.provision(request("t1")).await.unwrap().id.clone();
    second.wait_running(&id, SOON).await.unwrap();
    assert_eq!(agent.stub.vms().len(), 1);
}

#[tokio::test]
async fn spot_27_a_hiccup_of_the_agent_is_ridden_out() {
    let agent = Agent::start(Flavour::Ours).await;
    let fuse = open().await;
    fuse.register_host(&host("remote"), registration(&agent)).await.unwrap();
    let busy = || Effect::Fail(ProviderErrorKind::Busy, "not now".into());
    agent.stub.inject(Fault { times: 2, ..Fault::once(Verb::Upload, busy()) });
    let id = fuse.provision(request("t1")).await.unwrap().id.clone();
    fuse.wait_running(&id, SOON).await.unwrap();
    agent.stub.inject(Fault { times: 2, ..Fault::once(Verb::List, busy()) });
    assert!(fuse.reconcile().await.unwrap().remove(0).1.answered);
    agent.stub.inject(Fault { times: 2, ..Fault::once(Verb::Destroy, busy()) });
    fuse.destroy(&id).await.unwrap();
}

#[tokio::test]
async fn spot_27_what_must_not_happen_twice_is_not_repeated() {
    let agent = Agent::start(Flavour::Ours).await;
    let fuse = open().await;
    fuse.register_host(&host("remote"), registration(&agent)).await.unwrap();
    let id = fuse.provision(request("t1")).await.unwrap().id.clone();
    fuse.wait_running(&id, SOON).await.unwrap();
    let before = agent.stub.calls(Verb::Exec);
    agent.stub.inject(Fault::once(Verb::Exec, Effect::Fail(ProviderErrorKind::Busy, "not now".into())));
    fuse.exec_shell(&id, "echo once").await.unwrap_err();
    assert_eq!(agent.stub.calls(Verb::Exec), before + 1);
}

#[tokio::test]
async fn an_agent_that_goes_away_and_comes_back_keeps_its_environments() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stub = fuse_orchestrator::provider::stub::StubHost::new(
        "h",
        Capacity { cpus: 8, ram_mb: 8_192, storage_gb: 50, vm_count: 8 },
    );
    let agent = Agent::on(listener, stub.clone(), Flavour::Ours);
    let fuse = open().await;
    fuse.register_host(&host("remote"), registration(&agent)).await.unwrap();
    let id = fuse.provision(request("t1")).await.unwrap().id.clone();
    fuse.wait_running(&id, SOON).await.unwrap();
    drop(agent);
    tokio::time::sleep(Duration::from_millis(50)).await;
    for _ in 0..3 {
        fuse.reconcile().await.unwrap();
    }
    assert_eq!(fuse.host(&host("remote")).unwrap().liveness.state, Liveness::Unreachable);
    assert_eq!(fuse.get(&id).unwrap().state, EnvironmentState::Running);
    let _agent = Agent::on(tokio::net::TcpListener::bind(address).await.unwrap(), stub, Flavour::Ours);
    fuse.reconcile().await.unwrap();
    assert_eq!(fuse.host(&host("remote")).unwrap().liveness.state, Liveness::Ready);
    fuse.destroy(&id).await.unwrap();
    eventually(|| fuse.host(&host("remote")).unwrap().allocated.vm_count == 0).await;
}
