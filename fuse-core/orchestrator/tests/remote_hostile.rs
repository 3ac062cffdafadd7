//! Agents that are slow, broken or hostile: what the control plane makes of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod agent;

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agent::{Agent, Flavour, TOKEN};
use fuse_orchestrator::{
    model::{EnvironmentId, OwnerId, Resources, VmName, VmPrefix},
    provider::{
        AgentStart, AttachRequest, CreateRequest, ExecRequest, FileUpload, ForkVmRequest, LogSource,
        Provider, ProviderError, ProviderErrorKind as Kind, SnapshotOffer, SnapshotVmRequest, Verb,
        remote::RemoteLimits,
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What a raw agent does with a request.
#[derive(Debug, Clone)]
enum Manner {
    /// Writes these bytes and closes.
    Says(Vec<u8>),
    /// Writes these bytes and then stays silent.
    Stalls(Vec<u8>),
    /// Writes these bytes again and again.
    Floods(Vec<u8>, Vec<u8>),
    /// Closes with what was sent unread, which resets the connection.
    Resets,
}

/// An agent that answers every request in one manner, except the question what it can do.
struct Raw {
    url: String,
    requests: Arc<AtomicUsize>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.server.abort();
    }
}

const CAPACITY: &str = r#"{"cpus":4,"ram_mb":4096,"storage_gb":10,"arch":"amd64",
    "extensions":["owner","command","exec-stream","logs","delete-snapshot","file-mode"]}"#;

fn says(status: &str, kind: &str, body: &[u8]) -> Manner {
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    Manner::Says([head.as_bytes(), body].concat())
}

fn json(body: &str) -> Manner {
    says("200 OK", "application/json", body.as_bytes())
}

