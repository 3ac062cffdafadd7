//! What a module did and how long it took, kept without allocation.

/// Buckets of a [`Histogram`].
pub const HISTOGRAM_BUCKETS: usize = 40;

/// Counts of durations by power of two: bucket `i` counts `2^i ..= 2^(i+1) - 1` nanoseconds, bucket 0 also
/// zero, the last bucket everything longer (about 9 minutes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; HISTOGRAM_BUCKETS],
    count: u64,
    max_ns: u64,
    sum_ns: u64,
}

impl Histogram {
    pub(crate) const fn new() -> Self {
        Self { buckets: [0; HISTOGRAM_BUCKETS], count: 0, max_ns: 0, sum_ns: 0 }
    }

    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        let bucket = (63 - (ns | 1).leading_zeros() as usize).min(HISTOGRAM_BUCKETS - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
        self.sum_ns = self.sum_ns.saturating_add(ns);
    }

    /// The counts.
    #[must_use]
    pub const fn buckets(&self) -> &[u64; HISTOGRAM_BUCKETS] {
        &self.buckets
    }

    /// How many durations were measured.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The longest duration measured, in nanoseconds.
    #[must_use]
    pub const fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The mean, in nanoseconds; 0 when nothing was measured.
    #[must_use]
    pub const fn mean_ns(&self) -> u64 {
        match self.sum_ns.checked_div(self.count) {
            Some(mean) => mean,
            None => 0,
        }
    }

    /// An upper bound, within a factor of two, of the `permille`-th of 1000 (500 = median, 990 = p99), in
    /// nanoseconds; never above [`max_ns`](Self::max_ns). 0 when nothing was measured.
    #[must_use]
    pub fn quantile_ns(&self, permille: u32) -> u64 {
        let rank = (u128::from(self.count) * u128::from(permille.min(1000))).div_ceil(1000) as u64;
        let mut seen = 0;
        for (i, n) in self.buckets.iter().enumerate() {
            seen += n;
            if seen >= rank && seen > 0 {
                return ((2u64 << i) - 1).min(self.max_ns);
            }
        }
        0
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// Statistics of one module since it was loaded. They survive a restart and an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModuleStats {
    /// Steps that ended well.
    pub steps: u64,
    /// Calls of the module that trapped, HAL callback failures among them.
    pub traps: u64,
    /// Calls that violated the policy.
    pub violations: u64,
    /// Calls that used up a quota.
    pub quota_hits: u64,
    /// Step times. Every step of a module with a quota is measured; of one without, the first 16 and then
    /// one in 64, unless [`StepTiming::Every`](crate::StepTiming::Every) is set.
    pub step_time: Histogram,
    /// Instructions that the last step used, in a fuel-metered runtime; after a trap other than the quota, a
    /// lower bound.
    pub fuel_last: u64,
    /// The most that one step used.
    pub fuel_peak: u64,
    /// Instructions that all steps used.
    pub fuel_total: u64,
    /// Largest size of linear memory, in bytes.
    pub memory_peak_bytes: u64,
    /// From an event to the start of the step that it caused. It counts from the time that
    /// [`EventPoster::post_at`](crate::EventPoster::post_at) gave, else from when the runtime first saw the event.
    pub event_latency: Histogram,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        let mut h = Histogram::new();
        for ns in [0, 1, 2, 3, 4, 1023, 1024, u64::MAX] {
            h.record(ns);
        }
        assert_eq!(&h.buckets()[..3], &[2, 2, 1]);
        assert_eq!((h.buckets()[9], h.buckets()[10], h.buckets()[39]), (1, 1, 1));
        assert_eq!((h.count(), h.max_ns()), (8, u64::MAX));
    }

    #[test]
    fn quantiles_bound_from_above() {
        let mut h = Histogram::new();
        for _ in 0..99 {
            h.record(100);
        }
        h.record(5000);
        assert_eq!(h.quantile_ns(500), 127);
        assert_eq!(h.quantile_ns(990), 127);
        assert_eq!(h.quantile_ns(1000), 5000);
        assert_eq!(Histogram::new().quantile_ns(500), 0);
    }
}
