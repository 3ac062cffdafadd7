//! Errors of the core as exceptions of `fuse_runtime`.

use fuse_runtime::edge;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

static ERRORS: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
static STATES: PyOnceLock<Py<PyType>> = PyOnceLock::new();

/// The exception class of a kind of error, by its name in the core.
pub(crate) fn class<'py>(py: Python<'py>, kind: &str) -> PyResult<Bound<'py, PyAny>> {
    let classes = ERRORS.get_or_try_init(py, || {
        let table = py.import("fuse_runtime.errors")?.getattr("EDGE_ERRORS")?;
        Ok::<_, PyErr>(table.cast_into::<PyDict>()?.unbind())
    })?;
    classes.bind(py).as_any().get_item(kind)
}

/// The member of `ModuleState` for a state.
pub(crate) fn state(py: Python<'_>, state: edge::ModuleState) -> PyResult<Bound<'_, PyAny>> {
    let states = STATES.get_or_try_init(py, || {
        let class = py.import("fuse_runtime.names")?.getattr("ModuleState")?;
        Ok::<_, PyErr>(class.cast_into::<PyType>()?.unbind())
    })?;
    states.bind(py).call1((state.name(),))
}

/// The exception for a kind and a message.
pub(crate) fn exception(py: Python<'_>, kind: edge::ErrorKind, message: &str) -> PyErr {
    match class(py, kind.name()).and_then(|class| class.call1((message,))) {
        Ok(value) => PyErr::from_value(value),
        Err(e) => e,
    }
}

/// The exception for an error of the edge runtime.
pub(crate) fn raise(py: Python<'_>, error: &edge::Error) -> PyErr {
    let raised = exception(py, error.kind(), &error.to_string());
    if let Err(e) = decorate(py, &raised, error) {
        return e;
    }
    raised
}

/// What an error knows beyond its message, as attributes.
fn decorate(py: Python<'_>, raised: &PyErr, error: &edge::Error) -> PyResult<()> {
    let value = raised.value(py);
    match error {
        edge::Error::Config { path, .. } => value.setattr("path", path),
        edge::Error::IntervalNotElapsed { remaining_us, .. } => value.setattr("remaining_us", *remaining_us),
        edge::Error::Failed { name, entry, failure, .. } => {
            value.setattr("module", name)?;
            value.setattr("entry", entry.to_string())?;
            value.setattr("failure", failure.to_string())?;
            match failure {
                edge::Failure::Trap(edge::TrapCause::Callback { code }) => value.setattr("code", *code),
                _ => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// For `map_err` where the interpreter is at hand.
pub(crate) trait OrRaise<T> {
    /// The value, or the exception for the error.
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for edge::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|e| raise(py, &e))
    }
}
