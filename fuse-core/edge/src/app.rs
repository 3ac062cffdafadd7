//! A whole application: what the runtime is allowed, which events and groups exist, and which modules run
//! under which policies. One reviewable file, as JSON for people and as a binary for uplinks.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::{Error, Result};
use crate::event::EventId;
use crate::hal::{Capabilities, GroupDecl};
use crate::policy::Policy;

mod binary;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "json")]
mod json_node;

/// How the runtime meters the work of modules. Artifacts are compiled for one of these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Metering {
    /// Wall-clock quotas (`cpu_quota_us`).
    #[default]
    Wall = 1,
    /// Fuel quotas (`fuel_quota`): counted instructions, the same on each run and machine of one engine identity.
    Fuel = 2,
    /// Both.
    Both = 3,
}

impl Metering {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Wall, Self::Fuel, Self::Both];

    /// The name: `wall`, `fuel` or `both`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wall => "wall",
            Self::Fuel => "fuel",
            Self::Both => "both",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|m| m.name() == name)
    }

    pub(crate) fn from_raw(raw: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|m| *m as u8 == raw)
    }

    /// Whether `cpu_quota_us` is enforced.
    #[must_use]
    pub const fn has_wall(self) -> bool {
        matches!(self, Self::Wall | Self::Both)
    }

    /// Whether `fuel_quota` is enforced.
    #[must_use]
    pub const fn has_fuel(self) -> bool {
        matches!(self, Self::Fuel | Self::Both)
    }
}

/// Default of [`Application::max_modules`].
pub const DEFAULT_MAX_MODULES: u32 = 32;
/// Most that `max_modules` may be.
pub const MAX_MODULES_LIMIT: u32 = 65_536;
/// Default of [`Application::log_pool_bytes`].
pub const DEFAULT_LOG_POOL_BYTES: u64 = 64 * 1024;
/// Most that `log_pool_bytes` may be (1 GiB).
pub const LOG_POOL_BYTES_LIMIT: u64 = 1 << 30;
/// Longest name of an application, group, function, event or module, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// The part of a configuration that concerns the whole runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// A name, at most 64 bytes.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Most modules at a time (1..=65536).
    pub max_modules: u32,
    /// Most bytes of linear memory that all modules together may reach; 0 = unlimited.
    pub memory_pool_bytes: u64,
    /// Bytes for the log (at most 1 GiB).
    pub log_pool_bytes: u64,
    /// How quotas are metered.
    pub metering: Metering,
    /// The built-in groups that modules may use. Log and event are always among them.
    pub hal_groups: Capabilities,
    /// The host's own groups.
    pub custom_groups: Vec<GroupDecl>,
    /// Names of events.
    pub events: Vec<(String, EventId)>,
}

impl Default for Application {
    /// Every compiled-in group, 32 modules, wall metering.
    fn default() -> Self {
        Self {
            name: String::new(),
            description: String::new(),
            max_modules: DEFAULT_MAX_MODULES,
            memory_pool_bytes: 0,
            log_pool_bytes: DEFAULT_LOG_POOL_BYTES,
            metering: Metering::Wall,
            hal_groups: Capabilities::compiled_in(),
            custom_groups: Vec::new(),
            events: Vec::new(),
        }
    }
}

impl Application {
    /// All capabilities that a policy may ask for.
    #[must_use]
    pub fn capabilities(&self) -> Capabilities {
        self.custom_groups.iter().fold(self.hal_groups, |all, g| all | g.capability())
    }

    /// The event of this name.
    #[must_use]
    pub fn event(&self, name: &str) -> Option<EventId> {
        self.events.iter().find(|(n, _)| n == name).map(|(_, id)| *id)
    }

    /// The name of a capability, of the host's groups too; a set gives names joined by `|`.
    #[must_use]
    pub fn capability_names(&self, set: Capabilities) -> Vec<String> {
        let built_in = Capabilities::BUILT_IN.iter().map(|(name, _, bit)| ((*name).into(), *bit));
        let custom = self.custom_groups.iter().map(|g| (g.name.clone(), g.capability()));
        built_in.chain(custom).filter(|(_, bit)| set.contains(*bit)).map(|(name, _)| name).collect()
    }
}

/// One module of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleDecl {
    /// Its name, unique, at most 64 bytes.
    pub name: String,
    /// Where its artifact is; a path relative to the configuration, for the host to resolve.
    pub binary: String,
    /// What it may do.
    pub policy: Policy,
    /// The artifact itself, when the binary form carries it.
    pub artifact: Option<Vec<u8>>,
}

/// An application with its modules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppConfig {
    /// What concerns the runtime.
    pub application: Application,
    /// The modules, in load order.
    pub modules: Vec<ModuleDecl>,
}

