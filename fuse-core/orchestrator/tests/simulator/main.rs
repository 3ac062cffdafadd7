//! Whole fleets in virtual time, from a seed.
//!
//! Each seed makes a fleet, clients that provision, drain, fork, snapshot and destroy, and a world that fails: hosts die,
//! reboot and are cut off, answers are slow, lost, doubled or come after their error, the store is away or loses answers,
//! and the orchestrator crashes at any commit, before or after it, and starts again under another wall clock.
//! After every step the invariants are checked; at the end everything calms down and must come to rest.
//!
//! A failing seed prints itself. `FUSE_SIM_SEED=<seed> cargo test --test simulator -- --nocapture` replays it exactly,
//! with a trace. `FUSE_SIM_SEEDS=<count>` and `FUSE_SIM_LARGE=<count>` set how many seeds of small and of large fleets run
//! (10,000 and 20); both want a control plane that is optimised, as `tests/run.sh` builds it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod host;
mod keeper;
mod rng;
mod store;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use world::{Size, World};

const SMALL: Size = Size { hosts: 3, environments: 20, steps: 60 };
const LARGE: Size = Size { hosts: 50, environments: 2_000, steps: 4_000 };

fn run(seed: u64, size: Size, trace: bool) -> Result<Vec<String>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { World::new(seed, size, trace).await.run().await })
}

fn count(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn run_all(first: u64, seeds: u64, size: Size) {
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(2, usize::from).min(8);
    let failures = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || failures.lock().unwrap().len() >= 5 {
                        return;
                    }
                    if let Err(why) = run(seed, size, false) {
                        failures.lock().unwrap().push(format!("seed {seed}: {why}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn small_fleets_keep_every_promise() {
    if let Ok(seed) = std::env::var("FUSE_SIM_SEED") {
        let result = run(seed.parse().unwrap(), SMALL, true);
        assert!(result.is_ok(), "{}", result.unwrap_err());
        return;
    }
    run_all(count("FUSE_SIM_FIRST", 1), count("FUSE_SIM_SEEDS", 10_000), SMALL);
}

#[test]
fn large_fleets_keep_every_promise() {
    if std::env::var("FUSE_SIM_SEED").is_ok() {
        return;
    }
    run_all(1, count("FUSE_SIM_LARGE", 20), LARGE);
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [3, 5, 8] {
        let (first, second) = (run(seed, SMALL, false), run(seed, SMALL, false));
        assert!(first.is_ok(), "{first:?}");
        assert_eq!(first, second);
    }
}
