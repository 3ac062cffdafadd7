//! What a step costs, and a call from a step to the host.

use std::os::fd::OwnedFd;

use fuse_edge::artifact::Artifact;
use fuse_edge::hal::{HalGroup, Param, Value, ValueType};
use fuse_edge::{Capabilities, Policy, StepTiming, TrapMode};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::Result;
use crate::fixture::{CALLS_PER_STEP, EMPTY, GROUP_CALLS, HOST_CALLS, Single, artifact, runtime};
use crate::plan::Plan;
use crate::raw::{Callback, RawEngine};
use crate::report::{Bar, Row};
use crate::sample::{Side, interleave, ns_per_call};

/// The rows of this group.
pub const IDS: &[&str] = &[
    "step.empty",
    "step.quota",
    "step.quota_timer",
    "step.timing_every",
    "step.signals",
    "step.host_call",
    "step.group_call",
    "step.group_call_typed",
];

/// Measures them.
///
/// # Errors
/// When something cannot be set up, or a step fails.
pub fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = empty_steps(plan)?;
    rows.extend(host_calls(plan)?);
    Ok(rows)
}

fn empty_steps(plan: &Plan) -> Result<Vec<Row>> {
    let explicit = artifact(EMPTY.as_bytes(), TrapMode::Explicit)?;
    let signals = artifact(EMPTY.as_bytes(), TrapMode::Signals)?;
    let (free, quota) = (Policy::default(), Policy { cpu_quota_us: 1000, ..Policy::default() });
    let mut raw = RawEngine::new(TrapMode::Explicit)?.load(&explicit)?;
    let mut timed = RawEngine::new(TrapMode::Explicit)?.load(&explicit)?;
    let mut plain = Single::new(&explicit, &free)?;
    let mut limited = Single::new(&explicit, &quota)?;
    let every = runtime(1, TrapMode::Explicit, StepTiming::Every)?;
    let mut every = Single::within(every, &explicit, &free)?;
    let with_signals = runtime(1, TrapMode::Signals, StepTiming::Sampled)?;
    let mut with_signals = Single::within(with_signals, &signals, &free)?;
    let timer = KernelTimer::new()?;
    let batch = plan.batch;
    let samples = interleave(
        plan.rounds,
        &mut [
            Box::new(|| ns_per_call(batch, || raw.step())),
            Box::new(|| ns_per_call(batch, || plain.step())),
            Box::new(|| ns_per_call(batch, || limited.step())),
            Box::new(|| ns_per_call(batch, || every.step())),
            Box::new(|| ns_per_call(batch, || with_signals.step())),
            Box::new(|| ns_per_call(batch / 8, || timer.around(|| timed.step()))),
        ],
    );
    let [raw, free, quota, every_step, signals, timer] = &samples[..] else { return Err("six sides".into()) };
    for single in [&plain, &every, &with_signals] {
        single.check()?;
    }
    Ok(vec![
        Row::ns("step.empty", "empty step, Rust API", free)
            .against("raw wasmtime typed call", raw)
            .bar(Bar::Times { limit: 1.5 }),
        Row::ns("step.quota", "the same with a wall quota armed", quota)
            .against("without the quota", free)
            .bar(Bar::More { limit: 100.0 })
            .note(format!(
                "quota 1 ms of CPU time. With a quota each step is timed for the statistics, which is in the \
                 figure. Steps that the quota ended, for lack of a CPU during ten quotas of wall time: {}.",
                limited.failures
            )),
        Row::ns("step.quota_timer", "step with a wall quota", quota)
            .against("raw typed call between arming and disarming a kernel timer", timer)
            .bar(Bar::Times { limit: 1.0 })
            .note(
                "what a quota costs that is made with a timer of the kernel: two system calls in each step.",
            ),
        Row::ns("step.timing_every", "empty step, StepTiming::Every", every_step)
            .against("StepTiming::Sampled", free),
        Row::ns("step.signals", "empty step, trap mode signals", signals).against("trap mode explicit", free),
    ])
}