impl Raw {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, manner.clone(), Arc::clone(&count)));
            }
        });
        Self { url, requests, server }
    }

    fn provider(&self) -> Arc<dyn Provider> {
        agent::connect_with(&self.url, Some(TOKEN), None, impatient())
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn impatient() -> RemoteLimits {
    let short = Duration::from_millis(400);
    RemoteLimits {
        connect: short,
        query: short,
        create: short,
        change: short,
        exec_margin: short,
        answer: 64 * 1024,
        output: 64 * 1024,
        ..RemoteLimits::default()
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, count: Arc<AtomicUsize>) {
    let mut head = vec![0; 16 * 1024];
    let Ok(read) = stream.read(&mut head).await else { return };
    let text = String::from_utf8_lossy(&head[..read]).into_owned();
    assert!(!text.lines().next().unwrap_or_default().contains(TOKEN), "the token is in the address");
    if text.starts_with("GET /v1/capacity") {
        let Manner::Says(bytes) = json(CAPACITY) else { unreachable!() };
        let _ = stream.write_all(&bytes).await;
        return;
    }
    count.fetch_add(1, Ordering::SeqCst);
    match manner {
        Manner::Says(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            // What else was sent is read, so that the answer is not lost to a reset.
            let _ = tokio::time::timeout(Duration::from_secs(1), stream.read_to_end(&mut head)).await;
        }
        Manner::Stalls(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending().await
        }
        Manner::Floods(first, again) => {
            let _ = stream.write_all(&first).await;
            while stream.write_all(&again).await.is_ok() {}
        }
        Manner::Resets => stream.set_zero_linger().unwrap(),
    }
}

fn vm() -> VmName {
    VmName::new("fuse-t1-0123456789abcdef").unwrap()
}

fn create() -> CreateRequest {
    CreateRequest {
        name: vm(),
        owner: OwnerId::new("us").unwrap(),
        environment_id: EnvironmentId::new("fuse-t1").unwrap(),
        resources: Resources::default(),
        region: String::new(),
        image: String::new(),
        seed: None,
    }
}

const SECRET: &str = "secret-of-the-guest-agent";

fn start() -> AgentStart {
    AgentStart {
        auth_token: SECRET.into(),
        command: None,
        download_url: None,
        gateway: None,
        gateway_token: None,
        expose: Vec::new(),
    }
}

/// Every verb but the probe, and what each fails with.
async fn every_verb(host: &dyn Provider) -> BTreeMap<Verb, ProviderError> {
    let (owner, prefix, vm) = (OwnerId::new("us").unwrap(), VmPrefix::standard(), vm());
    let exec = ExecRequest::shell("true", Duration::from_millis(1));
    let file = FileUpload { path: "/fuse/x".into(), content: SECRET.into(), mode: 0o600 };
    let ask = SnapshotVmRequest { comment: "snap-1".into(), live: false };
    let fork =
        ForkVmRequest { source: VmName::new("source").unwrap(), artifact: "cp-1".into(), create: create() };
    let offer = SnapshotOffer {
        url: "http://192.0.2.7:8090".into(),
        certificate: None,
        artifact: "cp-1".into(),
        digest: "0".repeat(64),
        grant: SECRET.into(),
    };
    let terminal = AttachRequest { argv: Vec::new(), rows: 24, cols: 80 };
    let failed = [
        host.create(&create()).await.err(),
        host.list(&owner, &prefix).await.err(),
        host.get(&vm).await.err(),
        host.destroy(&vm).await.err(),
        host.upload(&vm, &file).await.err(),
        host.exec(&vm, &exec).await.err(),
        host.start_agent(&vm, &start()).await.err(),
        host.attach(&vm, &terminal).await.err(),
        host.logs(&vm, LogSource::Console, 100).await.err(),
        host.snapshot(&vm, &ask).await.err(),
        host.snapshots(&vm).await.err(),
        host.restore(&vm, "cp-1").await.err(),
        host.fork(&fork).await.err(),
        host.delete_snapshot(&vm, "cp-1").await.err(),
        host.fetch_snapshot("snap-1", &offer).await.err(),
    ];
    let failed: BTreeMap<_, _> = failed.into_iter().flatten().map(|error| (error.verb, error)).collect();
    for error in failed.values() {
        let text = format!("{error} {error:?}");
        assert!(!text.contains(TOKEN), "the token is in {text}");
        let was_sent = matches!(error.verb, Verb::Upload | Verb::StartAgent | Verb::FetchSnapshot);
        assert!(!was_sent || !text.contains(SECRET), "a secret is in {text}");
        assert!(text.len() < 4_000, "an error of {} bytes", text.len());
    }
    failed
}

/// Every verb fails in this way; those that are named may succeed.
async fn all_fail(manner: Manner, kind: Kind, but: &[Verb]) -> usize {
    let raw = Raw::start(manner).await;
    let host = raw.provider();
    let failed = every_verb(&*host).await;
    for verb in Verb::ALL.into_iter().filter(|verb| *verb != Verb::Probe) {
        match failed.get(&verb) {
            Some(error) => {
                assert!(error.kind == kind || but.contains(&verb), "{verb}: {:?}: {error}", error.kind)
            }
            None => assert!(but.contains(&verb), "{verb} succeeded"),
        }
    }
    raw.requests()
}

/// 15 verbs; seven of them may be sent again, twice.
const VERBS: usize = 15;
const REPEATABLE: usize = 7;

#[tokio::test]
async fn a_reset_at_any_verb_leaves_it_open_whether_it_happened() {
    let requests = all_fail(Manner::Resets, Kind::Unreachable, &[]).await;
    // What is not safe to repeat is sent once.
    assert_eq!(requests, VERBS + 2 * REPEATABLE);
}

#[tokio::test]
async fn silence_at_any_verb_ends_in_time() {
    let requests = all_fail(Manner::Stalls(Vec::new()), Kind::TimedOut, &[]).await;
    assert_eq!(requests, VERBS, "a verb whose time is over is not tried again");
}

#[tokio::test]
async fn an_answer_that_stalls_in_the_middle_ends_in_time() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"vm_id\":";
    all_fail(Manner::Stalls(head.to_vec()), Kind::TimedOut, &[Verb::Attach]).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"vm_id\":\"fuse";
    all_fail(Manner::Says(head.to_vec()), Kind::Unreachable, &[Verb::Attach]).await;
}

#[tokio::test]
async fn an_endless_answer_is_not_read_on() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = [b"1000\r\n".as_slice(), &[b' '; 4096], b"\r\n"].concat();
    all_fail(Manner::Floods(head.to_vec(), chunk), Kind::Unreachable, &[Verb::Attach]).await;
}

#[tokio::test]
async fn an_endless_error_is_not_read_on() {
    let head = b"HTTP/1.1 500 No\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = [b"1000\r\n".as_slice(), &[b'x'; 4096], b"\r\n"].concat();
    all_fail(Manner::Floods(head.to_vec(), chunk), Kind::Failed, &[]).await;
}

