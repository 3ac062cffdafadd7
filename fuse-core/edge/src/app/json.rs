//! Applications and policies as JSON.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::json_node::{Cursor, parse};
use super::{AppConfig, Application, LOG_POOL_BYTES_LIMIT, MAX_MODULES_LIMIT, Metering, ModuleDecl};
use crate::error::Result;
use crate::event::{EventId, EventMask};
use crate::hal::{Capabilities, FunctionDecl, GroupDecl, Param, ValueType};
use crate::policy::{Activation, MEMORY_PAGES_LIMIT, Policy};

impl AppConfig {
    /// Reads an application configuration (`app_config.json`).
    ///
    /// ```
    /// use fuse_edge::AppConfig;
    /// let app = AppConfig::from_json(r#"{
    ///   "application": {"name": "demo", "events": {"FRAME": 3}},
    ///   "modules": [{"name": "m", "binary": "m.fuse", "policy": {
    ///     "capabilities": ["CAMERA"], "memory_pages_max": 2, "stack_size": 8192,
    ///     "activation": "EVENT", "event_subscribe": ["FRAME"]}}]
    /// }"#)?;
    /// assert_eq!(app.modules[0].policy.event_subscribe.bits(), 8);
    /// # Ok::<(), fuse_edge::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) with the JSON path of the first thing that is wrong: an unknown
    /// field, a value of the wrong type or out of range, a name that is not known or there twice, a policy that
    /// asks for what the application does not enable.
    pub fn from_json(text: &str) -> Result<Self> {
        let root = parse(text)?;
        let members = Cursor::root(&root).object()?;
        let application = application(&members.require("application")?)?;
        let mut modules = Vec::new();
        if let Some(list) = members.get("modules") {
            for item in list.list()? {
                modules.push(module(&item, &application)?);
            }
        }
        members.finish()?;
        let app = Self { application, modules };
        app.validate()?;
        Ok(app)
    }
}

impl Policy {
    /// Reads one policy, as it stands in an application configuration. Only numbers name events and host
    /// groups here; [`AppConfig::from_json`] knows their names.
    ///
    /// ```
    /// use fuse_edge::Policy;
    /// let policy = Policy::from_json(r#"{"capabilities": ["TIMER", "CAMERA", "LOG"], "memory_pages_max": 62,
    ///     "stack_size": 8192, "heap_size": 262144, "cpu_quota_us": 1000, "step_interval_us": 10000000,
    ///     "activation_mask": ["INTERVAL"], "event_subscribe": 0}"#)?;
    /// assert_eq!(policy.cpu_quota_us, 1000);
    /// # Ok::<(), fuse_edge::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidArg`](crate::ErrorKind::InvalidArg) with the JSON path of what is wrong.
    pub fn from_json(text: &str) -> Result<Self> {
        let root = parse(text)?;
        let cursor = Cursor::root(&root);
        let parsed = policy(&cursor, &Application::default())?;
        parsed.validate().map_err(|e| cursor.error(format!("{e}")))?;
        Ok(parsed)
    }
}

fn application(at: &Cursor<'_>) -> Result<Application> {
    let members = at.object()?;
    let mut app = Application { name: members.require("name")?.text()?.into(), ..Application::default() };
    if let Some(v) = members.get("description") {
        app.description = v.text()?.into();
    }
    if let Some(v) = members.get("max_modules") {
        // The range has been checked.
        app.max_modules = v.integer(u64::from(MAX_MODULES_LIMIT))? as u32;
    }
    if let Some(v) = members.get_alias("memory_pool_bytes", "wamr_pool_bytes")? {
        app.memory_pool_bytes = v.integer(u64::MAX)?;
    }
    if let Some(v) = members.get("log_pool_bytes") {
        app.log_pool_bytes = v.integer(LOG_POOL_BYTES_LIMIT)?;
    }
    if let Some(v) = members.get("metering") {
        let name = v.text()?;
        app.metering = Metering::from_name(name)
            .ok_or_else(|| v.error(format!("`{name}` is no metering; known are wall, fuel and both")))?;
    }
    if let Some(v) = members.get("hal_groups") {
        app.hal_groups = hal_groups(&v)?;
    }
    if let Some(v) = members.get("custom_groups") {
        for item in v.list()? {
            app.custom_groups.push(group(&item)?);
        }
    }
    if let Some(v) = members.get("events") {
        for (name, id) in v.object()?.all() {
            let event = EventId::new(id.u32()?).map_err(|e| id.error(format!("{e}")))?;
            app.events.push((name.into(), event));
        }
    }
    members.finish()?;
    Ok(app)
}

fn hal_groups(at: &Cursor<'_>) -> Result<Capabilities> {
    let mut set = Capabilities::LOG | Capabilities::EVENT_POST;
    for item in at.list()? {
        let name = item.text()?;
        set |= Capabilities::from_name(name).ok_or_else(|| {
            item.error(format!("`{name}` is no HAL group; known are temp, timer, camera, log and event"))
        })?;
    }
    Ok(set)
}

fn group(at: &Cursor<'_>) -> Result<GroupDecl> {
    let members = at.object()?;
    let name = members.require("name")?.text()?.into();
    // The range has been checked.
    let bit = members.require("bit")?.integer(31)? as u8;
    let mut functions = Vec::new();
    for item in members.require("functions")?.list()? {
        functions.push(function(&item)?);
    }
    members.finish()?;
    Ok(GroupDecl { name, bit, functions })
}

