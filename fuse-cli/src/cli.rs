//! The command line: what can be asked for. Each group of commands has a module of its own.

use clap::{Parser, Subcommand};

use crate::completion::{Completion, Manual};
use crate::fleet::{self, Reach};
use crate::image;
use crate::module;
use crate::outcome::{EXIT_CODES, Outcome};
use crate::server;

/// Fuse runs code that you do not trust, next to code that must not fail.
#[derive(Debug, Parser)]
#[command(name = "fuse", version = fuse_server::VERSION, after_help = EXIT_CODES, disable_help_subcommand = true)]
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
    /// Environments: create, look at, use, end
    #[command(visible_alias = "env", after_help = EXIT_CODES)]
    Environment {
        #[command(flatten)]
        reach: Reach,
        #[command(subcommand)]
        command: fleet::environment::Command,
    },
    /// Hosts: add, look at, cordon, empty, remove
    #[command(after_help = EXIT_CODES)]
    Host {
        #[command(flatten)]
        reach: Reach,
        #[command(subcommand)]
        command: fleet::host::Command,
    },
    /// Snapshots of environments
    #[command(after_help = EXIT_CODES)]
    Snapshot {
        #[command(flatten)]
        reach: Reach,
        #[command(subcommand)]
        command: fleet::snapshot::Command,
    },
    /// What the control plane keeps failing at
    #[command(after_help = EXIT_CODES)]
    DeadLetter {
        #[command(flatten)]
        reach: Reach,
        #[command(subcommand)]
        command: fleet::dead_letter::Command,
    },
    /// What happens
    #[command(after_help = EXIT_CODES)]
    Event {
        #[command(flatten)]
        reach: Reach,
        #[command(subcommand)]
        command: fleet::event::Command,
    },
    /// Keys for callers of the API
    #[command(visible_alias = "apikey", after_help = EXIT_CODES)]
    ApiKey {
        #[command(flatten)]
        reach: Reach,
        #[command(subcommand)]
        command: fleet::api_key::Command,
    },
    Connect(Box<fleet::connect::Connect>),
    /// The control planes that you know
    #[command(after_help = EXIT_CODES)]
    Context {
        #[command(flatten)]
        reach: Reach,
        #[command(subcommand)]
        command: fleet::context::Command,
    },
    /// How a control plane is: its version, whether it is ready, what it holds
    #[command(after_help = format!("{EXIT_CODES}\n\nExamples:\n  fuse status\n  fuse status -o json"))]
    Status {
        #[command(flatten)]
        reach: Reach,
    },
    /// The figures of a control plane, as Prometheus reads them
    #[command(after_help = format!("{EXIT_CODES}\n\nExamples:\n  fuse metrics | grep fleet"))]
    Metrics {
        #[command(flatten)]
        reach: Reach,
    },
    Completion(Completion),
    Man(Manual),
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
    /// Make and list what microVMs on this machine boot from
    #[command(after_help = EXIT_CODES)]
    Image {
        #[command(subcommand)]
        command: image::Command,
    },
}

impl Cli {
    /// Whether errors go to standard output too, as JSON, which YAML readers take as well.
    pub(crate) fn prints_json(&self) -> bool {
        let reach = match &self.command {
            Command::Environment { reach, .. }
            | Command::Host { reach, .. }
            | Command::Snapshot { reach, .. }
            | Command::DeadLetter { reach, .. }
            | Command::Event { reach, .. }
            | Command::ApiKey { reach, .. }
            | Command::Context { reach, .. }
            | Command::Status { reach }
            | Command::Metrics { reach } => reach,
            Command::Connect(connect) => connect.reach(),
            _ => return self.json,
        };
        !reach.format(self.json).is_table()
    }

    /// Does what was asked for.
    pub(crate) fn run(self) -> Outcome {
        match self.command {
            Command::Module { command } => command.run(self.json),
            Command::Environment { reach, command } => {
                fleet::run(&reach, self.json, |session| command.run(session))
            }
            Command::Host { reach, command } => fleet::run(&reach, self.json, |session| command.run(session)),
            Command::Snapshot { reach, command } => {
                fleet::run(&reach, self.json, |session| command.run(session))
            }
            Command::DeadLetter { reach, command } => {
                fleet::run(&reach, self.json, |session| command.run(session))
            }
            Command::Event { reach, command } => {
                fleet::run(&reach, self.json, |session| command.run(session))
            }
            Command::ApiKey { reach, command } => {
                fleet::run(&reach, self.json, |session| command.run(session))
            }
            Command::Connect(connect) => connect.run(self.json),
            Command::Context { reach, command } => command.run(&reach, self.json),
            Command::Status { reach } => fleet::run(&reach, self.json, fleet::status::run),
            Command::Metrics { reach } => fleet::run(&reach, self.json, fleet::metrics::run),
            Command::Completion(completion) => completion.run(),
            Command::Man(manual) => manual.run(),
            Command::Serve(serve) => serve.run(self.json),
            Command::Doctor(doctor) => doctor.run(self.json),
            Command::State { command } => command.run(self.json),
            Command::Image { command } => command.run(self.json),
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
        fn check(command: &clap::Command) {
            for command in command.get_subcommands() {
                assert!(command.get_about().is_some(), "{} is not explained", command.get_name());
                if command.has_subcommands() {
                    check(command);
                } else {
                    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                    assert!(help.contains("Examples:"), "{} has no example", command.get_name());
                }
            }
        }
        check(&Cli::command());
    }
}
