//! Linux: the monotonic clock, and quotas enforced by a watchdog thread, without signals and without a system
//! call in each step.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::{Platform, PlatformError, QuotaExpiry, QuotaToken};

mod sys;
mod ticks;
mod watchdog;

use ticks::Ticks;
use watchdog::Watch;

/// The platform of Linux hosts.
///
/// Time is `CLOCK_MONOTONIC`. A quota limits the CPU time of the stepping thread: when it has passed as wall time,
/// a watchdog thread reads that thread's CPU clock and waits for what is missing, up to ten times the quota of
/// wall time. The watchdog sleeps while nothing is armed, and ends with the runtime.
#[derive(Debug)]
pub struct LinuxPlatform {
    ticks: &'static Ticks,
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
}

impl LinuxPlatform {
    /// The platform; its thread starts when a runtime is made on it.
    ///
    /// # Errors
    /// When the kernel lacks a clock that it needs.
    pub fn new() -> Result<Self, PlatformError> {
        let ticks = Ticks::get()?;
        Ok(Self { ticks, watch: Arc::new(Watch::new()), thread: None })
    }
}

impl Platform for LinuxPlatform {
    fn init(&mut self, expiry: QuotaExpiry) -> Result<(), PlatformError> {
        let (watch, ticks) = (self.watch.clone(), self.ticks);
        let asymmetric = sys::register_membarrier();
        self.watch.set_asymmetric(asymmetric);
        let thread = std::thread::Builder::new()
            .name("fuse-quota".into())
            .stack_size(64 * 1024)
            .spawn(move || watchdog::run(&watch, ticks, &expiry))
            .map_err(|e| PlatformError {
                tried: "start the quota watchdog thread",
                code: e.raw_os_error().unwrap_or(0),
            })?;
        self.thread = Some(thread);
        Ok(())
    }

    #[inline]
    fn timestamp_us(&self) -> u64 {
        sys::monotonic_ns() / 1000
    }

    #[inline]
    fn quota_arm(&mut self, quota_us: u32, token: QuotaToken) {
        let quota = self.ticks.of_ns(u64::from(quota_us) * 1000);
        self.watch.arm(token, self.ticks.now(), quota, sys::thread_clock());
    }

    #[inline]
    fn quota_cancel(&mut self) {
        self.watch.cancel();
    }

    #[inline]
    fn cycles(&self) -> u64 {
        self.ticks.now()
    }

    #[inline]
    fn cycles_to_ns(&self, cycles: u64) -> u64 {
        self.ticks.to_ns(cycles)
    }
}

impl Drop for LinuxPlatform {
    fn drop(&mut self) {
        self.watch.stop();
        if let Some(thread) = self.thread.take() {
            // The watchdog does not panic; if it did, there is nobody to tell.
            let _ = thread.join();
        }
    }
}
