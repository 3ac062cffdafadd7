//! What an environment needs and what a host has.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A processor architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Arch {
    /// 64-bit x86, also written `x86_64`.
    #[default]
    Amd64,
    /// 64-bit Arm, also written `aarch64`.
    Arm64,
}

impl Arch {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<Arch> for &'static str {
    fn from(arch: Arch) -> Self {
        arch.as_str()
    }
}

impl FromStr for Arch {
    type Err = String;
    fn from_str(name: &str) -> Result<Self, String> {
        match name.to_ascii_lowercase().as_str() {
            "amd64" | "x86_64" => Ok(Self::Amd64),
            "arm64" | "aarch64" => Ok(Self::Arm64),
            _ => Err(format!("architecture {name:?} is not known; amd64 and arm64 are")),
        }
    }
}

impl TryFrom<String> for Arch {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

/// What one environment takes from its host. Zero takes none of that resource; every environment takes a VM slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Virtual processors.
    #[serde(skip_serializing_if = "is_zero")]
    pub cpus: u32,
    /// Memory in MiB.
    #[serde(skip_serializing_if = "is_zero")]
    pub ram_mb: u32,
    /// Disk in GiB.
    #[serde(skip_serializing_if = "is_zero")]
    pub storage_gb: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it by reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}CPU/{}MB/{}GB", self.cpus, self.ram_mb, self.storage_gb)
    }
}

/// What a host has, or what is taken of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capacity {
    /// Virtual processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub ram_mb: u32,
    /// Disk in GiB.
    pub storage_gb: u32,
    /// VM slots.
    pub vm_count: u32,
}

impl Capacity {
    /// What is left when `used` is taken; zero where more is taken than there is.
    #[must_use]
    pub const fn minus(self, used: Self) -> Self {
        Self {
            cpus: self.cpus.saturating_sub(used.cpus),
            ram_mb: self.ram_mb.saturating_sub(used.ram_mb),
            storage_gb: self.storage_gb.saturating_sub(used.storage_gb),
            vm_count: self.vm_count.saturating_sub(used.vm_count),
        }
    }

    /// With one more environment of size `need`.
    #[must_use]
    pub const fn with(self, need: Resources) -> Self {
        Self {
            cpus: self.cpus.saturating_add(need.cpus),
            ram_mb: self.ram_mb.saturating_add(need.ram_mb),
            storage_gb: self.storage_gb.saturating_add(need.storage_gb),
            vm_count: self.vm_count.saturating_add(1),
        }
    }

    /// With one environment of size `need` less.
    #[must_use]
    pub const fn without(self, need: Resources) -> Self {
        self.minus(Self { cpus: need.cpus, ram_mb: need.ram_mb, storage_gb: need.storage_gb, vm_count: 1 })
    }

    /// Whether one environment of size `need` fits into this.
    #[must_use]
    pub const fn fits(self, need: Resources) -> bool {
        self.cpus >= need.cpus
            && self.ram_mb >= need.ram_mb
            && self.storage_gb >= need.storage_gb
            && self.vm_count >= 1
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}CPU/{}MB/{}GB/{} VMs", self.cpus, self.ram_mb, self.storage_gb, self.vm_count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arch_aliases_are_normalised() {
        assert_eq!("x86_64".parse::<Arch>().unwrap(), Arch::Amd64);
        assert_eq!(serde_json::from_str::<Arch>("\"AARCH64\"").unwrap(), Arch::Arm64);
        assert!("riscv64".parse::<Arch>().is_err());
        assert_eq!(serde_json::to_string(&Arch::Amd64).unwrap(), "\"amd64\"");
    }

    #[test]
    fn an_empty_request_still_needs_a_slot() {
        let full = Capacity { cpus: 4, ram_mb: 4096, storage_gb: 10, vm_count: 0 };
        assert!(!full.fits(Resources::default()));
        assert_eq!(Capacity::default().with(Resources::default()).vm_count, 1);
    }

    #[test]
    fn negative_sizes_do_not_parse() {
        assert!(serde_json::from_str::<Resources>("{\"cpus\":-1}").is_err());
    }
}
