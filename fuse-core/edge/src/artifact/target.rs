//! What code can be compiled for.

use alloc::string::String;
use alloc::vec::Vec;

/// A processor, or one of the forms of the Pulley interpreter, which run on any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// z/Architecture.
    S390x,
    /// The interpreter, on 32-bit little-endian hosts.
    Pulley32,
    /// The interpreter, on 64-bit little-endian hosts.
    Pulley64,
    /// The interpreter, on 32-bit big-endian hosts.
    Pulley32be,
    /// The interpreter, on 64-bit big-endian hosts.
    Pulley64be,
}

impl Target {
    /// All targets.
    pub const ALL: [Self; 8] = [
        Self::X86_64,
        Self::Aarch64,
        Self::Riscv64,
        Self::S390x,
        Self::Pulley32,
        Self::Pulley64,
        Self::Pulley32be,
        Self::Pulley64be,
    ];

    /// The name, as the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
            Self::Riscv64 => "riscv64",
            Self::S390x => "s390x",
            Self::Pulley32 => "pulley32",
            Self::Pulley64 => "pulley64",
            Self::Pulley32be => "pulley32be",
            Self::Pulley64be => "pulley64be",
        }
    }

    /// The target of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.name() == name)
    }

    /// The triple that the engine knows it by.
    pub(crate) const fn triple(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Riscv64 => "riscv64gc-unknown-linux-gnu",
            Self::S390x => "s390x-unknown-linux-gnu",
            Self::Pulley32 => "pulley32",
            Self::Pulley64 => "pulley64",
            Self::Pulley32be => "pulley32be",
            Self::Pulley64be => "pulley64be",
        }
    }

    /// Whether it is a form of the interpreter.
    #[must_use]
    pub const fn is_pulley(self) -> bool {
        matches!(self, Self::Pulley32 | Self::Pulley64 | Self::Pulley32be | Self::Pulley64be)
    }

    /// The processor that this library was built for; `None` where only the interpreter runs.
    #[must_use]
    pub const fn native() -> Option<Self> {
        if cfg!(target_arch = "x86_64") {
            Some(Self::X86_64)
        } else if cfg!(target_arch = "aarch64") {
            Some(Self::Aarch64)
        } else if cfg!(target_arch = "riscv64") {
            Some(Self::Riscv64)
        } else if cfg!(target_arch = "s390x") {
            Some(Self::S390x)
        } else {
            None
        }
    }

    /// The form of the interpreter that runs here.
    #[must_use]
    pub const fn pulley() -> Self {
        match (cfg!(target_pointer_width = "64"), cfg!(target_endian = "little")) {
            (true, true) => Self::Pulley64,
            (true, false) => Self::Pulley64be,
            (false, true) => Self::Pulley32,
            (false, false) => Self::Pulley32be,
        }
    }

    /// What `compile` makes when nothing is asked for.
    #[must_use]
    pub const fn default_here() -> Self {
        match Self::native() {
            Some(native) => native,
            None => Self::pulley(),
        }
    }

    /// Whether code for this target runs here.
    #[must_use]
    pub fn runs_here(self) -> bool {
        Self::native() == Some(self) || (cfg!(feature = "pulley") && Self::pulley() == self)
    }

    /// What runs here, for messages.
    pub(crate) fn runnable() -> String {
        let names: Vec<_> = Self::ALL.into_iter().filter(|t| t.runs_here()).map(Self::name).collect();
        names.join(" and ")
    }
}
