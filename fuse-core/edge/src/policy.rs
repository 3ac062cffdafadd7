//! What one module may do and use, in a form that a person can review.

use alloc::format;
use core::fmt;
use core::ops::BitOr;

use crate::error::{Error, Result};
use crate::event::EventMask;
use crate::hal::Capabilities;

/// Size of a wasm page in bytes.
pub const PAGE_BYTES: u64 = 65_536;

/// Most pages that a 32-bit linear memory can have (4 GiB).
pub const MEMORY_PAGES_LIMIT: u32 = 65_536;

/// Length of the binary form of a policy, in bytes.
pub const POLICY_BYTES: usize = 32;

/// Default of [`Policy::priority`].
pub const DEFAULT_PRIORITY: u8 = 128;

/// What makes a module due in a tick. Kinds may be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Activation(u32);

impl Activation {
    /// Due when `step_interval_us` has passed since the last step.
    pub const INTERVAL: Self = Self(1);
    /// Due when an event that it subscribes to has been posted.
    pub const EVENT: Self = Self(2);
    /// Stepped by the host's `run_step` only.
    pub const MANUAL: Self = Self(4);

    /// The names and bits, in order.
    pub const NAMES: [(&'static str, Self); 3] =
        [("INTERVAL", Self::INTERVAL), ("EVENT", Self::EVENT), ("MANUAL", Self::MANUAL)];

    /// The activation of a mask. 0 means [`INTERVAL`](Self::INTERVAL).
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) when a bit other than 1, 2 and 4 is set.
    pub fn from_bits(bits: u32) -> Result<Self> {
        match bits {
            0 => Ok(Self::INTERVAL),
            1..=7 => Ok(Self(bits)),
            _ => Err(Error::invalid(format!(
                "activation mask {bits:#x} has unknown bits; known are INTERVAL 1, EVENT 2 and MANUAL 4"
            ))),
        }
    }

    /// The mask.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all kinds in `other` are in this one.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl Default for Activation {
    fn default() -> Self {
        Self::INTERVAL
    }
}

impl BitOr for Activation {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut first = true;
        for (name, bit) in Self::NAMES {
            if self.contains(bit) {
                write!(f, "{}{name}", if first { "" } else { "|" })?;
                first = false;
            }
        }
        Ok(())
    }
}

/// The policy of one module. [`Policy::default`] allows nothing but to run: no capability, one page of
/// memory, no growth, 64 KiB of stack, no quota, interval activation without an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The HAL groups that it may call.
    pub capabilities: Capabilities,
    /// Hard cap of linear memory, in 64 KiB pages (0..=65536). A module that starts with more does not load.
    pub memory_pages_max: u32,
    /// Stack of this module, in bytes (1024..=the runtime's `stack_bytes_max`). Deeper recursion traps it alone.
    /// Rounded up to one of eight steps per power of two, so by at most an eighth.
    pub stack_size: u32,
    /// How many bytes `memory.grow` may add to the initial size, rounded down to whole pages.
    pub heap_size: u32,
    /// Longest that one call of the module may run, in microseconds of its own CPU time; 0 = unlimited.
    pub cpu_quota_us: u32,
    /// Least time between the starts of two successful steps, in microseconds; 0 = none.
    pub step_interval_us: u32,
    /// What makes it due.
    pub activation: Activation,
    /// The events that wake it.
    pub event_subscribe: EventMask,
    /// Instructions that one call may execute; 0 = unlimited. Not in the 32-byte form.
    pub fuel_quota: u64,
    /// Order within a tick: lower runs first. Not in the 32-byte form.
    pub priority: u8,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            capabilities: Capabilities::NONE,
            memory_pages_max: 1,
            stack_size: 64 * 1024,
            heap_size: 0,
            cpu_quota_us: 0,
            step_interval_us: 0,
            activation: Activation::INTERVAL,
            event_subscribe: EventMask::NONE,
            fuel_quota: 0,
            priority: DEFAULT_PRIORITY,
        }
    }
}

/// Least `stack_size`, in bytes.
pub const STACK_BYTES_MIN: u32 = 1024;

