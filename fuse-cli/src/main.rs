//! The program `fuse`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

mod cli;
mod module;
mod outcome;
mod output;
mod wasm;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
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
