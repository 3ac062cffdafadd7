//! Whether the runtime takes a module under its policy. Its own answer counts more than any rule written here.

use fuse_edge::artifact::Artifact;
use fuse_edge::{
    AppConfig, LinuxPlatform, ModuleDecl, Policy, Runtime, RuntimeConfig, STACK_BYTES_LIMIT, TrapMode,
};

use crate::module::binary::Binary;
use crate::module::groups::{Nowhere, stand_in};

/// Loads a module into a runtime of its own. No code of it runs: one with a start function is left for `--run`, and
/// so is an artifact that needs another machine.
pub(super) fn try_load(app: &AppConfig, module: &ModuleDecl, binary: &Binary) -> Result<(), String> {
    let has_start = binary.module.as_ref().is_none_or(|m| m.has_start);
    let foreign = binary.header.as_ref().is_some_and(|h| !h.runs_here && h.portable.is_none());
    if has_start || foreign {
        return Ok(());
    }
    let config = RuntimeConfig {
        stack_bytes_max: STACK_BYTES_LIMIT,
        // A runtime in the other mode is as good; the review says that the artifact needs it.
        traps: Artifact::parse(&binary.content).map_or(TrapMode::Explicit, |a| a.traps),
        ..RuntimeConfig::new(app.application.clone())
    };
    let platform = LinuxPlatform::new().map_err(|e| e.to_string())?;
    let mut runtime = Runtime::new(config, platform).map_err(|e| e.to_string())?;
    for group in &app.application.custom_groups {
        runtime.register_group(stand_in(group, &Nowhere)).map_err(|e| e.to_string())?;
    }
    // No code runs, so a quota could only be used up by this machine's other work.
    let policy = Policy { cpu_quota_us: 0, fuel_quota: 0, ..module.policy.clone() };
    runtime.load(&module.name, &binary.content, &policy).map(|_| ()).map_err(|e| e.to_string())
}
