//! The C interface beside the Rust API: the same calls on the same artifacts, from loops that are compiled as C.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::ptr::{null, null_mut};

use fuse_edge::hal::{HalGroup, Param, Value, ValueType};
use fuse_edge::{Capabilities, EventId, Policy, StepTiming, TrapMode};
use fuse_ffi::*;

use crate::Result;
use crate::fixture::{CALLS_PER_STEP, EMPTY, GROUP_CALLS, HOST_CALLS, Single, artifact, runtime};
use crate::plan::Plan;
use crate::report::{Bar, Row};
use crate::sample::{Side, interleave, nanos, ns_per_call};

/// The rows of this group.
pub const IDS: &[&str] = &["c.run_step", "c.host_call", "c.group_call", "c.post"];

#[expect(improper_ctypes, reason = "handles are opaque to C")]
unsafe extern "C" {
    fn bench_c_steps(runtime: *mut fuse_runtime_t, module: fuse_module_id_t, count: u32) -> u32;
    fn bench_c_posts(poster: *const fuse_poster_t, event: u32, count: u32) -> u32;
}

#[expect(improper_ctypes, reason = "handles are opaque to C")]
unsafe extern "C-unwind" {
    fn bench_c_timer(user: *mut c_void, out_us: *mut i64) -> i32;
    fn bench_c_gpio(user: *mut c_void, call: *mut fuse_hal_call_t) -> i32;
}

/// A runtime that C steps, with one module.
struct Stepped {
    runtime: *mut fuse_runtime_t,
    module: fuse_module_id_t,
    failures: u32,
}

impl Stepped {
    fn new(
        artifact: &[u8],
        policy: &Policy,
        prepare: impl FnOnce(*mut fuse_runtime_t) -> fuse_status_t,
    ) -> Result<Self> {
        let mut this = Self { runtime: null_mut(), module: 0, failures: 0 };
        let mut bytes = policy.to_bytes();
        // SAFETY: pointers to locals of the right types; the handle that the first call gives.
        let worked = unsafe {
            let mut raw = std::mem::zeroed::<fuse_policy_t>();
            raw.struct_size = size_of::<fuse_policy_t>() as u32;
            fuse_policy_from_bytes(bytes.as_mut_ptr(), bytes.len(), &raw mut raw, null_mut(), 0) == FUSE_OK
                && fuse_runtime_new(null(), null(), &raw mut this.runtime, null_mut(), 0) == FUSE_OK
                && prepare(this.runtime) == FUSE_OK
                && fuse_runtime_load(
                    this.runtime,
                    c"bench".as_ptr(),
                    artifact.as_ptr(),
                    artifact.len(),
                    &raw const raw,
                    &raw mut this.module,
                ) == FUSE_OK
                && fuse_runtime_start(this.runtime, this.module) == FUSE_OK
        };
        if worked { Ok(this) } else { Err("the C interface refused what the Rust API takes".into()) }
    }

    /// Nanoseconds of a step, from a batch.
    fn steps(&mut self, count: u32) -> f64 {
        let start = std::time::Instant::now();
        // SAFETY: the runtime is open, and this is its only thread.
        self.failures += unsafe { bench_c_steps(self.runtime, self.module, count) };
        nanos(start.elapsed()) / f64::from(count)
    }

    fn check(&self) -> Result<()> {
        if self.failures == 0 { Ok(()) } else { Err(format!("{} steps failed", self.failures).into()) }
    }
}

impl Drop for Stepped {
    fn drop(&mut self) {
        // SAFETY: made in `new`, closed once.
        unsafe { fuse_runtime_close(self.runtime) };
    }
}

/// Measures them.
///
/// # Errors
/// When something cannot be set up, or a step fails.
pub fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = vec![steps(plan)?];
    rows.extend(host_calls(plan)?);
    rows.push(posts(plan)?);
    Ok(rows)
}

fn steps(plan: &Plan) -> Result<Row> {
    let empty = artifact(EMPTY.as_bytes(), TrapMode::Explicit)?;
    let policy = Policy::default();
    let mut rust = Single::new(&empty, &policy)?;
    let mut c = Stepped::new(&empty, &policy, |_| FUSE_OK)?;
    let batch = plan.batch;
    let samples = interleave(
        plan.rounds,
        &mut [Box::new(|| ns_per_call(batch, || rust.step())), Box::new(|| c.steps(batch))],
    );
    rust.check()?;
    c.check()?;
    let [rust, c] = &samples[..] else { return Err("two sides".into()) };
    Ok(Row::ns("c.run_step", "empty step from C", c)
        .against("the Rust API", rust)
        .bar(Bar::Times { limit: 1.2 })
        .note("the handle is checked, and a panic would be caught: that is the difference."))
}

