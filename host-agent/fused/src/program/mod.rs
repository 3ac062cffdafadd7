//! Programs: how they are started, and how they are ended.

pub(crate) mod environment;
pub(crate) mod exec;
pub(crate) mod freezer;
pub(crate) mod logs;
pub(crate) mod terminal;
pub(crate) mod workload;

use std::{collections::BTreeMap, path::Path, process::ExitStatus};

use fuse_guest_protocol::{ErrorCode, GuestError, verb::ExecResult};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};

use crate::agent::Agent;

/// The exit code of a program whose time was up.
pub(crate) const TIMED_OUT: i32 = 124;

/// A program to start: exactly one of `argv` and `shell`.
pub(crate) fn command(
    agent: &Agent,
    argv: &[String],
    shell: Option<&str>,
    env: &BTreeMap<String, String>,
    cwd: Option<&str>,
) -> Result<Command, GuestError> {
    let invalid = |text: &str| Err(GuestError::new(ErrorCode::Invalid, text));
    let mut command = match (argv.split_first(), shell) {
        (Some(_), Some(_)) => return invalid("argv and shell cannot both be given"),
        (None, None) => return invalid("either argv or shell must be given"),
        (None, Some(line)) => {
            let mut command = Command::new("sh");
            command.arg("-lc").arg(line);
            command
        }
        (Some((program, _)), None) if program.is_empty() => return invalid("the program's name is empty"),
        (Some((program, rest)), None) => {
            let mut command = Command::new(program);
            command.args(rest);
            command
        }
    };
    environment::apply(&mut command, agent, env)?;
    match cwd {
        Some(cwd) => command.current_dir(cwd),
        None => command.current_dir(workspace(agent)),
    };
    command.kill_on_drop(false);
    Ok(command)
}

/// The manifest's workspace if it is there, else `/`.
fn workspace(agent: &Agent) -> String {
    let text = std::fs::read(&agent.options.manifest).unwrap_or_default();
    let manifest: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let workspace = manifest["machine"]["workspace"].as_str().unwrap_or("/workspace");
    if Path::new(workspace).is_dir() { workspace.to_owned() } else { "/".to_owned() }
}

/// Starts a program that leads a process group of its own, in the control group of all programs. Waits while those stand
/// still.
pub(crate) async fn spawn(agent: &Agent, mut command: Command) -> Result<(Child, Group), GuestError> {
    agent.freezer.enlist(&mut command);
    // Nothing is awaited from here to the start, and there is one thread: programs cannot begin to stand still between.
    agent.freezer.running().await;
    let child = command.spawn().map_err(|error| {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        let cwd = command.as_std().get_current_dir().map(|cwd| cwd.display().to_string()).unwrap_or_default();
        GuestError::io(format!("starting {program} in {cwd}"), &error)
    })?;
    let group = Group::of(&child);
    Ok((child, group))
}

/// The process group of a program; killed when dropped, unless it was let go.
#[derive(Debug)]
pub(crate) struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw))
    }

    /// Sends a signal to all of it. That it is gone already is no error.
    pub(crate) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// The program has ended: what it left behind in its group may stay.
    pub(crate) fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// How a program ended.
pub(crate) fn result(status: ExitStatus) -> ExecResult {
    use std::os::unix::process::ExitStatusExt;
    let signal = status.signal();
    let exit_code = status.code().or(signal.map(|signal| 128 + signal)).unwrap_or(-1);
    ExecResult { exit_code, signal, timed_out: false }
}

/// A signal by its number, if the system has it.
pub(crate) fn signal_of(number: i32) -> Option<Signal> {
    Signal::from_named_raw(number)
}
