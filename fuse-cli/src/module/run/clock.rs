//! The time of a run: it stands still until everything is loaded.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Clones show the same time.
#[derive(Clone, Debug, Default)]
pub(super) struct RunClock {
    start: Arc<OnceLock<Instant>>,
}

impl RunClock {
    /// Lets the time begin. Only the first call does.
    pub(super) fn begin(&self) {
        self.start.get_or_init(Instant::now);
    }

    /// The time since it began; 0 before.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// The same in microseconds.
    pub(super) fn micros(&self) -> u64 {
        u64::try_from(self.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_begins_once() {
        let clock = RunClock::default();
        let other = clock.clone();
        assert_eq!(other.elapsed(), Duration::ZERO);
        clock.begin();
        std::thread::sleep(Duration::from_millis(2));
        clock.begin();
        assert!(other.micros() >= 2000);
    }
}
