//! A guest that was restored from a snapshot becomes one of its own.

use std::{os::unix::fs::PermissionsExt, path::PathBuf, time::Duration};

use fuse_guest_protocol::{
    ErrorCode, GuestError,
    verb::{Renew, RenewResult, SetTime},
};
use tokio::{process::Command, time::timeout};

use super::{clock, entropy, identity, network};
use crate::{agent::Agent, verbs::Context};

/// Seconds that one hook may take.
const HOOK: Duration = Duration::from_secs(10);
/// Hooks that are run.
const HOOKS: usize = 64;

/// Renews entropy, clock, identity, network and token, runs the hooks, and lets programs go on that stood still. What does not work is said and does not keep
/// the rest from being done.
pub(crate) async fn run(context: &Context<'_>, renew: Renew) -> Result<RenewResult, GuestError> {
    let agent = context.agent;
    super::owned(agent)?;
    if !renew.entropy.is_empty() && !(32..=entropy::MOST).contains(&renew.entropy.len()) {
        return Err(GuestError::new(ErrorCode::Invalid, "entropy has 32 to 512 bytes"));
    }
    let mut result = RenewResult::default();
    let mut warn =
        |what: &str, error: &dyn std::fmt::Display| result.warnings.push(format!("{what}: {error}"));
    let mut reseeded = false;
    if !renew.entropy.is_empty() {
        match entropy::add(&renew.entropy) {
            Ok(()) => reseeded = true,
            Err(error) => warn("reseeding the random generator", &error),
        }
    }
    if let Some(unix_ns) = renew.unix_ns
        && let Err(error) = clock::set(SetTime { unix_ns })
    {
        warn("setting the clock", &error);
    }
    let mut machine_id = String::new();
    if renew.machine_id {
        match identity::new_machine_id() {
            Ok(id) => machine_id = id,
            Err(error) => warn("making a machine id", &error),
        }
    }
    if let Some(vm_id) = &renew.vm_id {
        agent.set_vm_id(vm_id);
        if let Err(error) = identity::set_name(vm_id) {
            warn("setting the host name", &error);
        }
    }
    if let Some(wanted) = &renew.network
        && let Err(error) = network::configure(wanted)
    {
        warn("setting the network", &error);
    }
    if let Some(token) = renew.token.clone() {
        context.greeting.set(Some(token.clone()));
        agent.tokens.set(token);
    }
    result.reseeded = reseeded;
    result.machine_id = machine_id;
    result.generation = agent.renewed();
    result.warnings.extend(hooks(agent).await);
    // Programs with the random numbers of another machine are better off standing still: the host decides.
    if (reseeded || renew.entropy.is_empty())
        && let Err(error) = agent.freezer.thaw()
    {
        result.warnings.push(error.message);
    }
    agent.logs.say(&format!("renewed for the {}. time", result.generation));
    Ok(result)
}

/// Runs the programs in `renew.d`, in the order of their names; what went wrong.
async fn hooks(agent: &Agent) -> Vec<String> {
    let mut programs: Vec<PathBuf> = std::fs::read_dir(agent.options.fuse_dir.join("renew.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o100 != 0)
        })
        .collect();
    programs.sort();
    let mut warnings = Vec::new();
    for program in programs.into_iter().take(HOOKS) {
        let mut command = Command::new(&program);
        command.env("FUSE_VM_ID", agent.vm_id()).kill_on_drop(true);
        let why = match timeout(HOOK, command.status()).await {
            Ok(Ok(status)) if status.success() => continue,
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took longer than 10 s".to_owned(),
        };
        warnings.push(format!("{}: {why}", program.display()));
    }
    warnings
}
