//! The figures of the orchestrator, each beside its rival in the same run.
//!
//! `cargo bench -p fuse-orchestrator --bench orchestrator [-- FILTER] [--json FILE]` prints a table in Markdown. A figure
//! that misses its bar is reported as missed. `FUSE_BENCH_SCALE` (default 1.0) makes the large ones smaller.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a benchmark fails by panicking")]

#[path = "../tests/backends/server.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    reason = "the test server, of which this uses a part"
)]
mod server;

use std::{
    fs::File,
    io::{Seek, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use fuse_orchestrator::{
    Config, ControlPlane, Delivery, HostRegistration,
    model::{
        Capacity, EnvironmentFilter, EnvironmentId, HostId, OwnerId, ProvisionRequest, Resources, TaskId,
        VmName,
    },
    provider::stub::{StubConnector, StubHost},
    provider::{AgentStart, CreateRequest, FileUpload, Provider},
    scheduler::{Demand, Policy, Scheduler},
    secrets::KeyRing,
    store::{Kind, PostgresStore, SharedStore, SledStore},
};

/// The allocator of the program `fuse`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One line of the table.
struct Figure {
    name: String,
    value: String,
    bar: String,
    holds: Option<bool>,
}

struct Report(Vec<Figure>);

impl Report {
    fn add(&mut self, name: &str, value: String, bar: &str, holds: Option<bool>) {
        let said = match holds {
            Some(true) => "held",
            Some(false) => "MISSED",
            None => "",
        };
        println!("| {name} | {value} | {bar} | {said} |");
        self.0.push(Figure { name: name.to_owned(), value, bar: bar.to_owned(), holds });
    }

    fn json(&self) -> String {
        let lines: Vec<_> = self
            .0
            .iter()
            .map(|figure| {
                serde_json::json!({
                    "name": figure.name, "value": figure.value, "bar": figure.bar, "holds": figure.holds
                })
                .to_string()
            })
            .collect();
        format!("[\n  {}\n]\n", lines.join(",\n  "))
    }
}

fn scaled(count: usize) -> usize {
    let scale = std::env::var("FUSE_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    ((count as f64 * scale) as usize).max(100)
}

fn huge() -> Capacity {
    Capacity { cpus: u32::MAX, ram_mb: u32::MAX, storage_gb: u32::MAX, vm_count: u32::MAX }
}

async fn open(store: Option<SharedStore>, keys: &Arc<KeyRing>) -> (ControlPlane, StubHost) {
    let stub = Arc::new(StubConnector::new());
    let host = StubHost::new("h1", huge());
    stub.add(host.clone());
    let config =
        Config { reconcile_period: None, owner: Some(OwnerId::new("bench").unwrap()), ..Config::default() };
    let builder = ControlPlane::builder().config(config).connector("stub", stub).secrets(keys.clone());
    let builder = match store {
        Some(store) => builder.store(store),
        None => builder,
    };
    let registration = HostRegistration { url: "stub://h1".into(), ..HostRegistration::default() };
    (builder.default_host(registration).open().await.unwrap(), host)
}

fn request(number: usize) -> ProvisionRequest {
    let mut request = ProvisionRequest::new(TaskId::new(format!("t{number:07}")).unwrap());
    request.spec.resources = Resources { cpus: 1, ram_mb: 64, storage_gb: 0 };
    request
}

/// Provisions `count` environments, 64 at a time, each until it runs; returns the rate a second.
async fn provision(fuse: &ControlPlane, from: usize, count: usize) -> f64 {
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(from));
    let started = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (fuse, next) = (fuse.clone(), next.clone());
        workers.spawn(async move {
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number >= from + count {
                    return;
                }
                let accepted = fuse.provision(request(number)).await.unwrap();
                fuse.wait_running(&accepted.id, Duration::from_secs(60)).await.unwrap();
            }
        });
    }
    workers.join_all().await;
    count as f64 / started.elapsed().as_secs_f64()
}

/// The rival in memory: the same VMs made on the stub with the same verbs and nobody to remember them, a second.
async fn bare(host: &StubHost, count: usize) -> f64 {
    let started = Instant::now();
    for number in 0..count {
        let request = CreateRequest {
            name: VmName::new(format!("bare-{number}")).unwrap(),
            owner: OwnerId::new("bare").unwrap(),
            environment_id: EnvironmentId::new("bare").unwrap(),
            resources: Resources { cpus: 1, ram_mb: 64, storage_gb: 0 },
            region: String::new(),
            image: String::new(),
            seed: None,
        };
        let vm = host.create(&request).await.unwrap().name;
        for path in [
            "/fuse/manifest.json",
            "/fuse/secrets.json",
            "/fuse/tls/cert.pem",
            "/fuse/tls/key.pem",
            "/fuse/auth-token",
        ] {
            let file = FileUpload { path: path.into(), content: vec![b'x'; 300], mode: 0o600 };
            host.upload(&vm, &file).await.unwrap();
        }
        let start = AgentStart {
            auth_token: "token".into(),
            command: None,
            download_url: None,
            gateway: None,
            gateway_token: None,
            expose: Vec::new(),
        };
        host.start_agent(&vm, &start).await.unwrap();
    }
    count as f64 / started.elapsed().as_secs_f64()
}

