//! Durable commits per second against bare flushes of the same disk, in the same run.
//!
//! `cargo bench --bench store_commit -- [--seconds N] [--json FILE] [--only STORE]`. The disk is that of `FUSE_BENCH_DIR` (default
//! /var/tmp). Each commit is a transition as the control plane makes them: one record of 1 KiB changed at an
//! expected revision, one event of 200 bytes. Rounds of all contenders alternate, and the median round counts, so
//! that a noisy machine is noisy for all of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "a benchmark")]
#[path = "../tests/backends/mod.rs"]
mod backends;

use backends::server::Server;
use fuse_orchestrator::store::*;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const ROUNDS: usize = 3;
const CONCURRENCY: [usize; 3] = [1, 64, 256];

/// What one round of one contender gave.
#[derive(Clone)]
struct Round {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

impl Round {
    fn of(mut latencies: Vec<Duration>, took: Duration) -> Self {
        latencies.sort_unstable();
        let at = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
        Self { per_second: latencies.len() as f64 / took.as_secs_f64(), p50: at(0.5), p99: at(0.99) }
    }
}

/// Overwrites and flushes one block, again and again: the fastest durable write that this disk has.
fn flush_round(dir: &Path, time: Duration) -> Round {
    let file =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("flush")).unwrap();
    file.write_all_at(&[0; 4_096], 0).unwrap();
    file.sync_all().unwrap();
    let (started, mut latencies) = (Instant::now(), Vec::new());
    while started.elapsed() < time {
        let begun = Instant::now();
        file.write_all_at(&[latencies.len() as u8; 4_096], 0).unwrap();
        file.sync_data().unwrap();
        latencies.push(begun.elapsed());
    }
    Round::of(latencies, started.elapsed())
}

async fn commit_round(store: &SharedStore, concurrency: usize, time: Duration) -> Round {
    let mut tasks = JoinSet::new();
    let started = Instant::now();
    for task in 0..concurrency {
        let store = store.clone();
        tasks.spawn(async move {
            let id = format!("fuse-t{task}");
            let found = store.get(Kind::Environment, &id).await.unwrap();
            let mut expect = found.map_or(Expect::Absent, |record| Expect::Revision(record.revision));
            let mut latencies = Vec::new();
            while started.elapsed() < time {
                let event = NewEvent {
                    kind: Kind::Environment,
                    id: id.clone(),
                    at_ms: 0,
                    body: vec![b'e'; 200].into(),
                };
                let batch = Batch::new().put(Kind::Environment, &id, expect, vec![b'r'; 1_024]).event(event);
                let begun = Instant::now();
                expect = Expect::Revision(store.commit(batch).await.unwrap().revision);
                latencies.push(begun.elapsed());
            }
            latencies
        });
    }
    let latencies = tasks.join_all().await.into_iter().flatten().collect();
    let round = Round::of(latencies, started.elapsed());
    let last = store.position().await.unwrap().last_event;
    store.truncate_events(last).await.unwrap();
    round
}

fn median(mut rounds: Vec<Round>) -> Round {
    rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    rounds.swap_remove(rounds.len() / 2)
}

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|argument| argument == name).and_then(|_| arguments.next())
}

