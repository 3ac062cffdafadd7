//! Ticks, and loops of them.

use std::time::{Duration, Instant};

use fuse_runtime::edge::{ErrorKind, Failure, ModuleId, TrapCause};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

use super::Runtime;
use crate::report::{StepOutcome, TickReport};

/// A sleep looks this often whether Ctrl-C was pressed.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// How one step ended, before it is an object of Python.
struct Ended {
    module: ModuleId,
    error: Option<ErrorKind>,
    /// Whether a callback is why.
    by_callback: bool,
}

/// One tick.
pub(super) fn tick(slf: &Bound<'_, Runtime>) -> PyResult<TickReport> {
    let (py, runtime) = (slf.py(), slf.get());
    runtime.may_enter(py)?;
    let seen = py.detach(|| {
        runtime.wait_and_enter(|state| {
            let ended = state.rt.tick().map(|report| report.outcomes().to_vec()).map(|outcomes| {
                let ended = outcomes.iter().map(|o| Ended {
                    module: o.module,
                    error: o.result.err(),
                    by_callback: o.result.is_err()
                        && state.rt.module(o.module).is_ok_and(|info| {
                            matches!(info.failure, Some(Failure::Trap(TrapCause::Callback { .. })))
                        }),
                });
                ended.collect::<Vec<_>>()
            });
            (ended, runtime.news(state))
        })
    });
    let (ended, news) = seen.ok_or_else(|| Runtime::closed(py))?;
    runtime.tell(py, news)?;
    let ended = ended.map_err(|e| runtime.failed(py, &e))?;
    let mut outcomes = Vec::with_capacity(ended.len());
    let mut interrupt = None;
    for step in ended {
        let raised = if step.by_callback { runtime.hooks.take_raised() } else { None };
        let exception = raised.map(|raised| {
            let value = raised.value(py).clone().into_any().unbind();
            if !raised.is_instance_of::<PyException>(py) {
                interrupt = Some(raised);
            }
            value
        });
        let module = Py::new(py, Runtime::module(slf, step.module))?;
        outcomes.push(Py::new(py, StepOutcome { module, error: step.error, exception })?);
    }
    match interrupt.or_else(|| runtime.urgent(py)) {
        Some(interrupt) => Err(interrupt),
        None => Ok(TickReport { outcomes }),
    }
}

fn end_of(seconds: Option<f64>) -> PyResult<Option<Instant>> {
    let Some(seconds) = seconds else { return Ok(None) };
    let length = Duration::try_from_secs_f64(seconds)
        .map_err(|_| pyo3::exceptions::PyValueError::new_err("a time is seconds, not negative and finite"))?;
    Ok(Instant::now().checked_add(length))
}

/// Sleeps until a module is due.
pub(super) fn wait(runtime: &Runtime, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
    let end = end_of(timeout)?;
    wait_until(runtime, py, end)
}

fn wait_until(runtime: &Runtime, py: Python<'_>, end: Option<Instant>) -> PyResult<bool> {
    loop {
        let (due, stopped) =
            runtime.with(py, |state| (state.rt.next_deadline_us(), state.rt.is_runtime_stopped()))?;
        if due == Some(0) {
            return Ok(true);
        }
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) || stopped {
            return Ok(false);
        }
        // Sleeping does not move a clock that the host moves.
        let due = due.filter(|_| !runtime.manual).map_or(SIGNALS_EVERY, Duration::from_micros);
        let nap = due.min(SIGNALS_EVERY).min(left.unwrap_or(SIGNALS_EVERY));
        py.detach(|| runtime.bell.wait(nap));
        py.check_signals()?;
    }
}

/// Ticks whenever something is due.
pub(super) fn run(
    slf: &Bound<'_, Runtime>,
    ticks: Option<u64>,
    seconds: Option<f64>,
    on_tick: Option<&Bound<'_, PyAny>>,
) -> PyResult<u64> {
    let (py, runtime, end) = (slf.py(), slf.get(), end_of(seconds)?);
    let mut ran = 0;
    while ticks.is_none_or(|most| ran < most) {
        py.check_signals()?;
        if end.is_some_and(|end| Instant::now() >= end) || !wait_until(runtime, py, end)? {
            break;
        }
        let report = match tick(slf) {
            Ok(report) => report,
            // Stopped between the wait and the tick.
            Err(_) if runtime.with(py, |state| state.rt.is_runtime_stopped())? => break,
            Err(e) => return Err(e),
        };
        ran += u64::from(!report.outcomes.is_empty());
        if let Some(on_tick) = on_tick {
            let answer = on_tick.call1((report,))?;
            if answer.is_instance_of::<pyo3::types::PyBool>() && !answer.is_truthy()? {
                break;
            }
        }
    }
    Ok(ran)
}