impl Policy {
    /// Reads the 32-byte form: eight little-endian `u32`, in the order capabilities, memory_pages_max,
    /// stack_size, heap_size, cpu_quota_us, step_interval_us, activation_mask, event_subscribe.
    /// Fuel quota and priority take their defaults.
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) for any other length, and for a field out of range.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (words, rest) = bytes.as_chunks::<4>();
        let &[caps, pages, stack, heap, quota, interval, activation, events] = words else {
            return Err(Self::wrong_length(bytes.len()));
        };
        if !rest.is_empty() {
            return Err(Self::wrong_length(bytes.len()));
        }
        let word = u32::from_le_bytes;
        let policy = Self {
            capabilities: Capabilities::from_bits(word(caps)),
            memory_pages_max: word(pages),
            stack_size: word(stack),
            heap_size: word(heap),
            cpu_quota_us: word(quota),
            step_interval_us: word(interval),
            activation: Activation::from_bits(word(activation))?,
            event_subscribe: EventMask::from_bits(word(events)),
            ..Self::default()
        };
        policy.validate()?;
        Ok(policy)
    }

    fn wrong_length(len: usize) -> Error {
        Error::invalid(format!("a binary policy is exactly {POLICY_BYTES} bytes, this one has {len}"))
    }

    /// The 32-byte form; see [`from_bytes`](Self::from_bytes).
    #[must_use]
    pub fn to_bytes(&self) -> [u8; POLICY_BYTES] {
        let words = [
            self.capabilities.bits(),
            self.memory_pages_max,
            self.stack_size,
            self.heap_size,
            self.cpu_quota_us,
            self.step_interval_us,
            self.activation.bits(),
            self.event_subscribe.bits(),
        ];
        let mut out = [0; POLICY_BYTES];
        for (chunk, word) in out.chunks_exact_mut(4).zip(words) {
            chunk.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Checks what can be checked without a runtime.
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg), naming the field and its range.
    pub fn validate(&self) -> Result<()> {
        if self.memory_pages_max > MEMORY_PAGES_LIMIT {
            return Err(Error::invalid(format!(
                "memory_pages_max is {}; a 32-bit memory has at most {MEMORY_PAGES_LIMIT} pages",
                self.memory_pages_max
            )));
        }
        if self.stack_size < STACK_BYTES_MIN {
            return Err(Error::invalid(format!(
                "stack_size is {} bytes; the least is {STACK_BYTES_MIN}",
                self.stack_size
            )));
        }
        Ok(())
    }

    /// Most bytes that linear memory may reach when it starts with `initial` bytes.
    #[must_use]
    pub fn memory_budget(&self, initial: u64) -> u64 {
        let growth = u64::from(self.heap_size) / PAGE_BYTES * PAGE_BYTES;
        (initial + growth).min(u64::from(self.memory_pages_max) * PAGE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_form_round_trips_and_is_exactly_32_bytes() {
        let policy = Policy {
            capabilities: Capabilities::TIMER | Capabilities::CAMERA,
            memory_pages_max: 62,
            stack_size: 8192,
            heap_size: 262_144,
            cpu_quota_us: 1000,
            step_interval_us: 10_000_000,
            activation: Activation::INTERVAL | Activation::EVENT,
            event_subscribe: EventMask::from_bits(0x8000_0001),
            ..Policy::default()
        };
        let bytes = policy.to_bytes();
        assert_eq!(Policy::from_bytes(&bytes), Ok(policy));
        assert_eq!(&bytes[4..8], &62u32.to_le_bytes());
        for len in (0..80).filter(|len| *len != POLICY_BYTES) {
            let padded = [bytes.as_slice(), &[0; 48]].concat();
            assert_eq!(Policy::from_bytes(&padded[..len]).unwrap_err().kind(), crate::ErrorKind::InvalidArg);
        }
    }

    #[test]
    fn activation_zero_is_interval_and_unknown_bits_are_refused() {
        assert_eq!(Activation::from_bits(0), Ok(Activation::INTERVAL));
        assert!(Activation::from_bits(8).is_err());
        assert!(Activation::from_bits(u32::MAX).is_err());
    }

    #[test]
    fn budget_is_bounded_by_pages_and_rounds_the_heap_down() {
        let policy = Policy { memory_pages_max: 4, heap_size: 65_536 * 2 + 65_535, ..Policy::default() };
        assert_eq!(policy.memory_budget(PAGE_BYTES), 3 * PAGE_BYTES);
        assert_eq!(policy.memory_budget(3 * PAGE_BYTES), 4 * PAGE_BYTES);
    }
}
