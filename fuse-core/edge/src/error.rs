//! What can go wrong, in the classes that every language binding knows.

use alloc::string::String;
use core::fmt;

use crate::hal::Capabilities;
use crate::module::ModuleId;

/// The class of an [`Error`]. The numbers are stable: they are the status codes of the C interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument, a policy or a configuration is not valid.
    InvalidArg = 1,
    /// No module has this id or name. Ids are never used twice, so a stale id ends here.
    NotFound = 2,
    /// The runtime already holds `max_modules` modules.
    ModuleLimit = 3,
    /// The artifact was refused; nothing was changed.
    LoadFailed = 4,
    /// The module called what its policy does not allow. It is now Trapped.
    PolicyViolation = 5,
    /// The module used up its wall-clock or fuel quota. It is now QuotaExceeded.
    QuotaExceeded = 6,
    /// The module trapped, or a HAL callback failed under it. It is now Trapped.
    Trap = 7,
    /// The module's `step_interval_us` has not passed since its last successful step.
    IntervalNotElapsed = 8,
    /// The call is not legal in the state that the module or the runtime is in.
    WrongState = 9,
    /// The caller's buffer is too small for the answer.
    BufferTooSmall = 10,
    /// The memory that was set aside for the runtime does not suffice; nothing was changed.
    OutOfMemory = 13,
}

impl ErrorKind {
    /// The name, as logs, scenarios and other languages spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InvalidArg => "InvalidArg",
            Self::NotFound => "NotFound",
            Self::ModuleLimit => "ModuleLimit",
            Self::LoadFailed => "LoadFailed",
            Self::PolicyViolation => "PolicyViolation",
            Self::QuotaExceeded => "QuotaExceeded",
            Self::Trap => "Trap",
            Self::IntervalNotElapsed => "IntervalNotElapsed",
            Self::WrongState => "WrongState",
            Self::BufferTooSmall => "BufferTooSmall",
            Self::OutOfMemory => "OutOfMemory",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which quota ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quota {
    /// `cpu_quota_us`, in microseconds.
    Wall {
        /// The quota of the policy.
        quota_us: u64,
    },
    /// `fuel_quota`, in instructions.
    Fuel {
        /// The quota of the policy.
        quota: u64,
    },
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wall { quota_us } => write!(f, "its CPU quota of {quota_us} µs"),
            Self::Fuel { quota } => write!(f, "its fuel quota of {quota} instructions"),
        }
    }
}

/// Why a module trapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrapCause {
    /// Recursion went deeper than `stack_size`.
    StackOverflow,
    /// A load or store outside linear memory.
    MemoryOutOfBounds,
    /// An access outside a table, or a call through an empty or wrong entry.
    Table,
    /// Integer division by zero, overflow, or a float that no integer can hold.
    Arithmetic,
    /// The module executed `unreachable`.
    Unreachable,
    /// A pointer and length given to an import lie outside linear memory, or the module has no memory.
    HostRange {
        /// Where the range starts.
        ptr: u32,
        /// Its length in bytes.
        len: u32,
    },
    /// The host's HAL callback failed with this code.
    Callback {
        /// The callback's own code.
        code: i32,
    },
    /// Any other trap of the engine.
    Other,
}

impl fmt::Display for TrapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StackOverflow => f.write_str("its stack is full (deeper recursion than stack_size allows)"),
            Self::MemoryOutOfBounds => f.write_str("access outside linear memory"),
            Self::Table => f.write_str("bad table access or indirect call"),
            Self::Arithmetic => f.write_str("division by zero, overflow or invalid conversion"),
            Self::Unreachable => f.write_str("unreachable executed"),
            Self::HostRange { ptr, len } => {
                write!(f, "an import was given {len} bytes at {ptr:#x}, which is not inside linear memory")
            }
            Self::Callback { code } => write!(f, "the host's HAL callback failed with code {code}"),
            Self::Other => f.write_str("engine trap"),
        }
    }
}

const NEEDS: &str = "it called a function that needs";

/// What a module did that its policy does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A call of a HAL function without its capability.
    Capability {
        /// The capability that the policy lacks.
        missing: Capabilities,
    },
    /// `fuse_event_post` with an id above 31.
    EventId {
        /// The id that was posted, as the module gave it.
        id: i32,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Capability { missing } => write!(f, "{NEEDS} {missing}"),
            Self::EventId { id } => write!(f, "it posted event {id}; ids are 0 to 31"),
        }
    }
}

/// Which entry point of a module was running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// The wasm start function, at load.
    Start,
    /// `module_init`, at the first start.
    Init,
    /// `module_step`.
    Step,
    /// `module_deinit`, at unload.
    Deinit,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Start => "the start function",
            Self::Init => "module_init",
            Self::Step => "module_step",
            Self::Deinit => "module_deinit",
        })
    }
}

/// Why a run of guest code ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It called what its policy does not allow.
    Violation(Violation),
    /// It used up a quota.
    Quota(Quota),
    /// It trapped.
    Trap(TrapCause),
}

