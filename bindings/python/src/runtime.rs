//! The runtime: one lock around the core, and the rules of who may take it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};

use fuse_runtime::edge::{self, ErrorKind, ModuleId, StepTiming};
use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::{PyTraverseError, PyVisit};

use crate::application::{AppConfig, Application, ModuleDecl, application_of};
use crate::artifact::{Source, traps_of};
use crate::clock::{ManualClock, linux};
use crate::event::{Bell, EventPoster, event_id};
use crate::fault::{OrRaise, exception};
use crate::hal::{self, Hooks};
use crate::log::{self, LogRecord};
use crate::module::Module;
use crate::policy::policy_of;
use crate::report::TickReport;

mod drive;

/// What the lock guards.
pub(crate) struct State {
    pub(crate) rt: edge::Runtime,
    /// The first record that `logging` has not seen.
    log_read: u64,
}

/// Runs modules under policies, step by step.
///
/// It may be used from several threads, one after the other: a call waits for the call of another thread, with the
/// interpreter lock released. A HAL callback that calls its own runtime gets `WrongStateError`, except to post events.
/// A runtime does not survive a fork: in the child every call raises `WrongStateError`.
///
/// >>> with Runtime() as runtime:
/// ...     module = runtime.load("hello", '(module (func (export "module_step")))')
/// ...     module.start()
/// ...     len(runtime.tick())
/// 1
#[pyclass(frozen, module = "fuse_runtime", weakref)]
pub(crate) struct Runtime {
    state: Mutex<Option<State>>,
    /// The thread that is inside a call; 0 = none.
    owner: AtomicUsize,
    poster: edge::EventPoster,
    bell: Arc<Bell>,
    events: Arc<[(String, edge::EventId)]>,
    hooks: Arc<Hooks>,
    application: edge::Application,
    manual: bool,
    /// The generation of processes that it was made in.
    born: u64,
}

/// A number of the thread, unlike that of any other that lives.
fn this_thread() -> usize {
    thread_local!(static PLACE: u8 = const { 0 });
    PLACE.with(|place| std::ptr::from_ref(place).addr())
}

/// Who is inside, until the drop.
struct Inside<'a>(&'a AtomicUsize);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.store(0, Ordering::Release);
    }
}

impl Runtime {
    fn wrong_state(py: Python<'_>, message: &str) -> PyErr {
        exception(py, ErrorKind::WrongState, message)
    }

    fn may_enter(&self, py: Python<'_>) -> PyResult<()> {
        if self.born != crate::fork::generation() {
            let message = "this runtime was made before the process forked, and its quota watchdog stayed in the \
                           parent; make a new runtime in the child";
            return Err(Self::wrong_state(py, message));
        }
        if self.owner.load(Ordering::Acquire) == this_thread() {
            let message = "the runtime is inside a call: a callback cannot call the runtime that called it, except to \
                           post events";
            return Err(Self::wrong_state(py, message));
        }
        Ok(())
    }

    fn closed(py: Python<'_>) -> PyErr {
        Self::wrong_state(py, "the runtime is closed; make a new one")
    }

    fn enter<T>(&self, place: &mut Option<State>, look: impl FnOnce(&mut State) -> T) -> Option<T> {
        self.owner.store(this_thread(), Ordering::Release);
        let _inside = Inside(&self.owner);
        place.as_mut().map(look)
    }

    /// A short call: with the interpreter attached where the lock is free.
    pub(crate) fn with<T: Send>(
        &self,
        py: Python<'_>,
        look: impl FnOnce(&mut State) -> T + Send,
    ) -> PyResult<T> {
        self.may_enter(py)?;
        let seen = match self.state.try_lock() {
            Ok(mut place) => self.enter(&mut place, look),
            Err(TryLockError::Poisoned(poisoned)) => self.enter(&mut poisoned.into_inner(), look),
            Err(TryLockError::WouldBlock) => py.detach(|| self.wait_and_enter(look)),
        };
        seen.ok_or_else(|| Self::closed(py))
    }

