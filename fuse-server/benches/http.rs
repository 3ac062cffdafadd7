//! What the HTTP layer costs: the same call through the library and over a loopback socket, side by side in one run.
//!
//! Latency is measured open loop: requests are due at fixed times, at half of the rate that the connections reached when
//! they were pushed, and a request that waits for its turn counts from when it was due.
//! `cargo bench -p fuse-server --bench http`; `FUSE_BENCH_SECONDS` (default 2) is the time of each row.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    reason = "a benchmark fails by panicking"
)]

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fuse_orchestrator::{
    ControlPlane,
    model::{EnvironmentFilter, ProvisionRequest, TaskId},
};
use fuse_server::{ApiConfig, Listener};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
const ENVIRONMENTS: usize = 10_000;
/// What the HTTP layer may add to a call at the median, in microseconds.
const BAR_US: f64 = 60.0;

fn seconds() -> Duration {
    let text = std::env::var("FUSE_BENCH_SECONDS").ok();
    Duration::from_secs(text.and_then(|text| text.parse().ok()).unwrap_or(2))
}

struct Connection(BufReader<TcpStream>);

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).await.expect("a connection");
        socket.set_nodelay(true).expect("an option");
        Self(BufReader::new(socket))
    }

    /// Sends a request and reads its answer; the status.
    async fn ask(&mut self, request: &[u8]) -> u16 {
        self.0.get_mut().write_all(request).await.expect("sent");
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            self.0.read_line(&mut line).await.expect("a line");
            let text = line.trim_end();
            if text.is_empty() {
                break;
            }
            if let Some(rest) = text.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).and_then(|code| code.parse().ok()).expect("a status");
            } else if let Some(value) = text.strip_prefix("content-length: ") {
                length = value.parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await.expect("a body");
        status
    }
}

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("{method} {path} HTTP/1.1\r\nhost: b\r\nauthorization: Bearer bench\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Sorted times, in microseconds.
struct Times(Vec<f64>);

impl Times {
    fn new(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    fn at(&self, part: f64) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * part) as usize).copied().unwrap_or(f64::NAN)
    }

    fn row(&self) -> String {
        format!("{:>9.0} {:>9.0} {:>9.0}", self.at(0.5), self.at(0.99), self.at(0.999))
    }
}

type Ask = Arc<dyn Fn(u64) -> Vec<Vec<u8>> + Send + Sync>;

/// Pushes as fast as answers come. Requests a second.
async fn push(address: SocketAddr, connections: usize, ask: &Ask, number: &Arc<AtomicU64>) -> f64 {
    let until = Instant::now() + seconds();
    let mut workers = Vec::new();
    for _ in 0..connections {
        let (ask, number) = (Arc::clone(ask), Arc::clone(number));
        workers.push(tokio::spawn(async move {
            let (mut connection, mut done) = (Connection::open(address).await, 0_u64);
            while Instant::now() < until {
                for request in ask(number.fetch_add(1, Ordering::Relaxed)) {
                    assert!(connection.ask(&request).await < 300);
                }
                done += 1;
            }
            done
        }));
    }
    let mut done = 0;
    for worker in workers {
        done += worker.await.expect("a worker");
    }
    done as f64 / seconds().as_secs_f64()
}

/// Asks at `rate` a second, whatever the answers do. Times from when a request was due.
async fn pace(
    address: SocketAddr,
    connections: usize,
    rate: f64,
    ask: &Ask,
    number: &Arc<AtomicU64>,
) -> Times {
    let began = Instant::now();
    let gap = connections as f64 / rate.max(1.0);
    let mut workers = Vec::new();
    for worker in 0..connections {
        let (ask, number) = (Arc::clone(ask), Arc::clone(number));
        workers.push(tokio::spawn(async move {
            let (mut connection, mut times) = (Connection::open(address).await, Vec::new());
            let first = gap * worker as f64 / connections as f64;
            for turn in 0_u32.. {
                let due = began + Duration::from_secs_f64(first + gap * f64::from(turn));
                if due > began + seconds() {
                    break;
                }
                tokio::time::sleep_until(due.into()).await;
                for request in ask(number.fetch_add(1, Ordering::Relaxed)) {
                    assert!(connection.ask(&request).await < 300);
                }
                times.push(due.elapsed().as_secs_f64() * 1e6);
            }
            times
        }));
    }
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await.expect("a worker"));
    }
    Times::new(times)
}

async fn rows(address: SocketAddr, name: &str, ask: Ask, number: &Arc<AtomicU64>) {
    for connections in CONNECTIONS {
        let rate = push(address, connections, &ask, number).await;
        let times = pace(address, connections, rate / 2.0, &ask, number).await;
        println!("{name:<28} {connections:>5} {rate:>10.0} {}", times.row());
    }
}