#[tokio::test]
async fn endless_headers_are_not_read_on() {
    let line = [b"x: ".as_slice(), &[b'y'; 4096], b"\r\n"].concat();
    all_fail(Manner::Floods(b"HTTP/1.1 200 OK\r\n".to_vec(), line), Kind::Unreachable, &[]).await;
}

/// Verbs whose answer has nothing to read.
const BLIND: [Verb; 4] = [Verb::Destroy, Verb::DeleteSnapshot, Verb::Logs, Verb::Attach];

#[tokio::test]
async fn what_is_not_json_is_no_answer() {
    for manner in [
        says("200 OK", "text/html", b"<html>sign in to the network</html>"),
        says("200 OK", "application/json", b"{\"vm_id\": "),
        says("200 OK", "application/json", b"[]"),
        says("200 OK", "application/json", b"\xff\xfe"),
        says("200 OK", "application/json", b""),
        json(r#"{"vm_id":7,"url":{},"snapshot_id":[],"vms":{},"snapshots":1,"exit_code":"0","endpoints":3}"#),
    ] {
        all_fail(manner, Kind::Unreachable, &BLIND).await;
    }
}

#[tokio::test]
async fn what_is_not_http_is_no_answer() {
    all_fail(Manner::Says(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), Kind::Unreachable, &[]).await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Raw::start(json(r#"{"vm_id":"fuse-t1-0123456789abcdef","url":"x"}"#)).await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let text =
            format!("HTTP/1.1 {status}\r\nlocation: {}/v1/vm\r\ncontent-length: 0\r\n\r\n", elsewhere.url);
        all_fail(Manner::Says(text.into_bytes()), Kind::Failed, &[]).await;
    }
    assert_eq!(elsewhere.requests(), 0, "the token went elsewhere");
}

#[tokio::test]
async fn statuses_mean_what_they_say() {
    for (status, kind, but) in [
        ("401 Unauthorized", Kind::Unauthorized, &[][..]),
        ("403 Forbidden", Kind::Unauthorized, &[]),
        ("400 Bad Request", Kind::Refused, &[]),
        ("413 Too Large", Kind::Refused, &[]),
        ("501 Not Implemented", Kind::Unsupported, &[]),
        ("405 Method Not Allowed", Kind::Unsupported, &[]),
        ("503 Unavailable", Kind::Busy, &[]),
        ("429 Too Many", Kind::Busy, &[]),
        ("502 Bad Gateway", Kind::Unreachable, &[]),
        ("500 Internal", Kind::Failed, &[]),
        (
            "404 Not Found",
            Kind::NotFound,
            &[Verb::Destroy, Verb::DeleteSnapshot, Verb::Snapshots, Verb::Create],
        ),
        ("409 Conflict", Kind::AlreadyExists, &[Verb::Attach]),
    ] {
        // The words of the agent repeat what it was sent; the error does not.
        let body = format!("no: {TOKEN} {SECRET}");
        let manner = says(status, "text/plain", body.as_bytes());
        if kind == Kind::AlreadyExists {
            let raw = Raw::start(manner).await;
            let failed = every_verb(&*raw.provider()).await;
            assert_eq!(failed[&Verb::Create].kind, Kind::AlreadyExists);
            assert_eq!(failed[&Verb::Fork].kind, Kind::AlreadyExists);
            assert_eq!(failed[&Verb::Restore].kind, Kind::Busy);
            continue;
        }
        all_fail(manner, kind, but).await;
    }
}

#[tokio::test]
async fn an_answer_about_another_vm_is_not_believed() {
    let raw = Raw::start(json(r#"{"vm_id":"fuse-other-0123456789abcdef","url":"http://x"}"#)).await;
    let host = raw.provider();
    for error in [host.create(&create()).await.unwrap_err(), host.get(&vm()).await.unwrap_err()] {
        assert_eq!(error.kind, Kind::Unreachable, "{error}");
        assert!(error.message.contains("another VM"), "{error}");
    }
}

#[tokio::test]
async fn a_list_counts_each_vm_once_and_none_that_is_not_meant() {
    let list = r#"{"keeps_owner":true,"vms":[
        {"vm_id":"fuse-a","url":"1","owner":"us"},{"vm_id":"fuse-a","url":"2","owner":"us"},
        {"vm_id":"elsewhere","owner":"us"},{"vm_id":"fuse-b","owner":"them"},{"vm_id":"fuse-c"},
        {"vm_id":"other-d","owner":"them"},{"vm_id":"../../etc","owner":"us"},{"vm_id":"","owner":"us"}]}"#;
    let listed = Raw::start(json(list)).await.provider_list().await;
    let told: Vec<_> =
        listed.iter().map(|vm| (vm.name.as_str(), vm.owner.as_ref().map(OwnerId::as_str))).collect();
    assert_eq!(
        told,
        [
            ("elsewhere", Some("us")),
            ("fuse-a", Some("us")),
            ("fuse-b", Some("them")),
            // On a host that keeps tags, a VM without one is nobody's, whatever its name.
            ("fuse-c", Some("nobody")),
        ]
    );
    let untagged = r#"{"vms":[{"vm_id":"fuse-a"},{"vm_id":"other-b"}]}"#;
    let listed = Raw::start(json(untagged)).await.provider_list().await;
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].name.as_str(), &listed[0].owner), ("fuse-a", &None));
}