impl Failure {
    /// The class of error that this failure is.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::Violation(_) => ErrorKind::PolicyViolation,
            Self::Quota(_) => ErrorKind::QuotaExceeded,
            Self::Trap(_) => ErrorKind::Trap,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(v) => write!(f, "policy violation: {v}"),
            Self::Quota(q) => write!(f, "quota: it used up {q}"),
            Self::Trap(t) => write!(f, "trap: {t}"),
        }
    }
}

/// A failure with the name of the host group whose capability was missing, where it was one.
pub(crate) struct Explained<'a>(pub(crate) Failure, pub(crate) Option<&'a str>);

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(group) => write!(f, "policy violation: {NEEDS} {group}"),
            None => self.0.fmt(f),
        }
    }
}

/// An error of the runtime: its [kind](Self::kind), and a message that says what was tried, on what,
/// and why it failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument, a policy or a configuration is not valid.
    #[error("{what}")]
    Invalid {
        /// The whole message.
        what: String,
    },
    /// A configuration file is not valid at one place.
    #[error("{path}: {what}")]
    Config {
        /// JSON path of the offending value, such as `$.modules[0].policy.stack_size`.
        path: String,
        /// What is wrong there, and what would be right.
        what: String,
    },
    /// No module has this id.
    #[error("module {module} is not loaded (it was unloaded, or the id is of another runtime)")]
    NoSuchModule {
        /// The id that was asked for.
        module: ModuleId,
    },
    /// No module has this name.
    #[error("no module named `{name}` is loaded")]
    NoSuchName {
        /// The name that was asked for.
        name: String,
    },
    /// The runtime is full.
    #[error("cannot load `{name}`: the runtime already holds its {limit} modules (max_modules)")]
    ModuleLimit {
        /// The module that did not fit.
        name: String,
        /// The limit.
        limit: u32,
    },
    /// An artifact was refused.
    #[error("cannot load `{name}`: {why}")]
    LoadFailed {
        /// The module.
        name: String,
        /// Why, and what would help.
        why: String,
    },
    /// Guest code ended early.
    #[error("module `{name}` ({module}) failed in {entry}: {}", Explained(*failure, group.as_deref()))]
    Failed {
        /// The module's name.
        name: String,
        /// Its id.
        module: ModuleId,
        /// What was running.
        entry: Entry,
        /// Why it ended.
        failure: Failure,
        /// The name of the host group whose capability was missing, where that is why.
        group: Option<String>,
    },
    /// Too early for another step.
    #[error("module {module} is not due: {remaining_us} µs of its step interval remain")]
    IntervalNotElapsed {
        /// The module.
        module: ModuleId,
        /// How long until it is due, in microseconds.
        remaining_us: u64,
    },
    /// Not legal in this state.
    #[error("cannot {call} module {module}: it is {state}, and {call} needs {needs}")]
    WrongState {
        /// What was tried.
        call: &'static str,
        /// The module.
        module: ModuleId,
        /// The state that it is in.
        state: crate::module::ModuleState,
        /// The states in which the call is legal.
        needs: &'static str,
    },
    /// Not legal while the runtime is in this state.
    #[error("cannot {call}: the runtime is {state}; {remedy}")]
    RuntimeState {
        /// What was tried.
        call: &'static str,
        /// What the runtime is.
        state: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A buffer of the caller is too small.
    #[error("the buffer holds {have} bytes, {need} are needed")]
    BufferTooSmall {
        /// The size given.
        have: usize,
        /// The size needed.
        need: usize,
    },
    /// The platform's memory does not suffice.
    #[error(
        "out of memory: {what} takes up to {needed} bytes, {available} are left; give a larger arena, or unload a module"
    )]
    OutOfMemory {
        /// What memory was wanted for.
        what: &'static str,
        /// How many bytes that takes at most.
        needed: u64,
        /// How many are not reserved yet.
        available: u64,
    },
}

impl Error {
    /// The class of this error.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } | Self::Config { .. } => ErrorKind::InvalidArg,
            Self::NoSuchModule { .. } | Self::NoSuchName { .. } => ErrorKind::NotFound,
            Self::ModuleLimit { .. } => ErrorKind::ModuleLimit,
            Self::LoadFailed { .. } => ErrorKind::LoadFailed,
            Self::Failed { failure, .. } => failure.kind(),
            Self::IntervalNotElapsed { .. } => ErrorKind::IntervalNotElapsed,
            Self::WrongState { .. } | Self::RuntimeState { .. } => ErrorKind::WrongState,
            Self::BufferTooSmall { .. } => ErrorKind::BufferTooSmall,
            Self::OutOfMemory { .. } => ErrorKind::OutOfMemory,
        }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::Invalid { what: what.into() }
    }

    pub(crate) fn load(name: &str, why: impl Into<String>) -> Self {
        Self::LoadFailed { name: name.into(), why: why.into() }
    }
}

/// The result of a runtime call.
pub type Result<T, E = Error> = core::result::Result<T, E>;
