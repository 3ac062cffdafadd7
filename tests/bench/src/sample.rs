//! Measuring two or more things turn by turn, so that whatever the machine does meanwhile hits all of them.

use std::time::{Duration, Instant};

/// The distribution of one figure.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// How many samples there are.
    pub samples: usize,
}

impl Summary {
    /// The distribution of these samples. All zero when there are none.
    #[must_use]
    pub fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        Self { median: quantile(&samples, 0.5), p99: quantile(&samples, 0.99), samples: samples.len() }
    }

    /// A figure that is one number: a count, a size.
    #[must_use]
    pub const fn exact(value: f64) -> Self {
        Self { median: value, p99: value, samples: 1 }
    }
}

/// The nearest-rank quantile of sorted samples.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let rank = (sorted.len() as f64 * q).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// One of the things that are compared: called once a round, it gives one sample.
pub type Side<'a> = Box<dyn FnMut() -> f64 + 'a>;

/// Calls each side once a round, in an order that rotates, and gives the samples of each. A tenth of the rounds
/// goes before, unmeasured.
pub fn interleave(rounds: usize, sides: &mut [Side<'_>]) -> Vec<Vec<f64>> {
    let warm_up = rounds / 10 + 1;
    let mut samples = vec![Vec::with_capacity(rounds); sides.len()];
    for round in 0..warm_up + rounds {
        for turn in 0..sides.len() {
            let side = (round + turn) % sides.len();
            let sample = sides[side]();
            if round >= warm_up {
                samples[side].push(sample);
            }
        }
    }
    samples
}

/// Nanoseconds of one call of `f`, from a batch of `calls`.
#[inline]
pub fn ns_per_call<T>(calls: u32, mut f: impl FnMut() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..calls {
        std::hint::black_box(f());
    }
    nanos(start.elapsed()) / f64::from(calls)
}

/// A duration in nanoseconds.
#[must_use]
pub fn nanos(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e9
}

/// CPU time that the calling thread has used, in nanoseconds. Reading it costs about 0.7 µs.
#[must_use]
pub fn thread_cpu_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// The geometric mean; 0 of nothing.
#[must_use]
pub fn geometric_mean(values: &[f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    (values.iter().map(|v| v.ln()).sum::<f64>() / values.len() as f64).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_nearest_rank() {
        let summary = Summary::of((1..=200).rev().map(f64::from).collect());
        assert_eq!((summary.median, summary.p99, summary.samples), (100.0, 198.0, 200));
        assert_eq!(Summary::of(vec![7.0]), Summary::exact(7.0));
        assert_eq!(Summary::of(Vec::new()).median, 0.0);
    }

    #[test]
    fn sides_take_turns() {
        let log = std::cell::RefCell::new(Vec::new());
        let mut sides: Vec<Side<'_>> = (0..3)
            .map(|i| -> Side<'_> {
                let log = &log;
                Box::new(move || {
                    log.borrow_mut().push(i);
                    f64::from(i)
                })
            })
            .collect();
        let samples = interleave(2, &mut sides);
        drop(sides);
        assert_eq!(samples, [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]);
        assert_eq!(log.into_inner(), [0, 1, 2, 1, 2, 0, 2, 0, 1], "one round of warm-up, then two");
    }

    #[test]
    fn geometric_mean_of_ratios() {
        assert!((geometric_mean(&[0.5, 2.0]) - 1.0).abs() < 1e-12);
        assert!((geometric_mean(&[1.0, 4.0]) - 2.0).abs() < 1e-12);
    }
}
