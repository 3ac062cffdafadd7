//! What is done in guests.

use std::time::Duration;

use super::{Orchestrator, backend};
use crate::{
    LogStream, Result,
    model::EnvironmentId,
    provider::{AttachRequest, AttachSession, ExecOutput, ExecRequest, FileUpload, LogSource},
};

/// How long a command line may take.
const SHELL_LIMIT: Duration = Duration::from_secs(60);

impl Orchestrator {
    /// Runs a command in a running environment and waits for it. Its time is cut to 10 min; beyond its time it is
    /// killed and its exit code is 124.
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning), [`Error::NotFound`](crate::Error::NotFound),
    /// [`Error::Invalid`](crate::Error::Invalid) for an empty command, [`Error::Provider`](crate::Error::Provider).
    pub async fn exec(&self, id: &EnvironmentId, request: ExecRequest) -> Result<ExecOutput> {
        backend!(self, plane => plane.exec(id, request).await, connection => connection.exec(id, &request).await)
    }

    /// Runs a command line with `sh -lc`, for at most 60 s. See [`Orchestrator::exec`].
    ///
    /// # Errors
    /// As [`Orchestrator::exec`].
    pub async fn exec_shell(&self, id: &EnvironmentId, line: &str) -> Result<ExecOutput> {
        self.exec(id, ExecRequest::shell(line, SHELL_LIMIT)).await
    }

    /// Writes a file in a running environment. At most 48 MiB.
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning), [`Error::NotFound`](crate::Error::NotFound),
    /// [`Error::TooLarge`](crate::Error::TooLarge), [`Error::Invalid`](crate::Error::Invalid) for a path that is not
    /// absolute, [`Error::Provider`](crate::Error::Provider).
    pub async fn upload(&self, id: &EnvironmentId, file: FileUpload) -> Result<()> {
        backend!(self, plane => plane.upload(id, file).await, connection => connection.upload(id, file).await)
    }

    /// Opens a terminal in a running environment. While it is open the environment counts as used.
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning), [`Error::NotFound`](crate::Error::NotFound),
    /// [`Error::Provider`](crate::Error::Provider).
    pub async fn attach(&self, id: &EnvironmentId, request: AttachRequest) -> Result<AttachSession> {
        backend!(self, plane => plane.attach(id, request).await, connection => connection.attach(id, &request).await)
    }

    /// Reads the end of a log of an environment, also of one that ended while its record is kept. Secrets are
    /// replaced.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Provider`](crate::Error::Provider),
    /// [`Error::Store`](crate::Error::Store).
    pub async fn logs(&self, id: &EnvironmentId, source: LogSource) -> Result<String> {
        backend!(self, plane => plane.logs(id, source).await, connection => connection.logs(id, source).await)
    }

    /// Reads the end of a log, and then what is written from now on, until the environment has ended.
    ///
    /// # Errors
    /// As [`Orchestrator::logs`].
    pub async fn follow_logs(&self, id: &EnvironmentId, source: LogSource) -> Result<LogStream> {
        backend!(
            self,
            plane => plane.follow_logs(id, source).await,
            connection => connection.follow_logs(id, source).await
        )
    }

    /// Gives a running environment new credentials. When it returns, its agent takes the new token and no other.
    ///
    /// # Errors
    /// [`Error::NotRunning`](crate::Error::NotRunning), [`Error::NotFound`](crate::Error::NotFound),
    /// [`Error::Provider`](crate::Error::Provider): then reconcile finishes the rotation.
    pub async fn rotate_token(&self, id: &EnvironmentId) -> Result<()> {
        backend!(self, plane => plane.rotate_token(id).await, connection => connection.rotate_token(id).await)
    }
}
