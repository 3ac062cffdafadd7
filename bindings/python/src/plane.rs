//! The orchestrator: calls by name, that wait (and mind Ctrl-C) or tell a callable when they are done.

use std::borrow::Cow;
use std::future::Future;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fuse_calls::body;
use fuse_orchestrator::Error;
use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use tokio::task::AbortHandle;

/// A wait looks this often whether Ctrl-C was pressed.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// An orchestrator's calls by name.
#[pyclass(frozen, module = "fuse_runtime")]
pub(crate) struct Plane {
    plane: Arc<fuse_calls::Plane>,
    born: u64,
}

/// A call under way.
#[pyclass(frozen, module = "fuse_runtime")]
pub(crate) struct Pending(AbortHandle);

/// A terminal in an environment.
#[pyclass(frozen, module = "fuse_runtime")]
pub(crate) struct Terminal {
    plane: Py<Plane>,
    terminal: fuse_calls::Terminal,
}

/// A stream under way.
#[pyclass(frozen, module = "fuse_runtime")]
pub(crate) struct Stream {
    plane: Py<Plane>,
    stream: fuse_calls::Stream,
}

fn raise(py: Python<'_>, error: &Error) -> PyErr {
    let made = py.import("fuse_runtime.errors").and_then(|m| m.getattr("orchestrator_error"));
    match made.and_then(|make| make.call1((body(error),))) {
        Ok(value) => PyErr::from_value(value),
        Err(e) => e,
    }
}

fn tell<T>(done: &Py<PyAny>, ended: Result<T, Error>)
where
    T: for<'py> IntoPyObject<'py>,
{
    // Nobody is there to be told when the interpreter is going away.
    Python::try_attach(|py| {
        let told = match ended {
            Ok(answer) => answer.into_py_any(py).and_then(|answer| done.call1(py, (true, answer))),
            Err(error) => done.call1(py, (false, body(&error))),
        };
        if let Err(e) = told {
            e.write_unraisable(py, None);
        }
    });
}

impl Plane {
    fn opened(
        py: Python<'_>,
        open: impl FnOnce() -> fuse_orchestrator::Result<fuse_calls::Plane> + Send,
    ) -> PyResult<Self> {
        let plane = py.detach(open).map_err(|e| raise(py, &e))?;
        Ok(Self { plane: Arc::new(plane), born: crate::fork::generation() })
    }

    /// Begins something; `done` is told its end on another thread.
    fn start<T>(
        &self,
        py: Python<'_>,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
        done: Py<PyAny>,
    ) -> PyResult<Pending>
    where
        T: for<'py> IntoPyObject<'py> + Send + 'static,
    {
        self.may(py)?;
        let begun = self.plane.begin(call, move |ended| tell(&done, ended));
        begun.map(Pending).map_err(|e| raise(py, &e))
    }

    fn may(&self, py: Python<'_>) -> PyResult<()> {
        if self.born == crate::fork::generation() {
            return Ok(());
        }
        let why = "its threads stayed in the process that made it; open another one in the child".to_owned();
        Err(raise(py, &Error::Closed { why }))
    }

    /// Makes a call and waits; Ctrl-C abandons it (the control plane finishes what it began).
    fn wait<T: Send + 'static>(
        &self,
        py: Python<'_>,
        call: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> PyResult<T> {
        self.may(py)?;
        let (sender, receiver) = channel();
        let done = move |ended| {
            // The receiver is gone when Ctrl-C came first.
            let _ = sender.send(ended);
        };
        let pending = self.plane.begin(call, done).map_err(|e| raise(py, &e))?;
        let receiver = Mutex::new(receiver);
        loop {
            let ended = py.detach(|| {
                let receiver = receiver.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                receiver.recv_timeout(SIGNALS_EVERY)
            });
            match ended {
                Ok(ended) => return ended.map_err(|e| raise(py, &e)),
                Err(RecvTimeoutError::Disconnected) => {
                    let why = "it was closed while the call was under way".to_owned();
                    return Err(raise(py, &Error::Closed { why }));
                }
                Err(RecvTimeoutError::Timeout) => py.check_signals().inspect_err(|_| pending.abort())?,
            }
        }
    }
}

impl Drop for Plane {
    #[allow(clippy::mem_forget, reason = "its threads stayed in the parent: there is nobody to join")]
    fn drop(&mut self) {
        if self.born != crate::fork::generation() {
            std::mem::forget(Arc::clone(&self.plane));
        }
    }
}

#[pymethods]
impl Plane {
    /// One whose state ends with the program.
    #[staticmethod]
    fn in_memory(py: Python<'_>) -> PyResult<Self> {
        Self::opened(py, fuse_calls::Plane::in_memory)
    }

    /// One whose state is in a directory.
    #[staticmethod]
    fn open(
        py: Python<'_>,
        path: std::path::PathBuf,
        provider: &str,
        host_data: Option<std::path::PathBuf>,
    ) -> PyResult<Self> {
        Self::opened(py, move || fuse_calls::Plane::open(&path, provider, host_data))
    }

