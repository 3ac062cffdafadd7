//! The program `fuse`.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::thread;

use clap::Parser as _;

mod cli;
mod module;
mod outcome;
mod output;
mod wasm;

/// Stack of the thread that steps modules: what the largest `stack_size` takes, and as much again for the rest.
const STACK_BYTES: usize = 2 * fuse_edge::STACK_BYTES_LIMIT as usize + (4 << 20);

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match thread::Builder::new().stack_size(STACK_BYTES).spawn(|| run(cli)).map(thread::JoinHandle::join) {
        Ok(Ok(code)) => code,
        // The panic has said what happened.
        Ok(Err(_)) => ExitCode::from(101),
        Err(e) => {
            eprintln!("error: cannot start a thread: {e}");
            ExitCode::from(3)
        }
    }
}

fn run(cli: cli::Cli) -> ExitCode {
    let json = cli.json;
    match cli.run() {
        Ok(verdict) => verdict.into(),
        Err(failure) => {
            eprintln!("error: {}", output::printable(&failure.to_string()));
            if json {
                let error = serde_json::json!({"kind": failure.kind(), "message": failure.to_string()});
                print!("{}", output::to_json(&serde_json::json!({ "error": error })));
            }
            ExitCode::from(failure.code())
        }
    }
}
