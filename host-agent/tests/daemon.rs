//! The daemon: its process killed and started again, its door, and snapshots that move between two of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

mod common;

use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use common::{bare_guest, config, import_kernel, skip};
use fuse_host_agent::{
    DriverConfig,
    agent::HostAgent,
    store::Sha256Hex,
    transfer::{GRANT_HEADER, new_grant},
};
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOKEN: &str = "the-token-of-the-first-host";
const OTHER: &str = "the-token-of-the-other-host";

struct Daemon {
    child: Child,
    data: PathBuf,
    url: String,
    token: &'static str,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("what the daemon of {} said:\n{}", self.data.display(), self.log());
        }
    }
}

/// A data directory with the image of the bare guest.
async fn prepare(data: &Path) -> Option<PathBuf> {
    let program = match common::firecracker() {
        Ok((program, _)) => program,
        Err(why) => {
            skip("the daemon over Firecracker", &why);
            return None;
        }
    };
    let driver = DriverConfig::Firecracker { program: program.clone(), jailer: None, unjailed_root: true };
    let agent = HostAgent::open(config(data, driver)).await.unwrap();
    import_kernel(&agent, bare_guest());
    let file = data.join("agent.toml");
    let text = format!(
        "data = {data:?}\ndefault_memory_mib = 64\nboot_seconds = 120\n[driver]\nkind = \"firecracker\"\nprogram = {program:?}\n\
         unjailed_root = true\n[network]\nmode = \"none\"\n"
    );
    std::fs::write(&file, text).unwrap();
    Some(file)
}

