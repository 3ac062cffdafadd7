//! Names for modules and the states that they pass through.

use core::fmt;

/// Names one loaded module of one runtime. An id is never used again after its module is unloaded, so a
/// stale id is [`NotFound`](crate::ErrorKind::NotFound), never another module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(u64);

impl ModuleId {
    pub(crate) const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The id as a number, for interfaces that carry numbers; never 0.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The id of a number that [`to_u64`](Self::to_u64) gave. Any other number is the id of no module.
    #[must_use]
    pub const fn from_u64(raw: u64) -> Self {
        Self(raw)
    }

    pub(crate) const fn slot(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }

    pub(crate) const fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}.{}", self.slot(), self.generation())
    }
}

/// Where a module is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ModuleState {
    /// Loaded and checked, never started.
    Loaded = 0,
    /// Started: it is stepped when due.
    Running = 1,
    /// Held by the host, or by the stop of the whole runtime.
    Paused = 2,
    /// It trapped or violated its policy. It can be restarted or unloaded.
    Trapped = 3,
    /// It used up a quota. It can be restarted or unloaded.
    QuotaExceeded = 4,
}

impl ModuleState {
    /// The name, as logs, scenarios and other languages spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loaded => "Loaded",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Trapped => "Trapped",
            Self::QuotaExceeded => "QuotaExceeded",
        }
    }
}

impl fmt::Display for ModuleState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