    /// One behind the REST API.
    #[staticmethod]
    fn connect(py: Python<'_>, url: String, token: Option<String>) -> PyResult<Self> {
        Self::opened(py, move || fuse_calls::Plane::connect(&url, token))
    }

    /// What runs its environments, as JSON; None behind the REST API.
    #[getter]
    fn provider(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.plane.provider().map_err(|e| raise(py, &e))
    }

    /// Makes a call and waits for its answer.
    fn call(&self, py: Python<'_>, name: &str, arguments: String) -> PyResult<String> {
        self.wait(py, self.plane.call(name, arguments))
    }

    /// Begins a call; `done` is called with whether it succeeded and the answer or the error, on another thread.
    fn begin(&self, py: Python<'_>, name: &str, arguments: String, done: Py<PyAny>) -> PyResult<Pending> {
        self.start(py, self.plane.call(name, arguments), done)
    }

    /// Writes a file and waits.
    fn upload(&self, py: Python<'_>, id: &str, path: &str, mode: u32, content: Vec<u8>) -> PyResult<String> {
        self.wait(py, self.plane.upload(id, path, mode, content))
    }

    /// Begins to write a file.
    fn begin_upload(
        &self,
        py: Python<'_>,
        id: &str,
        path: &str,
        mode: u32,
        content: Vec<u8>,
        done: Py<PyAny>,
    ) -> PyResult<Pending> {
        self.start(py, self.plane.upload(id, path, mode, content), done)
    }

    /// Opens a stream.
    fn stream(slf: &Bound<'_, Self>, name: &str, arguments: &str) -> PyResult<Stream> {
        let py = slf.py();
        let this = slf.get();
        this.may(py)?;
        let stream = py.detach(|| this.plane.stream(name, arguments)).map_err(|e| raise(py, &e))?;
        Ok(Stream { plane: slf.clone().unbind(), stream })
    }

    /// Opens a terminal and waits.
    fn attach(slf: &Bound<'_, Self>, arguments: String) -> PyResult<Terminal> {
        let this = slf.get();
        let terminal = this.wait(slf.py(), this.plane.attach(arguments))?;
        Ok(Terminal { plane: slf.clone().unbind(), terminal })
    }

    /// Begins to open a terminal.
    fn begin_attach(slf: &Bound<'_, Self>, arguments: String, done: Py<PyAny>) -> PyResult<Pending> {
        let (this, plane) = (slf.get(), slf.clone().unbind());
        let open = this.plane.attach(arguments);
        this.start(slf.py(), async move { Ok(Terminal { plane, terminal: open.await? }) }, done)
    }

    /// Ends the work of a control plane in this process.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.may(py)?;
        py.detach(|| self.plane.close()).map_err(|e| raise(py, &e))
    }
}

#[pymethods]
impl Pending {
    /// Abandons the call; the control plane finishes what it began.
    fn cancel(&self) {
        self.0.abort();
    }
}

#[pymethods]
impl Stream {
    /// Waits for the next piece; None at the end.
    fn next(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.plane.get().wait(py, self.stream.clone().next())
    }

    /// Begins to wait for the next piece.
    fn begin(&self, py: Python<'_>, done: Py<PyAny>) -> PyResult<Pending> {
        self.plane.get().start(py, self.stream.clone().next(), done)
    }
}

#[pymethods]
impl Terminal {
    /// Waits for what it shows next; None at the end.
    fn read(&self, py: Python<'_>) -> PyResult<Option<Cow<'static, [u8]>>> {
        let shown = self.plane.get().wait(py, self.terminal.clone().read())?;
        Ok(shown.map(Cow::Owned))
    }

    /// Begins to wait for what it shows next.
    fn begin_read(&self, py: Python<'_>, done: Py<PyAny>) -> PyResult<Pending> {
        let read = self.terminal.clone().read();
        self.plane.get().start(py, async move { Ok(read.await?.map(Cow::<'static, [u8]>::Owned)) }, done)
    }

    /// Types bytes, and waits until the guest takes them.
    fn write(&self, py: Python<'_>, data: Vec<u8>) -> PyResult<()> {
        self.plane.get().wait(py, self.terminal.clone().write(data))
    }

    /// Begins to type bytes.
    fn begin_write(&self, py: Python<'_>, data: Vec<u8>, done: Py<PyAny>) -> PyResult<Pending> {
        let write = self.terminal.clone().write(data);
        self.plane.get().start(py, async move { write.await.map(|()| None::<String>) }, done)
    }

    /// Tells a new size.
    fn resize(&self, py: Python<'_>, rows: u32, cols: u32) -> PyResult<()> {
        self.plane.get().wait(py, self.terminal.clone().resize(rows, cols))
    }

    /// Begins to tell a new size.
    fn begin_resize(&self, py: Python<'_>, rows: u32, cols: u32, done: Py<PyAny>) -> PyResult<Pending> {
        let resize = self.terminal.clone().resize(rows, cols);
        self.plane.get().start(py, async move { resize.await.map(|()| None::<String>) }, done)
    }

    /// The exit code, once a read has come to the end.
    #[getter]
    fn exit_code(&self) -> Option<i32> {
        self.terminal.exit_code()
    }

    /// Closes it.
    fn close(&self) {
        self.terminal.close();
    }
}