/// How many single `fdatasync` of a small write the disk does a second.
fn syncs(dir: &Path) -> f64 {
    let mut file = File::create(dir.join("sync")).unwrap();
    let started = Instant::now();
    let mut count = 0;
    while started.elapsed() < Duration::from_secs(1) {
        file.rewind().unwrap();
        file.write_all(&[7; 512]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(0.0)
}

/// Nanoseconds of one placement among `hosts` hosts, a third of them full, in a steady state.
async fn placement(hosts: usize, policy: Policy) -> f64 {
    let (fuse, _) = open(None, &Arc::new(KeyRing::generate().unwrap())).await;
    let template = fuse.host(&HostId::new("default").unwrap()).unwrap();
    let mut scheduler = Scheduler::new(policy);
    for number in 0..hosts {
        let capacity = Capacity { cpus: 64, ram_mb: 131_072, storage_gb: 1_000, vm_count: 200 };
        let id = HostId::new(format!("h{number:05}")).unwrap();
        scheduler.set_host(&fuse_orchestrator::model::Host { id, capacity, ..template.clone() });
    }
    let demand = Demand { need: Resources { cpus: 1, ram_mb: 512, storage_gb: 1 }, ..Demand::default() };
    let mut names = std::collections::VecDeque::new();
    let mut times = Vec::new();
    for number in 0..20_000 {
        let vm = VmName::new(format!("vm-{number}")).unwrap();
        let started = Instant::now();
        let host = scheduler.place(&demand).unwrap();
        scheduler.charge(&vm, &host, demand.need);
        times.push(started.elapsed().as_nanos() as f64);
        names.push_back(vm);
        if names.len() > hosts * 20 {
            let old = names.pop_front().unwrap();
            scheduler.release(&old);
        }
    }
    median(times)
}

/// Microseconds of the median page of 50 of a fleet, from memory that no cache of the processor holds: a small fleet
/// would stay in them while a large one does not, and a page that somebody asks for is in none.
fn page(fuse: &ControlPlane) -> f64 {
    let mut times = Vec::new();
    let mut cursor = None;
    let mut other = vec![0_u8; 64 << 20];
    for turn in 0..200_u8 {
        other.iter_mut().step_by(64).for_each(|byte| *byte = turn);
        let started = Instant::now();
        let page = fuse.list(&EnvironmentFilter::default(), Some(50), cursor.as_deref()).unwrap();
        times.push(started.elapsed().as_secs_f64() * 1e6);
        cursor = page.next_cursor;
    }
    median(times)
}

fn memory_kib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = status.split_whitespace().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0.0);
    pages * 4.0
}

fn cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) * 10.0
}

async fn fan_out(report: &mut Report) {
    let (fuse, _) = open(None, &Arc::new(KeyRing::generate().unwrap())).await;
    let (readers, events) = (1_000, scaled(10_000));
    let last = fuse.newest_event() + events as u64;
    let mut stalled = fuse.events(fuse.newest_event());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..readers {
        let mut events = fuse.events(fuse.newest_event());
        tasks.spawn(async move {
            let mut seen = 0_u64;
            while events.position() < last {
                match events.next().await.unwrap() {
                    Some(Delivery::Event(_)) => seen += 1,
                    other => panic!("{other:?}"),
                }
            }
            seen
        });
    }
    let started = Instant::now();
    let host = HostId::new("default").unwrap();
    for number in 0..events {
        if number % 2 == 0 {
            fuse.cordon(&host).await.unwrap();
        } else {
            fuse.uncordon(&host).await.unwrap();
        }
    }
    let seen: u64 = tasks.join_all().await.into_iter().sum();
    let rate = events as f64 / started.elapsed().as_secs_f64();
    let lossless = seen == (readers * events) as u64;
    let first = stalled.next().await.unwrap();
    let name = "events to 1,000 subscribers and a stalled one";
    let said = if lossless { "none lost" } else { "LOST" };
    let value = format!("{rate:.0} events/s, {:.1} × the bar, {said}", rate / 1_000.0);
    let intact = matches!(first, Some(Delivery::Event(_)));
    report.add(name, value, "1,000/s without loss", Some(lossless && intact && rate >= 1_000.0));
}