fn main() {
    let seconds = argument("--seconds").map_or(2.0, |text| text.parse().expect("--seconds takes a number"));
    let time = Duration::from_secs_f64(seconds);
    let parent = std::env::var_os("FUSE_BENCH_DIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let dir = tempfile::Builder::new().prefix("fuse-bench").tempdir_in(&parent).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let only = argument("--only");
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let server = if wanted("postgres") { Server::start_in(&parent, &[]) } else { None };
    let stores = runtime.block_on(async {
        let mut stores: Vec<(&str, SharedStore)> = vec![
            ("memory", Arc::new(MemoryStore::new())),
            ("sled", Arc::new(SledStore::open(dir.path().join("sled")).await.unwrap())),
        ];
        if let Some(server) = &server {
            stores.push(("postgres", Arc::new(PostgresStore::open(&server.database().1).await.unwrap())));
        }
        stores.retain(|(name, _)| wanted(name));
        stores
    });
    let mut results: Vec<(String, usize, Vec<Round>)> = vec![("fdatasync".into(), 1, Vec::new())];
    for (name, _) in &stores {
        results.extend(CONCURRENCY.map(|concurrency| ((*name).to_owned(), concurrency, Vec::new())));
    }
    for _ in 0..ROUNDS {
        for (name, concurrency, rounds) in &mut results {
            let store = stores.iter().find(|(known, _)| known == name);
            rounds.push(match store {
                Some((_, store)) => runtime.block_on(commit_round(store, *concurrency, time)),
                None => flush_round(dir.path(), time),
            });
        }
    }
    let pages = runtime.block_on(fill_and_page(&stores));
    report(
        results.into_iter().map(|(name, concurrency, rounds)| (name, concurrency, median(rounds))).collect(),
    );
    println!("\n{pages}");
    runtime.block_on(async {
        for (_, store) in stores {
            store.close().await.unwrap();
        }
        let started = Instant::now();
        let store = SledStore::open(dir.path().join("sled")).await.unwrap();
        let records = store.position().await.unwrap().records;
        println!("open sled with {records} records, all checked: {:.2} s", started.elapsed().as_secs_f64());
    });
}

/// The cost of a page of 200 in the middle, with 10,000 and with 100,000 records of 1 KiB in the store.
async fn fill_and_page(stores: &[(&str, SharedStore)]) -> String {
    let mut lines =
        vec!["| page of 200 records | of 10,000, µs | of 100,000, µs |".to_owned(), "|---|---:|---:|".into()];
    for (name, store) in stores {
        let mut medians = Vec::new();
        for hundreds in [0..100, 100..1_000] {
            for hundred in hundreds.clone() {
                let put = |batch: Batch, n| {
                    batch.put(Kind::Host, format!("h{hundred:04}{n:02}"), Expect::Any, vec![b'h'; 1_024])
                };
                store.commit((0..100).fold(Batch::new(), put)).await.unwrap();
            }
            let mut times: Vec<_> = Vec::new();
            for n in 0..51 {
                let begun = Instant::now();
                let after = format!("h{:04}", hundreds.end / 2 + n % 7);
                assert_eq!(store.list(Kind::Host, Some(&after), 200).await.unwrap().records.len(), 200);
                times.push(begun.elapsed().as_micros());
            }
            times.sort_unstable();
            medians.push(times[times.len() / 2]);
        }
        lines.push(format!("| {name} | {} | {} |", medians[0], medians[1]));
    }
    lines.join("\n")
}

fn report(results: Vec<(String, usize, Round)>) {
    let flushes = results[0].2.per_second;
    println!("| contender | at once | per second | × fdatasync | p50 µs | p99 µs | bar |");
    println!("|---|---:|---:|---:|---:|---:|---|");
    let mut lines = Vec::new();
    for (name, concurrency, round) in results {
        let ratio = round.per_second / flushes;
        let bar = match (name.as_str(), concurrency) {
            ("sled" | "postgres", 64) => Some(("≥ 3 ×", ratio >= 3.0)),
            ("memory", 64) => Some(("≥ 20000/s", round.per_second >= 20_000.0)),
            _ => None,
        };
        let verdict =
            bar.map_or(String::new(), |(bar, met)| format!("{bar}: {}", if met { "met" } else { "MISSED" }));
        let (p50, p99) = (round.p50.as_micros(), round.p99.as_micros());
        println!(
            "| {name} | {concurrency} | {:.0} | {ratio:.2} | {p50} | {p99} | {verdict} |",
            round.per_second
        );
        lines.push(format!(
            r#"{{"name":"store_commit/{name}/{concurrency}","per_second":{:.1},"ratio":{ratio:.3},"p50_us":{p50},"p99_us":{p99},"bar":"{verdict}"}}"#,
            round.per_second
        ));
    }
    if let Some(path) = argument("--json") {
        std::fs::write(path, format!("[{}]\n", lines.join(",\n"))).unwrap();
    }
}