fn host_calls(plan: &Plan) -> Result<Vec<Row>> {
    let (calls, groups) = (
        artifact(HOST_CALLS.as_bytes(), TrapMode::Explicit)?,
        artifact(GROUP_CALLS.as_bytes(), TrapMode::Explicit)?,
    );
    let engine = RawEngine::new(TrapMode::Explicit)?;
    let callback = || -> Callback {
        let mut count = 0;
        Box::new(move |pin| {
            count += i64::from(pin) + 1;
            Ok(count)
        })
    };
    let mut raw_calls = engine.start(Artifact::parse(&calls)?.code.bytes, callback())?;
    let mut raw_groups = engine.start(Artifact::parse(&groups)?.code.bytes, callback())?;
    let dynamic =
        artifact(GROUP_CALLS.replace("gpio_read", "gpio_read_dynamic").as_bytes(), TrapMode::Explicit)?;
    let mut raw_dynamic = engine.start(Artifact::parse(&dynamic)?.code.bytes, callback())?;

    let mut rt = runtime(1, TrapMode::Explicit, StepTiming::Sampled)?;
    let mut count = 0;
    rt.set_timer(move || {
        count += 1;
        Ok(count)
    });
    let policy = Policy { capabilities: Capabilities::TIMER, ..Policy::default() };
    let mut fuse_calls = Single::within(rt, &calls, &policy)?;

    let mut rt = runtime(1, TrapMode::Explicit, StepTiming::Sampled)?;
    let mut count = 0;
    let pin = [Param::Value(ValueType::I32)];
    rt.register_group(HalGroup::new("gpio", 8).function(
        "gpio_read",
        &pin,
        Some(ValueType::I32),
        move |call| {
            count += call.i32(0) + 1;
            Ok(Some(Value::I32(count)))
        },
    ))?;
    let policy = Policy { capabilities: Capabilities::from_bits(1 << 8), ..Policy::default() };
    let mut fuse_groups = Single::within(rt, &groups, &policy)?;

    let each = f64::from(CALLS_PER_STEP);
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| ns_per_call(1, || raw_calls.step()) / each),
        Box::new(|| ns_per_call(1, || fuse_calls.step()) / each),
        Box::new(|| ns_per_call(1, || raw_groups.step()) / each),
        Box::new(|| ns_per_call(1, || fuse_groups.step()) / each),
        Box::new(|| ns_per_call(1, || raw_dynamic.step()) / each),
    ];
    let samples = interleave(plan.rounds, &mut sides);
    drop(sides);
    let [raw_call, call, raw_group, group, dynamic] = &samples[..] else { return Err("five sides".into()) };
    fuse_calls.check()?;
    fuse_groups.check()?;
    let rival = "raw wasmtime host function that calls a boxed closure";
    Ok(vec![
        Row::ns("step.host_call", "host call inside a step (built-in, () → i64)", call)
            .against(rival, raw_call)
            .bar(Bar::Times { limit: 1.5 })
            .note(
                "1,000 calls in a step, the step divided by 1,000. The rival is `Linker::func_wrap` with the \
                 same work: it calls a boxed closure that can fail. Fuse's call also checks the capability and \
                 whether a quota ran out meanwhile.",
            ),
        Row::ns("step.group_call", "host call inside a step (the host's own group, i32 → i32)", group)
            .against("raw wasmtime host function with a signature made at run time", dynamic)
            .bar(Bar::Times { limit: 1.5 })
            .note("the rival is `Linker::func_new`: a group's signature is known at run time only."),
        Row::ns("step.group_call_typed", "the same", group)
            .against("raw wasmtime host function with a signature compiled in", raw_group),
    ])
}

/// A timer of the kernel, armed for 1 ms and disarmed around a call.
struct KernelTimer {
    fd: OwnedFd,
}

impl KernelTimer {
    fn new() -> Result<Self> {
        Ok(Self { fd: timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::empty())? })
    }

    fn set(&self, ns: i64) {
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: 0, tv_nsec: ns } };
        let result = timerfd_settime(&self.fd, TimerfdTimerFlags::empty(), &value);
        debug_assert!(result.is_ok(), "{result:?}");
    }

    #[inline]
    fn around(&self, call: impl FnOnce()) {
        self.set(1_000_000);
        call();
        self.set(0);
    }
}
