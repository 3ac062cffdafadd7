//! The thread that ends calls which use up their quota.
//!
//! A step publishes its token, start and quota, and reads when the watchdog will wake next; only if that is too
//! late does it wake it, with the one system call that a step can make. The watchdog sleeps to the deadline of
//! what runs; when nothing runs, it looks again after one quota for a while, then sleeps until it is woken.
//!
//! At a deadline it compares the CPU time that the step has certainly used with its quota: what the stepping
//! thread's CPU clock says now, less the most that it can have said when the step began. That bound comes from a
//! reading that is at most [`FRESH_NS`] older than the step, so the time may come out that much too short, never
//! too long: no step is ended for what others did on its core.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering, compiler_fence, fence};

use super::sys;
use super::ticks::Ticks;
use crate::platform::{QuotaExpiry, QuotaToken};

/// After this many wakes without a step, the watchdog sleeps until it is woken.
const IDLE_WAKES: u32 = 16;
/// A step is ended after this many quotas of wall time, whatever CPU time it had.
const WALL_QUOTAS: u64 = 10;
/// Shortest time between two looks at the same step past its deadline, in nanoseconds. It doubles, up to a tenth of
/// the quota, when the step had no CPU time in between: a watchdog that shares its core must not keep it.
const RECHECK_NS: u64 = 50_000;
/// How old a reading of the stepping thread's CPU clock may be when a step begins, in nanoseconds. A reading is a
/// system call (about 0.5 µs), so steps in a row must share one; what the thread did since is not known.
pub(super) const FRESH_NS: u64 = 50_000;
const NEVER: u64 = u64::MAX;

/// Written by the stepping thread, on a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct StepLine {
    /// The token of the call that runs; 0 = none.
    token: AtomicU64,
    start: AtomicU64,
    quota: AtomicU64,
    clock: AtomicI32,
    /// The most that `clock` can have said at `start`, in nanoseconds.
    cpu_ns: AtomicU64,
}

/// Written by the watchdog.
#[derive(Debug, Default)]
#[repr(align(128))]
struct WatchLine {
    /// When it wakes next, in ticks.
    next_wake: AtomicU64,
    /// Changed to wake it.
    wakes: AtomicU32,
    stop: AtomicBool,
    /// Whether the watchdog can make other threads pass a barrier, so that steps need none.
    asymmetric: AtomicBool,
}

/// What the stepping thread and the watchdog share.
#[derive(Debug, Default)]
pub(super) struct Watch {
    step: StepLine,
    watch: WatchLine,
}

/// A call under a quota.
#[derive(Clone, Copy)]
pub(super) struct Call {
    /// The number of its token; not 0.
    pub(super) token: u64,
    /// When it starts, in ticks.
    pub(super) start: u64,
    /// In ticks.
    pub(super) quota: u64,
    /// The clock of the stepping thread's CPU time.
    pub(super) clock: libc::clockid_t,
    /// The most that the clock can say at `start`, in nanoseconds.
    pub(super) cpu_ns: u64,
}

impl Call {
    /// CPU time in nanoseconds that the call has certainly used. A thread that is gone has used it all.
    fn used_ns(&self) -> u64 {
        sys::clock_ns(self.clock).map_or(u64::MAX, |now| now.saturating_sub(self.cpu_ns))
    }
}

