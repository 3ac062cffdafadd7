//! A test that never ends tells nobody why.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Ends the process, naming what hangs, when it is not dropped within two minutes. Nothing in these tests takes
/// a tenth of that.
#[derive(Debug)]
pub struct Guard {
    alive: Sender<()>,
}

impl Guard {
    /// Guards what comes until the drop.
    #[must_use]
    pub fn new(what: &str) -> Self {
        let (alive, done) = channel();
        let what = what.to_string();
        std::thread::spawn(move || {
            if done.recv_timeout(Duration::from_secs(120)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{what} hangs: no end after two minutes");
                std::process::exit(101);
            }
        });
        Self { alive }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // The thread may have ended; then there is nothing to stop.
        let _ = self.alive.send(());
    }
}
