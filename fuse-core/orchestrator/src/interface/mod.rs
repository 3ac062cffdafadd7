//! One interface to a control plane, wherever that is.

mod blocking;
mod environments;
mod guests;
mod hosts;
mod keys;
mod logs;
mod snapshots;
mod subscription;

#[cfg(feature = "connect")]
use secrecy::SecretString;
#[cfg(feature = "sled")]
use std::path::Path;

pub use blocking::BlockingOrchestrator;
pub use logs::LogStream;
pub use subscription::Subscription;

#[cfg(feature = "connect")]
use crate::{Connect, Connection};
use crate::{ControlPlane, Result};

/// A fleet of environments: cheap to clone, safe to use from many tasks at once.
///
/// The control plane behind it is either in this process ([`Orchestrator::open`], [`Orchestrator::in_memory`], any
/// [`ControlPlane`]) or behind the REST API (`Orchestrator::connect`, any `Connection`). Every method does the same
/// in both, and fails with the same errors; over the network each can fail with [`Error::NoAnswer`] too.
///
/// Every change that a method makes is durable when the method returns, and is finished in the background even when
/// the method's future is dropped: a caller that goes away loses the answer, not the environment.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
/// use fuse_orchestrator::{Orchestrator, model::{ProvisionRequest, TaskId}};
///
/// let fuse = Orchestrator::in_memory().await?;
/// let accepted = fuse.provision(ProvisionRequest::new(TaskId::new("t1")?)).await?;
/// let running = fuse.wait_running(&accepted.id, std::time::Duration::from_secs(10)).await?;
/// let output = fuse.exec_shell(&running.id, "echo hello").await?;
/// assert_eq!(output.stdout, b"hello\n");
/// fuse.destroy(&running.id).await?;
/// # fuse.close().await?;
/// # Ok::<(), fuse_orchestrator::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Error::NoAnswer`]: crate::Error::NoAnswer
#[derive(Debug, Clone)]
pub struct Orchestrator {
    backend: Backend,
}

/// Where the control plane is.
#[derive(Debug, Clone)]
enum Backend {
    Here(ControlPlane),
    #[cfg(feature = "connect")]
    There(Connection),
}

/// Does a call where the control plane is: `$here` with it, or `$there` with the connection to it.
macro_rules! backend {
    ($self:ident, $plane:ident => $here:expr, $connection:ident => $there:expr) => {
        match &$self.backend {
            $crate::interface::Backend::Here($plane) => $here,
            #[cfg(feature = "connect")]
            $crate::interface::Backend::There($connection) => $there,
        }
    };
}
use backend;

impl From<ControlPlane> for Orchestrator {
    fn from(plane: ControlPlane) -> Self {
        Self { backend: Backend::Here(plane) }
    }
}

#[cfg(feature = "connect")]
impl From<Connection> for Orchestrator {
    fn from(connection: Connection) -> Self {
        Self { backend: Backend::There(connection) }
    }
}

impl Orchestrator {
    /// One whose state ends with the program, with one stub host of the standard size. For trying out and for tests.
    ///
    /// # Errors
    /// As [`ControlPlane::in_memory`].
    pub async fn in_memory() -> Result<Self> {
        ControlPlane::in_memory().await.map(Self::from)
    }

    /// One whose state is in the directory `dir`. See [`ControlPlane::open`].
    ///
    /// # Errors
    /// As [`ControlPlane::open`].
    #[cfg(feature = "sled")]
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self> {
        ControlPlane::open(dir).await.map(Self::from)
    }

    /// The control plane that answers at `url`, such as `https://fuse.example.org:8080`, asked with a bearer token:
    /// the master token or an API key. [`Connect`] can say more, such as which certificates are believed.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a URL that is none, [`Error::NoAnswer`](crate::Error::NoAnswer),
    /// [`Error::BadAnswer`](crate::Error::BadAnswer) when something else answers there.
    #[cfg(feature = "connect")]
    pub async fn connect(url: &str, token: Option<SecretString>) -> Result<Self> {
        let mut connect = Connect::new(url);
        if let Some(token) = token {
            connect = connect.token(token);
        }
        connect.open().await
    }

    /// The control plane, when it is in this process.
    #[must_use]
    pub const fn control_plane(&self) -> Option<&ControlPlane> {
        backend!(self, plane => Some(plane), _connection => None)
    }

    /// The connection, when the control plane is behind the REST API.
    #[cfg(feature = "connect")]
    #[must_use]
    pub const fn connection(&self) -> Option<&Connection> {
        backend!(self, _plane => None, connection => Some(connection))
    }

    /// Asks whether the control plane can act. What a readiness check wants to know.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed), [`Error::Store`](crate::Error::Store),
    /// [`Error::Timeout`](crate::Error::Timeout) after `limit`.
    pub async fn check(&self, limit: std::time::Duration) -> Result<()> {
        backend!(self, plane => plane.check(limit).await, connection => connection.check(limit).await)
    }

    /// Ends the work of a control plane in this process, as [`ControlPlane::close`]. One behind the REST API goes on.
    ///
    /// # Errors
    /// As [`ControlPlane::close`].
    pub async fn close(&self) -> Result<()> {
        backend!(self, plane => plane.close().await, _connection => Ok(()))
    }
}
