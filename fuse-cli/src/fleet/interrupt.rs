//! Ctrl-C, for commands that go on until it comes.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C from now on. One that comes while something else is waited for is not missed: the next wait ends at once.
pub(crate) struct Interrupt {
    signal: Option<Signal>,
}

impl Interrupt {
    pub(crate) fn listen() -> Self {
        // Where there is no listening, it ends the program, as it does others.
        Self { signal: signal(SignalKind::interrupt()).ok() }
    }

    /// Waits for it.
    pub(crate) async fn wait(&mut self) {
        match &mut self.signal {
            Some(signal) => drop(signal.recv().await),
            None => std::future::pending().await,
        }
    }
}