impl Raw {
    async fn provider_list(&self) -> Vec<fuse_orchestrator::provider::VmFacts> {
        self.provider().list(&OwnerId::new("us").unwrap(), &VmPrefix::standard()).await.unwrap()
    }
}

#[tokio::test]
async fn a_terminal_that_is_not_one_is_refused() {
    for bytes in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"[..],
        b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ] {
        let raw = Raw::start(Manner::Says(bytes.to_vec())).await;
        let request = AttachRequest { argv: Vec::new(), rows: 24, cols: 80 };
        let error = raw.provider().attach(&vm(), &request).await.unwrap_err();
        assert_eq!(error.kind, Kind::Failed, "{error}");
    }
}

#[tokio::test]
async fn a_terminal_that_talks_nonsense_ends() {
    let head = b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: fuse-attach/1\r\n\r\n";
    for nonsense in [&b"\x01\0\0\0\xff\xff\xff\xff"[..], b"\x04\0\0\0\0\0\0\x01x", b"\x01\0\0"] {
        let raw = Raw::start(Manner::Says([head, nonsense].concat())).await;
        let request = AttachRequest { argv: Vec::new(), rows: 24, cols: 80 };
        let mut session = raw.provider().attach(&vm(), &request).await.unwrap();
        let next = tokio::time::timeout(Duration::from_secs(20), session.output.recv()).await.unwrap();
        assert_eq!(next, None, "{nonsense:?}");
    }
}

/// A request that never left is sent again, whatever it is.
#[tokio::test]
async fn an_agent_that_restarts_is_found_again() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let host = agent::connect(&format!("http://{address}"), Some(TOKEN), None);
    let making = tokio::spawn(async move { host.create(&create()).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let stub = fuse_orchestrator::provider::stub::StubHost::new("h", Default::default());
    let _agent = Agent::on(TcpListener::bind(address).await.unwrap(), stub.clone(), Flavour::Ours);
    making.await.unwrap().unwrap();
    assert_eq!(stub.calls(Verb::Create), 1);
}

#[tokio::test]
async fn nobody_at_the_address_is_unreachable() {
    let reserved = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = reserved.local_addr().unwrap();
    drop(reserved);
    let host = agent::connect_with(&format!("http://{address}"), Some(TOKEN), None, impatient());
    for error in every_verb(&*host).await.values() {
        assert_eq!(error.kind, Kind::Unreachable, "{error}");
    }
}

#[tokio::test]
async fn the_wrong_token_is_told_from_no_answer() {
    let agent = Agent::start(Flavour::Ours).await;
    for token in [None, Some("a-wrong-token-altogether")] {
        let host = agent::connect(&agent.url(), token, None);
        let error = host.probe().await.unwrap_err();
        assert_eq!(error.kind, Kind::Unauthorized, "{error}");
        assert!(!format!("{error} {host:?}").contains("a-wrong-token"), "{error}");
    }
}

#[tokio::test]
async fn only_the_pinned_certificate_is_believed() {
    let agent = Agent::start_tls().await;
    agent.provider().probe().await.unwrap();
    let another = Agent::start_tls().await;
    for (pin, why) in [(another.pin, "not the pinned one"), (None, "certificate")] {
        let host = agent::connect_with(&agent.url(), Some(TOKEN), pin, impatient());
        let error = host.probe().await.unwrap_err();
        assert_eq!(error.kind, Kind::Unreachable, "{error}");
        assert!(error.message.contains(why), "{error}");
    }
}
