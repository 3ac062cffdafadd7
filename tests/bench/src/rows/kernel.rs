//! Computation: the same C as a module and natively.

use fuse_edge::artifact::{Artifact, CompileOptions, Target, compile};
use fuse_edge::{Policy, StepTiming, TrapMode};

use crate::Result;
use crate::fixture::{Single, artifact, runtime};
use crate::native::{KERNELS, Kernel, Native};
use crate::plan::Plan;
use crate::raw::RawEngine;
use crate::report::{Bar, Row, Unit};
use crate::sample::{Side, Summary, geometric_mean, interleave, thread_cpu_ns};

/// The rows of this group beside those of each kernel.
pub const IDS: &[&str] =
    &["kernel.mean", "kernel.mean.simd", "kernel.mean.signals", "kernel.signals", "kernel.pulley"];

/// The forms of a kernel, each beside the native one.
struct Forms {
    native: Vec<f64>,
    wasm: Vec<f64>,
    simd: Vec<f64>,
    signals: Vec<f64>,
    pulley: Vec<f64>,
}

/// Measures them.
///
/// # Errors
/// When a module does not load, or computes something else than the native code.
pub fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let mut native = Native::lock();
    let mut rows = Vec::new();
    let mut ratios: [Vec<f64>; 5] = Default::default();
    for kernel in &KERNELS {
        let forms = measure(plan, kernel, &mut native).map_err(|e| format!("kernel {}: {e}", kernel.name))?;
        let rival = "the same C, native";
        let id = format!("kernel.{}", kernel.name);
        rows.push(Row::ns(&id, kernel.what, &forms.wasm).against(rival, &forms.native));
        let simd = format!("{}, with vectors", kernel.what);
        rows.push(Row::ns(&format!("{id}.simd"), &simd, &forms.simd).against(rival, &forms.native));
        let median = |samples: &[f64]| Summary::of(samples.to_vec()).median;
        let ratio = |form: &[f64], to: &[f64]| median(form) / median(to);
        ratios[0].push(ratio(&forms.wasm, &forms.native));
        ratios[1].push(ratio(&forms.simd, &forms.native));
        ratios[2].push(ratio(&forms.signals, &forms.simd));
        ratios[3].push(ratio(&forms.pulley, &forms.wasm));
        ratios[4].push(ratio(&forms.signals, &forms.native));
    }
    let mean = |id: &str, figure: &str, ratios: &[f64]| {
        Row::new(id, figure, Unit::Ratio, Summary::exact(geometric_mean(ratios)))
    };
    rows.push(
        mean("kernel.mean", "all seven against native, geometric mean", &ratios[0])
            .bar(Bar::AtMost { limit: 1.5 })
            .note("CPU time of the thread; checksums compared with the native ones. Common instructions (x86-64-v2), trap mode explicit."),
    );
    rows.push(
        mean(
            "kernel.mean.simd",
            "all seven with vectors (-msimd128) against native, geometric mean",
            &ratios[1],
        )
        .bar(Bar::AtMost { limit: 1.5 }),
    );
    rows.push(
        mean(
            "kernel.mean.signals",
            "all seven with vectors, trap mode signals, against native, geometric mean",
            &ratios[4],
        )
        .bar(Bar::AtMost { limit: 1.5 }),
    );
    rows.push(mean(
        "kernel.signals",
        "trap mode signals against explicit, with vectors, geometric mean",
        &ratios[2],
    ));
    rows.push(
        mean(
            "kernel.pulley",
            "Pulley (interpreter) against native code of the same module, geometric mean",
            &ratios[3],
        )
        .note("without vectors."),
    );
    Ok(rows)
}

fn measure(plan: &Plan, kernel: &Kernel, native: &mut Native) -> Result<Forms> {
    let pulley = CompileOptions { target: Target::Pulley64, portable: false, ..CompileOptions::default() };
    let mut modules = [
        module(&artifact(kernel.wasm, TrapMode::Explicit)?, TrapMode::Explicit)?,
        module(&artifact(kernel.simd, TrapMode::Explicit)?, TrapMode::Explicit)?,
        module(&artifact(kernel.simd, TrapMode::Signals)?, TrapMode::Signals)?,
        module(&compile(kernel.wasm, &pulley)?, TrapMode::Explicit)?,
    ];
    native.init(kernel);
    let checksum = native.run(kernel);
    let mut once = 0.0;
    for (module, wasm) in modules.iter_mut().zip([kernel.wasm, kernel.simd, kernel.simd, kernel.wasm]) {
        once += cpu_ns(|| module.step());
        same_checksum(module, wasm, checksum)?;
    }
    // The interpreter takes most of the time.
    let rounds = (plan.kernel_time.as_nanos() as f64 / once) as usize;
    let rounds = rounds.clamp(plan.kernel_rounds.min(20), plan.kernel_rounds);
    let [wasm, simd, signals, pulley] = &mut modules;
    let mut sides: Vec<Side<'_>> = vec![
        Box::new(|| cpu_ns(|| native.run(kernel))),
        Box::new(|| cpu_ns(|| wasm.step())),
        Box::new(|| cpu_ns(|| simd.step())),
        Box::new(|| cpu_ns(|| signals.step())),
        Box::new(|| cpu_ns(|| pulley.step())),
    ];
    let samples = interleave(rounds, &mut sides);
    drop(sides);
    modules.iter().try_for_each(Single::check)?;
    let Ok([native, wasm, simd, signals, pulley]) = <[_; 5]>::try_from(samples) else {
        return Err("five sides".into());
    };
    Ok(Forms { native, wasm, simd, signals, pulley })
}

fn cpu_ns<T>(f: impl FnOnce() -> T) -> f64 {
    let start = thread_cpu_ns();
    std::hint::black_box(f());
    thread_cpu_ns() - start
}

fn module(artifact: &[u8], traps: TrapMode) -> Result<Single> {
    let policy = Policy { memory_pages_max: 256, ..Policy::default() };
    Single::within(runtime(1, traps, StepTiming::Sampled)?, artifact, &policy)
}

/// Reads the checksum where the module left it.
fn same_checksum(single: &Single, wasm: &[u8], expected: u32) -> Result<()> {
    let artifact = artifact(wasm, TrapMode::Explicit)?;
    let code = Artifact::parse(&artifact)?.code.bytes;
    let mut instance = RawEngine::new(TrapMode::Explicit)?.start(code, Box::new(|_| Err(0)))?;
    let at = usize::try_from(instance.global_i32("kernel_result")?)?;
    let memory = single.runtime.module(single.module)?.memory;
    let word = memory.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    if word == Some(expected) {
        return Ok(());
    }
    Err(format!("the module computed {word:x?}, the native code {expected:x}").into())
}
