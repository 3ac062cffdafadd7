//! The command line: what can be asked for. Each group of commands has a module of its own.

use clap::{Parser, Subcommand};

use crate::module;
use crate::outcome::{EXIT_CODES, Outcome};
use crate::server;

/// Fuse runs code that you do not trust, next to code that must not fail.
#[derive(Debug, Parser)]
#[command(name = "fuse", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Print JSON for programs instead of text for people; errors too, as {"error": {kind, message}}
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make, compile, review and run edge modules
    #[command(after_help = EXIT_CODES)]
    Module {
        #[command(subcommand)]
        command: module::Command,
    },
    /// Run the REST control plane
    #[command(after_help = format!("{EXIT_CODES}\n\nExamples:\n  fuse serve\n  ORCH_AUTH_TOKEN=$(openssl rand -hex 32) fuse serve --data-dir /var/lib/fuse\n  fuse serve --config /etc/fuse/server.toml --check-config"))]
    Serve(server::Serve),
    /// Examine what the control plane needs, and say what to do about what is wrong
    #[command(after_help = format!("{EXIT_CODES}\n\nExamples:\n  fuse doctor\n  fuse doctor --config /etc/fuse/server.toml"))]
    Doctor(server::Doctor),
    /// Back up, restore and verify the state of the control plane, while it does not run
    #[command(after_help = EXIT_CODES)]
    State {
        #[command(subcommand)]
        command: server::State,
    },
}

impl Cli {
    /// Does what was asked for.
    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Module { command } => command.run(self.json),
            Command::Serve(serve) => serve.run(self.json),
            Command::Doctor(doctor) => doctor.run(self.json),
            Command::State { command } => command.run(self.json),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    /// Every command explains its exit codes, and all but the groups show an example.
    #[test]
    fn every_command_has_help_with_examples() {
        let cli = Cli::command();
        let module = cli.find_subcommand("module").unwrap();
        for command in module.get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "{} has no example", command.get_name());
            assert!(command.get_about().is_some());
        }
    }
}