impl Daemon {
    async fn start(data: &Path, token: &'static str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(data.join("daemon.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_fuse-host-agent"))
            .arg("--config")
            .arg(data.join("agent.toml"))
            .args(["--listen", &format!("127.0.0.1:{port}")])
            .env("FC_AGENT_TOKEN", token)
            .env("RUST_LOG", "debug")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let daemon = Self { child, data: data.to_owned(), url: format!("http://127.0.0.1:{port}"), token };
        for _ in 0..600 {
            if let Ok(answer) = daemon.request("GET", "/healthz", None).await {
                assert_eq!(answer.0, StatusCode::OK);
                return daemon;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("it does not listen: {}", daemon.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.data.join("daemon.log")).unwrap()
    }

    async fn request(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> reqwest::Result<(StatusCode, String)> {
        let mut request =
            client().request(method.parse().unwrap(), format!("{}{path}", self.url)).bearer_auth(self.token);
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await?;
        Ok((answer.status(), answer.text().await?))
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let (status, text) = self.request("POST", path, Some(body)).await.unwrap();
        assert!(status.is_success(), "{path}: {status}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn exec(&self, vm: &str, words: &[&str]) -> String {
        use base64::{Engine, prelude::BASE64_STANDARD};
        let done =
            self.post(&format!("/v1/vm/{vm}/exec"), json!({ "cmd": words, "timeout_ms": 60000 })).await;
        assert_eq!(done["exit_code"], 0, "{done}");
        let bytes = BASE64_STANDARD.decode(done["stdout"].as_str().unwrap()).unwrap();
        String::from_utf8(bytes).unwrap().trim().to_owned()
    }

    /// As `kill -9`.
    fn kill(mut self) -> PathBuf {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.data.clone()
    }
}

fn client() -> Client {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder().tls_backend_preconfigured(tls).no_proxy().build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn vms_outlive_a_killed_daemon_and_are_taken_over() {
    let data = tempfile::tempdir().unwrap();
    if prepare(data.path()).await.is_none() {
        return;
    }
    let daemon = Daemon::start(data.path(), TOKEN).await;
    daemon.post("/v1/vm", json!({ "name": "vm-1", "owner": "me", "environment_id": "e 1" })).await;
    assert_eq!(daemon.exec("vm-1", &["count"]).await, "1");
    let data_dir = daemon.kill();
    let daemon = Daemon::start(&data_dir, TOKEN).await;
    assert_eq!(daemon.exec("vm-1", &["count"]).await, "2", "its memory goes on");
    let (_, listed) = daemon.request("GET", "/v1/vm?owner=me", None).await.unwrap();
    assert!(
        listed.contains("\"environment_id\":\"e 1\"") && listed.contains("\"keeps_owner\":true"),
        "{listed}"
    );
    let (_, metrics) = daemon.request("GET", "/metrics", None).await.unwrap();
    assert!(metrics.contains("fuse_host_agent_adopted_total 1"), "{metrics}");
    assert_eq!(daemon.request("DELETE", "/v1/vm/vm-1", None).await.unwrap().0, StatusCode::NO_CONTENT);
    assert_eq!(daemon.request("DELETE", "/v1/vm/vm-1", None).await.unwrap().0, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_in_no_log_and_on_no_command_line() {
    let data = tempfile::tempdir().unwrap();
    if prepare(data.path()).await.is_none() {
        return;
    }
    let daemon = Daemon::start(data.path(), TOKEN).await;
    daemon.post("/v1/vm", json!({ "name": "vm-1" })).await;
    let secret = "a-very-secret-workload-token";
    let start = json!({ "manifest_path": "", "secrets_path": "", "auth_token": secret, "gateway_token": "another-very-secret-token" });
    daemon.post("/v1/vm/vm-1/start-agent", start).await;
    let (_, shown) = daemon.request("GET", "/v1/vm/vm-1", None).await.unwrap();
    let channel = std::fs::read_to_string(data.path().join("vms/vm-1/token")).unwrap();
    let mut seen = format!("{}{shown}", daemon.log());
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        seen.push_str(&String::from_utf8_lossy(&line));
    }
    for word in [TOKEN, secret, "another-very-secret-token", channel.trim()] {
        assert!(!seen.contains(word), "{word} shows");
    }
    daemon.request("DELETE", "/v1/vm/vm-1", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_moves_to_another_host_and_goes_on_there() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if prepare(here.path()).await.is_none() || prepare(there.path()).await.is_none() {
        return;
    }
    let (from, to) = (Daemon::start(here.path(), TOKEN).await, Daemon::start(there.path(), OTHER).await);
    from.post("/v1/vm", json!({ "name": "vm-1" })).await;
    for _ in 0..5 {
        from.exec("vm-1", &["count"]).await;
    }
    let snapshot = from.post("/v1/vm/vm-1/snapshot", json!({ "comment": "to move", "live": true })).await;
    assert_eq!(snapshot["programs_held"], false, "the bare guest cannot");
    let digest: Sha256Hex = snapshot["digest"].as_str().unwrap().parse().unwrap();
    let now = std::time::SystemTime::now();
    let pull = |grant: String| json!({ "peer_url": from.url, "grant": grant, "snapshot_id": "moved" });
    let path = format!("/v1/artifacts/{digest}/pull");
    // Grants of others, and for others, are good for nothing.
    for bad in [new_grant(&digest, &OTHER.into(), now), new_grant(&Sha256Hex::of(b"x"), &TOKEN.into(), now)] {
        let (status, text) = to.request("POST", &path, Some(pull(bad.unwrap()))).await.unwrap();
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
        assert!(text.contains("403"), "{text}");
    }
    let grant = new_grant(&digest, &TOKEN.into(), now).unwrap();
    let id = snapshot["snapshot_id"].as_str().unwrap();
    let pulled = to.post(&path, pull(grant.clone())).await;
    assert_eq!(pulled["snapshot_id"], "moved");
    let again = to.post(&path, pull(grant.clone())).await;
    assert_eq!(again["snapshot_id"], "moved", "what is here is not fetched again");
    // The bytes themselves, as the original contract has them.
    let raw = client()
        .get(format!("{}/v1/artifacts/{digest}", from.url))
        .header(GRANT_HEADER, &grant)
        .send()
        .await
        .unwrap();
    assert_eq!(raw.headers()["x-fuse-artifact-digest"], digest.to_string().as_str());
    assert_eq!(Sha256Hex::of(&raw.bytes().await.unwrap()), digest);
    to.post("/v1/vm", json!({ "name": "vm-2", "seed_snapshot": "moved" })).await;
    assert_eq!(to.exec("vm-2", &["count"]).await, "6");
    assert_eq!(from.exec("vm-1", &["count"]).await, "6", "the origin goes on, too");
    // What is damaged on the way is not kept.
    to.request("DELETE", "/v1/vm/vm-2/snapshots/moved", None).await.unwrap();
    let file = here.path().join("snapshots").join(id).join("vmstate");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, bytes).unwrap();
    let (status, text) = to.request("POST", &path, Some(pull(grant))).await.unwrap();
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
    assert!(!there.path().join("snapshots/moved").exists());
    from.request("DELETE", "/v1/vm/vm-1", None).await.unwrap();
    to.request("DELETE", "/v1/vm/vm-2", None).await.unwrap();
}

/// A way to another host that breaks off after some bytes, and counts them.
struct Road {
    url: String,
    carried: Arc<AtomicU64>,
}

impl Road {
    /// Carries at most `most` bytes of answers; then it stands still.
    async fn to(daemon: &Daemon, most: u64) -> Self {
        let target = daemon.url.trim_start_matches("http://").to_owned();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let carried = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&carried);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = tokio::net::TcpStream::connect(&target).await.unwrap();
                let counted = Arc::clone(&counted);
                tokio::spawn(async move {
                    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
                        (near.into_split(), far.into_split());
                    let asking = tokio::io::copy(&mut near_in, &mut far_out);
                    let answering = async {
                        let mut buffer = vec![0; 64 * 1024];
                        while counted.load(Ordering::Relaxed) < most {
                            let count = far_in.read(&mut buffer).await.unwrap_or(0);
                            if count == 0 || near_out.write_all(&buffer[..count]).await.is_err() {
                                return;
                            }
                            counted.fetch_add(count as u64, Ordering::Relaxed);
                        }
                        std::future::pending::<()>().await;
                    };
                    tokio::select! {
                        () = answering => {}
                        _ = async { let _ = asking.await; std::future::pending::<()>().await } => {}
                    }
                });
            }
        });
        Self { url, carried }
    }

    fn carried(&self) -> u64 {
        self.carried.load(Ordering::Relaxed)
    }
}

/// Its record says what it runs on, and it is refused before anything of it is fetched, or started.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_another_architecture_is_neither_fetched_nor_started() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if prepare(here.path()).await.is_none() || prepare(there.path()).await.is_none() {
        return;
    }
    let from = Daemon::start(here.path(), TOKEN).await;
    from.post("/v1/vm", json!({ "name": "vm-1" })).await;
    let snapshot = from.post("/v1/vm/vm-1/snapshot", json!({ "comment": "to move", "live": true })).await;
    let id = snapshot["snapshot_id"].as_str().unwrap();
    from.request("DELETE", "/v1/vm/vm-1", None).await.unwrap();
    drop(from);
    let record = here.path().join("snapshots").join(id).join("snapshot.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let (ours, other) = match cfg!(target_arch = "aarch64") {
        true => ("arm64", "amd64"),
        false => ("amd64", "arm64"),
    };
    let changed = text.replace(&format!("\"arch\": \"{ours}\""), &format!("\"arch\": \"{other}\""));
    assert_ne!(changed, text);
    std::fs::remove_file(&record).unwrap();
    std::fs::write(&record, changed).unwrap();