fn function(at: &Cursor<'_>) -> Result<FunctionDecl> {
    let members = at.object()?;
    let name: String = members.require("name")?.text()?.into();
    let mut params = Vec::new();
    if let Some(list) = members.get("params") {
        for item in list.list()? {
            let kind = item.text()?;
            params.push(Param::from_name(kind).ok_or_else(|| {
                item.error(format!(
                    "`{kind}` is no parameter type; known are i32, i64, f32, f64, in, out and inout"
                ))
            })?);
        }
    }
    let mut result = None;
    if let Some(list) = members.get("results") {
        for (i, item) in list.list()?.enumerate() {
            let kind = item.text()?;
            if i > 0 {
                return Err(item.error("a function has at most one result"));
            }
            result = Some(ValueType::from_name(kind).ok_or_else(|| {
                item.error(format!("`{kind}` is no result type; known are i32, i64, f32 and f64"))
            })?);
        }
    }
    members.finish()?;
    Ok(FunctionDecl { name, params, result })
}

fn module(at: &Cursor<'_>, app: &Application) -> Result<ModuleDecl> {
    let members = at.object()?;
    let name = members.require("name")?.text()?.into();
    let binary = members.require("binary")?.text()?.into();
    let policy = policy(&members.require("policy")?, app)?;
    members.finish()?;
    Ok(ModuleDecl { name, binary, policy, artifact: None })
}

fn policy(at: &Cursor<'_>, app: &Application) -> Result<Policy> {
    let members = at.object()?;
    let mut policy = Policy::default();
    let number = |key: &'static str, field: &mut u32| -> Result<()> {
        if let Some(v) = members.get(key) {
            *field = v.u32()?;
        }
        Ok(())
    };
    if let Some(v) = members.get("memory_pages_max") {
        // The range has been checked.
        policy.memory_pages_max = v.integer(u64::from(MEMORY_PAGES_LIMIT))? as u32;
    }
    if let Some(v) = members.get("stack_size") {
        policy.stack_size = v.u32()?;
        policy.validate().map_err(|e| v.error(format!("{e}")))?;
    }
    number("heap_size", &mut policy.heap_size)?;
    number("cpu_quota_us", &mut policy.cpu_quota_us)?;
    number("step_interval_us", &mut policy.step_interval_us)?;
    if let Some(v) = members.get("capabilities") {
        policy.capabilities = capabilities(&v, app)?;
    }
    if let Some(v) = members.get_alias("activation_mask", "activation")? {
        policy.activation = activation(&v)?;
    }
    if let Some(v) = members.get("event_subscribe") {
        policy.event_subscribe = events(&v, app)?;
    }
    if let Some(v) = members.get("fuel_quota") {
        policy.fuel_quota = v.integer(u64::MAX)?;
    }
    if let Some(v) = members.get("priority") {
        // The range has been checked.
        policy.priority = v.integer(u64::from(u8::MAX))? as u8;
    }
    members.finish()?;
    Ok(policy)
}

/// The union of what each name in a list stands for; one name may stand without a list.
fn names<T>(
    at: &Cursor<'_>,
    mut named: impl FnMut(&str) -> Option<T>,
    unknown: impl Fn(&str) -> String,
) -> Result<Vec<T>> {
    let items: Vec<Cursor<'_>> = if at.is_text() { alloc::vec![at.clone()] } else { at.list()?.collect() };
    items
        .iter()
        .map(|item| {
            let name = item.text()?;
            named(name).ok_or_else(|| item.error(unknown(name)))
        })
        .collect()
}

fn capabilities(at: &Cursor<'_>, app: &Application) -> Result<Capabilities> {
    if !at.is_list() && !at.is_text() {
        return Ok(Capabilities::from_bits(at.u32()?));
    }
    let custom = |name: &str| {
        let group = app.custom_groups.iter().find(|g| g.name == name)?;
        (group.bit < 32).then(|| group.capability())
    };
    let unknown = |name: &str| {
        let known: Vec<&str> = Capabilities::BUILT_IN
            .iter()
            .map(|(cap, _, _)| *cap)
            .chain(app.custom_groups.iter().map(|g| g.name.as_str()))
            .collect();
        format!("`{name}` is no capability; known are {}", known.join(", "))
    };
    let built_in =
        |name: &str| Capabilities::BUILT_IN.iter().find(|(cap, _, _)| *cap == name).map(|(_, _, bit)| *bit);
    let set = names(at, |name| built_in(name).or_else(|| custom(name)), unknown)?;
    Ok(set.into_iter().fold(Capabilities::NONE, |all, one| all | one))
}

fn activation(at: &Cursor<'_>) -> Result<Activation> {
    if !at.is_list() && !at.is_text() {
        return Activation::from_bits(at.u32()?).map_err(|e| at.error(format!("{e}")));
    }
    let kind = |name: &str| Activation::NAMES.iter().find(|(n, _)| *n == name).map(|(_, kind)| kind.bits());
    let unknown = |name: &str| format!("`{name}` is no activation; known are INTERVAL, EVENT and MANUAL");
    let bits = names(at, kind, unknown)?.into_iter().fold(0, |all, bit| all | bit);
    Activation::from_bits(bits)
}

fn events(at: &Cursor<'_>, app: &Application) -> Result<EventMask> {
    if !at.is_list() && !at.is_text() {
        return Ok(EventMask::from_bits(at.u32()?));
    }
    let unknown = |name: &str| {
        let known: Vec<&str> = app.events.iter().map(|(n, _)| n.as_str()).collect();
        format!("`{name}` is no event of $.application.events ({})", known.join(", "))
    };
    let set = names(at, |name| app.event(name), unknown)?;
    Ok(EventMask::from_bits(set.into_iter().fold(0, |all, event| all | EventMask::from(event).bits())))
}
