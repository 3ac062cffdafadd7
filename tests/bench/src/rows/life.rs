//! Loading and unloading, and what a loaded module keeps.

use std::process::Command;

use fuse_edge::artifact::Artifact;
use fuse_edge::{Policy, StepTiming, TrapMode};

use crate::Result;
use crate::fixture::{artifact, runtime, two_kilobytes};
use crate::machine::resident_bytes;
use crate::plan::Plan;
use crate::raw::RawEngine;
use crate::report::{Bar, Row, Unit};
use crate::sample::{Side, Summary, interleave, ns_per_call};

/// The rows of this group.
pub const IDS: &[&str] = &["life.load", "life.load_signals", "memory.idle"];

/// Measures them.
///
/// # Errors
/// When something cannot be set up, or a module does not load.
pub fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let source = two_kilobytes();
    let wasm = wat::parse_str(&source)?;
    let (explicit, signals) = (artifact(&wasm, TrapMode::Explicit)?, artifact(&wasm, TrapMode::Signals)?);
    let policy = Policy::default();
    let engine = RawEngine::new(TrapMode::Explicit)?;
    let mut rt = runtime(1, TrapMode::Explicit, StepTiming::Sampled)?;
    let mut rt_signals = runtime(1, TrapMode::Signals, StepTiming::Sampled)?;
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| ns_per_call(1, || engine.load(&explicit).is_ok())),
        Box::new(|| ns_per_call(1, || cycle(&mut rt, &explicit, &policy).is_ok())),
        Box::new(|| ns_per_call(1, || cycle(&mut rt_signals, &signals, &policy).is_ok())),
        Box::new(|| ns_per_call(1, || Artifact::parse(&explicit).is_ok())),
    ];
    let samples = interleave(plan.long_rounds, &mut sides);
    drop(sides);
    cycle(&mut rt, &explicit, &policy)?;
    cycle(&mut rt_signals, &signals, &policy)?;
    let [raw, fuse, signals, parse] = &samples[..] else { return Err("four sides".into()) };
    Ok(vec![
        Row::ns("life.load", "load + start + unload of a 2 KB module from an artifact", fuse)
            .against("raw wasmtime: deserialize, instantiate, init, drop", raw)
            .bar(Bar::AtMost { limit: 60_000.0 })
            .note(format!(
                "{} bytes of .wasm, {} of artifact, one page of memory that its init fills; {:.1} µs of it check \
                 the artifact's hashes, which the rival does not.",
                wasm.len(),
                explicit.len(),
                Summary::of(parse.clone()).median / 1e3
            )),
        Row::ns("life.load_signals", "the same in trap mode signals", signals).against("trap mode explicit", fuse),
        memory(plan)?,
    ])
}

fn cycle(rt: &mut fuse_edge::Runtime, artifact: &[u8], policy: &Policy) -> Result<()> {
    let module = rt.load("bench", artifact, policy)?;
    rt.start(module)?;
    rt.unload(module)?;
    Ok(())
}

/// Measured in processes of their own, so that memory which others have used and freed does not hide it.
fn memory(plan: &Plan) -> Result<Row> {
    let (fuse, raw) =
        (measured_apart("fuse", plan.memory_modules)?, measured_apart("raw", plan.memory_modules)?);
    let row = Row::new(
        "memory.idle",
        "memory per idle loaded module beyond its linear memory (RSS)",
        Unit::Bytes,
        Summary::exact(fuse),
    );
    Ok(Row { rival: "raw wasmtime instance".into(), rival_measured: Some(Summary::exact(raw)), ..row }
        .bar(Bar::AtMost { limit: 65_536.0 })
        .note(format!(
            "the 2 KB module {} times, each from its artifact, started and stepped once; private resident memory \
             of the process, less 64 KiB of linear memory each, all of which is resident.",
            plan.memory_modules
        )))
}

fn measured_apart(what: &str, modules: usize) -> Result<f64> {
    let this = std::env::current_exe()?;
    let output = Command::new(&this).args(["child", "memory", what, &modules.to_string()]).output()?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("measuring memory in a process of its own: {why}").into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// In a process of its own: bytes that each of `modules` idle modules keeps beyond its linear memory.
///
/// # Errors
/// When a module does not load.
pub fn memory_in_this_process(what: &str, modules: usize) -> Result<f64> {
    let artifact = artifact(two_kilobytes().as_bytes(), TrapMode::Explicit)?;
    let policy = Policy { step_interval_us: 3_600_000_000, ..Policy::default() };
    let mut rt = runtime(modules + 1, TrapMode::Explicit, StepTiming::Sampled)?;
    let engine = RawEngine::new(TrapMode::Explicit)?;
    let mut raw = Vec::with_capacity(modules + 1);
    let mut before = 0.0;
    // The first one pays for what all share.
    for i in 0..=modules {
        match what {
            "fuse" => {
                let module = rt.load(&format!("idle-{i}"), &artifact, &policy)?;
                rt.start(module)?;
                rt.run_step(module)?;
            }
            "raw" => {
                let mut instance = engine.load(&artifact)?;
                instance.step();
                raw.push(instance);
            }
            other => return Err(format!("`{other}` is neither fuse nor raw").into()),
        }
        if i == 0 {
            before = resident_bytes()?;
        }
    }
    Ok((resident_bytes()? - before) / modules as f64 - 65_536.0)
}
