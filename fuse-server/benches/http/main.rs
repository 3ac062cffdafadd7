//! What the HTTP layer costs: the same call through the library and over a loopback socket, side by side in one run.
//!
//! The load comes from another process, [oha](https://crates.io/crates/oha), which `tests/load-generator.sh` installs.
//! Latency is measured open loop: requests are due at fixed times, at half of the rate that the connections reached when
//! they were pushed, and a request that waits for its turn counts from when it was due.
//! `cargo bench -p fuse-server --bench http`; `FUSE_BENCH_SECONDS` (default 2) is the time of each row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod awake;
mod load;
mod site;
mod streams;

use std::time::{Duration, Instant};

use fuse_orchestrator::{ControlPlane, model::EnvironmentId};
use load::{Amount, Ask, Load, Outcome};
use site::{ENVIRONMENTS, Served};

const CONNECTIONS: [usize; 4] = [1, 16, 64, 256];
/// What the HTTP layer may add to a call at the median, in microseconds.
const BAR_US: f64 = 60.0;
/// Library, socket and floor take turns this often, so that a busy machine slows all of them.
const TURNS: usize = 9;
const CALLS_A_TURN: u64 = 2_000;

fn seconds() -> Duration {
    let text = std::env::var("FUSE_BENCH_SECONDS").ok();
    Duration::from_secs_f64(text.and_then(|text| text.parse().ok()).unwrap_or(2.0))
}

/// The value at `part` of sorted values.
fn at(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part) as usize).copied().unwrap_or(f64::NAN)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    at(&values, 0.5)
}

fn row(name: &str, connections: usize, rate: &str, [p50, p99, p999]: [f64; 3]) {
    println!("| {name} | {connections} | {rate} | {p50:.0} | {p99:.0} | {p999:.0} |");
}

fn print(name: &str, connections: usize, pushed: &Outcome, paced: &Outcome) {
    let rate = format!("{:.0}", pushed.per_second);
    row(name, connections, &rate, [paced.p50, paced.p99, paced.p999]);
}

async fn rows(load: &Load, name: &str, ask: Ask<'_>) {
    for connections in CONNECTIONS {
        let pushed = load.push(ask, connections, Amount::For(seconds())).await;
        let paced = load.pace(ask, connections, Amount::For(seconds()), pushed.per_second / 2.0).await;
        print(name, connections, &pushed, &paced);
    }
}

/// Creates that wait until the environment runs, then the removal of all of them.
async fn lives(load: &Load, url: &str) {
    let (create, destroy) = (format!("{url}/create"), format!("{url}/destroy"));
    let (create, destroy) = (Ask::new("POST", &create), Ask::new("DELETE", &destroy));
    for connections in CONNECTIONS {
        let made = load.push(create, connections, Amount::For(seconds())).await;
        let removed = load.push(destroy, connections, Amount::Times(made.requests)).await;
        let making = load.pace(create, connections, Amount::For(seconds()), made.per_second / 2.0).await;
        let all = Amount::Times(making.requests);
        let removing = load.pace(destroy, connections, all, removed.per_second / 2.0).await;
        print("create until it runs", connections, &made, &making);
        print("destroy", connections, &removed, &removing);
    }
}

/// One call after another, in turns: the library, the same over a socket, and an answer that is ready over a socket.
struct Added {
    library: f64,
    http: f64,
    floor: f64,
}

impl Added {
    async fn measure(load: &Load, served: &Served, fuse: &ControlPlane) -> Self {
        let id: EnvironmentId = "fuse-e0001".parse().expect("an id");
        let ready = serde_json::to_string(&fuse.get(&id).expect("an environment")).expect("JSON");
        let bare = Served::bare(ready).await;
        let one = format!("{}/v1/environments/{id}", served.url);
        let (mut library, mut http, mut floor) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            library.push(direct(fuse, &id));
            http.push(load.push(Ask::new("GET", &one), 1, Amount::Times(CALLS_A_TURN)).await.p50);
            floor.push(load.push(Ask::new("GET", &bare.url), 1, Amount::Times(CALLS_A_TURN)).await.p50);
        }
        Self { library: median(library), http: median(http), floor: median(floor) }
    }

    fn of_http(&self) -> f64 {
        self.http - self.library
    }

    fn print(&self, how: &str) {
        println!("GET one, one call after another, {how}, medians of {TURNS} turns of {CALLS_A_TURN} calls:");
        println!("- the library: {:.1} µs", self.library);
        println!("- over HTTP: {:.1} µs", self.http);
        println!("- the same bytes, ready, over HTTP (socket, HTTP, generator): {:.1} µs", self.floor);
        let (added, ours) = (self.of_http(), self.http - self.floor);
        let verdict = if added <= BAR_US { "met" } else { "MISSED" };
        println!(
            "- the HTTP layer adds {added:.1} µs ({ours:.1} µs of it beyond an answer that is ready); \
             bar: at most {BAR_US:.0} µs: {verdict}\n"
        );
    }
}

fn direct(fuse: &ControlPlane, id: &EnvironmentId) -> f64 {
    let mut times = Vec::new();
    for _ in 0..CALLS_A_TURN {
        let began = Instant::now();
        std::hint::black_box(fuse.get(id).expect("an environment"));
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    median(times)
}

async fn run() {
    let load = Load::find(site::TOKEN);
    let fuse = ControlPlane::builder().open().await.expect("a control plane");
    let memory = site::fill(&fuse).await;
    let each = memory * 1024.0 / ENVIRONMENTS as f64;
    println!("memory for {ENVIRONMENTS} environments: {memory:.0} MiB ({each:.1} KiB each)\n");
    let served = site::serve(&fuse).await;
    Added::measure(&load, &served, &fuse).await.print("on a machine at rest");
    let awake = awake::Awake::keep();
    Added::measure(&load, &served, &fuse).await.print("with its processors kept awake");
    drop(awake);

    println!("| | connections | requests/s, pushed | p50 µs | p99 µs | p99.9 µs |");
    println!("|---|--:|--:|--:|--:|--:|");
    let any = format!("{}/v1/environments/fuse-e[0-9]{{4}}", served.url);
    rows(&load, "GET one of 10,000", Ask { method: "GET", url: &any, pattern: true }).await;
    let list = format!("{}/v1/environments?limit=50", served.url);
    rows(&load, "list 50 of 10,000", Ask::new("GET", &list)).await;
    lives(&load, &served.url).await;
    for streams in CONNECTIONS {
        let times = streams::fan_out(&served.url, &fuse, streams).await;
        row("a change to each of its streams", streams, "", [0.5, 0.99, 0.999].map(|part| at(&times, part)));
    }
    drop(served);
    fuse.close().await.expect("it closes");
}

fn main() {
    // The client of the streams asks for one, also where nothing is encrypted.
    rustls::crypto::ring::default_provider().install_default().expect("no other provider");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}
