//! The workload, drain, and the health check.

use std::fs;

use fuse_guest_protocol::{
    client::Client,
    verb::{
        Drain, HealthState, LogSource, Logs, StartWorkload, StopWorkload, WorkloadFacts, WorkloadState,
        WorkloadStatus,
    },
};
use rustix::process::{Pid, Signal, kill_process};

use crate::guest::{Fused, alive, token, until};

async fn start(client: &Client, line: &str) -> WorkloadFacts {
    client.call(&StartWorkload { command: Some(line.into()), ..StartWorkload::default() }).await.unwrap()
}

async fn log(client: &Client) -> String {
    let mut log = client.logs(&Logs::of(LogSource::Workload)).await.unwrap();
    let mut text = Vec::new();
    while let Some(bytes) = log.next().await.unwrap() {
        text.extend(bytes);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn the_workload_runs_with_its_gateway_and_outlives_its_host() {
    let fused =
        Fused::start_with(&[], |fuse| fs::write(fuse.join("env"), "GREETING='it'\\''s me'\n").unwrap());
    let client = fused.host().await;
    assert_eq!(client.call(&WorkloadStatus {}).await.unwrap(), WorkloadFacts::default());
    let request = StartWorkload {
        vm_id: Some("vm-1".into()),
        command: Some(
            "echo $GREETING $FUSE_VM_ID $FUSE_GATEWAY_URL $FUSE_GATEWAY_TOKEN; exec sleep 1000".into(),
        ),
        gateway: Some("http://gateway".into()),
        gateway_token: Some(token("the-token-of-the-gateway")),
        ..StartWorkload::default()
    };
    let facts = client.call(&request).await.unwrap();
    assert_eq!(facts.state, WorkloadState::Running);
    let expected = "it's me vm-1 http://gateway the-token-of-the-gateway\n";
    until("the workload has written", async || log(&client).await == expected).await;
    assert_eq!(client.info().await.unwrap().vm_id, "vm-1");

    drop(client);
    let client = fused.host().await;
    let again = client.call(&request).await.unwrap();
    assert_eq!(again.pid, facts.pid, "the same command is left alone");
    let other = start(&client, "exec sleep 2000").await;
    assert_ne!(other.pid, facts.pid);
    assert!(!alive(&facts.pid.unwrap().to_string()));
}

#[tokio::test]
async fn stopping_is_gentle_first() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    start(&client, "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done").await;
    until("it is up", async || log(&client).await == "up\n").await;
    let facts = client.call(&StopWorkload::default()).await.unwrap();
    assert_eq!((facts.state, facts.exit_code), (WorkloadState::Exited, Some(3)));
    // The shell may have something to say about its `sleep`, which gets the signal too.
    let text = log(&client).await;
    assert!(text.starts_with("up\n") && text.contains("bye\n"), "{text}");

    start(&client, "trap '' TERM; echo deaf; while :; do sleep 0.05; done").await;
    until("it is up", async || log(&client).await.ends_with("deaf\n")).await;
    let facts = client.call(&StopWorkload { grace_ms: 100 }).await.unwrap();
    assert_eq!((facts.state, facts.exit_code), (WorkloadState::Exited, Some(137)));
}

#[tokio::test]
async fn a_drain_runs_its_command_and_then_ends_the_workload() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let facts = start(&client, "exec sleep 1000").await;
    let command = Some("echo flushing; exit 4".into());
    let drained = client.call(&Drain { command, timeout_ms: 20_000 }).await.unwrap();
    assert_eq!((drained.exit_code, drained.output.as_str()), (4, "flushing\n"));
    assert_eq!(drained.workload.state, WorkloadState::Exited);
    assert!(!alive(&facts.pid.unwrap().to_string()));

    let slow = Drain { command: Some("echo begun; sleep 1000".into()), timeout_ms: 300 };
    let drained = client.call(&slow).await.unwrap();
    assert_eq!((drained.exit_code, drained.output.as_str()), (124, "begun\n"));
}

#[tokio::test]
async fn sigterm_drains_an_agent_that_stays_and_ends_another() {
    for (options, stays) in [(&["--stay"][..], true), (&[][..], false)] {
        let mut fused = Fused::start(options);
        let client = fused.host().await;
        start(&client, "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done").await;
        until("it is up", async || log(&client).await == "up\n").await;
        kill_process(Pid::from_raw(fused.pid()).unwrap(), Signal::TERM).unwrap();
        if stays {
            until("the workload ends", async || {
                client.call(&WorkloadStatus {}).await.unwrap().state == WorkloadState::Exited
            })
            .await;
            assert!(fused.runs());
        } else {
            until("the agent ends", async || !fused.runs()).await;
        }
    }
}

#[tokio::test]
async fn a_followed_log_goes_on() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    let gate = fused.path("gate");
    start(&client, &format!("echo one; while [ ! -e {gate} ]; do sleep 0.02; done; echo two")).await;
    let mut log = client.logs(&Logs { follow: true, ..Logs::of(LogSource::Workload) }).await.unwrap();
    assert_eq!(log.next().await.unwrap().unwrap(), b"one\n");
    fs::write(gate, "").unwrap();
    assert_eq!(log.next().await.unwrap().unwrap(), b"two\n");
}

#[tokio::test]
async fn the_health_check_reports_passing_and_failing() {
    let fused = Fused::start(&[]);
    let client = fused.host().await;
    assert_eq!(client.health().await.unwrap().healthcheck, HealthState::None);
    let good = fused.path("good");
    fs::write(&good, "").unwrap();
    let check = format!(r#"{{"exec":["test","-e","{good}"],"interval_seconds":1,"retries":2}}"#);
    let upload = fuse_guest_protocol::verb::Upload {
        path: fused.file("healthcheck.json").to_str().unwrap().into(),
        mode: 0o600,
        size: None,
    };
    client.upload_bytes(&upload, check.as_bytes()).await.unwrap();
    let state = async || client.health().await.unwrap().healthcheck;
    until("it passes", async || state().await == HealthState::Passing).await;
    fs::remove_file(&good).unwrap();
    until("it fails", async || state().await == HealthState::Failing).await;
    let verdict: serde_json::Value =
        serde_json::from_slice(&fs::read(fused.file("health.json")).unwrap()).unwrap();
    assert_eq!(verdict["state"], "failing");
    assert!(verdict["failures"].as_u64() >= Some(2) && verdict["message"] == "exit code 1", "{verdict}");
    fs::write(&good, "").unwrap();
    until("it passes again", async || state().await == HealthState::Passing).await;

    client.upload_bytes(&upload, b"{}").await.unwrap();
    until("nonsense is reported", async || state().await == HealthState::Failing).await;
}