fn host_calls(plan: &Plan) -> Result<Vec<Row>> {
    let (calls, groups) = (
        artifact(HOST_CALLS.as_bytes(), TrapMode::Explicit)?,
        artifact(GROUP_CALLS.as_bytes(), TrapMode::Explicit)?,
    );
    let timer = Policy { capabilities: Capabilities::TIMER, ..Policy::default() };
    let gpio = Policy { capabilities: Capabilities::from_bits(1 << 8), ..Policy::default() };

    let mut rt = runtime(1, TrapMode::Explicit, StepTiming::Sampled)?;
    let mut count = 0;
    rt.set_timer(move || {
        count += 1;
        Ok(count)
    });
    let mut rust_calls = Single::within(rt, &calls, &timer)?;
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
    let mut rust_groups = Single::within(rt, &groups, &gpio)?;

    // What the callbacks in C count in; the runtimes are gone before it.
    let (mut time, mut pins) = (0i64, 0i32);
    let (time, pins) = ((&raw mut time).cast::<c_void>(), (&raw mut pins).cast::<c_void>());
    // SAFETY: the callback's type, and a word that outlives the runtime.
    let mut c_calls = Stepped::new(&calls, &timer, |rt| unsafe {
        fuse_runtime_set_timer(rt, Some(bench_c_timer), time, None)
    })?;
    let mut c_groups = Stepped::new(&groups, &gpio, |rt| register_gpio(rt, pins))?;

    let each = f64::from(CALLS_PER_STEP);
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| ns_per_call(1, || rust_calls.step()) / each),
        Box::new(|| c_calls.steps(1) / each),
        Box::new(|| ns_per_call(1, || rust_groups.step()) / each),
        Box::new(|| c_groups.steps(1) / each),
    ];
    let samples = interleave(plan.rounds, &mut sides);
    drop(sides);
    rust_calls.check()?;
    rust_groups.check()?;
    c_calls.check()?;
    c_groups.check()?;
    let [rust_call, c_call, rust_group, c_group] = &samples[..] else { return Err("four sides".into()) };
    let rival = "with a callback in Rust";
    Ok(vec![
        Row::ns("c.host_call", "host call inside a step (built-in) with a callback in C", c_call)
            .against(rival, rust_call)
            .bar(Bar::Times { limit: 1.3 }),
        Row::ns(
            "c.group_call",
            "host call inside a step (the host's own group) with a callback in C",
            c_group,
        )
        .against(rival, rust_group)
        .bar(Bar::Times { limit: 1.3 })
        .note("the callback reads its parameter and sets its result with one call of the library each."),
    ])
}

fn register_gpio(runtime: *mut fuse_runtime_t, user: *mut c_void) -> fuse_status_t {
    let params = [FUSE_HAL_I32];
    let function = fuse_hal_function_t {
        struct_size: size_of::<fuse_hal_function_t>() as u32,
        result: FUSE_HAL_I32,
        name: c"gpio_read".as_ptr(),
        params: params.as_ptr(),
        param_count: 1,
        callback: Some(bench_c_gpio),
        user,
        finalizer: None,
    };
    let functions = [&raw const function];
    let group = fuse_hal_group_t {
        struct_size: size_of::<fuse_hal_group_t>() as u32,
        bit: 8,
        name: c"gpio".as_ptr(),
        functions: functions.as_ptr(),
        function_count: 1,
    };
    // SAFETY: structs that live until the call returns; a word that outlives the runtime.
    unsafe { fuse_runtime_register_group(runtime, &raw const group) }
}

fn posts(plan: &Plan) -> Result<Row> {
    let empty = artifact(EMPTY.as_bytes(), TrapMode::Explicit)?;
    let rust = Single::new(&empty, &Policy::default())?.runtime;
    let (rust, event) = (rust.poster(), EventId::new(0)?);
    let c = Stepped::new(&empty, &Policy::default(), |_| FUSE_OK)?;
    let mut poster = null_mut();
    // SAFETY: an open runtime, and a place for the handle.
    if unsafe { fuse_runtime_poster(c.runtime, &raw mut poster) } != FUSE_OK {
        return Err("no poster".into());
    }
    let batch = plan.batch;
    let samples = interleave(
        plan.rounds,
        &mut [
            Box::new(|| ns_per_call(batch, || rust.post(event))),
            Box::new(|| {
                let start = std::time::Instant::now();
                // SAFETY: an open poster.
                std::hint::black_box(unsafe { bench_c_posts(poster, 0, batch) });
                nanos(start.elapsed()) / f64::from(batch)
            }),
        ],
    );
    // SAFETY: made above, closed once.
    unsafe { fuse_poster_close(poster) };
    let [rust, c] = &samples[..] else { return Err("two sides".into()) };
    Ok(Row::ns("c.post", "event post from C", c)
        .against("the Rust API", rust)
        .bar(Bar::AtMost { limit: 30.0 }))
}
