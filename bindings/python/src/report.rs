//! What steps did: outcomes and statistics.

use fuse_runtime::edge;
use pyo3::prelude::*;

use crate::module::Module;

/// How one module's step in a tick ended.
#[pyclass(frozen, module = "fuse_runtime")]
pub(crate) struct StepOutcome {
    /// The module.
    #[pyo3(get)]
    pub(crate) module: Py<Module>,
    pub(crate) error: Option<edge::ErrorKind>,
    /// What a HAL callback raised, when that is why it failed.
    #[pyo3(get)]
    pub(crate) exception: Option<Py<PyAny>>,
}

#[pymethods]
impl StepOutcome {
    /// Whether the step ended well.
    #[getter]
    fn ok(&self) -> bool {
        self.error.is_none()
    }

    /// The exception class of its failure, `None` when it ended well; `module.failure` and the log say more.
    #[getter]
    fn error<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.error.map(|kind| crate::fault::class(py, kind.name())).transpose()
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let module = self.module.bind(py).repr()?;
        let error = self.error.map_or("None", edge::ErrorKind::name);
        Ok(format!("StepOutcome(module={module}, error={error})"))
    }
}

/// What a tick did: the modules that ran, in order. It is a sequence of `StepOutcome`.
#[pyclass(frozen, sequence, module = "fuse_runtime")]
pub(crate) struct TickReport {
    pub(crate) outcomes: Vec<Py<StepOutcome>>,
}

#[pymethods]
impl TickReport {
    /// All outcomes, in the order in which the modules ran.
    #[getter]
    fn outcomes(&self, py: Python<'_>) -> Vec<Py<StepOutcome>> {
        self.outcomes.iter().map(|o| o.clone_ref(py)).collect()
    }

    /// Those whose step failed.
    #[getter]
    fn failed(&self, py: Python<'_>) -> Vec<Py<StepOutcome>> {
        let failed = self.outcomes.iter().filter(|o| o.get().error.is_some());
        failed.map(|o| o.clone_ref(py)).collect()
    }

    fn __len__(&self) -> usize {
        self.outcomes.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, pyo3::types::PyIterator>> {
        pyo3::types::PyList::new(py, self.outcomes.iter().map(|o| o.clone_ref(py)))?.try_iter()
    }

    fn __getitem__(&self, py: Python<'_>, index: usize) -> PyResult<Py<StepOutcome>> {
        let outcome = self.outcomes.get(index).map(|o| o.clone_ref(py));
        outcome.ok_or_else(|| pyo3::exceptions::PyIndexError::new_err("no such outcome"))
    }

    fn __repr__(&self) -> String {
        let failed = self.outcomes.iter().filter(|o| o.get().error.is_some()).count();
        format!("TickReport(ran={}, failed={failed})", self.outcomes.len())
    }
}

/// Counts of durations by power of two: bucket `i` counts 2^i to 2^(i+1) - 1 nanoseconds.
#[pyclass(frozen, module = "fuse_runtime")]
pub(crate) struct Histogram(edge::stats::Histogram);

#[pymethods]
impl Histogram {
    /// The 40 counts.
    #[getter]
    fn buckets(&self) -> Vec<u64> {
        self.0.buckets().to_vec()
    }

    /// How many durations were measured.
    #[getter]
    fn count(&self) -> u64 {
        self.0.count()
    }

    /// The longest, in nanoseconds.
    #[getter]
    fn max_ns(&self) -> u64 {
        self.0.max_ns()
    }

    /// The mean in nanoseconds, 0 when nothing was measured.
    #[getter]
    fn mean_ns(&self) -> u64 {
        self.0.mean_ns()
    }

    /// An upper bound, within a factor of two, of the `permille`-th of 1000, in nanoseconds.
    fn quantile_ns(&self, permille: u32) -> u64 {
        self.0.quantile_ns(permille)
    }

    fn __repr__(&self) -> String {
        let h = &self.0;
        format!("Histogram(count={}, mean_ns={}, max_ns={})", h.count(), h.mean_ns(), h.max_ns())
    }
}

/// Statistics of one module since it was loaded.
#[pyclass(frozen, module = "fuse_runtime")]
pub(crate) struct ModuleStats(pub(crate) edge::ModuleStats);

#[pymethods]
impl ModuleStats {
    /// Steps that ended well.
    #[getter]
    fn steps(&self) -> u64 {
        self.0.steps
    }

    /// Calls that trapped, callback failures among them.
    #[getter]
    fn traps(&self) -> u64 {
        self.0.traps
    }

    /// Calls that violated the policy.
    #[getter]
    fn violations(&self) -> u64 {
        self.0.violations
    }

    /// Calls that used up a quota.
    #[getter]
    fn quota_hits(&self) -> u64 {
        self.0.quota_hits
    }

    /// Step times.
    #[getter]
    fn step_time(&self) -> Histogram {
        Histogram(self.0.step_time)
    }

    /// Instructions of the last step, in a fuel-metered runtime.
    #[getter]
    fn fuel_last(&self) -> u64 {
        self.0.fuel_last
    }

    /// The most instructions of one step.
    #[getter]
    fn fuel_peak(&self) -> u64 {
        self.0.fuel_peak
    }

    /// Instructions of all steps.
    #[getter]
    fn fuel_total(&self) -> u64 {
        self.0.fuel_total
    }

    /// Largest size of linear memory, in bytes.
    #[getter]
    fn memory_peak_bytes(&self) -> u64 {
        self.0.memory_peak_bytes
    }

    /// From an event to the start of the step that it caused.
    #[getter]
    fn event_latency(&self) -> Histogram {
        Histogram(self.0.event_latency)
    }

    fn __repr__(&self) -> String {
        let s = &self.0;
        format!(
            "ModuleStats(steps={}, traps={}, violations={}, quota_hits={}, memory_peak_bytes={})",
            s.steps, s.traps, s.violations, s.quota_hits, s.memory_peak_bytes
        )
    }
}
