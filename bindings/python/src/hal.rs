//! Python callables as HAL callbacks.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fuse_runtime::edge::hal::{HAL_RESULT_MISMATCH, HalCall, HalGroup, HalResult, Param, Value, ValueType};
use fuse_runtime::edge::{self, HalFault};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyBytes, PyTuple};
use pyo3::{PyTraverseError, PyVisit};

use crate::buffer;
use crate::fault::{OrRaise, exception};

/// The code of the trap when a callback raised something else than `HalFault`.
pub(crate) const RAISED: i32 = i32::MIN + 1;

/// What a runtime holds of Python: where the garbage collector sees it.
#[derive(Default)]
pub(crate) struct Hooks {
    callables: Mutex<Vec<Py<PyAny>>>,
    logger: Mutex<Option<Py<PyAny>>>,
    /// What callbacks raised since the last call into the runtime began, in order: one for each module that failed so.
    raised: Mutex<VecDeque<PyErr>>,
    any_raised: AtomicBool,
    /// The module whose call of a host group runs; 0 = none.
    caller: AtomicU64,
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Hooks {
    /// Keeps a callable, and gives its place.
    fn keep(&self, callable: Py<PyAny>) -> usize {
        let mut callables = held(&self.callables);
        callables.push(callable);
        callables.len() - 1
    }

    pub(crate) fn set_logger(&self, logger: Option<Py<PyAny>>) {
        *held(&self.logger) = logger;
    }

    pub(crate) fn logger(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        held(&self.logger).as_ref().map(|logger| logger.clone_ref(py))
    }

    pub(crate) fn has_logger(&self) -> bool {
        held(&self.logger).is_some()
    }

    pub(crate) fn caller(&self) -> Option<u64> {
        Some(self.caller.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// The next thing that a callback raised.
    pub(crate) fn take_raised(&self) -> Option<PyErr> {
        if !self.any_raised.load(Ordering::Acquire) {
            return None;
        }
        let mut raised = held(&self.raised);
        let first = raised.pop_front();
        self.any_raised.store(!raised.is_empty(), Ordering::Release);
        first
    }

    pub(crate) fn traverse(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        // Who holds a lock runs Python or changes the list: then nothing of it is garbage.
        if let Ok(callables) = self.callables.try_lock() {
            for callable in callables.iter() {
                visit.call(callable)?;
            }
        }
        if let Ok(logger) = self.logger.try_lock()
            && let Some(logger) = logger.as_ref()
        {
            visit.call(logger)?;
        }
        Ok(())
    }

    pub(crate) fn clear(&self) {
        // Dropped after the locks are free: what is dropped may call back.
        let callables = std::mem::take(&mut *held(&self.callables));
        let logger = held(&self.logger).take();
        drop((callables, logger));
    }

    /// Calls a callable with the interpreter attached; what it raises becomes the fault of the module.
    fn call<T>(&self, place: usize, call: impl FnOnce(&Bound<'_, PyAny>) -> PyResult<T>) -> HalResult<T> {
        let answer = Python::try_attach(|py| {
            let callable = held(&self.callables).get(place).map(|c| c.clone_ref(py));
            let Some(callable) = callable else { return Err(HalFault { code: RAISED }) };
            call(callable.bind(py)).map_err(|raised| self.fault(py, raised))
        });
        // The interpreter is going away.
        answer.unwrap_or(Err(HalFault { code: RAISED }))
    }

    fn fault(&self, py: Python<'_>, raised: PyErr) -> HalFault {
        let code = if raised.get_type(py).is(Mismatch::class(py)) {
            HAL_RESULT_MISMATCH
        } else {
            let value = raised.value(py);
            let is_fault = py
                .import("fuse_runtime.errors")
                .and_then(|errors| errors.getattr("HalFault"))
                .and_then(|class| value.is_instance(&class))
                .unwrap_or(false);
            let code = if is_fault { value.getattr("code").and_then(|c| c.extract()).ok() } else { None };
            code.unwrap_or(RAISED)
        };
        held(&self.raised).push_back(raised);
        self.any_raised.store(true, Ordering::Release);
        HalFault { code }
    }
}

/// A callback returned another type than its signature says: a `TypeError` of our own making.
struct Mismatch;

impl Mismatch {
    fn class<'py>(py: Python<'py>) -> Bound<'py, PyAny> {
        py.import("fuse_runtime.errors")
            .and_then(|m| m.getattr("HalTypeError"))
            .unwrap_or_else(|_| py.get_type::<PyTypeError>().into_any())
    }

    fn error(py: Python<'_>, message: &str) -> PyErr {
        match Self::class(py).call1((message,)) {
            Ok(value) => PyErr::from_value(value),
            Err(e) => e,
        }
    }
}

fn extract<'py, T: for<'a> FromPyObject<'a, 'py, Error = PyErr>>(
    function: &str,
    what: &str,
    answer: &Bound<'py, PyAny>,
) -> PyResult<T> {
    answer.extract::<T>().map_err(|e| {
        let py = answer.py();
        if !e.is_instance_of::<PyTypeError>(py) {
            return e;
        }
        let ty = answer.get_type().name().map_or_else(|_| "?".into(), |n| n.to_string());
        Mismatch::error(py, &format!("the callback of `{function}` must return {what}, it returned {ty}"))
    })
}

/// Sets the temperature sensor.
pub(crate) fn set_temp(rt: &mut edge::Runtime, hooks: &Arc<Hooks>, callable: Py<PyAny>) {
    let (hooks, place) = (hooks.clone(), hooks.keep(callable));
    rt.set_temp(move || {
        hooks.call(place, |callable| {
            extract::<f64>("temp_get_reading", "a float", &callable.call0()?).map(|t| t as f32)
        })
    });
}

/// Sets the clock of the modules.
pub(crate) fn set_timer(rt: &mut edge::Runtime, hooks: &Arc<Hooks>, callable: Py<PyAny>) {
    let (hooks, place) = (hooks.clone(), hooks.keep(callable));
    rt.set_timer(move || {
        hooks.call(place, |callable| extract("timer_get_timestamp", "an int", &callable.call0()?))
    });
}

/// Sets the camera.
pub(crate) fn set_camera(rt: &mut edge::Runtime, hooks: &Arc<Hooks>, callable: Py<PyAny>) {
    let (hooks, place) = (hooks.clone(), hooks.keep(callable));
    rt.set_camera(move |target| {
        hooks.call(place, |callable| {
            let frame = callable.call1((target.len(),))?;
            if frame.is_none() {
                return Ok(0);
            }
            // What is longer than the module asked for is cut.
            Ok(buffer::copy(&frame, target)?.min(target.len()))
        })
    });
}

/// One function as Python declares it: name, parameters, result, callable.
type Declared = (String, Vec<String>, Option<String>, Py<PyAny>);

/// Makes a group of a `HalGroup` of the package.
pub(crate) fn group(hooks: &Arc<Hooks>, group: &Bound<'_, PyAny>) -> PyResult<HalGroup> {
    let py = group.py();
    let invalid = |message: String| exception(py, edge::ErrorKind::InvalidArg, &message);
    let name: String = group.getattr("name")?.extract()?;
    let bit: i64 = group.getattr("bit")?.extract()?;
    let bit = u8::try_from(bit).map_err(|_| {
        invalid(format!("HAL group `{name}` has capability bit {bit}; host groups have bits 8 to 31"))
    })?;
    let mut built = HalGroup::new(&name, bit);
    let functions: Vec<Declared> = group.getattr("_functions")?.extract()?;
    for (function, params, result, callable) in functions {
        let params: Vec<Param> = params
            .iter()
            .map(|p| {
                Param::from_name(p).ok_or_else(|| {
                    invalid(format!(
                        "`{function}`: `{p}` is no parameter type; known are i32, i64, f32, f64, in, out and inout"
                    ))
                })
            })
            .collect::<PyResult<_>>()?;
        let result = result
            .map(|r| {
                ValueType::from_name(&r).ok_or_else(|| {
                    invalid(format!("`{function}`: `{r}` is no result type; known are i32, i64, f32 and f64"))
                })
            })
            .transpose()?;
        let (hooks, place, shape) = (hooks.clone(), hooks.keep(callable), params.clone());
        let title = function.clone();
        built = built.function(&function, &params, result, move |call| {
            let before = hooks.caller.swap(call.module().to_u64(), Ordering::Relaxed);
            let answer = hooks.call(place, |callable| invoke(callable, &title, &shape, result, call));
            hooks.caller.store(before, Ordering::Relaxed);
            answer
        });
    }
    // Names, bits and signatures are checked before anything is registered.
    built.declaration().validate().or_raise(py)?;
    Ok(built)
}

/// Calls a function of a group. `in` is `bytes`; `out` and `inout` are a `bytearray` that is written back.
fn invoke(
    callable: &Bound<'_, PyAny>,
    function: &str,
    shape: &[Param],
    result: Option<ValueType>,
    call: &mut HalCall<'_>,
) -> PyResult<Option<Value>> {
    let py = callable.py();
    let mut arguments: Vec<Bound<'_, PyAny>> = Vec::with_capacity(shape.len());
    for (index, param) in shape.iter().enumerate() {
        arguments.push(match param {
            Param::In => PyBytes::new(py, call.buffer(index)).into_any(),
            Param::Out | Param::InOut => PyByteArray::new(py, call.buffer_mut(index)).into_any(),
            Param::Value(_) => match call.value(index) {
                Some(Value::I32(v)) => v.into_pyobject(py)?.into_any(),
                Some(Value::I64(v)) => v.into_pyobject(py)?.into_any(),
                Some(Value::F32(v)) => f64::from(v).into_pyobject(py)?.into_any(),
                Some(Value::F64(v)) => v.into_pyobject(py)?.into_any(),
                None => return Err(PyTypeError::new_err("an argument is missing")),
            },
        });
    }
    let answer = callable.call1(PyTuple::new(py, &arguments)?)?;
    for (index, param) in shape.iter().enumerate() {
        if !matches!(param, Param::Out | Param::InOut) {
            continue;
        }
        let (argument, target) = (&arguments[index], call.buffer_mut(index));
        if argument.len()? != target.len() {
            return Err(PyValueError::new_err(format!(
                "the callback of `{function}` resized buffer {index} from {} to {} bytes; assign to slices of it",
                target.len(),
                argument.len()?
            )));
        }
        buffer::copy(argument, target)?;
    }
    let what = result.map_or("None", ValueType::name);
    Ok(match result {
        None if answer.is_none() => None,
        None => {
            return Err(Mismatch::error(
                py,
                &format!("the callback of `{function}` has no result and must return None"),
            ));
        }
        Some(ValueType::I32) => Some(Value::I32(extract(function, what, &answer)?)),
        Some(ValueType::I64) => Some(Value::I64(extract(function, what, &answer)?)),
        Some(ValueType::F32) => Some(Value::F32(extract::<f64>(function, what, &answer)? as f32)),
        Some(ValueType::F64) => Some(Value::F64(extract(function, what, &answer)?)),
    })
}
