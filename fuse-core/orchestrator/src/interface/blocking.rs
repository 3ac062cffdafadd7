//! The same without async: each call waits.

#[cfg(feature = "sled")]
use std::path::Path;
use std::{future::Future, ops::Deref};

use tokio::runtime::{Builder, Runtime};

use super::{LogStream, Orchestrator, Subscription};
use crate::{Delivery, Error, Result};

/// An [`Orchestrator`] with a runtime of its own, for programs that have none.
///
/// Every method of [`Orchestrator`] is reached through [`BlockingOrchestrator::wait`]:
///
/// ```
/// use fuse_orchestrator::{BlockingOrchestrator, model::{ProvisionRequest, TaskId}};
///
/// let fuse = BlockingOrchestrator::in_memory()?;
/// let accepted = fuse.wait(fuse.provision(ProvisionRequest::new(TaskId::new("t1")?)))?;
/// let running = fuse.wait(fuse.wait_running(&accepted.id, std::time::Duration::from_secs(10)))?;
/// fuse.wait(fuse.destroy(&running.id))?;
/// fuse.close()?;
/// # Ok::<(), fuse_orchestrator::Error>(())
/// ```
///
/// It must not be used, made or dropped inside a task of another runtime.
#[derive(Debug)]
pub struct BlockingOrchestrator {
    // Dropped before the runtime that its tasks run on.
    fuse: Orchestrator,
    runtime: Runtime,
}

impl BlockingOrchestrator {
    /// Makes a runtime and opens an orchestrator on it.
    ///
    /// # Errors
    /// What `open` fails with; [`Error::Closed`] when the system gives no threads.
    pub fn new(open: impl Future<Output = Result<Orchestrator>>) -> Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("fuse")
            .enable_all()
            .build()
            .map_err(|error| Error::Closed { why: format!("there are no threads for it: {error}") })?;
        let fuse = runtime.block_on(open)?;
        Ok(Self { fuse, runtime })
    }

    /// As [`Orchestrator::in_memory`].
    ///
    /// # Errors
    /// As [`Orchestrator::in_memory`].
    pub fn in_memory() -> Result<Self> {
        Self::new(Orchestrator::in_memory())
    }

    /// As [`Orchestrator::open`].
    ///
    /// # Errors
    /// As [`Orchestrator::open`].
    #[cfg(feature = "sled")]
    pub fn open(dir: impl AsRef<Path>) -> Result<Self> {
        Self::new(Orchestrator::open(dir))
    }

    /// As [`Orchestrator::connect`].
    ///
    /// # Errors
    /// As [`Orchestrator::connect`].
    #[cfg(feature = "connect")]
    pub fn connect(url: &str, token: Option<secrecy::SecretString>) -> Result<Self> {
        Self::new(Orchestrator::connect(url, token))
    }

    /// Waits for a call.
    pub fn wait<T>(&self, call: impl Future<Output = T>) -> T {
        self.runtime.block_on(call)
    }

    /// Waits for the next event of a subscription.
    ///
    /// # Errors
    /// As [`Subscription::next`].
    pub fn next_event(&self, subscription: &mut Subscription) -> Result<Option<Delivery>> {
        self.wait(subscription.next())
    }

    /// Waits for the next piece of a log.
    ///
    /// # Errors
    /// As [`LogStream::next`].
    pub fn next_log(&self, log: &mut LogStream) -> Result<Option<String>> {
        self.wait(log.next())
    }

    /// As [`Orchestrator::close`].
    ///
    /// # Errors
    /// As [`Orchestrator::close`].
    pub fn close(&self) -> Result<()> {
        self.wait(self.fuse.close())
    }
}

impl Deref for BlockingOrchestrator {
    type Target = Orchestrator;

    fn deref(&self) -> &Orchestrator {
        &self.fuse
    }
}
