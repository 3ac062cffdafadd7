//! Rate limits in bounded memory.

use std::{
    collections::HashMap,
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many callers each of the two generations remembers. The memory is bounded by twice that; what is forgotten
/// was idle for longer than what is remembered, and begins anew with a full allowance.
const REMEMBERED: usize = 16_384;

/// Lets each caller do so much in a time: a bucket that fills steadily, and is full at the beginning.
#[derive(Debug)]
pub(crate) struct Limiter<K> {
    /// The time in which one request's worth comes back.
    interval: Duration,
    /// How far ahead of time a caller may be: the size of the bucket.
    burst: Duration,
    memory: Mutex<Memory<K>>,
    begun: Instant,
}

#[derive(Debug)]
struct Memory<K> {
    young: HashMap<K, Duration>,
    old: HashMap<K, Duration>,
}

impl<K: Eq + Hash + Clone> Limiter<K> {
    /// Allows `count` in `period`, and `burst` at once. None when `count` is zero: no limit.
    pub(crate) fn new(count: u32, period: Duration, burst: u32) -> Option<Self> {
        if count == 0 {
            return None;
        }
        let interval = period / count;
        let memory = Memory { young: HashMap::new(), old: HashMap::new() };
        Some(Self {
            interval,
            burst: interval.saturating_mul(burst.max(1)),
            memory: Mutex::new(memory),
            begun: Instant::now(),
        })
    }

    /// Takes one request's worth from the allowance of `key`.
    ///
    /// # Errors
    /// How long it takes until there is one again.
    pub(crate) fn take(&self, key: &K) -> Result<(), Duration> {
        self.spend(key, self.begun.elapsed(), true)
    }

    /// Whether there is one request's worth, which stays.
    pub(crate) fn peek(&self, key: &K) -> Result<(), Duration> {
        self.spend(key, self.begun.elapsed(), false)
    }

    fn spend(&self, key: &K, now: Duration, take: bool) -> Result<(), Duration> {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        // The time at which the allowance of the caller would be full again.
        let full_at = memory.young.get(key).or_else(|| memory.old.get(key)).copied().unwrap_or(now).max(now);
        let next = full_at + self.interval;
        let over = (next - now).saturating_sub(self.burst);
        if !over.is_zero() {
            return Err(over);
        }
        if take {
            if memory.young.len() >= REMEMBERED && !memory.young.contains_key(key) {
                memory.old = std::mem::take(&mut memory.young);
            }
            memory.young.insert(key.clone(), next);
        }
        Ok(())
    }
}

/// The bucket of an address: itself, or its /64 network, since whoever has one IPv6 address has all of those.
pub(crate) fn bucket_of(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_steady_rate() {
        let limiter = Limiter::new(10, Duration::from_secs(1), 5).unwrap();
        let at = |ms| Duration::from_millis(ms);
        for _ in 0..5 {
            assert_eq!(limiter.spend(&"a", at(0), true), Ok(()));
        }
        assert_eq!(limiter.spend(&"a", at(0), true), Err(at(100)));
        assert_eq!(limiter.spend(&"b", at(0), true), Ok(()));
        assert_eq!(limiter.spend(&"a", at(100), true), Ok(()));
        assert!(limiter.spend(&"a", at(150), true).is_err());
        assert_eq!(limiter.spend(&"a", at(60_000), true), Ok(()));
    }

    #[test]
    fn zero_is_no_limit_and_peeking_takes_nothing() {
        assert!(Limiter::<u8>::new(0, Duration::from_secs(1), 1).is_none());
        let limiter = Limiter::new(1, Duration::from_secs(1), 1).unwrap();
        assert!(limiter.peek(&1).is_ok() && limiter.peek(&1).is_ok());
        assert!(limiter.take(&1).is_ok() && limiter.peek(&1).is_err());
    }

    #[test]
    fn memory_is_bounded_and_the_busy_are_remembered() {
        let limiter = Limiter::new(1, Duration::from_secs(3_600), 1).unwrap();
        assert!(limiter.take(&0_usize).is_ok());
        for other in 1..REMEMBERED * 3 {
            limiter.take(&other).unwrap();
        }
        let memory = limiter.memory.lock().unwrap();
        assert!(memory.young.len() + memory.old.len() <= 2 * REMEMBERED);
    }

    #[test]
    fn neighbours_in_v6_share() {
        let bucket = |text: &str| bucket_of(text.parse().unwrap());
        assert_eq!(bucket("2001:db8::1"), bucket("2001:db8::ffff"));
        assert_ne!(bucket("2001:db8::1"), bucket("2001:db8:0:1::1"));
        assert_ne!(bucket("192.0.2.1"), bucket("192.0.2.2"));
    }
}
