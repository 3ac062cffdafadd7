//! What the Rust API costs on the modules of the bindings' benchmarks, which set their own figures beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use fuse_edge::hal::{HalGroup, Param, Value, ValueType};
use fuse_edge::{Capabilities, Policy, StepTiming, TrapMode};

use crate::Result;
use crate::fixture::{CALLS_PER_STEP, Single, artifact, runtime};
use crate::plan::Plan;
use crate::sample::{Side, Summary, interleave, ns_per_call};

/// The modules of the folder and how many steps a sample has; those with calls are measured for each call.
const MODULES: [(&str, u32, f64); 5] = [
    ("empty", 256, 1.0),
    ("host", 1, CALLS_PER_STEP as f64),
    ("group", 1, CALLS_PER_STEP as f64),
    ("arithmetic", 1, 1.0),
    ("memory", 1, 1.0),
];

/// A step, or a call within one, of each module (`NAME.wat`) of `folder`, in nanoseconds.
///
/// # Errors
/// When a module is not there, cannot be set up, or a step fails.
pub fn reference(folder: &Path, plan: &Plan) -> Result<BTreeMap<&'static str, Summary>> {
    let mut modules = Vec::new();
    for (name, ..) in MODULES {
        modules.push(load(&folder.join(format!("{name}.wat")))?);
    }
    let mut sides: Vec<Side<'_>> = Vec::new();
    for (module, (_, steps, parts)) in modules.iter_mut().zip(MODULES) {
        sides.push(Box::new(move || ns_per_call(steps, || module.step()) / parts));
    }
    let samples = interleave(plan.rounds.div_ceil(10), &mut sides);
    drop(sides);
    for module in &modules {
        module.check()?;
    }
    Ok(MODULES.iter().map(|(name, ..)| *name).zip(samples.into_iter().map(Summary::of)).collect())
}

fn load(path: &Path) -> Result<Single> {
    let source = fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut rt = runtime(1, TrapMode::Explicit, StepTiming::Sampled)?;
    rt.set_temp(|| Ok(1.0));
    let pin = [Param::Value(ValueType::I32)];
    rt.register_group(
        HalGroup::new("gpio", 8)
            .function("gpio_read", &pin, Some(ValueType::I32), |call| Ok(Some(Value::I32(call.i32(0))))),
    )?;
    let capabilities = Capabilities::from_bits(Capabilities::TEMP_SENSOR.bits() | 1 << 8);
    Single::within(rt, &artifact(&source, TrapMode::Explicit)?, &Policy { capabilities, ..Policy::default() })
}