    fn wait_and_enter<T>(&self, look: impl FnOnce(&mut State) -> T) -> Option<T> {
        let mut place = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.enter(&mut place, look)
    }

    /// A call that may run guest code: with the interpreter lock released. Records go to `logging`, what callbacks
    /// raised goes with the error.
    pub(crate) fn guest<T: Send>(
        &self,
        py: Python<'_>,
        call: impl FnOnce(&mut edge::Runtime) -> edge::Result<T> + Send,
    ) -> PyResult<T> {
        self.may_enter(py)?;
        let seen = py.detach(|| {
            self.wait_and_enter(|state| {
                let result = call(&mut state.rt);
                (result, self.news(state))
            })
        });
        let (result, news) = seen.ok_or_else(|| Self::closed(py))?;
        self.tell(py, news)?;
        match result {
            Ok(value) => match self.urgent(py) {
                None => Ok(value),
                Some(interrupt) => Err(interrupt),
            },
            Err(error) => Err(self.failed(py, &error)),
        }
    }

    /// The records that `logging` has not seen.
    fn news(&self, state: &mut State) -> Vec<LogRecord> {
        let next = state.rt.log().next_sequence();
        if next == state.log_read {
            return Vec::new();
        }
        let since = std::mem::replace(&mut state.log_read, next);
        if self.hooks.has_logger() { LogRecord::since(since, &state.rt) } else { Vec::new() }
    }

    fn tell(&self, py: Python<'_>, news: Vec<LogRecord>) -> PyResult<()> {
        if news.is_empty() {
            return Ok(());
        }
        self.hooks.logger(py).map_or(Ok(()), |logger| log::emit(py, &logger, news))
    }

    /// What callbacks raised and nobody will look at: an interrupt or exit among it is passed on.
    fn urgent(&self, py: Python<'_>) -> Option<PyErr> {
        let mut urgent = None;
        while let Some(raised) = self.hooks.take_raised() {
            if !raised.is_instance_of::<PyException>(py) {
                urgent = Some(raised);
            }
        }
        urgent
    }

    /// The exception for an error, with what a callback raised as its cause; an interrupt or exit goes first.
    fn failed(&self, py: Python<'_>, error: &edge::Error) -> PyErr {
        let Some(cause) = self.hooks.take_raised() else { return crate::fault::raise(py, error) };
        if let Some(interrupt) = self.urgent(py) {
            return interrupt;
        }
        if !cause.is_instance_of::<PyException>(py) {
            return cause;
        }
        let raised = crate::fault::raise(py, error);
        raised.set_cause(py, Some(cause));
        raised
    }

    fn module(slf: &Bound<'_, Self>, id: ModuleId) -> Module {
        Module { runtime: slf.clone().unbind(), id }
    }
}

impl Drop for Runtime {
    #[allow(
        clippy::mem_forget,
        reason = "the watchdog's thread stayed in the parent: there is nobody to join"
    )]
    fn drop(&mut self) {
        if self.born != crate::fork::generation()
            && let Ok(mut place) = self.state.try_lock()
        {
            std::mem::forget(place.take());
        }
    }
}

