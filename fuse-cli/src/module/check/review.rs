//! What is wrong between a policy and the binary that is to run under it.

use fuse_edge::hal::Capabilities;
use fuse_edge::{Activation, AppConfig, Application, ModuleDecl, PAGE_BYTES, Policy, STACK_BYTES_LIMIT};

use super::Severity;
use crate::module::binary::{ArtifactHeader, Binary};
use crate::module::config::Problem;
use crate::module::contract::{self, Resolution};
use crate::module::stack::StackBound;
use crate::output::{bytes, counted, grouped};
use crate::wasm::{Extern, WasmModule};

/// Largest `stack_size` that a runtime takes unless its host raises the limit.
const STACK_BYTES_DEFAULT: u32 = 512 * 1024;

/// The capabilities that the code of a module can use.
pub(super) fn used(module: &WasmModule, application: &Application) -> Capabilities {
    let mut all = Capabilities::NONE;
    for import in module.imports.iter().filter(|i| i.reachable) {
        if let Resolution::Provided { bit, .. } = contract::resolve(import, application) {
            all |= bit;
        }
    }
    all
}

/// Whether the application cannot be loaded while this problem is there. A call that the policy does not allow
/// only fails when it is made.
pub(super) fn prevents_loading(problem: &Problem) -> bool {
    problem.severity == Severity::Error && !problem.path.ends_with(".policy.capabilities")
}

/// What concerns all modules together.
pub(super) fn application(
    app: &AppConfig,
    paths: &[String],
    binaries: &[Option<Binary>],
    out: &mut Vec<Problem>,
) {
    for (index, group) in app.application.custom_groups.iter().enumerate() {
        if !app.modules.iter().any(|m| m.policy.capabilities.contains(group.capability())) {
            let what = format!("no policy grants the host group `{}`", group.name);
            out.push(Problem::warning(format!("$.application.custom_groups[{index}]"), what));
        }
    }
    for (name, id) in &app.application.events {
        if !app.modules.iter().any(|m| m.policy.event_subscribe.contains(*id)) {
            let what = format!("no module subscribes to event `{name}`");
            out.push(Problem::warning(format!("$.application.events.{name}"), what));
        }
    }
    memory_pool(app, paths, binaries, out);
}

fn memory_pool(app: &AppConfig, paths: &[String], binaries: &[Option<Binary>], out: &mut Vec<Problem>) {
    let pool = app.application.memory_pool_bytes;
    if pool == 0 {
        return;
    }
    let mut taken: u64 = 0;
    for ((module, path), binary) in app.modules.iter().zip(paths).zip(binaries) {
        let Some(wasm) = binary.as_ref().and_then(|b| b.module.as_ref()) else { continue };
        let initial = wasm.memories.first().map_or(0, |m| m.initial_pages).saturating_mul(PAGE_BYTES);
        let limit = module.policy.memory_budget(initial);
        if taken.saturating_add(limit) > pool {
            let what = format!(
                "it may reach {}, and {} of the pool's {} are left ($.application.memory_pool_bytes)",
                bytes(limit),
                bytes(pool - taken),
                bytes(pool)
            );
            out.push(Problem::error(format!("{path}.policy"), what));
        } else {
            taken += limit;
        }
    }
}

/// What concerns one module.
pub(super) fn module(
    app: &AppConfig,
    module: &ModuleDecl,
    path: &str,
    binary: Option<&Binary>,
    out: &mut Vec<Problem>,
) {
    let policy = &module.policy;
    schedule(policy, path, out);
    limits(policy, path, out);
    let Some(binary) = binary else { return };
    if let Some(header) = &binary.header {
        artifact(app, header, path, out);
    }
    let Some(wasm) = &binary.module else { return };
    for violation in contract::violations(wasm) {
        out.push(Problem::error(format!("{path}.binary"), violation));
    }
    if let Some(why) = &binary.refused {
        out.push(Problem::error(format!("{path}.binary"), why.clone()));
        return;
    }
    imports(&app.application, policy, wasm, path, out);
    memory(policy, wasm, path, out);
    stack(policy, &StackBound::of(wasm, binary.x86_64.as_deref()), path, out);
}

fn schedule(policy: &Policy, path: &str, out: &mut Vec<Problem>) {
    let events = policy.activation.contains(Activation::EVENT);
    let interval = policy.activation.contains(Activation::INTERVAL);
    if events && policy.event_subscribe.bits() == 0 {
        let what = if interval {
            "it asks for EVENT activation and subscribes to no event"
        } else {
            "it is activated by events and subscribes to none: it never runs in a tick"
        };
        out.push(Problem::warning(format!("{path}.policy.event_subscribe"), what));
    }
    if !events && policy.event_subscribe.bits() != 0 {
        let what = "it subscribes to events, and EVENT is not in its activation: they never wake it";
        out.push(Problem::warning(format!("{path}.policy.event_subscribe"), what));
    }
    if interval && policy.step_interval_us == 0 {
        let what = "it has INTERVAL activation with an interval of 0: it runs in every tick";
        out.push(Problem::warning(format!("{path}.policy.step_interval_us"), what));
    }
    if policy.cpu_quota_us == 0 && policy.fuel_quota == 0 {
        let what = "it has no quota: an endless loop in it holds up the whole application";
        out.push(Problem::warning(format!("{path}.policy"), what));
    }
}

