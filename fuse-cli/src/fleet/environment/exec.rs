//! `fuse environment exec`.

use std::io::{self, Write as _};
use std::time::Duration;

use clap::Args;
use fuse_orchestrator::model::EnvironmentId;
use fuse_orchestrator::provider::ExecRequest;
use fuse_orchestrator::wire;

use crate::fleet::{Session, values};
use crate::outcome::{Outcome, Verdict};

/// Run a command in an environment, and end with its exit code
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with the exit code of the command (124 when it ran out of time), or with 125 when it could not be run.

Examples:
  fuse environment exec fuse-t1 -- ls -l /
  fuse environment exec fuse-t1 --shell 'cat /etc/os-release | head -1'
  fuse environment exec fuse-t1 --timeout 5m -- make test")]
pub(crate) struct Exec {
    /// The environment
    id: EnvironmentId,
    /// A command line for sh -lc
    #[arg(long, value_name = "LINE", conflicts_with = "command")]
    shell: Option<String>,
    /// Kill it after this time, at most 10m
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "60s")]
    timeout: Duration,
    /// The program and its arguments
    #[arg(last = true, required_unless_present = "shell")]
    command: Vec<String>,
}

impl Exec {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let request = match &self.shell {
            Some(line) => ExecRequest::shell(line, self.timeout),
            None => ExecRequest { argv: self.command, timeout: self.timeout },
        };
        let output = session
            .fuse
            .exec(&self.id, request)
            .await
            .map_err(|error| crate::outcome::Failure::from(error).of_guest())?;
        if session.format.is_table() {
            // Nothing is left to tell anybody when these are closed.
            let _ = io::stdout().lock().write_all(&output.stdout);
            let _ = io::stderr().lock().write_all(&output.stderr);
        } else {
            session.format.print(&wire::ExecResult::from(&output), String::new);
        }
        Ok(Verdict::of_guest(output.exit_code))
    }
}
