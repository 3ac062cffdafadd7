//! Events posted from many threads while modules load, unload and tick: nothing is lost, nothing invented.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuse_edge::hal::{Param, ValueType};
use fuse_edge::{
    Activation, Capabilities, EventId, EventMask, HalGroup, Metering, ModuleId, Policy, Runtime,
};

use crate::{Guard, IDLE, artifact, manual_runtime};

/// Tells the host which event its steps are for.
fn subscriber(event: u32) -> String {
    format!(
        r#"(module (import "env" "seen" (func $seen (param i32)))
             (func (export "module_step") (call $seen (i32.const {event}))))"#
    )
}

/// What has been posted and seen of one event.
#[derive(Default)]
pub(crate) struct Count {
    /// Number of the newest post, stored before it is made.
    pub(crate) posted: AtomicU64,
    /// The number that the newest step saw.
    pub(crate) seen: AtomicU64,
    /// Steps.
    pub(crate) steps: AtomicU64,
}

pub(crate) type Counts = Arc<Vec<Count>>;

/// A runtime with one subscriber for each of the first events.
pub(crate) fn runtime_with_subscribers(events: u32) -> (Runtime, Vec<ModuleId>, Counts) {
    let (mut rt, _) = manual_runtime(Metering::Wall);
    let counts: Counts = Arc::new((0..events).map(|_| Count::default()).collect());
    let seen = counts.clone();
    let group =
        HalGroup::new("seen", 8).function("seen", &[Param::Value(ValueType::I32)], None, move |call| {
            let count = &seen[call.i32(0) as usize];
            // Whatever was stored before the post that caused this step must be visible here.
            count.seen.store(count.posted.load(Ordering::Relaxed), Ordering::Relaxed);
            count.steps.fetch_add(1, Ordering::Release);
            Ok(None)
        });
    rt.register_group(group).unwrap();
    let modules = (0..events).map(|event| {
        let policy = Policy {
            capabilities: Capabilities::from_bits(1 << 8),
            activation: Activation::EVENT,
            event_subscribe: EventMask::from_bits(1 << event),
            ..Policy::default()
        };
        let id = rt
            .load(&format!("event{event}"), &artifact(&subscriber(event), Metering::Wall), &policy)
            .unwrap();
        rt.start(id).unwrap();
        id
    });
    let modules = modules.collect();
    (rt, modules, counts)
}

const THREADS: u32 = 8;
const ROUNDS: u64 = 2000;

/// Loads, starts, ticks and unloads modules until all posts are answered.
fn churn(rt: &mut Runtime, done: impl Fn() -> bool) {
    let idle = artifact(IDLE, Metering::Wall);
    let everything = Policy {
        activation: Activation::EVENT,
        event_subscribe: EventMask::from_bits(u32::MAX),
        ..Policy::default()
    };
    let mut turns = 0u64;
    while !done() {
        turns += 1;
        if turns.is_multiple_of(50) {
            let id = rt.load("guest", &idle, &everything).unwrap();
            rt.tick().unwrap();
            rt.start(id).unwrap();
            rt.tick().unwrap();
            rt.unload(id).unwrap();
        }
        rt.tick().unwrap();
    }
}

/// Each thread posts its event, waits until a step has seen it, and posts again: one step for each post, no
/// more. A lost post would wait for ever.
#[test]
fn each_post_is_one_step() {
    let _guard = Guard::new("a lost event");
    let (mut rt, modules, counts) = runtime_with_subscribers(THREADS);
    std::thread::scope(|scope| {
        for event in 0..THREADS {
            let (poster, counts) = (rt.poster(), counts.clone());
            scope.spawn(move || {
                let count = &counts[event as usize];
                for round in 1..=ROUNDS {
                    count.posted.store(round, Ordering::Relaxed);
                    poster.post(EventId::new(event).unwrap());
                    while count.steps.load(Ordering::Acquire) < round {
                        std::thread::yield_now();
                    }
                }
            });
        }
        churn(&mut rt, || counts.iter().all(|c| c.steps.load(Ordering::Acquire) >= ROUNDS));
    });
    rt.tick().unwrap();
    for (event, id) in modules.iter().enumerate() {
        assert_eq!(counts[event].steps.load(Ordering::Relaxed), ROUNDS, "steps of event {event}");
        assert_eq!(rt.module(*id).unwrap().stats.steps, ROUNDS);
        assert_eq!(rt.module(*id).unwrap().latch, EventMask::NONE);
    }
}

/// Threads that post as fast as they can: posts merge, but after the last one a step sees what was stored before
/// it, and there are never more steps than posts.
#[test]
fn the_last_post_is_never_lost() {
    let _guard = Guard::new("a lost event");
    let (mut rt, modules, counts) = runtime_with_subscribers(THREADS);
    let running = Arc::new(AtomicU64::new(u64::from(THREADS)));
    std::thread::scope(|scope| {
        for event in 0..THREADS {
            let (poster, counts, running) = (rt.poster(), counts.clone(), running.clone());
            scope.spawn(move || {
                for round in 1..=20 * ROUNDS {
                    counts[event as usize].posted.store(round, Ordering::Relaxed);
                    poster.post(EventId::new(event).unwrap());
                }
                running.fetch_sub(1, Ordering::Release);
            });
        }
        churn(&mut rt, || running.load(Ordering::Acquire) == 0);
    });
    rt.tick().unwrap();
    let after = |event: usize| counts[event].steps.load(Ordering::Relaxed);
    let settled: Vec<u64> = (0..modules.len()).map(after).collect();
    rt.tick().unwrap();
    for (event, count) in counts.iter().enumerate() {
        assert_eq!(count.seen.load(Ordering::Relaxed), 20 * ROUNDS, "the last post of event {event}");
        assert!((1..=20 * ROUNDS).contains(&settled[event]), "{} steps", settled[event]);
        assert_eq!(after(event), settled[event], "a step without a post");
    }
}

/// A poster outlives its runtime.
#[test]
fn posting_to_a_runtime_that_is_gone_does_nothing() {
    let (rt, _, _) = runtime_with_subscribers(1);
    let poster = rt.poster();
    drop(rt);
    poster.post(EventId::new(0).unwrap());
}
