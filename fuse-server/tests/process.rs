//! A server as a process of its own: killed under load, with thousands of streams, and its every output searched for
//! secrets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod support;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use support::{Reply, Stream, TOKEN, client::request, postgres, run, site::resolve};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, BufReader},
    process::{Child, Command},
};

/// Names the variable that turns this test program into a server.
const SETTINGS: &str = "FUSE_TEST_SERVER";

/// Not a test: the server itself, when the variable is set.
#[test]
#[ignore = "the server that the others start"]
fn server() {
    let Ok(text) = std::env::var(SETTINGS) else { return };
    let pairs: Vec<(String, String)> = serde_json::from_str(&text).expect("settings");
    let settings = resolve(&pairs);
    fuse_server::start_logging(settings.log_format, &settings.log_level).expect("logging");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let ready = |server: &fuse_server::Server| eprintln!("READY {}", server.address());
    runtime.block_on(fuse_server::serve(settings, None, ready)).expect("it serves");
}

/// A server process.
struct Process {
    child: Child,
    address: SocketAddr,
    /// What it wrote so far.
    output: Arc<Mutex<String>>,
}

impl Process {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("listen", "127.0.0.1:0"), ("auth-token", TOKEN), ("provider", "stub")];
        all.retain(|(name, _)| !settings.iter().any(|(other, _)| other == name));
        all.extend(settings);
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "server", "--ignored", "--nocapture"])
            .env(SETTINGS, serde_json::to_string(&all).expect("JSON"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let output = Arc::new(Mutex::new(String::new()));
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let written = Arc::clone(&output);
        tokio::spawn(async move {
            let mut sender = Some(sender);
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some(address) = line.strip_prefix("READY ")
                    && let Some(sender) = sender.take()
                {
                    let _ = sender.send(address.parse().expect("an address"));
                }
                let mut written = written.lock().expect("the output");
                written.push_str(&line);
                written.push('\n');
            }
        });
        let wait = tokio::time::timeout(Duration::from_secs(90), receiver).await;
        let Ok(Ok(address)) = wait else {
            panic!("it does not start:\n{}", output.lock().expect("the output"))
        };
        Self { child, address, output }
    }

    async fn kill(mut self) {
        self.child.kill().await.expect("it is killed");
    }

    async fn terminate(mut self) -> String {
        let id = self.child.id().expect("it runs").to_string();
        Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs");
        let status = tokio::time::timeout(Duration::from_secs(60), self.child.wait()).await.expect("it ends");
        assert!(status.expect("a status").success(), "{}", self.output.lock().expect("the output"));
        self.output.lock().expect("the output").clone()
    }
}

