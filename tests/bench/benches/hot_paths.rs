//! The shortest paths one at a time, for comparison between two versions of the code:
//! `cargo bench -p fuse-bench`.

use criterion::{Criterion, criterion_group, criterion_main};
use fuse_bench::fixture::{CALLS_PER_STEP, EMPTY, HOST_CALLS, Single, artifact, runtime, with_idle_modules};
use fuse_bench::raw::RawEngine;
use fuse_edge::{Activation, Capabilities, EventId, EventMask, Policy, StepTiming, TrapMode};

type Result<T> = fuse_bench::Result<T>;

fn steps(criterion: &mut Criterion) -> Result<()> {
    let empty = artifact(EMPTY.as_bytes(), TrapMode::Explicit)?;
    let quota = Policy { cpu_quota_us: 1000, ..Policy::default() };
    let mut raw = RawEngine::new(TrapMode::Explicit)?.load(&empty)?;
    let mut plain = Single::new(&empty, &Policy::default())?;
    let mut limited = Single::new(&empty, &quota)?;
    let mut group = criterion.benchmark_group("step");
    group.bench_function("raw", |b| b.iter(|| raw.step()));
    group.bench_function("empty", |b| b.iter(|| plain.step()));
    group.bench_function("quota", |b| b.iter(|| limited.step()));
    group.finish();

    let mut rt = runtime(1, TrapMode::Explicit, StepTiming::Sampled)?;
    rt.set_timer(|| Ok(1));
    let policy = Policy { capabilities: Capabilities::TIMER, ..Policy::default() };
    let mut calls = Single::within(rt, &artifact(HOST_CALLS.as_bytes(), TrapMode::Explicit)?, &policy)?;
    criterion.bench_function(&format!("{CALLS_PER_STEP} host calls"), |b| b.iter(|| calls.step()));
    Ok(())
}

fn events(criterion: &mut Criterion) -> Result<()> {
    let event = EventId::new(3)?;
    let mut idle = with_idle_modules(1000)?;
    criterion.bench_function("tick, 1000 idle", |b| b.iter(|| idle.tick().is_ok()));
    criterion.bench_function("post_event", |b| b.iter(|| idle.post_event(event)));
    let policy = Policy {
        activation: Activation::EVENT,
        event_subscribe: EventMask::from(event),
        ..Policy::default()
    };
    let mut woken = Single::new(&artifact(EMPTY.as_bytes(), TrapMode::Explicit)?, &policy)?;
    criterion.bench_function("post_event, tick, step", |b| {
        b.iter(|| {
            woken.runtime.post_event(event);
            woken.runtime.tick().is_ok()
        });
    });
    Ok(())
}

fn all(criterion: &mut Criterion) {
    for part in [steps, events] {
        if let Err(e) = part(criterion) {
            eprintln!("cannot measure: {e}");
        }
    }
}

criterion_group!(benches, all);
criterion_main!(benches);
