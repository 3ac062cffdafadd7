//! A process that forks takes no thread along: in the child a runtime has lost its quota watchdog. So a runtime is
//! of the process that made it, and says so in a child instead of running without quotas.

use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::prelude::*;

static FORKS: AtomicU64 = AtomicU64::new(0);

/// How many forks lie between the first process of this program and this one.
pub(crate) fn generation() -> u64 {
    FORKS.load(Ordering::Relaxed)
}

#[pyfunction]
fn in_child() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

/// Counts the forks that the interpreter makes (`os.fork`, `multiprocessing`).
pub(crate) fn watch(py: Python<'_>) -> PyResult<()> {
    let os = py.import("os")?;
    let Ok(register) = os.getattr("register_at_fork") else { return Ok(()) };
    let hooks = pyo3::types::PyDict::new(py);
    hooks.set_item("after_in_child", wrap_pyfunction!(in_child, py)?)?;
    register.call((), Some(&hooks))?;
    Ok(())
}
