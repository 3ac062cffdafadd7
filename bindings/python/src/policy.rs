//! What one module may do and use.

use fuse_runtime::edge;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyTuple};

use crate::fault::OrRaise;

/// The policy of one module. Without arguments it allows nothing but to run.
///
/// The fields are those of a policy in `app_config.json`, read by the same strict parser: `capabilities`,
/// `memory_pages_max`, `stack_size`, `heap_size`, `cpu_quota_us`, `step_interval_us`, `activation_mask` (or `activation`),
/// `event_subscribe`, `fuel_quota`, `priority`.
///
/// >>> policy = Policy(capabilities=["TIMER", "LOG"], cpu_quota_us=1000)
/// >>> policy.cpu_quota_us
/// 1000
/// >>> policy.capabilities
/// <Capability.TIMER|LOG: 10>
#[pyclass(frozen, eq, hash, module = "fuse_runtime")]
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Policy(pub(crate) edge::Policy);

impl std::hash::Hash for Policy {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.to_bytes().hash(state);
        self.0.fuel_quota.hash(state);
        self.0.priority.hash(state);
    }
}

/// JSON text of a Python value.
pub(crate) fn json(value: &Bound<'_, PyAny>) -> PyResult<String> {
    value.py().import("json")?.call_method1("dumps", (value,))?.extract()
}

/// A member of an enumeration of `fuse_runtime.names`.
fn named<'py>(py: Python<'py>, class: &str, value: u32) -> PyResult<Bound<'py, PyAny>> {
    py.import("fuse_runtime.names")?.getattr(class)?.call1((value,))
}

/// A policy that is given as a `Policy`, as a mapping of its fields, or not at all.
pub(crate) fn policy_of(policy: Option<&Bound<'_, PyAny>>) -> PyResult<edge::Policy> {
    let Some(policy) = policy else { return Ok(edge::Policy::default()) };
    if let Ok(policy) = policy.cast::<Policy>() {
        return Ok(policy.get().0.clone());
    }
    let dict = PyDict::new(policy.py());
    dict.update(policy.cast()?)?;
    edge::Policy::from_json(&json(dict.as_any())?).or_raise(policy.py())
}

#[pymethods]
impl Policy {
    #[new]
    #[pyo3(signature = (**fields))]
    fn new(py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let Some(fields) = fields else { return Ok(Self(edge::Policy::default())) };
        Self::from_json(py, &json(fields.as_any())?)
    }

    /// Reads one policy from JSON. Only numbers name events and host groups here.
    #[staticmethod]
    fn from_json(py: Python<'_>, text: &str) -> PyResult<Self> {
        edge::Policy::from_json(text).map(Self).or_raise(py)
    }

    /// Reads the 32-byte form: eight little-endian 32-bit numbers.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        edge::Policy::from_bytes(data).map(Self).or_raise(py)
    }

    /// The 32-byte form. Fuel quota and priority are not in it.
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.0.to_bytes())
    }

    /// A policy like this one, with other values of some fields.
    #[pyo3(signature = (**fields))]
    fn replace(&self, py: Python<'_>, fields: Option<&Bound<'_, PyDict>>) -> PyResult<Self> {
        let all = PyDict::new(py);
        for (name, value) in self.fields() {
            all.set_item(name, value)?;
        }
        if let Some(fields) = fields {
            if fields.contains("activation")? {
                all.del_item("activation_mask")?;
            }
            all.update(fields.as_mapping())?;
        }
        Self::from_json(py, &json(all.as_any())?)
    }

    /// The HAL groups that it may call.
    #[getter]
    fn capabilities<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        named(py, "Capability", self.0.capabilities.bits())
    }

    /// Hard cap of linear memory, in 64 KiB pages.
    #[getter]
    fn memory_pages_max(&self) -> u32 {
        self.0.memory_pages_max
    }

    /// Stack of the module, in bytes.
    #[getter]
    fn stack_size(&self) -> u32 {
        self.0.stack_size
    }

    /// How many bytes memory may grow.
    #[getter]
    fn heap_size(&self) -> u32 {
        self.0.heap_size
    }

    /// Longest that one call may run, in microseconds; 0 = unlimited.
    #[getter]
    fn cpu_quota_us(&self) -> u32 {
        self.0.cpu_quota_us
    }

    /// Least time between the starts of two successful steps, in microseconds.
    #[getter]
    fn step_interval_us(&self) -> u32 {
        self.0.step_interval_us
    }

    /// What makes it due.
    #[getter]
    fn activation<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        named(py, "Activation", self.0.activation.bits())
    }

    /// The events that wake it, as a mask.
    #[getter]
    fn event_subscribe(&self) -> u32 {
        self.0.event_subscribe.bits()
    }

    /// Instructions that one call may execute; 0 = unlimited.
    #[getter]
    fn fuel_quota(&self) -> u64 {
        self.0.fuel_quota
    }

    /// Order within a tick: lower runs first.
    #[getter]
    fn priority(&self) -> u8 {
        self.0.priority
    }

    fn __repr__(&self) -> String {
        let fields: Vec<String> = self.fields().map(|(name, value)| format!("{name}={value}")).into();
        format!("Policy({})", fields.join(", "))
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyAny>, Bound<'py, PyTuple>)> {
        let dict = PyDict::new(slf.py());
        for (name, value) in slf.get().fields() {
            dict.set_item(name, value)?;
        }
        let text = json(dict.as_any())?;
        Ok((slf.get_type().getattr("from_json")?, PyTuple::new(slf.py(), [text])?))
    }
}

impl Policy {
    fn fields(&self) -> [(&'static str, u64); 10] {
        let p = &self.0;
        [
            ("capabilities", p.capabilities.bits().into()),
            ("memory_pages_max", p.memory_pages_max.into()),
            ("stack_size", p.stack_size.into()),
            ("heap_size", p.heap_size.into()),
            ("cpu_quota_us", p.cpu_quota_us.into()),
            ("step_interval_us", p.step_interval_us.into()),
            ("activation_mask", p.activation.bits().into()),
            ("event_subscribe", p.event_subscribe.bits().into()),
            ("fuel_quota", p.fuel_quota),
            ("priority", p.priority.into()),
        ]
    }
}
