//! Logs that are read on.

#[cfg(feature = "connect")]
use crate::connect::RemoteLog;
use crate::{Result, orchestrator::Follower};

/// The end of a log, and then what is written to it, as it comes.
#[derive(Debug)]
pub struct LogStream {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Here(Box<Follower>),
    #[cfg(feature = "connect")]
    There(Box<RemoteLog>),
}

impl From<Follower> for LogStream {
    fn from(follower: Follower) -> Self {
        Self { source: Source::Here(Box::new(follower)) }
    }
}

#[cfg(feature = "connect")]
impl From<RemoteLog> for LogStream {
    fn from(log: RemoteLog) -> Self {
        Self { source: Source::There(Box::new(log)) }
    }
}

impl LogStream {
    /// The next piece, never empty; waits for it. None when the environment has ended and everything was told.
    ///
    /// # Errors
    /// What reading the log fails with, or [`Error::NoAnswer`](crate::Error::NoAnswer) when the connection broke: ask
    /// for the log again.
    pub async fn next(&mut self) -> Result<Option<String>> {
        match &mut self.source {
            Source::Here(follower) => follower.next().await,
            #[cfg(feature = "connect")]
            Source::There(log) => log.next().await,
        }
    }
}
