//! `fuse module …`: edge modules from source to review and trial run.

use clap::Subcommand;

use crate::outcome::Outcome;

mod application;
mod binary;
mod camera;
mod check;
mod compile;
mod config;
mod contract;
mod groups;
mod inspect;
mod new;
mod pack;
mod run;
mod stack;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    New(new::Args),
    Compile(compile::Args),
    Pack(pack::Args),
    Inspect(inspect::Args),
    Check(check::Args),
    Run(run::Args),
}

impl Command {
    pub(crate) fn run(self, json: bool) -> Outcome {
        match self {
            Self::New(args) => new::run(&args, json),
            Self::Compile(args) => compile::run(&args, json),
            Self::Pack(args) => pack::run(&args, json),
            Self::Inspect(args) => inspect::run(&args, json),
            Self::Check(args) => check::run(&args, json),
            Self::Run(args) => run::run(&args, json),
        }
    }
}