    let (from, to) = (Daemon::start(here.path(), TOKEN).await, Daemon::start(there.path(), OTHER).await);
    let digest: Sha256Hex = snapshot["digest"].as_str().unwrap().parse().unwrap();
    let grant = new_grant(&digest, &TOKEN.into(), std::time::SystemTime::now()).unwrap();
    let pull = json!({ "peer_url": from.url, "grant": grant, "snapshot_id": "moved" });
    let pulled = to.request("POST", &format!("/v1/artifacts/{digest}/pull"), Some(pull)).await.unwrap();
    assert_eq!(pulled.0, StatusCode::UNPROCESSABLE_ENTITY, "{}", pulled.1);
    let why = format!("is of {other}, and this host is {ours}");
    assert!(pulled.1.contains(&why), "{}", pulled.1);
    for part in ["snapshots", "pulls"] {
        assert_eq!(std::fs::read_dir(there.path().join(part)).unwrap().count(), 0, "{part}");
    }
    let seeded = json!({ "name": "vm-2", "seed_snapshot": id });
    let (status, text) = from.request("POST", "/v1/vm", Some(seeded)).await.unwrap();
    assert!(status.is_client_error() && text.contains(&why), "{status}: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_goes_on_where_a_killed_agent_left_it() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if prepare(here.path()).await.is_none() || prepare(there.path()).await.is_none() {
        return;
    }
    let (from, to) = (Daemon::start(here.path(), TOKEN).await, Daemon::start(there.path(), OTHER).await);
    from.post("/v1/vm", json!({ "name": "vm-1" })).await;
    from.exec("vm-1", &["count"]).await;
    let snapshot = from.post("/v1/vm/vm-1/snapshot", json!({ "live": true })).await;
    let digest: Sha256Hex = snapshot["digest"].as_str().unwrap().parse().unwrap();
    let grant = new_grant(&digest, &TOKEN.into(), std::time::SystemTime::now()).unwrap();
    let path = format!("/v1/artifacts/{digest}/pull");
    let (half, whole) = (32 << 20, 64 << 20);
    let broken = Road::to(&from, half).await;
    let body = json!({ "peer_url": broken.url, "grant": grant, "snapshot_id": "moved" });
    let asked = to.request("POST", &path, Some(body));
    let fetched = || {
        let part = there.path().join(format!("pulls/{digest}/0/memory"));
        std::fs::metadata(part).map_or(0, |file| file.len())
    };
    tokio::select! {
        answer = asked => panic!("it cannot be done yet: {answer:?}"),
        () = common::until("half of the memory is there", || fetched() > half / 2) => {}
    }
    let data = to.kill();
    let had = fetched();
    assert!(had < whole, "{had}");
    let to = Daemon::start(&data, OTHER).await;
    assert!(fetched() == had, "the agent keeps what it had");
    let road = Road::to(&from, u64::MAX).await;
    let body = json!({ "peer_url": road.url, "grant": grant, "snapshot_id": "moved" });
    assert_eq!(to.post(&path, body).await["snapshot_id"], "moved");
    assert!(road.carried() < whole - had + (4 << 20), "{} bytes after {had}", road.carried());
    assert_eq!(std::fs::read_dir(there.path().join("pulls")).unwrap().count(), 0);
    to.post("/v1/vm", json!({ "name": "vm-2", "seed_snapshot": "moved" })).await;
    assert_eq!(to.exec("vm-2", &["count"]).await, "2");
    from.request("DELETE", "/v1/vm/vm-1", None).await.unwrap();
    to.request("DELETE", "/v1/vm/vm-2", None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_moves_with_what_it_builds_on() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    if prepare(here.path()).await.is_none() || prepare(there.path()).await.is_none() {
        return;
    }
    let (from, to) = (Daemon::start(here.path(), TOKEN).await, Daemon::start(there.path(), OTHER).await);
    from.post("/v1/vm", json!({ "name": "vm-1" })).await;
    let mut made = Vec::new();
    for _ in 0..4 {
        from.exec("vm-1", &["count"]).await;
        from.exec("vm-1", &["fill", "64"]).await;
        made.push(from.post("/v1/vm/vm-1/snapshot", json!({ "live": true, "diff": true })).await);
    }
    assert_eq!(made[0].get("parent"), None);
    assert_eq!(made[3]["parent"], made[2]["snapshot_id"]);
    // What they build on was deleted, and is there for them.
    let first = made[0]["snapshot_id"].as_str().unwrap();
    from.request("DELETE", &format!("/v1/vm/vm-1/snapshots/{first}"), None).await.unwrap();
    let pull = async |index: usize, name: &str| {
        let digest: Sha256Hex = made[index]["digest"].as_str().unwrap().parse().unwrap();
        let grant = new_grant(&digest, &TOKEN.into(), std::time::SystemTime::now()).unwrap();
        let road = Road::to(&from, u64::MAX).await;
        let body = json!({ "peer_url": road.url, "grant": grant, "snapshot_id": name });
        let answer = to.request("POST", &format!("/v1/artifacts/{digest}/pull"), Some(body)).await.unwrap();
        (answer, road.carried())
    };
    // Damaged on the way: nothing of the chain is kept.
    let damaged =
        here.path().join("snapshots").join(made[1]["snapshot_id"].as_str().unwrap()).join("vmstate");
    let good = std::fs::read(&damaged).unwrap();
    let mut bytes = good.clone();
    bytes[100] ^= 1;
    std::fs::remove_file(&damaged).unwrap();
    std::fs::write(&damaged, bytes).unwrap();
    let ((status, text), _) = pull(2, "third").await;
    assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{text}");
    assert!(text.contains("vmstate"), "{text}");
    assert_eq!(std::fs::read_dir(there.path().join("snapshots")).unwrap().count(), 0);
    std::fs::write(&damaged, good).unwrap();
    // The first attempt left the memory that all of them build on.
    let ((status, text), carried) = pull(2, "third").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(
        carried < 16 << 20,
        "{carried} bytes: what was fetched before is there, and differences have few"
    );
    let ((status, text), carried) = pull(3, "fourth").await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert!(carried < 16 << 20, "{carried} bytes: what it builds on is here");
    for (name, count) in [("third", "4"), ("fourth", "5")] {
        to.post("/v1/vm", json!({ "name": name, "seed_snapshot": name })).await;
        assert_eq!(to.exec(name, &["count"]).await, count, "{name}");
        to.request("DELETE", &format!("/v1/vm/{name}"), None).await.unwrap();
    }
    // They are a chain here, too: what they build on goes with the last of them.
    for (name, left) in [("third", 4), ("fourth", 0)] {
        let path = format!("/v1/vm/vm-1/snapshots/{name}");
        assert_eq!(to.request("DELETE", &path, None).await.unwrap().0, StatusCode::NO_CONTENT);
        assert_eq!(std::fs::read_dir(there.path().join("snapshots")).unwrap().count(), left, "{name}");
    }
    from.request("DELETE", "/v1/vm/vm-1", None).await.unwrap();
}

/// The agent is killed while a guest's programs stand still; the next one lets them go on.
/// A data directory with the image of a Linux guest for QEMU.
async fn prepare_qemu(test: &str, data: &Path) -> bool {
    use fuse_host_agent::{Config, NetworkConfig, driver::qemu::Accelerator};
    let guest = match common::qemu() {
        Ok(guest) => guest,
        Err(why) => {
            skip(test, &why);
            return false;
        }
    };
    let driver = DriverConfig::Qemu { program: "qemu-system-x86_64".into(), accelerator: Accelerator::Auto };
    let settings = Config { boot_seconds: 300, default_memory_mib: 128, ..config(data, driver) };
    let settings = Config { network: NetworkConfig::None, ..settings };
    let agent = HostAgent::open(settings.clone()).await.unwrap();
    common::import_linux(&agent, &guest);
    std::fs::write(data.join("agent.toml"), toml::to_string(&settings).unwrap()).unwrap();
    true
}

/// The directory in which the QEMU of the only VM works.
fn place(data: &Path) -> PathBuf {
    let own = data.join("vms/vm-1/qemu");
    if own.exists() { own } else { data.join("vms/vm-1") }
}

/// Tells the QEMU of the only VM something, as an agent does.
struct Monitor(std::io::BufReader<UnixStream>);

impl Monitor {
    fn of(data: &Path) -> Self {
        let stream = UnixStream::connect(place(data).join("qmp.sock")).unwrap();
        let mut monitor = Self(std::io::BufReader::new(stream));
        monitor.run("qmp_capabilities", json!({}));
        monitor
    }