/// One call after another: the library, then the same over a socket.
async fn added(address: SocketAddr, fuse: &ControlPlane) -> f64 {
    let id = fuse.list(&EnvironmentFilter::default(), Some(1), None).expect("a list").items[0].id.clone();
    let count = 20_000;
    let mut direct = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        std::hint::black_box(fuse.get(&id).expect("an environment"));
        direct.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let mut connection = Connection::open(address).await;
    let get = request("GET", &format!("/v1/environments/{id}"), "");
    let mut over_http = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        assert_eq!(connection.ask(&get).await, 200);
        over_http.push(began.elapsed().as_secs_f64() * 1e6);
    }
    let (direct, over_http) = (Times::new(direct), Times::new(over_http));
    println!("GET one, in turn: library {} µs; over HTTP {} µs", direct.row(), over_http.row());
    over_http.at(0.5) - direct.at(0.5)
}

/// Time from a change until every stream has told of it.
async fn fan_out(address: SocketAddr, fuse: &ControlPlane) {
    for streams in CONNECTIONS {
        let task = TaskId::new(format!("fan-{streams}")).expect("a name");
        let accepted = fuse.provision(ProvisionRequest::new(task)).await.expect("accepted");
        fuse.wait_running(&accepted.id, Duration::from_secs(60)).await.expect("it runs");
        let mut open = Vec::new();
        for _ in 0..streams {
            let mut connection = Connection::open(address).await;
            let ask = request("GET", &format!("/v1/environments/{}/events", accepted.id), "");
            connection.0.get_mut().write_all(&ask).await.expect("sent");
            let mut line = String::new();
            while !line.contains("\"running\"") {
                line.clear();
                connection.0.read_line(&mut line).await.expect("a line");
            }
            open.push(connection);
        }
        let began = Instant::now();
        let followers: Vec<_> = open
            .into_iter()
            .map(|mut connection| {
                tokio::spawn(async move {
                    let mut line = String::new();
                    while !line.contains("\"destroyed\"") {
                        line.clear();
                        connection.0.read_line(&mut line).await.expect("a line");
                    }
                    began.elapsed().as_secs_f64() * 1e6
                })
            })
            .collect();
        fuse.destroy(&accepted.id).await.expect("it goes");
        let mut times = Vec::new();
        for follower in followers {
            times.push(follower.await.expect("a follower"));
        }
        println!("{:<28} {streams:>5} {:>10} {}", "destroy to last frame", "", Times::new(times).row());
    }
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}

async fn run() -> bool {
    let fuse = ControlPlane::builder().open().await.expect("a control plane");
    let capacity = fuse_orchestrator::model::Capacity {
        cpus: 1 << 20,
        ram_mb: 1 << 30,
        storage_gb: 1 << 30,
        vm_count: 1 << 20,
    };
    let host =
        fuse_orchestrator::HostRegistration { url: "stub://big".into(), capacity, ..Default::default() };
    fuse.register_host(&"big".parse().expect("a name"), host).await.expect("a host");
    let before = resident_mib();
    for number in 0..ENVIRONMENTS {
        let task = TaskId::new(format!("e{number:05}")).expect("a name");
        fuse.provision(ProvisionRequest::new(task)).await.expect("accepted");
    }
    println!("memory for {ENVIRONMENTS} environments: {:.0} MiB", resident_mib() - before);

    let config = ApiConfig { auth_token: Some("bench".into()), ..ApiConfig::default() };
    let listener = Listener::bind("127.0.0.1", 0, 16_384).await.expect("a listener");
    let (address, stop) = (listener.address().expect("an address"), CancellationToken::new());
    let router = fuse_server::router(fuse.clone(), config);
    let serving = tokio::spawn(listener.serve(router, stop.clone(), Duration::from_secs(5)));

    let added = added(address, &fuse).await;
    println!(
        "{:<28} {:>5} {:>10} {:>9} {:>9} {:>9}",
        "", "conn", "requests/s", "p50 µs", "p99 µs", "p99.9 µs"
    );
    let number = Arc::new(AtomicU64::new(0));
    let one: Ask = Arc::new(|n| {
        vec![request("GET", &format!("/v1/environments/fuse-e{:05}", n as usize % ENVIRONMENTS), "")]
    });
    rows(address, "GET one of 10,000", one, &number).await;
    let list: Ask = Arc::new(|_| vec![request("GET", "/v1/environments?limit=50", "")]);
    rows(address, "list 50 of 10,000", list, &number).await;
    let life: Ask = Arc::new(|n| {
        let create = request("POST", "/v1/environments", &format!("{{\"task_id\":\"life-{n}\"}}"));
        vec![create, request("DELETE", &format!("/v1/environments/fuse-life-{n}"), "")]
    });
    rows(address, "create, running, destroy", life, &number).await;
    fan_out(address, &fuse).await;
    stop.cancel();
    serving.await.expect("it ends");
    fuse.close().await.expect("it closes");
    println!("the HTTP layer adds {added:.0} µs at the median (at most {BAR_US:.0})");
    added <= BAR_US
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if !runtime.block_on(run()) {
        println!("MISSED: the bar of {BAR_US:.0} µs");
    }
}
