//! The figures, by what they are about.

use crate::machine::Machine;
use crate::plan::Plan;
use crate::report::{Row, Table};
use crate::{Result, native};

pub mod bindings;
pub mod c;
pub mod event;
pub mod kernel;
pub mod life;
pub mod quota;
pub mod step;

/// A group of rows that are measured together.
type Group = fn(&Plan) -> Result<Vec<Row>>;

/// The groups of the edge table and their names, in order.
pub const EDGE: [(&str, Group); 6] = [
    ("step", step::rows),
    ("c", c::rows),
    ("event", event::rows),
    ("life", life::rows),
    ("quota", quota::rows),
    ("kernel", kernel::rows),
];

/// The ids of all rows of the edge table.
#[must_use]
pub fn edge_ids() -> Vec<String> {
    let fixed = [step::IDS, c::IDS, event::IDS, life::IDS, quota::IDS, kernel::IDS];
    let mut ids: Vec<String> = fixed.into_iter().flatten().map(|id| (*id).to_owned()).collect();
    for kernel in &native::KERNELS {
        ids.extend([format!("kernel.{}", kernel.name), format!("kernel.{}.simd", kernel.name)]);
    }
    ids
}

/// Measures the edge table; of the groups, those whose name begins with `only`.
///
/// # Errors
/// When something cannot be set up, or a module computes something else than the native code.
pub fn edge(plan: &Plan, only: &str, mut progress: impl FnMut(&str)) -> Result<Table> {
    let mut machine = Machine::here();
    let mut rows = Vec::new();
    for (name, group) in EDGE {
        if name.starts_with(only) {
            progress(name);
            rows.extend(group(plan).map_err(|e| format!("the figures of `{name}`: {e}"))?);
        }
    }
    machine.finished();
    Ok(Table { title: "Edge runtime".into(), machine, quick: plan.quick, rows })
}
