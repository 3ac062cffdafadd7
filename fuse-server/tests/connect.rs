//! `Orchestrator::connect` against a live server on loopback: what the scenarios over REST cannot show, since they have
//! no network between client and server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod support;

use std::time::Duration;

use fuse_orchestrator::{
    BlockingOrchestrator, Connect, Delivery, Error, ErrorCode, Orchestrator,
    model::{EnvironmentFilter, EnvironmentState, ProvisionRequest, Subject, TaskId},
    provider::{AttachInput, AttachOutput, AttachRequest, ExecRequest, LogSource},
};
use support::{Backend, Site, TOKEN, run};

const SOON: Duration = Duration::from_secs(60);

async fn site() -> (Site, Orchestrator) {
    let site = Site::start(Backend::Memory).await.unwrap();
    let fuse = Orchestrator::connect(&format!("http://{}", site.address), Some(TOKEN.into())).await.unwrap();
    (site, fuse)
}

fn request(task: &str) -> ProvisionRequest {
    ProvisionRequest::new(TaskId::new(task).unwrap())
}

#[test]
fn a_whole_life_over_the_network() {
    run(async {
        let (site, fuse) = site().await;
        let mut events = fuse.events(fuse.newest_event().await.unwrap());
        let accepted = fuse.provision(request("t 1/ü")).await.unwrap();
        assert_eq!(accepted.id.as_str(), "fuse-t 1/ü");
        let running = fuse.wait_running(&accepted.id, SOON).await.unwrap();
        assert_eq!(running.state, EnvironmentState::Running);
        assert!(running.timings.create_us.is_some());

        let output = fuse.exec_shell(&running.id, "echo hello").await.unwrap();
        assert_eq!((output.exit_code, output.stdout), (0, b"hello\n".to_vec()));
        let taken = fuse.provision(request("t 1/ü")).await.unwrap_err();
        assert!(matches!(taken, Error::TaskTaken { .. }), "{taken}");

        fuse.destroy(&running.id).await.unwrap();
        assert_eq!(fuse.get(&running.id).await.unwrap().state, EnvironmentState::Destroyed);
        let gone = fuse.destroy(&running.id).await.unwrap_err();
        assert_eq!(gone.code(), ErrorCode::NotFound);

        // Everything that happened arrives, in order and without a gap.
        let mut last = events.position();
        loop {
            let Some(Delivery::Event(event)) = events.next().await.unwrap() else { panic!("lost") };
            assert_eq!(event.sequence, last + 1);
            last = event.sequence;
            if event.state == Some(EnvironmentState::Destroyed) {
                break;
            }
        }
        site.stop().await;
    });
}

#[test]
fn a_terminal_over_the_network() {
    run(async {
        let (site, fuse) = site().await;
        let id = fuse.provision(request("t1")).await.unwrap().id.clone();
        let early = fuse.attach(&id, AttachRequest { argv: Vec::new(), rows: 24, cols: 80 }).await;
        if let Err(error) = early {
            assert!(matches!(error, Error::NotRunning { .. }), "{error}");
        }
        fuse.wait_running(&id, SOON).await.unwrap();
        let ask = |argv: &[&str]| AttachRequest {
            argv: argv.iter().map(ToString::to_string).collect(),
            rows: 9,
            cols: 100,
        };
        let mut session = fuse.attach(&id, ask(&[])).await.unwrap();
        session.input.send(AttachInput::Resize { rows: 40, cols: 120 }).await.unwrap();
        session.input.send(AttachInput::Stdin(b"echo typed\n".to_vec())).await.unwrap();
        let mut shown = Vec::new();
        while !String::from_utf8_lossy(&shown).contains("typed") {
            match tokio::time::timeout(SOON, session.output.recv()).await.unwrap() {
                Some(AttachOutput::Stdout(bytes)) => shown.extend(bytes),
                other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&shown)),
            }
        }
        // A program that ends while the user types: its output and its exit code still come, each time.
        for _ in 0..20 {
            let mut session = fuse.attach(&id, ask(&["echo", "quick"])).await.unwrap();
            let _ = session.input.send(AttachInput::Stdin(b"too late\n".to_vec())).await;
            let mut shown = Vec::new();
            let code = loop {
                match tokio::time::timeout(SOON, session.output.recv()).await.unwrap() {
                    Some(AttachOutput::Stdout(bytes)) => shown.extend(bytes),
                    Some(AttachOutput::Exit(code)) => break code,
                    None => panic!("no exit code after {:?}", String::from_utf8_lossy(&shown)),
                }
            };
            assert_eq!((code, String::from_utf8_lossy(&shown).trim()), (0, "quick"));
        }
        site.stop().await;
    });
}

