//! Connections: accepted up to a number, encrypted if so configured, and each under deadlines.

mod connection;
mod patience;
mod tls;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use patience::Deadlines;
pub use tls::{Tls, TlsError};

/// How long the loop waits when the system refuses a connection, such as for want of file descriptors.
const AFTER_REFUSAL: Duration = Duration::from_millis(100);

/// Serves a router on a socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    tls: Option<Tls>,
    deadlines: Deadlines,
    connections: Arc<Semaphore>,
}

impl Listener {
    /// Listens on `host` (empty: all interfaces) and `port` (0: a free one), for at most `connections` at a time.
    ///
    /// # Errors
    /// What the system says.
    pub async fn bind(host: &str, port: u16, connections: usize) -> io::Result<Self> {
        let socket = if host.is_empty() {
            // Both families where the machine has both.
            match TcpListener::bind(("::", port)).await {
                Ok(socket) => socket,
                Err(_) => TcpListener::bind(("0.0.0.0", port)).await?,
            }
        } else {
            TcpListener::bind((host, port)).await?
        };
        let connections = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Ok(Self { socket, tls: None, deadlines: Deadlines::default(), connections })
    }

    /// Encrypts connections.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Holds connections to these deadlines.
    #[must_use]
    pub const fn with_deadlines(mut self, deadlines: Deadlines) -> Self {
        self.deadlines = deadlines;
        self
    }

    /// Where it listens.
    ///
    /// # Errors
    /// What the system says.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` is cancelled, then lets requests under way end, for at most `grace`.
    ///
    /// Returns how many connections were cut off.
    pub async fn serve(self, router: Router, stop: CancellationToken, grace: Duration) -> usize {
        let tracker = TaskTracker::new();
        let cut = CancellationToken::new();
        loop {
            let Some((stream, peer, permit)) = self.accept(&stop).await else { break };
            let work = connection::Connection {
                peer,
                router: router.clone(),
                tls: self.tls.clone(),
                deadlines: self.deadlines,
                stop: stop.clone(),
            };
            let cut = cut.clone();
            tracker.spawn(async move {
                cut.run_until_cancelled(work.run(stream)).await;
                drop(permit);
            });
        }
        drop(self.socket);
        tracker.close();
        if tokio::time::timeout(grace, tracker.wait()).await.is_ok() {
            return 0;
        }
        let left = tracker.len();
        cut.cancel();
        tracker.wait().await;
        left
    }

    async fn accept(
        &self,
        stop: &CancellationToken,
    ) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
        let next = async {
            let permit = Arc::clone(&self.connections).acquire_owned().await.ok()?;
            loop {
                match self.socket.accept().await {
                    Ok((stream, peer)) => return Some((stream, peer, permit)),
                    Err(error) => {
                        tracing::warn!("cannot accept a connection: {error}");
                        tokio::time::sleep(AFTER_REFUSAL).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(next).await.flatten()
    }
}
