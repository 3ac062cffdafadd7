//! The clock of a runtime whose time the host moves.

use fuse_runtime::edge;
use pyo3::prelude::*;

/// Time that stands still until the host moves it: for simulation, replay and tests.
///
/// >>> clock = ManualClock()
/// >>> clock.advance_us(1_500)
/// >>> clock.now_us
/// 1500
#[pyclass(frozen, module = "fuse_runtime")]
pub(crate) struct ManualClock {
    /// A platform makes its clock; the first runtime takes the platform.
    platform: std::sync::Mutex<Option<edge::ManualPlatform>>,
    clock: edge::ManualClock,
}

impl ManualClock {
    /// The platform. Once.
    pub(crate) fn take(&self, py: Python<'_>) -> PyResult<edge::ManualPlatform> {
        let mut place = self.platform.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        place.take().ok_or_else(|| {
            let message = "this ManualClock drives another runtime; make one for each";
            crate::fault::exception(py, edge::ErrorKind::InvalidArg, message)
        })
    }
}

/// The platform of this machine.
pub(crate) fn linux(py: Python<'_>) -> PyResult<edge::LinuxPlatform> {
    edge::LinuxPlatform::new().map_err(|e| {
        let message = format!("cannot use this machine's clocks: {e}");
        crate::fault::exception(py, edge::ErrorKind::InvalidArg, &message)
    })
}

#[pymethods]
impl ManualClock {
    /// A clock at 0. With `quota_timer` its runtime enforces `cpu_quota_us` in real time; without, it refuses
    /// policies that have one.
    #[new]
    #[pyo3(signature = (*, quota_timer = false))]
    fn new(py: Python<'_>, quota_timer: bool) -> PyResult<Self> {
        let platform = if quota_timer {
            edge::ManualPlatform::with_quota_timer(linux(py)?)
        } else {
            edge::ManualPlatform::new()
        };
        Ok(Self { clock: platform.clock(), platform: std::sync::Mutex::new(Some(platform)) })
    }

    /// The time in microseconds.
    #[getter]
    fn now_us(&self) -> u64 {
        self.clock.now_us()
    }

    /// Sets the time in microseconds, also backwards.
    fn set_us(&self, now_us: u64) {
        self.clock.set_us(now_us);
    }

    /// Moves the time forward by this many microseconds.
    fn advance_us(&self, by_us: u64) {
        self.clock.advance_us(by_us);
    }

    fn __repr__(&self) -> String {
        format!("ManualClock(now_us={})", self.clock.now_us())
    }
}