/// A request and its answer; none when the server goes away meanwhile.
async fn ask(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Option<Reply> {
    let bearer = format!("Bearer {TOKEN}");
    let mut all = vec![("authorization", bearer.as_str())];
    all.extend(headers);
    let body = body.map(|body| body.to_string());
    let bytes = request(method, path, &all, body.as_deref().map(str::as_bytes));
    let socket = tokio::net::TcpStream::connect(address).await.ok()?;
    let mut stream = Stream { io: BufReader::new(socket) };
    tokio::io::AsyncWriteExt::write_all(stream.io.get_mut(), &bytes).await.ok()?;
    stream.reply().await
}

fn cycles() -> u32 {
    std::env::var("FUSE_SERVER_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(20)
}

/// What clients were promised.
#[derive(Clone, Default)]
struct Promises {
    /// Created (201) and not asked to go.
    there: BTreeSet<String>,
    /// Destroyed (204).
    gone: BTreeSet<String>,
    /// Asked to go, and no answer came: either is right.
    open: BTreeSet<String>,
    /// API keys.
    keys: BTreeSet<String>,
}

async fn work(address: SocketAddr, promises: Arc<Mutex<Promises>>, number: Arc<AtomicU64>) {
    loop {
        let task = number.fetch_add(1, Ordering::Relaxed);
        let create =
            ask(address, "POST", "/v1/environments", &[], Some(json!({"task_id": format!("t{task}")})));
        let Some(reply) = create.await else { return };
        if reply.status != 201 {
            continue;
        }
        let id = format!("fuse-t{task}");
        if task.is_multiple_of(7)
            && let Some(reply) = ask(address, "POST", "/v1/api-keys", &[], None).await
            && reply.status == 201
        {
            let key = reply.json()["key"].as_str().expect("a key").to_owned();
            promises.lock().expect("promises").keys.insert(key);
        }
        if task.is_multiple_of(2) {
            promises.lock().expect("promises").there.insert(id);
            continue;
        }
        promises.lock().expect("promises").open.insert(id.clone());
        match ask(address, "DELETE", &format!("/v1/environments/{id}"), &[], None).await {
            Some(reply) if reply.status == 204 => {
                let mut promises = promises.lock().expect("promises");
                promises.open.remove(&id);
                promises.gone.insert(id);
            }
            Some(_) => {}
            None => return,
        }
    }
}

async fn check(address: SocketAddr, promises: &Promises) {
    for id in &promises.there {
        let reply =
            ask(address, "GET", &format!("/v1/environments/{id}"), &[], None).await.expect("an answer");
        assert_eq!(reply.status, 200, "{id} was created: {}", reply.text());
        // The stub forgets its VMs with the process: the record is there, whatever became of the VM.
        let state = reply.json()["state"].as_str().expect("a state").to_owned();
        assert_ne!(state, "failed", "{id}: {}", reply.text());
    }
    for id in &promises.gone {
        let reply =
            ask(address, "GET", &format!("/v1/environments/{id}"), &[], None).await.expect("an answer");
        assert_eq!(reply.json()["state"], "destroyed", "{id} was destroyed: {}", reply.text());
    }
    for key in &promises.keys {
        let bearer = format!("Bearer {key}");
        let bytes = request("GET", "/v1/hosts", &[("authorization", &bearer)], None);
        let mut stream = Stream::open(address).await;
        stream.send(bytes).await;
        assert_eq!(stream.reply().await.expect("an answer").status, 200, "a key was made");
    }
}

async fn killed_under_load(settings: &[(&str, &str)], cycles: u32) {
    let promises = Arc::new(Mutex::new(Promises::default()));
    let number = Arc::new(AtomicU64::new(0));
    for cycle in 0..cycles {
        let process = Process::start(settings).await;
        let so_far = promises.lock().expect("promises").clone();
        check(process.address, &so_far).await;
        let workers: Vec<_> = (0..6)
            .map(|_| tokio::spawn(work(process.address, Arc::clone(&promises), Arc::clone(&number))))
            .collect();
        tokio::time::sleep(Duration::from_millis(150 + u64::from(cycle % 5) * 60)).await;
        process.kill().await;
        for worker in workers {
            worker.await.expect("a worker");
        }
    }
    let process = Process::start(settings).await;
    let promises = promises.lock().expect("promises").clone();
    check(process.address, &promises).await;
    assert!(promises.there.len() + promises.gone.len() > cycles as usize, "there was hardly any load");
    process.kill().await;
}

/// A long reconcile period: what is checked is what was answered, not what became of the stub's VMs.
const QUIET: (&str, &str) = ("reconcile-period", "1h");

#[test]
fn kill_9_under_load_on_sled() {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        killed_under_load(&[("data-dir", dir.path().to_str().expect("text")), QUIET], cycles()).await;
    });
}

#[test]
fn kill_9_under_load_on_postgres() {
    run(async {
        let Some(server) = postgres::shared() else { return };
        let (_, url) = server.database();
        let key = "7e".repeat(32);
        killed_under_load(
            &[("database-url", &url), ("token-encryption-key", &key), QUIET],
            cycles().div_ceil(5),
        )
        .await;
    });
}

/// Open streams at a time: 10,000, or what the limit of file descriptors leaves.
fn streams() -> usize {
    let mut limits = getrlimit(Resource::Nofile);
    limits.current = limits.maximum;
    setrlimit(Resource::Nofile, limits).expect("up to the hard limit");
    let limit = limits.current.unwrap_or(20_000);
    let most = usize::try_from(limit.saturating_sub(500)).unwrap_or(10_000);
    let wanted =
        std::env::var("FUSE_SERVER_STREAMS").ok().and_then(|text| text.parse().ok()).unwrap_or(10_000);
    if most < wanted {
        eprintln!("note: {most} streams instead of {wanted}: the limit of file descriptors is {limit}");
    }
    wanted.min(most)
}

