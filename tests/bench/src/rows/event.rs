//! Ticks and events, with few modules and with many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use fuse_edge::{Activation, Capabilities, EventId, EventMask, Policy, TrapMode};

use crate::Result;
use crate::fixture::{BEGINS, EMPTY, Single, artifact, with_idle_modules};
use crate::plan::Plan;
use crate::report::{Bar, Row};
use crate::sample::{Side, Summary, interleave, ns_per_call};

/// The rows of this group.
pub const IDS: &[&str] = &["tick.idle", "event.post_loaded", "event.post_atomic", "event.wake"];

const FEW: usize = 10;

/// Measures them.
///
/// # Errors
/// When something cannot be set up.
pub fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = ticks_and_posts(plan)?;
    rows.push(wake(plan)?);
    Ok(rows)
}

/// A word on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Bare {
    word: AtomicU32,
}

fn ticks_and_posts(plan: &Plan) -> Result<Vec<Row>> {
    let (mut few, mut many) = (with_idle_modules(FEW)?, with_idle_modules(plan.many)?);
    // Nobody subscribes to event 0, and nothing ticks while it is posted.
    let event = EventId::new(0)?;
    let batch = plan.batch;
    let ticks = interleave(
        plan.rounds,
        &mut [
            Box::new(|| ns_per_call(batch, || few.tick().is_ok())),
            Box::new(|| ns_per_call(batch, || many.tick().is_ok())),
        ],
    );
    let bare = Bare::default();
    let (few_poster, many_poster) = (few.poster(), many.poster());
    let posts = interleave(
        plan.rounds,
        &mut [
            Box::new(|| ns_per_call(batch, || few_poster.post(event))),
            Box::new(|| ns_per_call(batch, || many_poster.post(event))),
            Box::new(|| ns_per_call(batch, || bare.word.fetch_or(1, Ordering::Release))),
        ],
    );
    let [few_tick, many_tick] = &ticks[..] else { return Err("two sides".into()) };
    let [few_post, many_post, atomic] = &posts[..] else { return Err("three sides".into()) };
    let count = plan.many;
    Ok(vec![
        Row::ns("tick.idle", &format!("tick with {count} idle modules"), many_tick)
            .against(&format!("tick with {FEW}"), few_tick)
            .bar(Bar::Times { limit: 2.0 })
            .note("half of the modules wait for an interval of an hour, half for an event."),
        Row::ns("event.post_loaded", &format!("post_event, {count} modules loaded"), many_post)
            .against(&format!("with {FEW}"), few_post)
            .bar(Bar::Times { limit: 1.2 }),
        Row::ns("event.post_atomic", &format!("post_event, {count} modules loaded"), many_post)
            .against("a bare atomic fetch_or", atomic)
            .bar(Bar::Times { limit: 3.0 }),
    ])
}

/// From the post to the first thing that the subscriber's step does, which is to call the host.
fn wake(plan: &Plan) -> Result<Row> {
    let base = Instant::now();
    let begun = Arc::new(AtomicU64::new(0));
    let mut rt = with_idle_modules(FEW)?;
    let at = begun.clone();
    rt.set_timer(move || {
        at.store(base.elapsed().as_nanos() as u64, Ordering::Relaxed);
        Ok(0)
    });
    // None of the idle modules listens to it.
    let event = EventId::new(0)?;
    let policy = Policy {
        capabilities: Capabilities::TIMER,
        activation: Activation::EVENT,
        event_subscribe: EventMask::from(event),
        ..Policy::default()
    };
    let mut subscriber = Single::within(rt, &artifact(BEGINS.as_bytes(), TrapMode::Explicit)?, &policy)?;
    let mut empty = Single::new(&artifact(EMPTY.as_bytes(), TrapMode::Explicit)?, &Policy::default())?;
    // What two readings of the clock differ by when nothing lies between them.
    let now_ns = move || base.elapsed().as_nanos() as u64;
    let between = |_| {
        let start = now_ns();
        begun.store(now_ns(), Ordering::Relaxed);
        begun.load(Ordering::Relaxed).saturating_sub(start) as f64
    };
    let reading = Summary::of((0..10_000).map(between).collect());
    let one = |subscriber: &mut Single| {
        let posted = now_ns();
        subscriber.runtime.post_event(event);
        let ran = subscriber.runtime.tick().map_or(0, |report| report.outcomes().len());
        debug_assert_eq!(ran, 1);
        begun.load(Ordering::Relaxed).saturating_sub(posted) as f64 - reading.median
    };
    let batch = plan.batch;
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| (0..batch).map(|_| one(&mut subscriber)).sum::<f64>() / f64::from(batch)),
        Box::new(|| ns_per_call(batch, || empty.step())),
    ];
    let samples = interleave(plan.rounds, &mut sides);
    drop(sides);
    subscriber.check()?;
    let [woken, empty] = &samples[..] else { return Err("two sides".into()) };
    Ok(Row::ns("event.wake", "post → the subscriber's step begins (by tick)", woken)
        .against("an empty step", empty)
        .bar(Bar::Times { limit: 2.0 })
        .note(format!(
            "from before post_event to the host call that the step begins with, less {:.0} ns for reading the clock; \
             {FEW} other modules are idle, some of them with an interval, so that the tick must read the clock too.",
            reading.median
        )))
}
