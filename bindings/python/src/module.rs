//! One loaded module.

use fuse_runtime::edge::{self, ModuleId};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyTraverseError, PyVisit};

use crate::artifact::Source;
use crate::fault::{OrRaise, state};
use crate::policy::Policy;
use crate::report::ModuleStats;
use crate::runtime::Runtime;

/// One module of one runtime, as `Runtime.load` gave it. After an unload every call raises `NotFoundError`: ids are
/// never used again.
#[pyclass(frozen, module = "fuse_runtime", weakref)]
pub(crate) struct Module {
    pub(crate) runtime: Py<Runtime>,
    pub(crate) id: ModuleId,
}

impl Module {
    /// Reads something of the module.
    fn read<T: Send>(
        &self,
        py: Python<'_>,
        look: impl FnOnce(&edge::ModuleInfo<'_>) -> T + Send,
    ) -> PyResult<T> {
        let id = self.id;
        let read = self.runtime.get().with(py, |state| state.rt.module(id).map(|info| look(&info)))?;
        read.or_raise(py)
    }

    fn act(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut edge::Runtime, ModuleId) -> edge::Result<()> + Send,
    ) -> PyResult<()> {
        let id = self.id;
        self.runtime.get().guest(py, move |rt| call(rt, id))
    }
}

#[pymethods]
impl Module {
    /// Starts it, or goes on after a pause. The first start runs `module_init`.
    fn start(&self, py: Python<'_>) -> PyResult<()> {
        self.act(py, edge::Runtime::start)
    }

    /// Holds it.
    fn pause(&self, py: Python<'_>) -> PyResult<()> {
        self.act(py, edge::Runtime::pause)
    }

    /// Steps it now, whatever its activation; where that contains INTERVAL, the interval must have passed.
    fn run_step(&self, py: Python<'_>) -> PyResult<()> {
        let id = self.id;
        self.runtime.get().guest(py, move |rt| rt.run_step(id))
    }

    /// Starts a module that failed again, from its artifact, with fresh memory.
    fn restart(&self, py: Python<'_>) -> PyResult<()> {
        self.act(py, edge::Runtime::restart_module)
    }

    /// Replaces its artifact between steps. On any failure the old one goes on.
    fn update(&self, py: Python<'_>, artifact: Source) -> PyResult<()> {
        self.act(py, move |rt, id| rt.update(id, artifact.bytes()))
    }

    /// Unloads it. Its `module_deinit` runs if it was ever started and has not failed.
    fn unload(&self, py: Python<'_>) -> PyResult<()> {
        self.act(py, edge::Runtime::unload)
    }

    /// The runtime that it is in.
    #[getter]
    fn runtime(&self, py: Python<'_>) -> Py<Runtime> {
        self.runtime.clone_ref(py)
    }

    /// Its id in the runtime, a number that is never used again.
    #[getter]
    fn id(&self) -> u64 {
        self.id.to_u64()
    }

    /// Its name.
    #[getter]
    fn name(&self, py: Python<'_>) -> PyResult<String> {
        self.read(py, |info| info.name.to_owned())
    }

    /// Its `ModuleState`.
    #[getter]
    fn state<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        state(py, self.read(py, |info| info.state)?)
    }

    /// Its policy.
    #[getter]
    fn policy(&self, py: Python<'_>) -> PyResult<Policy> {
        self.read(py, |info| Policy(info.policy.clone()))
    }

    /// What it did so far.
    #[getter]
    fn stats(&self, py: Python<'_>) -> PyResult<ModuleStats> {
        self.read(py, |info| ModuleStats(*info.stats))
    }

    /// Why it is Trapped or QuotaExceeded; `None` when it is neither.
    #[getter]
    fn failure(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.read(py, |info| info.failure.map(|f| f.to_string()))
    }

    /// The events that wait for it, as a mask.
    #[getter]
    fn latch(&self, py: Python<'_>) -> PyResult<u32> {
        self.read(py, |info| info.latch.bits())
    }

    /// Size of its linear memory, in bytes.
    #[getter]
    fn memory_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.read(py, |info| info.memory.len())
    }

    /// A copy of part of its linear memory. What lies beyond the end is left out, as in a slice.
    #[pyo3(signature = (offset = 0, length = None))]
    fn read_memory<'py>(
        &self,
        py: Python<'py>,
        offset: usize,
        length: Option<usize>,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let part = self.read(py, |info| {
            let start = offset.min(info.memory.len());
            let end = length.map_or(info.memory.len(), |l| start.saturating_add(l).min(info.memory.len()));
            info.memory[start..end].to_vec()
        })?;
        Ok(PyBytes::new(py, &part))
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| {
            let other = other.get();
            other.id == self.id && other.runtime.as_ptr() == self.runtime.as_ptr()
        })
    }

    fn __hash__(&self) -> u64 {
        self.id.to_u64()
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        match self.read(py, |info| (info.name.to_owned(), info.state, info.stats.steps)) {
            Ok((name, state, steps)) => format!("<Module {name:?} {state} steps={steps}>"),
            Err(_) => format!("<Module {} (not loaded)>", self.id),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.runtime)
    }
}
