//! Linux: the monotonic clock, and quotas enforced by a watchdog thread, without signals. Steps in a row make one
//! system call in 50 µs, not one each.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::{Platform, PlatformError, QuotaExpiry, QuotaToken};

mod sys;
mod ticks;
mod watchdog;

use ticks::Ticks;
use watchdog::{Call, FRESH_NS, Watch};

/// The platform of Linux hosts.
///
/// Time is `CLOCK_MONOTONIC`. A quota limits the CPU time of the stepping thread: when it has passed as wall time,
/// a watchdog thread reads that thread's CPU clock and waits for what is missing, up to ten times the quota of
/// wall time. A step reads the CPU clock itself (about 0.5 µs) only when the last reading is older than 50 µs.
/// The watchdog sleeps while nothing is armed, and ends with the runtime.
#[derive(Debug)]
pub struct LinuxPlatform {
    ticks: &'static Ticks,
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
    /// The newest reading of a stepping thread's CPU clock.
    reading: Reading,
    /// How old it may be when a step begins, in ticks.
    fresh: u64,
}

/// What a thread's CPU clock said, and when.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    /// 0 = none yet.
    clock: libc::clockid_t,
    cpu_ns: u64,
    at: u64,
}

impl LinuxPlatform {
    /// The platform; its thread starts when a runtime is made on it.
    ///
    /// # Errors
    /// When the kernel lacks a clock that it needs.
    pub fn new() -> Result<Self, PlatformError> {
        let ticks = Ticks::get()?;
        let fresh = ticks.of_ns(FRESH_NS);
        Ok(Self { ticks, watch: Arc::new(Watch::new()), thread: None, reading: Reading::default(), fresh })
    }

    /// A step begins: the time in ticks, and the most that the thread's CPU clock can say now.
    #[inline]
    fn begin(&mut self, clock: libc::clockid_t) -> (u64, u64) {
        let now = self.ticks.now();
        let age = now.wrapping_sub(self.reading.at);
        if self.reading.clock == clock && age <= self.fresh {
            return (now, self.reading.cpu_ns.saturating_add(self.ticks.to_ns(age)));
        }
        self.read(clock)
    }

    #[cold]
    fn read(&mut self, clock: libc::clockid_t) -> (u64, u64) {
        // The time before the reading, so that the CPU time since then is never more than the time since then.
        let at = self.ticks.now();
        // A clock that cannot be read counts from its end, so that nothing seems used: a quota of wall time.
        let cpu_ns = sys::clock_ns(clock).unwrap_or(u64::MAX);
        self.reading = Reading { clock, cpu_ns, at };
        (self.ticks.now(), cpu_ns)
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
        let clock = sys::thread_clock();
        let (start, cpu_ns) = self.begin(clock);
        self.watch.arm(Call { token: token.to_u64(), start, quota, clock, cpu_ns });
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
