//! How late a quota ends a loop, and whether it ends steps that stayed within it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use fuse_edge::{ErrorKind, Policy, StepTiming, TrapMode};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;
use crate::fixture::{LOOP, Single, artifact, runtime};
use crate::plan::Plan;
use crate::report::{Bar, Row, Unit};
use crate::sample::{Summary, nanos, thread_cpu_ns};

/// The rows of this group.
pub const IDS: &[&str] = &[
    "quota.200us",
    "quota.200us.wall",
    "quota.1ms",
    "quota.1ms.wall",
    "quota.10ms",
    "quota.10ms.wall",
    "quota.false_kills",
];

const QUOTAS_US: [(u32, &str, &str); 3] =
    [(200, "quota.200us", "200 µs"), (1000, "quota.1ms", "1 ms"), (10_000, "quota.10ms", "10 ms")];

/// Measures them.
///
/// # Errors
/// When something cannot be set up, or a loop does not end by its quota.
pub fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (quota_us, id, name) in QUOTAS_US {
        rows.extend(overshoot(plan, quota_us, id, name)?);
    }
    rows.push(false_kills(plan)?);
    Ok(rows)
}

fn overshoot(plan: &Plan, quota_us: u32, id: &str, name: &str) -> Result<[Row; 2]> {
    let policy = Policy { cpu_quota_us: quota_us, ..Policy::default() };
    let mut single = Single::new(&artifact(LOOP.as_bytes(), TrapMode::Explicit)?, &policy)?;
    let quota = Duration::from_micros(u64::from(quota_us));
    let (mut by_cpu, mut by_wall, mut sleeps) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..plan.quota_runs {
        let (wall, cpu) = (Instant::now(), thread_cpu_ns());
        let result = single.runtime.run_step(single.module);
        let (cpu, wall) = (thread_cpu_ns() - cpu, wall.elapsed());
        match result {
            Err(e) if e.kind() == ErrorKind::QuotaExceeded => {}
            other => {
                return Err(format!("an endless loop under a quota of {name} ended so: {other:?}").into());
            }
        }
        by_cpu.push(cpu - nanos(quota));
        by_wall.push(nanos(wall) - nanos(quota));
        single.runtime.restart_module(single.module)?;
        let start = Instant::now();
        std::thread::sleep(quota);
        sleeps.push(nanos(start.elapsed()) - nanos(quota));
    }
    let rival = "lateness of a bare timed sleep of that length";
    let bar = Bar::Tail { median: 100_000.0, p99_times: 1.5 };
    let runs = plan.quota_runs;
    Ok([
        Row::ns(id, &format!("quota of {name} on an endless loop, overshoot in CPU time"), &by_cpu)
            .against(rival, &sleeps)
            .bar(bar)
            .note(format!("{runs} runs, each ended. The quota is of the module's CPU time.")),
        Row::ns(&format!("{id}.wall"), &format!("quota of {name} on an endless loop, overshoot in wall time"), &by_wall)
            .against(rival, &sleeps)
            .note("the same runs; where others use the core, the loop gets the wall time that it lacks in CPU time."),
    ])
}

/// A process that keeps the core of this thread busy.
struct Busy {
    process: Child,
}

impl Busy {
    fn start(core: usize) -> Result<Self> {
        let process = Command::new(std::env::current_exe()?)
            .args(["child", "spin", &core.to_string()])
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self { process })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // If it has ended already, there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Keeps a core busy until the process is killed, or for two minutes.
///
/// # Errors
/// When the thread cannot be bound to the core.
pub fn spin(core: usize) -> Result<()> {
    bind(core)?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(120) {
        for _ in 0..1_000_000 {
            std::hint::spin_loop();
        }
    }
    Ok(())
}

fn bind(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

const STEP_NS: f64 = 180_000.0;
const BUSY_QUOTA_US: u32 = 1000;

/// A module whose step takes this many rounds of a loop.
fn spinner(rounds: u32) -> String {
    format!(
        r#"(module (func (export "module_step") (local $i i32)
             (local.set $i (i32.const {rounds}))
             (loop $again (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))"#
    )
}

/// A module whose step takes 0.18 ms of CPU time on this core.
fn calibrated() -> Result<Vec<u8>> {
    const PROBE: u32 = 200_000;
    let mut probe =
        Single::new(&artifact(spinner(PROBE).as_bytes(), TrapMode::Explicit)?, &Policy::default())?;
    let times = (0..200).map(|_| {
        let start = thread_cpu_ns();
        probe.step();
        thread_cpu_ns() - start
    });
    let fastest = times.fold(f64::MAX, f64::min);
    artifact(spinner((f64::from(PROBE) * STEP_NS / fastest) as u32).as_bytes(), TrapMode::Explicit)
}

fn false_kills(plan: &Plan) -> Result<Row> {
    let free = sched_getaffinity(None)?;
    let core = (0..CpuSet::MAX_CPU).rev().find(|core| free.is_set(*core)).unwrap_or(0);
    // The quota's watchdog is bound to the same core, since it starts after this: the hardest case.
    bind(core)?;
    let counted = steps_beside_a_busy_process(plan, core);
    sched_setaffinity(None, &free)?;
    let Beside { killed, starved, slow, cpu } = counted?;
    let mut row = Row::new(
        "quota.false_kills",
        "0.18 ms steps under a 1 ms quota beside a busy process on the core: steps ended",
        Unit::Count,
        Summary::exact(killed),
    );
    row.rival = "steps that a quota of wall time would have ended".into();
    row.rival_measured = Some(Summary::exact(slow));
    Ok(row.bar(Bar::AtMost { limit: 0.0 }).note(format!(
        "{} steps of {:.0} µs CPU time (median); step thread, watchdog and busy process share one core. Of the \
         steps that were ended, {starved:.0} had lasted ten quotas of wall time, where the quota ends a step whatever \
         CPU time it had: a core with more than one busy process beside.",
        plan.busy_steps,
        Summary::of(cpu).median / 1e3
    )))
}

/// What became of the steps beside a busy process.
#[derive(Default)]
struct Beside {
    /// Ended by the quota.
    killed: f64,
    /// Of these, after ten quotas of wall time.
    starved: f64,
    /// Longer than the quota by the clock on the wall.
    slow: f64,
    /// CPU time of each, in nanoseconds.
    cpu: Vec<f64>,
}

fn steps_beside_a_busy_process(plan: &Plan, core: usize) -> Result<Beside> {
    let step = calibrated()?;
    let policy = Policy { cpu_quota_us: BUSY_QUOTA_US, ..Policy::default() };
    let rt = runtime(1, TrapMode::Explicit, StepTiming::Sampled)?;
    let mut single = Single::within(rt, &step, &policy)?;
    let _busy = Busy::start(core)?;
    let mut beside = Beside::default();
    let quota = Duration::from_micros(u64::from(BUSY_QUOTA_US));
    for _ in 0..plan.busy_steps {
        let (wall, used) = (Instant::now(), thread_cpu_ns());
        let result = single.runtime.run_step(single.module);
        beside.cpu.push(thread_cpu_ns() - used);
        let wall = wall.elapsed();
        beside.slow += f64::from(u8::from(wall > quota));
        match result {
            Ok(()) => {}
            Err(e) if e.kind() == ErrorKind::QuotaExceeded => {
                beside.killed += 1.0;
                beside.starved += f64::from(u8::from(wall >= quota * 10));
                single.runtime.restart_module(single.module)?;
            }
            Err(e) => return Err(e.into()),
        }
    }
    Ok(beside)
}