impl AppConfig {
    /// Checks what holds between the parts. Both parsers call it.
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) with the path of what is wrong.
    pub fn validate(&self) -> Result<()> {
        self.application.validate()?;
        if self.modules.len() > self.application.max_modules as usize {
            return Err(at(
                "$.modules",
                format!(
                    "{} modules are listed, max_modules is {}",
                    self.modules.len(),
                    self.application.max_modules
                ),
            ));
        }
        for (i, module) in self.modules.iter().enumerate() {
            let path = format!("$.modules[{i}]");
            check_name(&format!("{path}.name"), &module.name)?;
            if let Some(first) = self.modules[..i].iter().position(|m| m.name == module.name) {
                return Err(at(
                    &format!("{path}.name"),
                    format!("`{}` is the name of $.modules[{first}] too; names are unique", module.name),
                ));
            }
            self.validate_policy(&format!("{path}.policy"), &module.policy)?;
        }
        Ok(())
    }

    fn validate_policy(&self, path: &str, policy: &Policy) -> Result<()> {
        policy.validate().map_err(|e| at(path, format!("{e}")))?;
        let app = &self.application;
        let foreign = policy.capabilities.without(app.capabilities());
        if !foreign.is_empty() {
            return Err(at(
                &format!("{path}.capabilities"),
                format!(
                    "asks for {foreign}, which the application does not enable (hal_groups, custom_groups)"
                ),
            ));
        }
        if policy.cpu_quota_us != 0 && !app.metering.has_wall() {
            return Err(at(&format!("{path}.cpu_quota_us"), cannot_meter("cpu_quota_us", app.metering)));
        }
        if policy.fuel_quota != 0 && !app.metering.has_fuel() {
            return Err(at(&format!("{path}.fuel_quota"), cannot_meter("fuel_quota", app.metering)));
        }
        Ok(())
    }
}

impl Application {
    /// How much memory a copy of it takes at most, in bytes of an allocator with headers.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        const BLOCK: usize = 64;
        const FUNCTION: usize = 3 * BLOCK + 2 * crate::hal::PARAMS_MAX;
        let events: usize = self.events.iter().map(|(name, _)| name.len() + 2 * BLOCK).sum();
        let functions = self.custom_groups.iter().flat_map(|group| &group.functions);
        let functions: usize = functions.map(|function| function.name.len() + FUNCTION).sum();
        let groups: usize = self.custom_groups.iter().map(|group| group.name.len() + 3 * BLOCK).sum();
        (self.name.len() + self.description.len() + 4 * BLOCK + events + functions + groups) as u64
    }

    /// Checks what holds for the application by itself.
    pub(crate) fn validate(&self) -> Result<()> {
        let app = self;
        if app.name.len() > NAME_BYTES_MAX {
            return Err(at("$.application.name", format!("longer than {NAME_BYTES_MAX} bytes")));
        }
        if !(1..=MAX_MODULES_LIMIT).contains(&app.max_modules) {
            return Err(at(
                "$.application.max_modules",
                format!("is {}; 1 to {MAX_MODULES_LIMIT} are possible", app.max_modules),
            ));
        }
        if app.log_pool_bytes > LOG_POOL_BYTES_LIMIT {
            return Err(at(
                "$.application.log_pool_bytes",
                format!("is {}; at most {LOG_POOL_BYTES_LIMIT} are possible", app.log_pool_bytes),
            ));
        }
        let missing = app.hal_groups.without(Capabilities::compiled_in());
        if !missing.is_empty() {
            return Err(at("$.application.hal_groups", format!("this build does not contain {missing}")));
        }
        for (i, (name, id)) in app.events.iter().enumerate() {
            let path = format!("$.application.events.{name}");
            check_name(&path, name)?;
            for (other, other_id) in &app.events[..i] {
                if other == name || other_id == id {
                    return Err(at(&path, format!("id {id} or name is used by `{other}` already")));
                }
            }
        }
        check_groups(&app.custom_groups, |i| format!("$.application.custom_groups[{i}]"))
    }
}

/// Why a quota cannot be enforced under a metering.
pub(crate) fn cannot_meter(quota: &str, metering: Metering) -> String {
    format!("{quota} cannot be enforced with metering `{}`; use `both`, or set it to 0", metering.name())
}

/// Checks a set of host groups: each by itself, and that names and bits are unique. `path` says where a group is.
pub(crate) fn check_groups(groups: &[GroupDecl], path: impl Fn(usize) -> String) -> Result<()> {
    for (i, group) in groups.iter().enumerate() {
        let path = path(i);
        group.validate().map_err(|e| at(&path, format!("{e}")))?;
        check_name(&format!("{path}.name"), &group.name)?;
        for (j, other) in groups[..i].iter().enumerate() {
            if other.name == group.name || other.bit == group.bit {
                return Err(at(
                    &path,
                    format!(
                        "name or bit ({}) is that of group {j}, `{}` (bit {})",
                        group.bit, other.name, other.bit
                    ),
                ));
            }
            if let Some(f) = group.functions.iter().find(|f| other.functions.iter().any(|o| o.name == f.name))
            {
                return Err(at(
                    &path,
                    format!("function `{}` is in group {j}, `{}`, too", f.name, other.name),
                ));
            }
        }
    }
    Ok(())
}

fn check_name(path: &str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(at(path, format!("a name is 1 to {NAME_BYTES_MAX} bytes without control characters")));
    }
    Ok(())
}

fn at(path: &str, what: String) -> Error {
    Error::Config { path: path.into(), what }
}
