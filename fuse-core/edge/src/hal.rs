//! The hardware abstraction layer: the only way from a module to the world.
//!
//! The host registers callbacks for the built-in groups and, with [`HalGroup`], groups of its own. Callbacks
//! run on the thread that called `run_step` or `tick`; the buffers that they see lie inside the module's
//! memory, and are theirs until they return.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::ops::{BitOr, BitOrAssign};

mod group;
pub use group::HAL_RESULT_MISMATCH;
pub(crate) use group::{Argument, HostCallback, PARAMS_MAX};
pub use group::{FunctionDecl, GroupDecl, HalCall, HalGroup, Param, Value, ValueType};

/// A set of HAL groups, as a policy grants them: one bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Capabilities(u32);

impl Capabilities {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// `temp_get_reading`.
    pub const TEMP_SENSOR: Self = Self(1);
    /// `timer_get_timestamp`.
    pub const TIMER: Self = Self(2);
    /// `camera_last_frame`.
    pub const CAMERA: Self = Self(4);
    /// `module_log_event`.
    pub const LOG: Self = Self(8);
    /// `fuse_event_post`.
    pub const EVENT_POST: Self = Self(16);

    /// The built-in groups: capability name, group name, bit.
    pub const BUILT_IN: [(&'static str, &'static str, Self); 5] = [
        ("TEMP_SENSOR", "temp", Self::TEMP_SENSOR),
        ("TIMER", "timer", Self::TIMER),
        ("CAMERA", "camera", Self::CAMERA),
        ("LOG", "log", Self::LOG),
        ("EVENT_POST", "event", Self::EVENT_POST),
    ];

    /// The built-in groups that this build contains. Log and event are always there.
    #[must_use]
    pub const fn compiled_in() -> Self {
        let mut bits = Self::LOG.0 | Self::EVENT_POST.0;
        if cfg!(feature = "hal-temp") {
            bits |= Self::TEMP_SENSOR.0;
        }
        if cfg!(feature = "hal-timer") {
            bits |= Self::TIMER.0;
        }
        if cfg!(feature = "hal-camera") {
            bits |= Self::CAMERA.0;
        }
        Self(bits)
    }

    /// The set with these bits. Bits 8 to 31 are for groups of the host.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The capability of a host group.
    #[must_use]
    pub(crate) const fn custom(bit: u8) -> Self {
        Self(1 << bit)
    }

    /// The built-in capability of this name (`CAMERA`) or group name (`camera`).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::BUILT_IN.iter().find(|(cap, group, _)| *cap == name || *group == name).map(|(_, _, bit)| *bit)
    }

    /// Whether all of `other` is in this set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// What is in this set and not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl BitOr for Capabilities {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Capabilities {
    fn bitor_assign(&mut self, other: Self) {
        self.0 |= other.0;
    }
}

impl fmt::Display for Capabilities {
    /// `TIMER|CAMERA|bit9`; `none` for the empty set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        let mut separator = "";
        for bit in (0..32).filter(|bit| self.0 & (1 << bit) != 0) {
            match Self::BUILT_IN.iter().find(|(_, _, b)| b.0 == 1 << bit) {
                Some((name, _, _)) => write!(f, "{separator}{name}")?,
                None => write!(f, "{separator}bit{bit}")?,
            }
            separator = "|";
        }
        Ok(())
    }
}

/// A HAL callback failed. The module traps with this code; nothing else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalFault {
    /// The host's own number for what went wrong.
    pub code: i32,
}

/// What a HAL callback returns.
pub type HalResult<T> = Result<T, HalFault>;

/// Gives the temperature in degrees Celsius.
pub type TempCallback = Box<dyn FnMut() -> HalResult<f32> + Send>;
/// Gives a monotonic time in microseconds.
pub type TimerCallback = Box<dyn FnMut() -> HalResult<i64> + Send>;
/// Copies the newest frame into the buffer and says how many bytes it wrote; 0 when there is no frame.
pub type CameraCallback = Box<dyn FnMut(&mut [u8]) -> HalResult<usize> + Send>;

/// The callbacks of the built-in groups. A group without a callback answers 0.
#[derive(Default)]
pub(crate) struct Hal {
    #[cfg(feature = "hal-temp")]
    pub(crate) temp: Option<TempCallback>,
    #[cfg(feature = "hal-timer")]
    pub(crate) timer: Option<TimerCallback>,
    #[cfg(feature = "hal-camera")]
    pub(crate) camera: Option<CameraCallback>,
    /// The functions of the host's groups, in the order of registration. An index here is for ever.
    pub(crate) functions: Vec<HostCallback>,
}
