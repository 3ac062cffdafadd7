//! An orchestrator with the threads that it runs on.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fuse_host_agent::{DefaultProvider, Embedded, EmbeddedOptions};
use fuse_orchestrator::{Error, Orchestrator, Result};
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use crate::calls;
use crate::stream::Stream;
use crate::terminal::Terminal;

/// How long [`Plane::close`] waits for the control plane.
pub const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// How long [`Plane::close`] then waits for the threads.
const END_LIMIT: Duration = Duration::from_secs(2);

/// An orchestrator, in this process or behind the REST API, with a runtime of its own. Calls may come from any thread,
/// many at once.
#[derive(Debug)]
pub struct Plane {
    provider: Option<DefaultProvider>,
    live: Mutex<Option<Live>>,
}

/// What a close takes away.
#[derive(Clone, Debug)]
struct Live {
    fuse: Orchestrator,
    runtime: Arc<Runtime>,
}

/// Ends a runtime without waiting for its tasks: the thread that drops it may be anybody's.
fn end(runtime: Arc<Runtime>) {
    if let Ok(runtime) = Arc::try_unwrap(runtime) {
        runtime.shutdown_background();
    }
}

impl Plane {
    fn new(open: impl Future<Output = Result<(Orchestrator, Option<DefaultProvider>)>>) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fuse")
            .enable_all()
            .build()
            .map_err(|error| Error::Closed { why: format!("there are no threads for it: {error}") })?;
        let (fuse, provider) = runtime.block_on(open)?;
        Ok(Self { provider, live: Mutex::new(Some(Live { fuse, runtime: Arc::new(runtime) })) })
    }

    fn embedded(open: impl Future<Output = Result<Embedded>>) -> Result<Self> {
        Self::new(async { open.await.map(|Embedded { fuse, provider }| (fuse, Some(provider))) })
    }

    /// One whose state ends with the program, with the stub.
    ///
    /// # Errors
    /// As [`Embedded::in_memory`].
    pub fn in_memory() -> Result<Self> {
        Self::embedded(Embedded::in_memory())
    }

    /// One whose state is in a directory. `provider` is `auto`, `local` or `stub`; `host_data` the folder of this machine's
    /// VMs and images, where it is not the usual one.
    ///
    /// # Errors
    /// As [`Embedded::open`]; [`Error::Invalid`] for another `provider`.
    pub fn open(dir: &Path, provider: &str, host_data: Option<PathBuf>) -> Result<Self> {
        let options = EmbeddedOptions { provider: provider.parse()?, host_data };
        Self::embedded(Embedded::open(dir, &options))
    }

    /// What ran its environments when it was opened, as JSON: `name`, `url`, `why`, and the `warning` that its program must be
    /// given; none behind the REST API.
    ///
    /// # Errors
    /// None that is known.
    pub fn provider(&self) -> Result<Option<String>> {
        self.provider.as_ref().map(calls::json).transpose()
    }

    /// One behind the REST API.
    ///
    /// # Errors
    /// As [`Orchestrator::connect`].
    pub fn connect(url: &str, token: Option<String>) -> Result<Self> {
        let connect = Orchestrator::connect(url, token.map(SecretString::from));
        Self::new(async { connect.await.map(|fuse| (fuse, None)) })
    }

    fn place(&self) -> MutexGuard<'_, Option<Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn live(&self) -> Result<Live> {
        self.place().clone().ok_or_else(|| Error::Closed { why: "it was closed".to_owned() })
    }

    fn fuse(&self) -> Result<Orchestrator> {
        self.live().map(|live| live.fuse)
    }

    /// A call by its name, with its arguments as a JSON object; the answer is JSON, or empty where there is none.
    pub fn call(
        &self,
        name: &str,
        arguments: String,
    ) -> impl Future<Output = Result<String>> + Send + 'static {
        let (fuse, name) = (self.fuse(), name.to_owned());
        async move { calls::call(fuse?, name, arguments).await }
    }

    /// Writes a file of a running environment; `mode` are its permissions.
    pub fn upload(
        &self,
        id: &str,
        path: &str,
        mode: u32,
        content: Vec<u8>,
    ) -> impl Future<Output = Result<String>> + Send + 'static {
        let (fuse, id, path) = (self.fuse(), id.to_owned(), path.to_owned());
        async move { calls::upload(fuse?, id, path, mode, content).await }
    }

    /// A stream: `events` with the query of `GET /v1/events`, or `logs` with `id` and `source`.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn stream(&self, name: &str, arguments: &str) -> Result<Stream> {
        Ok(Stream::new(self.fuse()?, name, arguments))
    }

    /// Opens a terminal in a running environment: `id`, `cmd` (a list; empty: a login shell), `rows` and `cols` (24 and 80).
    pub fn attach(&self, arguments: String) -> impl Future<Output = Result<Terminal>> + Send + 'static {
        let fuse = self.fuse();
        async move { Terminal::open(fuse?, arguments).await }
    }

    /// Waits for a call, on a thread that is not of a runtime.
    ///
    /// # Errors
    /// What the call fails with; [`Error::Closed`].
    pub fn wait<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let runtime = self.live()?.runtime;
        let answer = runtime.block_on(call);
        end(runtime);
        answer
    }

    /// Begins a call; `done` is told its end on a thread of the runtime, unless it is aborted.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn begin<T: Send + 'static>(
        &self,
        call: impl Future<Output = Result<T>> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) -> Result<AbortHandle> {
        let runtime = self.live()?.runtime;
        let task = runtime.spawn(async move { done(call.await) });
        let handle = task.abort_handle();
        end(runtime);
        Ok(handle)
    }

    /// Ends the work of a control plane in this process, at most [`CLOSE_LIMIT`] long. Twice does nothing.
    ///
    /// # Errors
    /// As [`Orchestrator::close`]; [`Error::Closed`] when it takes too long.
    pub fn close(&self) -> Result<()> {
        let Some(Live { fuse, runtime }) = self.place().take() else { return Ok(()) };
        let closed = runtime.block_on(async move { tokio::time::timeout(CLOSE_LIMIT, fuse.close()).await });
        // What its tasks hold, such as the lock of the store, is free when this returns.
        if let Ok(runtime) = Arc::try_unwrap(runtime) {
            runtime.shutdown_timeout(END_LIMIT);
        }
        closed.unwrap_or_else(|_| {
            Err(Error::Closed { why: format!("it did not close within {} s", CLOSE_LIMIT.as_secs()) })
        })
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if let Some(live) = self.place().take() {
            end(live.runtime);
        }
    }
}
