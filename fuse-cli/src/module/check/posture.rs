//! The security posture of an application: what its modules may do, and within which limits.

use std::collections::BTreeMap;

use fuse_edge::app::Application;
use fuse_edge::{Activation, ModuleDecl};
use serde::Serialize;

use crate::output::{Page, Table, bytes, grouped, micros};

/// What concerns the whole runtime.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ApplicationPosture {
    name: String,
    description: String,
    metering: &'static str,
    max_modules: u32,
    memory_pool_bytes: u64,
    log_pool_bytes: u64,
    hal_groups: Vec<String>,
    custom_groups: Vec<GroupPosture>,
    events: BTreeMap<String, u32>,
}

/// A HAL group of the host.
#[derive(Clone, Debug, Serialize)]
struct GroupPosture {
    name: String,
    bit: u8,
    functions: Vec<String>,
}

impl ApplicationPosture {
    pub(crate) fn of(app: &Application) -> Self {
        Self {
            name: app.name.clone(),
            description: app.description.clone(),
            metering: app.metering.name(),
            max_modules: app.max_modules,
            memory_pool_bytes: app.memory_pool_bytes,
            log_pool_bytes: app.log_pool_bytes,
            hal_groups: app.capability_names(app.hal_groups),
            custom_groups: app
                .custom_groups
                .iter()
                .map(|g| GroupPosture {
                    name: g.name.clone(),
                    bit: g.bit,
                    functions: g.functions.iter().map(ToString::to_string).collect(),
                })
                .collect(),
            events: app.events.iter().map(|(name, id)| (name.clone(), id.get())).collect(),
        }
    }

    /// The application for people.
    pub(crate) fn show(&self, page: &mut Page) {
        page.heading("Application");
        let metering = match self.metering {
            "wall" => "wall (cpu_quota_us is enforced)",
            "fuel" => "fuel (fuel_quota is enforced)",
            _ => "both (cpu_quota_us and fuel_quota are enforced)",
        };
        let events: Vec<String> = self.events.iter().map(|(name, id)| format!("{name}={id}")).collect();
        let pool =
            if self.memory_pool_bytes == 0 { "unlimited".into() } else { bytes(self.memory_pool_bytes) };
        page.facts(&[
            ("  name", self.name.clone()),
            ("  description", self.description.clone()),
            ("  metering", metering.into()),
            ("  modules", format!("at most {}", grouped(u64::from(self.max_modules)))),
            ("  memory pool", pool),
            ("  log", bytes(self.log_pool_bytes)),
            ("  HAL groups", or_none(&self.hal_groups)),
            ("  events", or_none(&events)),
        ]);
        let mut table = Table::new(&["HOST GROUP", "BIT>", "FUNCTION"]);
        for group in &self.custom_groups {
            for function in &group.functions {
                table.row([group.name.as_str(), &group.bit.to_string(), function]);
            }
        }
        page.table("Groups that the host provides", &table);
    }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

/// The policy of one module.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PolicyPosture {
    pub(crate) name: String,
    pub(crate) capabilities: Vec<String>,
    capabilities_mask: u32,
    pub(crate) memory_pages_max: u32,
    pub(crate) heap_size: u32,
    pub(crate) stack_size: u32,
    pub(crate) cpu_quota_us: u32,
    pub(crate) fuel_quota: u64,
    pub(crate) step_interval_us: u32,
    activation: Vec<&'static str>,
    /// Names where the application gives them, else numbers.
    event_subscribe: Vec<String>,
    event_subscribe_mask: u32,
    priority: u8,
}

impl PolicyPosture {
    pub(crate) fn of(module: &ModuleDecl, app: &Application) -> Self {
        let policy = &module.policy;
        let mut capabilities = app.capability_names(policy.capabilities);
        // Bits that have no name, of a configuration that was refused for them.
        let named = capabilities.len();
        let unnamed = (policy.capabilities.bits().count_ones() as usize).saturating_sub(named);
        capabilities.extend((unnamed > 0).then(|| format!("{unnamed} unknown")));
        let event = |id: fuse_edge::EventId| {
            app.events.iter().find(|(_, i)| *i == id).map_or_else(|| id.to_string(), |(name, _)| name.clone())
        };
        Self {
            name: module.name.clone(),
            capabilities,
            capabilities_mask: policy.capabilities.bits(),
            memory_pages_max: policy.memory_pages_max,
            heap_size: policy.heap_size,
            stack_size: policy.stack_size,
            cpu_quota_us: policy.cpu_quota_us,
            fuel_quota: policy.fuel_quota,
            step_interval_us: policy.step_interval_us,
            activation: Activation::NAMES
                .into_iter()
                .filter(|(_, kind)| policy.activation.contains(*kind))
                .map(|(name, _)| name)
                .collect(),
            event_subscribe: policy.event_subscribe.iter().map(event).collect(),
            event_subscribe_mask: policy.event_subscribe.bits(),
            priority: policy.priority,
        }
    }

    /// The quota in words.
    pub(crate) fn quota(&self) -> String {
        let cpu = (self.cpu_quota_us != 0).then(|| micros(u64::from(self.cpu_quota_us)));
        let fuel = (self.fuel_quota != 0).then(|| format!("{} instructions", grouped(self.fuel_quota)));
        let both: Vec<String> = cpu.into_iter().chain(fuel).collect();
        if both.is_empty() { "none".into() } else { both.join(", ") }
    }
}

/// A table of what each module may do and when it runs.
pub(crate) fn permissions(policies: &[&PolicyPosture]) -> Table {
    let mut table =
        Table::new(&["MODULE", "MAY USE", "RUNS ON", "INTERVAL>", "EVENTS", "PRIORITY>", "QUOTA PER STEP"]);
    for policy in policies {
        let interval = match (policy.activation.contains(&"INTERVAL"), policy.step_interval_us) {
            (false, _) => "-".into(),
            (true, 0) => "each tick".into(),
            (true, us) => micros(u64::from(us)),
        };
        table.row([
            policy.name.clone(),
            or_none(&policy.capabilities),
            policy.activation.join(", "),
            interval,
            or_none(&policy.event_subscribe),
            policy.priority.to_string(),
            policy.quota(),
        ]);
    }
    table
}