#[test]
fn a_log_is_followed_to_its_end() {
    run(async {
        let (site, fuse) = site().await;
        let mut asked = request("t1");
        asked.startup_script = "echo from the script".to_owned();
        let id = fuse.provision(asked).await.unwrap().id.clone();
        fuse.wait_running(&id, SOON).await.unwrap();
        assert_eq!(fuse.logs(&id, LogSource::Startup).await.unwrap(), "from the script\n");
        let mut log = fuse.follow_logs(&id, LogSource::Startup).await.unwrap();
        assert_eq!(log.next().await.unwrap().as_deref(), Some("from the script\n"));
        fuse.destroy(&id).await.unwrap();
        assert_eq!(tokio::time::timeout(SOON, log.next()).await.unwrap().unwrap(), None);
        site.stop().await;
    });
}

#[test]
fn events_are_taken_up_after_a_restart_of_the_server() {
    run(async {
        // The same port again, so that the client finds it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        let site = Site::start_with(Backend::Sled, &[("listen", &listen)]).await.unwrap();
        let fuse = Orchestrator::connect(&format!("http://{listen}"), Some(TOKEN.into())).await.unwrap();
        let id = fuse.provision(request("t1")).await.unwrap().id.clone();
        fuse.wait_running(&id, SOON).await.unwrap();
        let mut events = fuse.events_about(Subject::Environment(id.clone()), 0);
        let Some(Delivery::Event(first)) = events.next().await.unwrap() else { panic!("lost") };
        assert_eq!(first.event.as_str(), "vm.provisioning");

        let site = site.restart().await;
        fuse.destroy(&id).await.unwrap();
        let mut seen = vec![first.sequence];
        loop {
            let delivery = tokio::time::timeout(SOON, events.next()).await.unwrap().unwrap();
            let Some(Delivery::Event(event)) = delivery else { panic!("lost") };
            assert!(
                seen.last().is_some_and(|last| event.sequence > *last),
                "{seen:?} then {}",
                event.sequence
            );
            seen.push(event.sequence);
            if event.state == Some(EnvironmentState::Destroyed) {
                break;
            }
        }
        // The list and the stream tell the same.
        let mut again = fuse.events_about(Subject::Environment(id), 0);
        let mut listed = Vec::new();
        while let Some(Delivery::Event(event)) = again.try_next().await.unwrap() {
            listed.push(event.sequence);
        }
        assert_eq!(listed, seen);
        site.stop().await;
    });
}

#[test]
fn the_token_decides() {
    run(async {
        let (site, fuse) = site().await;
        let url = format!("http://{}", site.address);
        for token in [None, Some("wrong")] {
            let mut connect = Connect::new(&url);
            if let Some(token) = token {
                connect = connect.token(token);
            }
            // Who answers is told to everybody; more is not.
            let stranger = connect.open().await.unwrap();
            let refused = stranger.hosts(None, None).await.unwrap_err();
            assert_eq!(refused.code(), ErrorCode::Unauthorized, "{refused}");
            assert!(!refused.to_string().contains("wrong"), "{refused}");
        }
        let made = fuse.create_api_key("ci", Default::default()).await.unwrap();
        let keyed = Connect::new(&url).token(made.secret.clone()).open().await.unwrap();
        keyed.list(&EnvironmentFilter::default(), None, None).await.unwrap();
        let refused = keyed.api_keys().await.unwrap_err();
        assert_eq!((refused.code(), refused.status()), (ErrorCode::Unauthorized, 403));
        fuse.revoke_api_key(&made.record.id).await.unwrap();
        let revoked = keyed.list(&EnvironmentFilter::default(), None, None).await.unwrap_err();
        assert_eq!(revoked.code(), ErrorCode::Unauthorized);
        site.stop().await;
    });
}

#[test]
fn bytes_that_are_no_text_come_back() {
    run(async {
        let (site, fuse) = site().await;
        let id = fuse.provision(request("t1")).await.unwrap().id.clone();
        fuse.wait_running(&id, SOON).await.unwrap();
        let content: Vec<u8> = (0..=255).collect();
        let file = fuse_orchestrator::provider::FileUpload {
            path: "/data".into(),
            content: content.clone(),
            mode: 0o600,
        };
        fuse.upload(&id, file).await.unwrap();
        let cat = ExecRequest { argv: vec!["cat".into(), "/data".into()], timeout: SOON };
        assert_eq!(fuse.exec(&id, cat).await.unwrap().stdout, content);
        site.stop().await;
    });
}

#[test]
fn without_async_too() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let site = runtime.block_on(Site::start(Backend::Memory)).unwrap();
    let fuse =
        BlockingOrchestrator::connect(&format!("http://{}", site.address), Some(TOKEN.into())).unwrap();
    let id = fuse.wait(fuse.provision(request("t1"))).unwrap().id.clone();
    assert_eq!(fuse.wait(fuse.wait_running(&id, SOON)).unwrap().state, EnvironmentState::Running);
    fuse.wait(fuse.destroy(&id)).unwrap();
    fuse.close().unwrap();
    runtime.block_on(site.stop());
}