/// Set in the run whose flushes are slowed.
const SLOW: &str = "FUSE_BENCH_SLOW_DISK";

/// The name of a figure about the disk.
fn about_disk(store: &str) -> String {
    let disk = if std::env::var_os(SLOW).is_some() { "a disk that flushes in 1 ms" } else { "this disk" };
    format!("provision → running, {store} on {disk}, 64 at a time")
}

async fn on_sled(report: &mut Report, keys: &Arc<KeyRing>) {
    let dir = tempfile::tempdir().unwrap();
    let store: SharedStore = Arc::new(SledStore::open(dir.path().join("state")).await.unwrap());
    let (fuse, _) = open(Some(store), keys).await;
    let rate = provision(&fuse, 0, scaled(5_000)).await;
    let single = syncs(dir.path());
    let ratio = rate / single;
    let value = format!("{rate:.0}/s, {ratio:.1} × {single:.0} fdatasync/s");
    report.add(&about_disk("sled"), value, "≥ 3 × fdatasync", Some(ratio >= 3.0));
    fuse.close().await.unwrap();
}

/// The same once more on a disk whose flushes take a millisecond longer. Some machines say of a write that it is on
/// the disk when it is in a cache; what shares flushes shows where flushes cost something.
fn on_a_slow_disk(report: &mut Report) {
    let dir = tempfile::tempdir().unwrap();
    // The server of the database is somebody else, and loads this too.
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let (source, shim) = (dir.path().join("slow.c"), dir.path().join("slow.so"));
    let calls = [
        ("fsync", "int fd", "fd"),
        ("fdatasync", "int fd", "fd"),
        ("sync_file_range", "int fd, long at, long size, unsigned how", "fd, at, size, how"),
    ];
    let text = calls.map(|(name, parameters, arguments)| {
        format!(
            "int {name}({parameters}) {{ struct timespec t = {{0, 1000000}}; nanosleep(&t, 0); \
             int (*real)() = dlsym(RTLD_NEXT, \"{name}\"); return real({arguments}); }}\n"
        )
    });
    let head = "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <time.h>\n";
    std::fs::write(&source, format!("{head}{}", text.concat())).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-w", "-o"]).arg(&shim).arg(&source).status();
    if !built.is_ok_and(|status| status.success()) {
        let name = "provision → running on a disk that flushes in 1 ms";
        return report.add(name, "there is no C compiler".to_owned(), "≥ 3 × fdatasync", None);
    }
    for filter in ["sled", "postgres"] {
        let json = dir.path().join(filter);
        let mut run = Command::new(std::env::current_exe().unwrap());
        let run = run.env("LD_PRELOAD", &shim).env(SLOW, "1").arg(filter).arg("--json").arg(&json);
        let output = run.output().unwrap();
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{lines}{}", String::from_utf8_lossy(&output.stderr));
        let figures: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
        for figure in figures {
            let text = |member: &str| figure[member].as_str().unwrap_or_default().to_owned();
            report.add(&text("name"), text("value"), &text("bar"), figure["holds"].as_bool());
        }
    }
}

async fn on_postgres(report: &mut Report, keys: &Arc<KeyRing>) {
    let name = &about_disk("Postgres");
    let Some(server) = server::shared() else {
        return report.add(name, "Postgres is not installed".to_owned(), "≥ 3 × fdatasync", None);
    };
    let store: SharedStore = Arc::new(PostgresStore::open(&server.database().1).await.unwrap());
    let (fuse, _) = open(Some(store), keys).await;
    let rate = provision(&fuse, 0, scaled(5_000)).await;
    // The disk that the database is on.
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let single = syncs(dir.path());
    let ratio = rate / single;
    let value = format!("{rate:.0}/s, {ratio:.1} × {single:.0} fdatasync/s");
    report.add(name, value, "≥ 3 × fdatasync", Some(ratio >= 3.0));
    fuse.close().await.unwrap();
}

/// Set for the process that opens again what another left: the directory of the store.
const REOPEN: &str = "FUSE_BENCH_REOPEN";