#[test]
fn ten_thousand_streams_and_one_change() {
    run(async {
        let process = Process::start(&[("memory", "true")]).await;
        let address = process.address;
        ask(address, "POST", "/v1/environments", &[], Some(json!({"task_id": "t1"})))
            .await
            .expect("an answer")
            .expect(201);
        let bearer = format!("Bearer {TOKEN}");
        let ask_stream =
            request("GET", "/v1/environments/fuse-t1/events", &[("authorization", &bearer)], None);
        let mut open = Vec::new();
        for _ in 0..streams() {
            let mut stream = Stream::open(address).await;
            stream.send(&ask_stream).await;
            stream.head().await.expect("an answer").expect(200);
            open.push(stream);
        }
        for stream in &mut open {
            assert_eq!(stream.frame().await.expect("a frame").1["state"], "running");
        }
        // The server still answers others.
        ask(address, "GET", "/v1/environments", &[], None).await.expect("an answer").expect(200);
        ask(address, "DELETE", "/v1/environments/fuse-t1", &[], None).await.expect("an answer").expect(204);
        for stream in &mut open {
            assert_eq!(stream.frame().await.expect("a frame").1["state"], "destroying");
            assert_eq!(stream.frame().await.expect("a frame").1["state"], "destroyed");
            assert!(stream.frame().await.is_none());
        }
        process.terminate().await;
    });
}

/// Secrets go in by every door; none comes out by another.
#[test]
fn no_output_holds_a_secret() {
    run(async {
        let dir = tempfile::tempdir().expect("a directory");
        let settings = [
            ("data-dir", dir.path().to_str().expect("text")),
            ("log-format", "json"),
            ("log-level", "trace"),
            ("firecracker-token", "planted-agent-token"),
        ];
        let process = Process::start(&settings).await;
        let address = process.address;
        let secrets = [
            "planted-secret-value",
            "planted-gateway-token",
            "planted-agent-auth",
            "planted-host-token",
            "planted-agent-token",
            TOKEN,
        ];
        let request_body = json!({"task_id": "t1", "secrets": {"S": secrets[0]}, "gateway_token": secrets[1],
            "agent": {"auth_token": secrets[2]}, "startup_script": "echo planted-secret-value"});
        let mut seen = String::new();
        let mut rows = vec![
            ("POST", "/v1/environments", Some(request_body.clone())),
            ("POST", "/v1/environments", Some(request_body)),
            ("POST", "/v1/environments", Some(json!({"task_id": "t2", "secrets": [secrets[0]]}))),
            ("POST", "/v1/environments", Some(json!({"task_id": "t3", "spec": secrets[0]}))),
            ("POST", "/v1/hosts", Some(json!({"id": "h", "url": "http://127.0.0.1:9", "token": secrets[3]}))),
            ("POST", "/v1/hosts", Some(json!({"id": "h2", "url": "stub://h2", "token": secrets[3]}))),
            ("POST", "/v1/environments/fuse-t1?action=rotate-token", None),
        ];
        for path in [
            "/v1/environments",
            "/v1/environments/fuse-t1",
            "/v1/hosts",
            "/v1/events?limit=200",
            "/metrics",
            "/v1/environments/fuse-t1/logs?source=startup",
            "/v1/environments/fuse-t1/logs?source=agent",
            "/v1/openapi.json",
            "/ready",
        ] {
            rows.push(("GET", path, None));
        }
        rows.push(("DELETE", "/v1/environments/fuse-t1", None));
        rows.push(("GET", "/v1/environments/fuse-t1/logs?source=startup", None));
        for (method, path, body) in rows {
            let reply = ask(address, method, path, &[], body).await.expect("an answer");
            seen.push_str(&format!("{method} {path} {:?} {}\n", reply.headers, reply.text()));
        }
        let key = ask(address, "POST", "/v1/api-keys", &[], None).await.expect("an answer").json()["key"]
            .as_str()
            .expect("a key")
            .to_owned();
        let bearer = format!("Bearer {key}");
        let mut stream = Stream::open(address).await;
        stream.send(request("GET", "/v1/environments", &[("authorization", &bearer)], None)).await;
        seen.push_str(&stream.reply().await.expect("an answer").text());
        let log = process.terminate().await;
        assert!(
            log.contains("\"request_id\":\"req_") && log.contains("\"environment_id\":\"fuse-t1\""),
            "{log}"
        );
        for line in log.lines().filter(|line| line.starts_with('{')) {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        let mut stored = Vec::new();
        for entry in walk(dir.path()) {
            tokio::fs::File::open(entry).await.expect("a file").read_to_end(&mut stored).await.expect("read");
        }
        for secret in secrets.into_iter().chain([key.as_str()]) {
            assert!(!seen.contains(secret), "an answer holds {secret}:\n{seen}");
            assert!(!log.contains(secret), "the log holds {secret}");
            let in_store = stored.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!in_store || secret == secrets[0], "the store holds {secret}");
        }
    });
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}
