//! What the runtime needs from the machine: the time, and a timer for quotas.

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::sync::atomic::{AtomicU64, Ordering};

pub use crate::quota::{QuotaExpiry, QuotaToken};

#[cfg(all(feature = "std", target_os = "linux"))]
mod linux;
#[cfg(all(feature = "std", target_os = "linux"))]
pub use linux::LinuxPlatform;

/// A platform could not be set up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot {tried}: error {code}")]
pub struct PlatformError {
    /// What was tried.
    pub tried: &'static str,
    /// The platform's own number for why it failed (`errno` on Linux).
    pub code: i32,
}

/// The machine under a runtime. A new platform needs these four functions and no change elsewhere.
///
/// All calls come from the thread that uses the runtime.
pub trait Platform: Send {
    /// Called once, before anything else. `expiry` is for the quota timer: its handler, which may run in an
    /// interrupt, calls [`QuotaExpiry::expire`] with the token of the quota that ran out.
    ///
    /// # Errors
    /// When the clock or timer cannot be set up; the runtime is then not made.
    fn init(&mut self, expiry: QuotaExpiry) -> Result<(), PlatformError>;

    /// Time in microseconds from any fixed point. It should not go backwards; when it does, the runtime
    /// takes that as standing still, and no module runs early.
    fn timestamp_us(&self) -> u64;

    /// Starts the quota timer: call [`QuotaExpiry::expire`] with `token` when the stepping thread has used
    /// `quota_us` microseconds of CPU time; of wall time where there is no clock for CPU time. The quota is
    /// rounded **up** to the resolution of the timer. At most one quota is armed at a time.
    fn quota_arm(&mut self, quota_us: u32, token: QuotaToken);

    /// Stops the timer. An expiry that comes all the same is harmless: its token is stale.
    fn quota_cancel(&mut self);

    /// Whether [`quota_arm`](Self::quota_arm) really ends a module that uses up its quota. Where it does not,
    /// policies with `cpu_quota_us` are refused at load.
    fn enforces_quota(&self) -> bool {
        true
    }

    /// How native code becomes executable where there is no operating system to ask, so in builds without `std`.
    /// Without it such a build runs code for the interpreter only; with `std` it is not asked for.
    fn code_memory(&self) -> Option<Arc<dyn CodeMemory>> {
        None
    }

    /// Where memory is counted before it is taken, on machines with a fixed amount of it. Without one the runtime takes
    /// memory as it needs it.
    fn memory_ledger(&self) -> Option<&'static dyn MemoryLedger> {
        None
    }

    /// A counter for measuring how long a step takes, finer and cheaper than
    /// [`timestamp_us`](Self::timestamp_us) where the machine has one.
    fn cycles(&self) -> u64 {
        self.timestamp_us()
    }

    /// How long `cycles` counts of [`cycles`](Self::cycles) are, in nanoseconds.
    fn cycles_to_ns(&self, cycles: u64) -> u64 {
        cycles.saturating_mul(1000)
    }
}

/// Makes memory executable, and takes that back.
pub trait CodeMemory: Send + Sync {
    /// What regions must be aligned to, in bytes: a power of two, such as the page size; 1 where all memory can be
    /// executed as it is.
    fn alignment(&self) -> usize;

    /// Makes `len` bytes from `start` executable and no longer writable, and brings the instruction cache up to date.
    /// Both ends are multiples of [`alignment`](Self::alignment).
    ///
    /// # Errors
    /// When that is refused; the module then does not load.
    fn publish(&self, start: *const u8, len: usize) -> Result<(), PlatformError>;

    /// Makes the region writable again and no longer executable. No code in it runs any more.
    ///
    /// # Errors
    /// When that is refused.
    fn unpublish(&self, start: *const u8, len: usize) -> Result<(), PlatformError>;
}

/// Counts the memory that a runtime may still take.
pub trait MemoryLedger: Send + Sync {
    /// Sets `bytes` aside, so that allocations of as many bytes in all will succeed.
    ///
    /// # Errors
    /// How many bytes are available, when those are fewer; nothing is set aside then.
    fn reserve(&self, bytes: u64) -> Result<(), u64>;

    /// Gives back what was set aside.
    fn release(&self, bytes: u64);
}

/// A platform whose clock stands still until the host moves it: for simulation, replay and tests.
///
/// Alone it has no quota timer; [`with_quota_timer`](Self::with_quota_timer) borrows one.
///
/// ```
/// use fuse_edge::{ManualPlatform, Runtime, RuntimeConfig};
/// let platform = ManualPlatform::new();
/// let clock = platform.clock();
/// let mut runtime = Runtime::new(RuntimeConfig::default(), platform)?;
/// clock.advance_us(1_000);
/// assert_eq!(runtime.tick()?.outcomes().len(), 0);
/// # Ok::<(), fuse_edge::Error>(())
/// ```
#[derive(Default)]
pub struct ManualPlatform {
    clock: ManualClock,
    quota: Option<Box<dyn Platform>>,
}

/// Sets the time of a [`ManualPlatform`]. Cheap to clone; may be used from any thread and from HAL callbacks.
#[derive(Clone, Debug, Default)]
pub struct ManualClock {
    now_us: Arc<AtomicU64>,
}

impl ManualClock {
    /// The time, in microseconds.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.now_us.load(Ordering::Relaxed)
    }

    /// Sets the time, also backwards.
    pub fn set_us(&self, now_us: u64) {
        self.now_us.store(now_us, Ordering::Relaxed);
    }

    /// Moves the time forward; it wraps at the end.
    pub fn advance_us(&self, by_us: u64) {
        self.now_us.fetch_add(by_us, Ordering::Relaxed);
    }
}

impl ManualPlatform {
    /// A platform at time 0, without a quota timer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A platform at time 0 that uses the quota timer (and step-time counter) of another one.
    #[must_use]
    pub fn with_quota_timer(other: impl Platform + 'static) -> Self {
        Self { clock: ManualClock::default(), quota: Some(Box::new(other)) }
    }

    /// The handle that moves the time.
    #[must_use]
    pub fn clock(&self) -> ManualClock {
        self.clock.clone()
    }
}

impl Platform for ManualPlatform {
    fn init(&mut self, expiry: QuotaExpiry) -> Result<(), PlatformError> {
        self.quota.as_mut().map_or(Ok(()), |q| q.init(expiry))
    }

    fn timestamp_us(&self) -> u64 {
        self.clock.now_us()
    }

    fn quota_arm(&mut self, quota_us: u32, token: QuotaToken) {
        if let Some(q) = &mut self.quota {
            q.quota_arm(quota_us, token);
        }
    }

    fn quota_cancel(&mut self) {
        if let Some(q) = &mut self.quota {
            q.quota_cancel();
        }
    }

    fn enforces_quota(&self) -> bool {
        self.quota.as_ref().is_some_and(|q| q.enforces_quota())
    }

    fn cycles(&self) -> u64 {
        self.quota.as_ref().map_or_else(|| self.timestamp_us(), |q| q.cycles())
    }

    fn cycles_to_ns(&self, cycles: u64) -> u64 {
        self.quota.as_ref().map_or(cycles.saturating_mul(1000), |q| q.cycles_to_ns(cycles))
    }
}