impl Watch {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn set_asymmetric(&self, asymmetric: bool) {
        self.watch.asymmetric.store(asymmetric, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn arm(&self, call: Call) {
        let step = &self.step;
        step.start.store(call.start, Ordering::Relaxed);
        step.quota.store(call.quota, Ordering::Relaxed);
        step.clock.store(call.clock, Ordering::Relaxed);
        step.cpu_ns.store(call.cpu_ns, Ordering::Relaxed);
        step.token.store(call.token, Ordering::Release);
        // The token must be visible before the wake time is read: either this thread sees that the watchdog
        // sleeps too long, or the watchdog sees the token before it sleeps.
        if self.watch.asymmetric.load(Ordering::Relaxed) {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
        if call.start.saturating_add(call.quota) < self.watch.next_wake.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[inline]
    pub(super) fn cancel(&self) {
        self.step.token.store(0, Ordering::Release);
        // What the next `arm` writes must not be seen before this.
        fence(Ordering::Release);
    }

    #[cold]
    fn wake(&self) {
        // So that the steps until it is awake do not wake it again.
        self.watch.next_wake.store(0, Ordering::Relaxed);
        self.watch.wakes.fetch_add(1, Ordering::SeqCst);
        sys::futex_wake(&self.watch.wakes);
    }

    pub(super) fn stop(&self) {
        self.watch.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// The call that runs, if any, in one piece.
    fn call(&self) -> Option<Call> {
        loop {
            let token = self.step.token.load(Ordering::Acquire);
            if token == 0 {
                return None;
            }
            let call = Call {
                token,
                start: self.step.start.load(Ordering::Relaxed),
                quota: self.step.quota.load(Ordering::Relaxed),
                clock: self.step.clock.load(Ordering::Relaxed),
                cpu_ns: self.step.cpu_ns.load(Ordering::Relaxed),
            };
            fence(Ordering::Acquire);
            if self.step.token.load(Ordering::Relaxed) == token {
                return Some(call);
            }
        }
    }

    /// Announces the next wake. `true` when it may be slept to: what runs is still what it was decided for.
    fn announce(&self, next: u64, token: u64) -> bool {
        self.watch.next_wake.store(next, Ordering::SeqCst);
        if self.watch.asymmetric.load(Ordering::Relaxed) {
            sys::barrier_everywhere();
        } else {
            fence(Ordering::SeqCst);
        }
        self.step.token.load(Ordering::SeqCst) == token
    }
}

/// The watchdog's life.
pub(super) fn run(watch: &Watch, ticks: &Ticks, expiry: &QuotaExpiry) {
    sys::become_punctual();
    let (mut idle_wakes, mut pace) = (0, 0);
    let mut late = Late::default();
    while !watch.watch.stop.load(Ordering::SeqCst) {
        let seen = watch.watch.wakes.load(Ordering::SeqCst);
        let call = watch.call();
        let next = match call {
            Some(call) => {
                idle_wakes = 0;
                pace = call.quota;
                look_at(call, ticks, &mut late, expiry)
            }
            None if idle_wakes < IDLE_WAKES && pace > 0 => {
                idle_wakes += 1;
                ticks.now().saturating_add(pace)
            }
            None => NEVER,
        };
        if watch.announce(next, call.map_or(0, |c| c.token)) {
            let now = ticks.now();
            if next > now {
                sys::futex_wait(&watch.watch.wakes, seen, (next != NEVER).then(|| ticks.to_ns(next - now)));
            }
        }
    }
}

/// A call that was found past its deadline.
#[derive(Default)]
struct Late {
    token: u64,
    used_ns: u64,
    wait_ns: u64,
}

impl Late {
    /// How long to wait at least until the next look at this call, in nanoseconds.
    fn wait_ns(&mut self, token: u64, used_ns: u64, quota_ns: u64) -> u64 {
        let stands = self.token == token && self.used_ns == used_ns;
        let wait_ns = if stands { self.wait_ns.saturating_mul(2) } else { RECHECK_NS };
        *self = Self { token, used_ns, wait_ns: wait_ns.min(RECHECK_NS.max(quota_ns / 10)) };
        self.wait_ns
    }
}

/// Decides about a running call: ends it if it is over its quota. Returns when to look again.
fn look_at(call: Call, ticks: &Ticks, late: &mut Late, expiry: &QuotaExpiry) -> u64 {
    let now = ticks.now();
    let deadline = call.start.saturating_add(call.quota);
    if now < deadline {
        return deadline;
    }
    let quota_ns = ticks.to_ns(call.quota);
    let wall_end = call.start.saturating_add(call.quota.saturating_mul(WALL_QUOTAS));
    let used_ns = call.used_ns();
    let missing_ns = quota_ns.saturating_sub(used_ns);
    let wait_ns = missing_ns.max(late.wait_ns(call.token, used_ns, quota_ns));
    let next = now.saturating_add(ticks.of_ns(wait_ns));
    if missing_ns == 0 || now >= wall_end {
        expiry.expire(QuotaToken::from_u64(call.token));
        return next;
    }
    next.min(wall_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_at_a_call_that_stands_get_rarer() {
        let mut late = Late::default();
        let mut wait = |token, used_ns, quota_ns| late.wait_ns(token, used_ns, quota_ns) / 1000;
        assert_eq!([1, 1, 1].map(|_| wait(1, 7, 1_000_000)), [50, 100, 100], "up to a tenth of the quota");
        assert_eq!(
            [2, 2, 2].map(|token| wait(token, 7, 10_000_000)),
            [50, 100, 200],
            "another call begins anew"
        );
        assert_eq!(wait(2, 8, 10_000_000), 50, "and so does one that had CPU time");
        assert_eq!([3, 3].map(|token| wait(token, 0, 1_000)), [50, 50]);
    }
}