#[pymethods]
impl Runtime {
    /// A runtime of this machine, or of a `ManualClock`.
    ///
    /// `application` is an `Application`, an `AppConfig` or a mapping of its fields. `hal` is a `Hal` with the callbacks.
    /// `logger` gets the log's records after each call; by default the logger `fuse_runtime.edge`, with None none.
    #[new]
    #[pyo3(signature = (application = None, *, hal = None, clock = None, stack_bytes_max = None, traps = "explicit",
                        step_timing = "sampled", compile_on_load = true, logger = Logger::Default))]
    #[allow(clippy::too_many_arguments, reason = "keyword arguments of Python")]
    fn new(
        py: Python<'_>,
        application: Option<&Bound<'_, PyAny>>,
        hal: Option<&Bound<'_, PyAny>>,
        clock: Option<&Bound<'_, ManualClock>>,
        stack_bytes_max: Option<u32>,
        traps: &str,
        step_timing: &str,
        compile_on_load: bool,
        logger: Logger,
    ) -> PyResult<Self> {
        let application = application_of(application)?;
        let mut config = edge::RuntimeConfig::new(application.clone());
        config.stack_bytes_max = stack_bytes_max.unwrap_or(config.stack_bytes_max);
        config.traps = traps_of(py, traps)?;
        config.compile_on_load = compile_on_load;
        config.step_timing = match step_timing {
            "sampled" => StepTiming::Sampled,
            "every" => StepTiming::Every,
            other => {
                let message = format!("`{other}` is no step timing; known are sampled and every");
                return Err(exception(py, ErrorKind::InvalidArg, &message));
            }
        };
        let rt = match clock {
            Some(clock) => edge::Runtime::new(config, clock.get().take(py)?),
            None => edge::Runtime::new(config, linux(py)?),
        };
        let rt = rt.or_raise(py)?;
        let runtime = Self {
            poster: rt.poster(),
            bell: Arc::default(),
            events: application.events.clone().into(),
            hooks: Arc::default(),
            owner: AtomicUsize::new(0),
            application,
            manual: clock.is_some(),
            born: crate::fork::generation(),
            state: Mutex::new(Some(State { rt, log_read: 0 })),
        };
        runtime.hooks.set_logger(match logger {
            Logger::Given(logger) => Some(logger),
            Logger::Silent => None,
            Logger::Default => {
                Some(py.import("logging")?.call_method1("getLogger", ("fuse_runtime.edge",))?.unbind())
            }
        });
        if let Some(hal) = hal {
            runtime.attach(py, hal)?;
        }
        Ok(runtime)
    }

    /// The application that it was made for.
    #[getter]
    fn application(&self) -> Application {
        Application(self.application.clone())
    }

    /// Sets the temperature sensor: a callable that returns degrees Celsius.
    fn set_temp(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
        self.with(py, |state| hal::set_temp(&mut state.rt, &self.hooks, callback))
    }

    /// Sets the clock that modules read: a callable that returns microseconds.
    fn set_timer(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
        self.with(py, |state| hal::set_timer(&mut state.rt, &self.hooks, callback))
    }

    /// Sets the camera: a callable that gets the most bytes that the module takes, and returns the newest frame (bytes,
    /// bytearray, memoryview, a NumPy array, …) or None. What is too long is cut.
    fn set_camera(&self, py: Python<'_>, callback: Py<PyAny>) -> PyResult<()> {
        self.with(py, |state| hal::set_camera(&mut state.rt, &self.hooks, callback))
    }

    /// Registers a `HalGroup`. Modules loaded from now on may import its functions.
    fn register_group(&self, py: Python<'_>, group: &Bound<'_, PyAny>) -> PyResult<()> {
        let group = hal::group(&self.hooks, group)?;
        self.with(py, |state| state.rt.register_group(group))?.or_raise(py)
    }

    /// Loads a module from an artifact, from WebAssembly or from its text format.
    ///
    /// `policy` is a `Policy`, a mapping of its fields, or None for the one that allows nothing but to run.
    #[pyo3(signature = (name, artifact, policy = None))]
    fn load(
        slf: &Bound<'_, Self>,
        name: String,
        artifact: Source,
        policy: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Module> {
        let policy = policy_of(policy)?;
        let id = slf.get().guest(slf.py(), move |rt| rt.load(&name, artifact.bytes(), &policy))?;
        Ok(Self::module(slf, id))
    }

    /// Loads a module from a file.
    #[pyo3(signature = (name, path, policy = None))]
    fn load_file(
        slf: &Bound<'_, Self>,
        name: String,
        path: std::path::PathBuf,
        policy: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Module> {
        let policy = policy_of(policy)?;
        let id = slf.get().guest(slf.py(), move |rt| rt.load_file(&name, path, &policy))?;
        Ok(Self::module(slf, id))
    }

    /// Loads all modules of the application that the runtime was made for. `fetch` gives the artifact of a
    /// `ModuleDecl` that does not carry it. On an error, what this call loaded is unloaded again.
    #[pyo3(signature = (config, fetch = None))]
    fn load_app(
        slf: &Bound<'_, Self>,
        config: &Bound<'_, AppConfig>,
        fetch: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Vec<Module>> {
        let py = slf.py();
        let mut app = config.get().0.clone();
        for module in app.modules.iter_mut().filter(|m| m.artifact.is_none()) {
            let Some(fetch) = fetch else {
                let message = format!("`{}` carries no artifact: give `fetch`, which finds it", module.name);
                return Err(exception(py, ErrorKind::InvalidArg, &message));
            };
            let source: Source = fetch.call1((ModuleDecl::from(module.clone()),))?.extract()?;
            module.artifact = Some(source.bytes().to_vec());
        }
        let ids = slf.get().guest(py, move |rt| rt.load_app(&app, |m| Ok(m.binary.as_bytes().into())))?;
        Ok(ids.into_iter().map(|id| Self::module(slf, id)).collect())
    }

    /// The module of this name.
    fn find(slf: &Bound<'_, Self>, name: &str) -> PyResult<Module> {
        let id = slf.get().with(slf.py(), |state| state.rt.find(name))?.or_raise(slf.py())?;
        Ok(Self::module(slf, id))
    }

    /// All modules.
    #[getter]
    fn modules(slf: &Bound<'_, Self>) -> PyResult<Vec<Module>> {
        let ids: Vec<ModuleId> =
            slf.get().with(slf.py(), |state| state.rt.modules().map(|info| info.id).collect())?;
        Ok(ids.into_iter().map(|id| Self::module(slf, id)).collect())
    }

    /// Steps every module that is due, once each, by priority and then load order. A failure of one is in the report
    /// and does not stop the others.
    fn tick(slf: &Bound<'_, Self>) -> PyResult<TickReport> {
        drive::tick(slf)
    }

    /// How long until a module is due, in microseconds: 0 when one is, None when only an event or the host can make one
    /// due.
    #[getter]
    fn next_deadline_us(&self, py: Python<'_>) -> PyResult<Option<u64>> {
        self.with(py, |state| state.rt.next_deadline_us())
    }

    /// Sleeps until a module is due, at most `timeout` seconds. Returns whether one is. Posts from any thread wake it;
    /// Ctrl-C ends it.
    #[pyo3(signature = (timeout = None))]
    fn wait(&self, py: Python<'_>, timeout: Option<f64>) -> PyResult<bool> {
        drive::wait(self, py, timeout)
    }

    /// Ticks whenever something is due. Ends after `ticks` ticks that ran something, after `seconds`, when `on_tick`
    /// (called with each report) returns False, or when another thread stops the runtime. Ctrl-C ends it between
    /// steps. Returns how many ticks ran something.
    #[pyo3(signature = (*, ticks = None, seconds = None, on_tick = None))]
    fn run(
        slf: &Bound<'_, Self>,
        ticks: Option<u64>,
        seconds: Option<f64>,
        on_tick: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<u64> {
        drive::run(slf, ticks, seconds, on_tick)
    }

    /// Posts an event, by its number (0 to 31) or its name in the application. Callbacks and other threads may too.
    fn post_event(&self, event: &Bound<'_, PyAny>) -> PyResult<()> {
        self.poster.post(event_id(event, &self.events)?);
        self.bell.ring();
        Ok(())
    }

    /// Takes an event back from the latches of all modules.
    fn clear_event(&self, py: Python<'_>, event: &Bound<'_, PyAny>) -> PyResult<()> {
        let event = event_id(event, &self.events)?;
        self.with(py, |state| state.rt.clear_event(event))
    }

    /// A handle that posts events from any thread.
    fn poster(&self) -> EventPoster {
        EventPoster { poster: self.poster.clone(), bell: self.bell.clone(), names: self.events.clone() }
    }

    /// The id of the module whose call of a host group is running; None outside such a callback.
    #[getter]
    fn calling_module_id(&self) -> Option<u64> {
        self.hooks.caller()
    }

    /// Stops the runtime: every running module is held, and no module runs until `restart`.
    fn stop(&self, py: Python<'_>) -> PyResult<()> {
        self.bell.ring();
        self.with(py, |state| state.rt.stop())?.or_raise(py)
    }

    /// Lifts a stop.
    fn restart(&self, py: Python<'_>) -> PyResult<()> {
        self.with(py, |state| state.rt.restart())?.or_raise(py)
    }

    /// Whether the runtime is stopped.
    #[getter]
    fn is_stopped(&self, py: Python<'_>) -> PyResult<bool> {
        self.with(py, |state| state.rt.is_runtime_stopped())
    }

    /// The kept records of the log from a sequence number on, oldest first. A gap in the numbers is what was
    /// overwritten.
    #[pyo3(signature = (since = 0))]
    fn log_records(&self, py: Python<'_>, since: u64) -> PyResult<Vec<LogRecord>> {
        self.with(py, |state| LogRecord::since(since, &state.rt))
    }

    /// The sequence number that the next record will have.
    #[getter]
    fn log_next_sequence(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |state| state.rt.log().next_sequence())
    }

    /// How many records of modules were overwritten.
    #[getter]
    fn log_lost(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |state| state.rt.log().lost())
    }

    /// How many security records were overwritten.
    #[getter]
    fn log_lost_security(&self, py: Python<'_>) -> PyResult<u64> {
        self.with(py, |state| state.rt.log().lost_security())
    }

    /// Unloads all modules, each with its `module_deinit` where it is owed, and frees the runtime. Closing twice does
    /// nothing; every other call then raises `WrongStateError`.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.may_enter(py)?;
        let state = py.detach(|| {
            let mut place = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            self.enter(&mut place, |state| {
                let ids: Vec<ModuleId> = state.rt.modules().map(|info| info.id).collect();
                for id in ids {
                    // Each id was just listed; a deinit that fails is in the log.
                    let _ = state.rt.unload(id);
                }
                self.news(state)
            })
            .map(|news| (news, place.take()))
        });
        self.bell.ring();
        let Some((news, state)) = state else { return Ok(()) };
        let told = self.tell(py, news);
        py.detach(|| drop(state));
        self.hooks.clear();
        self.urgent(py).map_or(told, Err)
    }

    /// Whether it is closed.
    #[getter]
    #[pyo3(name = "closed")]
    fn is_closed(&self) -> bool {
        self.state.try_lock().is_ok_and(|place| place.is_none())
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (*_exception))]
    fn __exit__(&self, py: Python<'_>, _exception: &Bound<'_, pyo3::types::PyTuple>) -> PyResult<()> {
        self.close(py)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let name = &self.application.name;
        match self.with(py, |state| (state.rt.modules().count(), state.rt.is_runtime_stopped())) {
            Ok((modules, stopped)) => {
                format!("<Runtime {name:?} modules={modules}{}>", if stopped { " stopped" } else { "" })
            }
            Err(e) => format!("<Runtime {name:?} ({})>", e.value(py)),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.hooks.traverse(visit)
    }

    fn __clear__(&self) {
        self.hooks.clear();
    }
}

impl Runtime {
    /// Registers everything of a `Hal`.
    fn attach(&self, py: Python<'_>, hal: &Bound<'_, PyAny>) -> PyResult<()> {
        let given = |name: &str| hal.getattr(name).map(|c| (!c.is_none()).then(|| c.unbind()));
        if let Some(callback) = given("_temp")? {
            self.set_temp(py, callback)?;
        }
        if let Some(callback) = given("_timer")? {
            self.set_timer(py, callback)?;
        }
        if let Some(callback) = given("_camera")? {
            self.set_camera(py, callback)?;
        }
        for group in hal.getattr("_groups")?.try_iter()? {
            self.register_group(py, &group?)?;
        }
        Ok(())
    }
}

/// Where records go.
pub(crate) enum Logger {
    /// `fuse_runtime.edge`.
    Default,
    /// Nowhere.
    Silent,
    /// There.
    Given(Py<PyAny>),
}

impl<'py> FromPyObject<'_, 'py> for Logger {
    type Error = PyErr;

    fn extract(obj: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(if obj.is_none() { Self::Silent } else { Self::Given(obj.to_owned().unbind()) })
    }
}