/// A process of its own opens the store of one that is gone: its memory holds nothing else.
async fn restart(report: &mut Report, keys: &Arc<KeyRing>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state");
    let large = scaled(100_000);
    let store: SharedStore = Arc::new(SledStore::open(&path).await.unwrap());
    let (fuse, _) = open(Some(store.clone()), keys).await;
    provision(&fuse, 0, large).await;
    fuse.close().await.unwrap();
    drop((fuse, store));
    let output = Command::new(std::env::current_exe().unwrap()).env(REOPEN, &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let numbers: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [opened, took, memory, record] = numbers[..] else {
        panic!("{said}{}", String::from_utf8_lossy(&output.stderr))
    };
    let name = format!("restart with {large} environments on sled");
    let value = format!("{took:.2} s, {:.1} × the {opened:.2} s of opening the store alone", took / opened);
    report.add(&name, value, "≤ 3 s", Some(took <= 3.0));
    let each = memory / large as f64;
    report.add(
        "memory for each environment after the restart, the store's cache included",
        format!("{each:.1} KiB, {:.1} × the {record:.1} KiB of its record", each / record),
        "≤ 4 KiB",
        Some(each <= 4.0),
    );
}

/// Opens what [`restart`] left. Prints the seconds of opening the store, those of opening all of it, the KiB of memory
/// that this took, and those of one record.
async fn reopen(path: &Path) {
    let before = memory_kib();
    let started = Instant::now();
    let store: SharedStore = Arc::new(SledStore::open(path).await.unwrap());
    let opened = started.elapsed().as_secs_f64();
    let (fuse, _) = open(Some(store.clone()), &Arc::new(KeyRing::generate().unwrap())).await;
    let took = started.elapsed().as_secs_f64();
    let memory = memory_kib() - before;
    let sample = store.get(Kind::Environment, "fuse-t0000000").await.unwrap();
    let record = sample.map_or(0.0, |found| found.body.len() as f64 / 1024.0);
    println!("{opened} {took} {memory} {record}");
    fuse.close().await.unwrap();
}

async fn run(filter: &str, report: &mut Report) {
    let wants = |name: &str| filter.is_empty() || name.contains(filter);
    let keys = Arc::new(KeyRing::generate().unwrap());
    if wants("provision") {
        let (fuse, host) = open(None, &keys).await;
        let rate = provision(&fuse, 0, scaled(20_000)).await;
        let rival = bare(&host, scaled(20_000)).await;
        let name = "provision → running, in memory, 64 at a time";
        let value = format!("{rate:.0}/s, {:.2} × the stub's own {rival:.0}/s", rate / rival);
        report.add(name, value, "≥ 20,000/s", Some(rate >= 20_000.0));
    }
    if wants("sled") {
        on_sled(report, &keys).await;
    }
    if wants("postgres") {
        on_postgres(report, &keys).await;
    }
    if wants("disk") && std::env::var_os(SLOW).is_none() {
        on_a_slow_disk(report);
    }
    if wants("placement") {
        for policy in [Policy::Spread, Policy::Binpack] {
            let (few, many) = (placement(10, policy).await, placement(1_000, policy).await);
            let value = format!("{:.2} µs, {:.2} × at 10", many / 1e3, many / few);
            let name = format!("placement and charge at 1,000 hosts, {}", policy.as_str());
            report.add(&name, value, "≤ 2 × at 10", Some(many <= 2.0 * few));
        }
    }
    if wants("fleet") {
        let (fuse, stub) = open(None, &keys).await;
        let (small, large) = (scaled(10_000), scaled(100_000));
        provision(&fuse, 0, small).await;
        let few = page(&fuse);
        let host = HostId::new("default").unwrap();
        // The clock of CPU time is coarse, so it is read around many.
        let (times, prefix) = (20, "fuse-".parse().unwrap());
        let started = cpu_ms();
        for _ in 0..times {
            fuse.reconcile_host(&host).await.unwrap();
        }
        let cost = (cpu_ms() - started) / f64::from(times);
        let started = cpu_ms();
        for _ in 0..times {
            stub.list(fuse.owner(), &prefix).await.unwrap();
        }
        let rival = (cpu_ms() - started) / f64::from(times);
        let name = format!("reconcile of {small} unchanged environments");
        let value = format!(
            "{cost:.1} ms CPU, {:.1} × the {rival:.1} ms of the stub's list alone",
            cost / rival.max(0.1)
        );
        report.add(&name, value, "≤ 50 ms", Some(cost <= 50.0));
        provision(&fuse, small, large - small).await;
        let many = page(&fuse);
        let name = format!("page of 50 of {large} environments, out of no cache");
        let value = format!("{many:.1} µs, {:.2} × of {small}", many / few);
        report.add(&name, value, "flat (≤ 1.5 ×)", Some(many <= 1.5 * few));
    }
    if wants("restart") {
        restart(report, &keys).await;
    }
    if wants("events") {
        fan_out(report).await;
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let (mut filter, mut json) = (String::new(), None);
    while let Some(argument) = arguments.next() {
        if argument == "--json" {
            json = arguments.next();
        } else {
            filter = argument;
        }
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let Some(path) = std::env::var_os(REOPEN) {
        return runtime.block_on(reopen(Path::new(&path)));
    }
    println!("| figure | value | bar | |\n|---|---|---|---|");
    let mut report = Report(Vec::new());
    runtime.block_on(run(&filter, &mut report));
    if let Some(path) = json {
        std::fs::write(path, report.json()).unwrap();
    }
}
