//! How much is measured.

use std::time::Duration;

/// Counts of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Whether this is only a check that everything runs.
    pub quick: bool,
    /// Rounds of the figures of nanoseconds.
    pub rounds: usize,
    /// Calls in one sample of those.
    pub batch: u32,
    /// Rounds of the figures of microseconds.
    pub long_rounds: usize,
    /// "Many" modules; a promise is for 10,000.
    pub many: usize,
    /// Modules that the memory of one is averaged over.
    pub memory_modules: usize,
    /// Runs of each quota.
    pub quota_runs: usize,
    /// Steps beside a busy process.
    pub busy_steps: usize,
    /// CPU time for each kernel, all its forms together.
    pub kernel_time: Duration,
    /// Most rounds of a kernel.
    pub kernel_rounds: usize,
}

impl Plan {
    /// The measurement: about three minutes on an idle machine.
    pub const FULL: Self = Self {
        quick: false,
        rounds: 3000,
        batch: 256,
        long_rounds: 2000,
        many: 10_000,
        memory_modules: 2000,
        quota_runs: 1000,
        busy_steps: 3000,
        kernel_time: Duration::from_secs(6),
        kernel_rounds: 400,
    };

    /// A check that every row comes out: some seconds in a debug build.
    pub const QUICK: Self = Self {
        quick: true,
        rounds: 20,
        batch: 16,
        long_rounds: 5,
        many: 100,
        memory_modules: 50,
        quota_runs: 5,
        busy_steps: 20,
        kernel_time: Duration::ZERO,
        kernel_rounds: 2,
    };
}