    fn run(&mut self, command: &str, arguments: Value) -> Value {
        use std::io::{BufRead, Write};
        writeln!(self.0.get_mut(), "{}", json!({ "execute": command, "arguments": arguments })).unwrap();
        loop {
            let mut line = String::new();
            assert_ne!(self.0.read_line(&mut line).unwrap(), 0, "it is gone");
            let mut answer: Value = serde_json::from_str(&line).unwrap();
            assert!(answer.get("error").is_none(), "{command}: {answer}");
            if let Some(answer) = answer.get_mut("return") {
                return answer.take();
            }
        }
    }

    fn status(&mut self) -> String {
        self.run("query-status", json!({}))["status"].as_str().unwrap().to_owned()
    }
}

/// Has a QEMU save its machine, as an agent does: to the end, or no further than to its beginning for as long as what is
/// returned is kept.
fn save_for_nobody(data: &Path, to_the_end: bool) -> Option<UnixStream> {
    use std::os::unix::fs::PermissionsExt;
    let sink = place(data).join("sink");
    let _ = std::fs::remove_file(&sink);
    let listener = std::os::unix::net::UnixListener::bind(&sink).unwrap();
    std::fs::set_permissions(&sink, std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut monitor = Monitor::of(data);
    monitor.run("stop", json!({}));
    monitor.run("migrate", json!({ "uri": "unix:sink" }));
    let mut saved = listener.accept().unwrap().0;
    if !to_the_end {
        while monitor.run("query-migrate", json!({}))["status"] != "active" {}
        return Some(saved);
    }
    std::io::copy(&mut saved, &mut std::io::sink()).unwrap();
    None
}

/// What an agent was doing with a VM when it was killed: a machine that is saved for nobody stands still and would for ever,
/// and one that was being set back is neither what it was nor what it should be.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_agent_had_under_way_ends_or_begins_anew() {
    let data = tempfile::tempdir().unwrap();
    if !prepare_qemu("what a killed agent had under way", data.path()).await {
        return;
    }
    let daemon = Daemon::start(data.path(), TOKEN).await;
    daemon.post("/v1/vm", json!({ "name": "vm-1" })).await;
    let note = async |daemon: &Daemon, word: &str| {
        let line = format!("echo {word} > /run/note; echo {word} > /root/note; sync");
        daemon.exec("vm-1", &["sh", "-c", &line]).await;
    };
    let notes = ["sh", "-c", "echo $(cat /run/note /root/note)"];
    note(&daemon, "saved").await;
    let snapshot = daemon.post("/v1/vm/vm-1/snapshot", json!({ "live": true })).await;
    let id = snapshot["snapshot_id"].as_str().unwrap().to_owned();

    let mut data_dir = daemon.kill();
    for to_the_end in [false, true] {
        let saving = save_for_nobody(&data_dir, to_the_end);
        let daemon = Daemon::start(&data_dir, TOKEN).await;
        note(&daemon, "later").await;
        if let Some(mut saving) = saving {
            std::io::copy(&mut saving, &mut std::io::sink()).unwrap();
        }
        assert_eq!(Monitor::of(&data_dir).status(), "running");
        data_dir = daemon.kill();
    }

    // Killed soon after a restore has begun.
    let daemon = Daemon::start(&data_dir, TOKEN).await;
    let record = data_dir.join("vms/vm-1/vm.json");
    let read = || -> Value { serde_json::from_slice(&std::fs::read(&record).unwrap()).unwrap() };
    tokio::select! {
        answer = daemon.request("POST", "/v1/vm/vm-1/restore", Some(json!({ "snapshot_id": id }))) => {
            panic!("it was too fast: {answer:?}")
        }
        () = async { while read()["restoring"] != id { tokio::task::yield_now().await } } => {}
    }
    daemon.kill();
    let daemon = Daemon::start(&data_dir, TOKEN).await;
    assert_eq!(daemon.exec("vm-1", &notes).await, "saved saved");
    assert_eq!((&read()["state"], &read()["restoring"]), (&json!("running"), &Value::Null));

    // Killed when the machine was gone and its disk put aside; and then the snapshot goes too.
    let mut data_dir = daemon.kill();
    for (snapshot, expected) in [(true, "saved saved"), (false, "later")] {
        let daemon = Daemon::start(&data_dir, TOKEN).await;
        note(&daemon, "later").await;
        daemon.kill();
        let mut changed = read();
        let pid = i32::try_from(changed["process"]["pid"].as_i64().unwrap()).unwrap();
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
        (changed["state"], changed["restoring"]) = (json!("restoring"), json!(id));
        std::fs::write(&record, changed.to_string()).unwrap();
        let disk = data_dir.join("vms/vm-1/disk");
        std::fs::rename(&disk, disk.with_extension("before")).unwrap();
        std::fs::write(&disk, "half of a disk").unwrap();
        if !snapshot {
            std::fs::remove_dir_all(data_dir.join("snapshots").join(&id)).unwrap();
        }
        let daemon = Daemon::start(&data_dir, TOKEN).await;
        common::until("it runs", || read()["state"] == "running").await;
        assert_eq!(daemon.exec("vm-1", &notes).await, expected);
        data_dir = daemon.kill();
        assert!(!disk.with_extension("before").exists());
    }

    // Destroyed soon after a restore has begun.
    let daemon = Daemon::start(&data_dir, TOKEN).await;
    let snapshot = daemon.post("/v1/vm/vm-1/snapshot", json!({ "live": true })).await;
    let id = &snapshot["snapshot_id"];
    let (restored, destroyed) = tokio::join!(
        daemon.request("POST", "/v1/vm/vm-1/restore", Some(json!({ "snapshot_id": id }))),
        async {
            while read()["restoring"] != *id {
                tokio::task::yield_now().await;
            }
            daemon.request("DELETE", "/v1/vm/vm-1", None).await
        }
    );
    assert_eq!(destroyed.unwrap().0, StatusCode::NO_CONTENT);
    let (status, why) = restored.unwrap();
    assert!(status == StatusCode::SERVICE_UNAVAILABLE && why.contains("being destroyed"), "{status}: {why}");
    assert_eq!(std::fs::read_dir(data_dir.join("vms")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn programs_that_a_killed_agent_held_go_on_with_the_next() {
    let data = tempfile::tempdir().unwrap();
    if !prepare_qemu("programs of a killed agent", data.path()).await {
        return;
    }
    let daemon = Daemon::start(data.path(), TOKEN).await;
    daemon.post("/v1/vm", json!({ "name": "vm-1" })).await;
    daemon
        .exec("vm-1", &["sh", "-c", "(while :; do echo; sleep 0.02; done) > /run/beat 2> /dev/null &"])
        .await;
    let mark = data.path().join("vms/vm-1/held");
    let body = Some(json!({ "live": true }));
    tokio::select! {
        answer = daemon.request("POST", "/v1/vm/vm-1/snapshot", body) => panic!("it was too fast: {answer:?}"),
        () = async { while !mark.exists() { tokio::time::sleep(Duration::from_micros(200)).await } } => {}
    }
    let data_dir = daemon.kill();
    assert!(mark.exists(), "it was killed while it held them");
    let daemon = Daemon::start(&data_dir, TOKEN).await;
    assert!(daemon.log().contains("which a crash left standing still"), "{}", daemon.log());
    assert!(!mark.exists());
    let beats = async || daemon.exec("vm-1", &["stat", "-c", "%s", "/run/beat"]).await;
    let before = beats().await;
    let began = std::time::Instant::now();
    while beats().await == before {
        assert!(began.elapsed() < Duration::from_secs(60), "they stand still");
    }
    let again = daemon.post("/v1/vm/vm-1/snapshot", json!({ "live": true })).await;
    assert_eq!(again["programs_held"], true);
    daemon.request("DELETE", "/v1/vm/vm-1", None).await.unwrap();
}

#[test]
fn it_does_not_start_without_a_token_or_open_to_the_network() {
    let data = tempfile::tempdir().unwrap();
    let start = |arguments: &[&str], token: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fuse-host-agent"));
        command.args(arguments).arg("--data").arg(data.path()).env("FC_AGENT_TOKEN", token).output().unwrap()
    };
    for (arguments, token, why) in [
        (&["--listen", "127.0.0.1:0"][..], "", "no token"),
        (&["--listen", "127.0.0.1:0"][..], "short", "no token"),
        (&["--listen", "0.0.0.0:0"][..], TOKEN, "without TLS"),
        (&["--tls-cert", "/nowhere"][..], TOKEN, "go together"),
    ] {
        let output = start(arguments, token);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(why), "{arguments:?}: {text}");
        assert!(!text.contains(TOKEN));
    }
    let help = Command::new(env!("CARGO_BIN_EXE_fuse-host-agent"))
        .arg("--help")
        .env("FC_AGENT_TOKEN", TOKEN)
        .output();
    assert!(!String::from_utf8_lossy(&help.unwrap().stdout).contains(TOKEN));
}

/// A fleet of two hosts, each with its daemon: one is lost and comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_keeps_its_environments_through_the_loss_of_a_host() {
    use fuse_orchestrator::{
        ControlPlane, HostRegistration,
        model::{Capacity, EnvironmentState, HostId, Liveness, ProvisionRequest, SnapshotRequest, TaskId},
    };
    const SOON: Duration = Duration::from_secs(120);
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    for dir in &dirs {
        if prepare(dir.path()).await.is_none() {
            return;
        }
    }
    let first = Daemon::start(dirs[0].path(), TOKEN).await;
    let second = Daemon::start(dirs[1].path(), OTHER).await;
    let settings = fuse_orchestrator::Config {
        reconcile_period: Some(Duration::from_millis(500)),
        ..fuse_orchestrator::Config::default()
    };
    let fuse = ControlPlane::builder().config(settings).open().await.unwrap();
    for (id, daemon) in [("one", &first), ("two", &second)] {
        let registration = HostRegistration {
            url: daemon.url.clone(),
            token: Some(daemon.token.into()),
            capacity: Capacity { vm_count: 8, ..Capacity::default() },
            ..HostRegistration::default()
        };
        fuse.register_host(&HostId::new(id).unwrap(), registration).await.unwrap();
    }
    let mut made = Vec::new();
    for task in ["a", "b"] {
        let mut request = ProvisionRequest::new(TaskId::new(task).unwrap());
        (request.spec.resources.cpus, request.spec.resources.ram_mb) = (1, 64);
        let accepted = fuse.provision(request).await.unwrap();
        made.push(fuse.wait_running(&accepted.id, SOON).await.unwrap());
    }
    assert_ne!(made[0].host_id, made[1].host_id, "they are spread");
    let on_first = made.iter().find(|environment| environment.host_id.as_str() == "one").unwrap();
    let on_second = made.iter().find(|environment| environment.host_id.as_str() == "two").unwrap();
    for environment in &made {
        let output = fuse.exec_shell(&environment.id, "count").await.unwrap();
        assert_eq!(output.stdout, b"1\n");
    }
    let live = SnapshotRequest { live: true, ..SnapshotRequest::default() };
    let snapshot = fuse.create_snapshot(&on_first.id, live).await.unwrap();
    assert_eq!(snapshot.digest.len(), 64);

    let (data, port) = (first.data.clone(), first.url.clone());
    first.kill();
    let one = HostId::new("one").unwrap();
    common::until("the host is missed", || fuse.host(&one).unwrap().liveness.state != Liveness::Ready).await;
    assert_eq!(fuse.get(&on_first.id).unwrap().state, EnvironmentState::Running, "unknown is not gone");
    assert_eq!(
        fuse.exec_shell(&on_second.id, "count").await.unwrap().stdout,
        b"2\n",
        "the other host goes on"
    );

    let back = Daemon::start(&data, TOKEN).await;
    let registration = HostRegistration {
        url: back.url.clone(),
        token: Some(TOKEN.into()),
        capacity: Capacity { vm_count: 8, ..Capacity::default() },
        ..HostRegistration::default()
    };
    assert_ne!(back.url, port);
    fuse.register_host(&one, registration).await.unwrap();
    common::until("the host is back", || fuse.host(&one).unwrap().liveness.state == Liveness::Ready).await;
    assert_eq!(fuse.exec_shell(&on_first.id, "count").await.unwrap().stdout, b"2\n", "its VM never stopped");
    for environment in &made {
        fuse.destroy(&environment.id).await.unwrap();
    }
    fuse.close().await.unwrap();
}