fn limits(policy: &Policy, path: &str, out: &mut Vec<Problem>) {
    if policy.stack_size > STACK_BYTES_LIMIT {
        let what = format!("{} bytes; at most {STACK_BYTES_LIMIT} are possible", policy.stack_size);
        out.push(Problem::error(format!("{path}.policy.stack_size"), what));
    } else if policy.stack_size > STACK_BYTES_DEFAULT {
        let what = format!(
            "{} bytes: more than the {STACK_BYTES_DEFAULT} that a runtime takes unless its host raises stack_bytes_max",
            policy.stack_size
        );
        out.push(Problem::warning(format!("{path}.policy.stack_size"), what));
    }
    if policy.heap_size != 0 && u64::from(policy.heap_size) < PAGE_BYTES {
        let what =
            format!("{} bytes round down to no page of {PAGE_BYTES}: memory cannot grow", policy.heap_size);
        out.push(Problem::warning(format!("{path}.policy.heap_size"), what));
    }
}

fn artifact(app: &AppConfig, header: &ArtifactHeader, path: &str, out: &mut Vec<Problem>) {
    let at = || format!("{path}.binary");
    let metering = app.application.metering.name();
    if header.metering != metering && header.portable.is_none() {
        let what = format!(
            "the artifact was compiled for metering `{}`, the application uses `{metering}`; compile it again",
            header.metering
        );
        out.push(Problem::error(at(), what));
    } else if header.metering != metering {
        let what = format!(
            "the artifact was compiled for metering `{}`, the application uses `{metering}`: a host without a \
             compiler refuses it",
            header.metering
        );
        out.push(Problem::warning(at(), what));
    }
    if header.code_matches_portable == Some(false) {
        let what = "the artifact's code is not what its WebAssembly compiles to: what is reviewed is not what would run";
        out.push(Problem::error(at(), what));
    }
    if header.traps != fuse_edge::TrapMode::Explicit.name() {
        let what = format!("the artifact needs a runtime with trap mode `{}`", header.traps);
        out.push(Problem::warning(at(), what));
    }
    if header.portable.is_none() {
        let what =
            "the artifact carries no WebAssembly: imports, exports, memory and stack cannot be reviewed";
        out.push(Problem::warning(at(), what));
    }
}

fn imports(app: &Application, policy: &Policy, wasm: &WasmModule, path: &str, out: &mut Vec<Problem>) {
    let has_memory = matches!(wasm.export("memory"), Some(Extern::Memory(_)));
    for import in wasm.imports.iter().filter(|i| i.module == "env" && matches!(i.ty, Extern::Function(_))) {
        let name = &import.name;
        let error = match contract::resolve(import, app) {
            Resolution::Unknown => {
                format!("it imports `{name}`, which no HAL group of the application provides")
            }
            Resolution::WrongType { expected, .. } => {
                format!("it imports `{name}` as {}; its type is {expected}", import.ty)
            }
            Resolution::Disabled { group, .. } => {
                format!(
                    "it imports `{name}` of the HAL group `{group}`, which the application does not enable"
                )
            }
            Resolution::Provided { bit, capability, .. } => {
                if !policy.capabilities.contains(bit) {
                    out.push(without_capability(path, name, &capability, import.reachable));
                }
                if !contract::takes_pointer(import, app) || has_memory {
                    continue;
                }
                format!("it imports `{name}`, which takes a pointer, and exports no `memory`")
            }
        };
        out.push(Problem::error(format!("{path}.binary"), error));
    }
    for name in app.capability_names(policy.capabilities.without(used(wasm, app))) {
        let what =
            format!("{name} is granted and never used: no code of the module calls a function that needs it");
        out.push(Problem::warning(format!("{path}.policy.capabilities"), what));
    }
}

fn without_capability(path: &str, function: &str, capability: &str, reachable: bool) -> Problem {
    let at = format!("{path}.policy.capabilities");
    if reachable {
        return Problem::error(
            at,
            format!(
                "it calls `{function}`, which needs {capability}, and the policy does not grant that: the call is a \
             policy violation"
            ),
        );
    }
    Problem::warning(
        at,
        format!(
            "it imports `{function}`, which needs {capability}; the policy does not grant that, and no code calls it"
        ),
    )
}

fn memory(policy: &Policy, wasm: &WasmModule, path: &str, out: &mut Vec<Problem>) {
    if wasm.memories.len() > 1 {
        let what = format!("it has {} memories; one is possible", wasm.memories.len());
        out.push(Problem::error(format!("{path}.binary"), what));
    }
    let Some(memory) = wasm.memories.first() else { return };
    if memory.initial_pages > u64::from(policy.memory_pages_max) {
        let what = format!(
            "its memory starts with {}, at most {} may be",
            counted(memory.initial_pages, "page"),
            policy.memory_pages_max
        );
        out.push(Problem::error(format!("{path}.policy.memory_pages_max"), what));
    }
}

fn stack(policy: &Policy, bound: &StackBound, path: &str, out: &mut Vec<Problem>) {
    let at = format!("{path}.policy.stack_size");
    match bound.native_bytes {
        Some(need) if need > u64::from(policy.stack_size) => {
            let what = format!(
                "its calls can take up to {} bytes of stack ({}), {} are allowed",
                grouped(need),
                bound.chain.join(" -> "),
                grouped(u64::from(policy.stack_size))
            );
            out.push(Problem::warning(at, what));
        }
        Some(_) => {}
        None => {
            if let (None, Some(why)) = (bound.call_depth, &bound.why_not) {
                out.push(Problem::warning(at, format!("its stack is bounded by stack_size only; {why}")));
            }
        }
    }
}
