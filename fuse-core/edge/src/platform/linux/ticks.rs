//! The cheapest counter that can be trusted: the time-stamp counter where the kernel itself uses it as its
//! clock, else the monotonic clock.

use std::sync::OnceLock;

use super::sys::monotonic_ns;
use crate::platform::PlatformError;

/// A counter and its rate.
#[derive(Debug)]
pub(super) struct Ticks {
    tsc: bool,
    /// Nanoseconds of one tick, as a fraction of 2^32.
    ns_per_tick: u64,
    /// Ticks of one nanosecond, as a fraction of 2^32.
    ticks_per_ns: u64,
}

impl Ticks {
    /// The counter of this machine, measured once for the process (2 ms).
    pub(super) fn get() -> Result<&'static Self, PlatformError> {
        static TICKS: OnceLock<Option<Ticks>> = OnceLock::new();
        TICKS
            .get_or_init(Self::measure)
            .as_ref()
            .ok_or(PlatformError { tried: "read the monotonic clock", code: libc::EINVAL })
    }

    fn measure() -> Option<Self> {
        if monotonic_ns() == 0 {
            return None;
        }
        let plain = Self { tsc: false, ns_per_tick: 1 << 32, ticks_per_ns: 1 << 32 };
        if !kernel_trusts_tsc() {
            return Some(plain);
        }
        let (ticks_a, ns_a) = pair();
        while monotonic_ns() - ns_a < 2_000_000 {
            std::hint::spin_loop();
        }
        let (ticks_b, ns_b) = pair();
        let (ticks, ns) = (u128::from(ticks_b.wrapping_sub(ticks_a)), u128::from(ns_b - ns_a));
        if ticks == 0 {
            return Some(plain);
        }
        let fraction = |a: u128, b: u128| u64::try_from((a << 32) / b).ok();
        Some(Self { tsc: true, ns_per_tick: fraction(ns, ticks)?, ticks_per_ns: fraction(ticks, ns)? })
    }

    #[inline]
    pub(super) fn now(&self) -> u64 {
        if self.tsc { counter() } else { monotonic_ns() }
    }

    #[inline]
    pub(super) fn to_ns(&self, ticks: u64) -> u64 {
        ((u128::from(ticks) * u128::from(self.ns_per_tick)) >> 32) as u64
    }

    #[inline]
    pub(super) fn of_ns(&self, ns: u64) -> u64 {
        ((u128::from(ns) * u128::from(self.ticks_per_ns)) >> 32) as u64
    }
}

/// Counter and clock at the same moment: the closest of a few tries.
fn pair() -> (u64, u64) {
    let attempt = |_| {
        let before = counter();
        let ns = monotonic_ns();
        let after = counter();
        (after.wrapping_sub(before), before.wrapping_add(after.wrapping_sub(before) / 2), ns)
    };
    (0..8).map(attempt).min_by_key(|(width, ..)| *width).map_or((0, 0), |(_, ticks, ns)| (ticks, ns))
}

fn kernel_trusts_tsc() -> bool {
    cfg!(target_arch = "x86_64")
        && std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource")
            .is_ok_and(|name| name.trim() == "tsc")
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: the instruction exists on every x86-64 processor and reads a register.
    unsafe { core::arch::x86_64::_rdtsc() }
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn counter() -> u64 {
    monotonic_ns()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversions_are_inverse() {
        let ticks = Ticks::get().unwrap();
        for ns in [0, 1_000, 1_000_000, 3_600_000_000_000] {
            let there_and_back = ticks.to_ns(ticks.of_ns(ns));
            assert!(ns - there_and_back <= 1 + ns / 1_000_000, "{ns} became {there_and_back}");
        }
    }

    #[test]
    fn counts_as_the_clock_does() {
        let ticks = Ticks::get().unwrap();
        let (t0, n0) = (ticks.now(), monotonic_ns());
        std::thread::sleep(std::time::Duration::from_millis(20));
        let (by_ticks, by_clock) = (ticks.to_ns(ticks.now() - t0), monotonic_ns() - n0);
        let error = by_ticks.abs_diff(by_clock);
        assert!(error < by_clock / 10, "{by_ticks} ns by ticks, {by_clock} by the clock");
    }
}
