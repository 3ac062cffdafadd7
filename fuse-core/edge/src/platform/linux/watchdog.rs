//! The thread that ends calls which use up their quota.
//!
//! A step publishes its token, start and quota, and reads when the watchdog will wake next; only if that is too
//! late does it wake it, with the one system call that a step can make. The watchdog sleeps to the deadline of
//! what runs; when nothing runs, it looks again after one quota for a while, then sleeps until it is woken.
//!
//! At a deadline it compares the CPU time that the step has certainly used with its quota. It knows that time
//! from two readings of the stepping thread's CPU clock, one at its last wake before the step and one now: the
//! difference, less all the time between that wake and the start of the step. This may be too little, never too
//! much, so that no step is ended for what others did on its core.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering, compiler_fence, fence};

use super::sys;
use super::ticks::Ticks;
use crate::platform::{QuotaExpiry, QuotaToken};

/// After this many wakes without a step, the watchdog sleeps until it is woken.
const IDLE_WAKES: u32 = 16;
/// A step is ended after this many quotas of wall time, whatever CPU time it had.
const WALL_QUOTAS: u64 = 10;
/// Shortest time between two looks at the same step, in nanoseconds.
const RECHECK_NS: u64 = 50_000;
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

/// A call as the watchdog sees it.
#[derive(Clone, Copy)]
struct Call {
    token: u64,
    start: u64,
    quota: u64,
    clock: libc::clockid_t,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn set_asymmetric(&self, asymmetric: bool) {
        self.watch.asymmetric.store(asymmetric, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn arm(&self, token: QuotaToken, start: u64, quota: u64, clock: libc::clockid_t) {
        let step = &self.step;
        step.start.store(start, Ordering::Relaxed);
        step.quota.store(quota, Ordering::Relaxed);
        step.clock.store(clock, Ordering::Relaxed);
        step.token.store(token.to_u64(), Ordering::Release);
        // The token must be visible before the wake time is read: either this thread sees that the watchdog
        // sleeps too long, or the watchdog sees the token before it sleeps.
        if self.watch.asymmetric.load(Ordering::Relaxed) {
            compiler_fence(Ordering::SeqCst);
        } else {
            fence(Ordering::SeqCst);
        }
        if start.saturating_add(quota) < self.watch.next_wake.load(Ordering::Relaxed) {
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

/// One reading of a thread's CPU clock, and when it was made.
#[derive(Clone, Copy)]
struct Sample {
    clock: libc::clockid_t,
    cpu_ns: u64,
    at: u64,
}

/// What the watchdog knows of the CPU time of the stepping thread.
struct Usage<'a> {
    ticks: &'a Ticks,
    /// The newest sample.
    last: Option<Sample>,
    /// The call that `base_ns` and `base_cpu_ns` are for.
    token: u64,
    /// CPU time that the call had certainly used when the clock read `base_cpu_ns`.
    base_ns: u64,
    base_cpu_ns: u64,
}

impl Usage<'_> {
    /// Reads the clock; `None` when the thread is gone.
    fn sample(&mut self, clock: libc::clockid_t) -> Option<Sample> {
        let cpu_ns = sys::clock_ns(clock)?;
        let sample = Sample { clock, cpu_ns, at: self.ticks.now() };
        self.last = Some(sample);
        Some(sample)
    }

    /// CPU time in nanoseconds that the call has certainly used. A thread that is gone has used it all.
    fn of(&mut self, call: Call) -> u64 {
        let before = self.last.filter(|s| s.clock == call.clock);
        let Some(now) = self.sample(call.clock) else { return u64::MAX };
        if self.token != call.token {
            self.token = call.token;
            self.base_cpu_ns = now.cpu_ns;
            self.base_ns = before.map_or(0, |before| {
                let idle = self.ticks.to_ns(call.start.saturating_sub(before.at));
                now.cpu_ns.saturating_sub(before.cpu_ns).saturating_sub(idle)
            });
        }
        self.base_ns + now.cpu_ns.saturating_sub(self.base_cpu_ns)
    }
}

/// The watchdog's life.
pub(super) fn run(watch: &Watch, ticks: &Ticks, expiry: &QuotaExpiry) {
    sys::become_punctual();
    let mut usage = Usage { ticks, last: None, token: 0, base_ns: 0, base_cpu_ns: 0 };
    let (mut idle_wakes, mut pace) = (0, 0);
    while !watch.watch.stop.load(Ordering::SeqCst) {
        let seen = watch.watch.wakes.load(Ordering::SeqCst);
        let call = watch.call();
        let next = match call {
            Some(call) => {
                idle_wakes = 0;
                pace = call.quota;
                look_at(call, ticks, &mut usage, expiry)
            }
            None if idle_wakes < IDLE_WAKES && pace > 0 => {
                idle_wakes += 1;
                if let Some(last) = usage.last {
                    usage.sample(last.clock);
                }
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

/// Decides about a running call: ends it if it is over its quota. Returns when to look again.
fn look_at(call: Call, ticks: &Ticks, usage: &mut Usage<'_>, expiry: &QuotaExpiry) -> u64 {
    let now = ticks.now();
    let used_ns = usage.of(call);
    let deadline = call.start.saturating_add(call.quota);
    if now < deadline {
        return deadline;
    }
    let quota_ns = ticks.to_ns(call.quota);
    let recheck = ticks.of_ns(RECHECK_NS.max(quota_ns / 10));
    let wall_end = call.start.saturating_add(call.quota.saturating_mul(WALL_QUOTAS));
    if used_ns >= quota_ns || now >= wall_end {
        expiry.expire(QuotaToken::from_u64(call.token));
        return now.saturating_add(recheck);
    }
    let missing = ticks.of_ns(quota_ns - used_ns);
    now.saturating_add(missing.max(recheck)).min(wall_end)
}
