//! The program `fuse`.
#![forbid(unsafe_code)]

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::thread;

use clap::Parser as _;

mod cli;
mod completion;
mod fleet;
mod image;
mod module;
mod outcome;
mod output;
mod server;
mod wasm;

/// A server allocates on one thread and frees on another all day, which the allocator of the C library pays for with locks.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Stack of the thread that steps modules: what the largest `stack_size` takes, and as much again for the rest.
const STACK_BYTES: usize = 2 * fuse_edge::STACK_BYTES_LIMIT as usize + (4 << 20);

fn main() -> ExitCode {
    let words = server::spelled(std::env::args_os());
    let cli = cli::Cli::try_parse_from(words).unwrap_or_else(|e| refuse(&e));
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

/// Ends the program with what is wrong with its command line, or with the help that was asked for.
fn refuse(error: &clap::Error) -> ! {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        print_error("usage", error.to_string().trim_end());
    }
    error.exit()
}

/// Prints an error for programs.
fn print_error(kind: &str, message: &str) {
    let error = serde_json::json!({"error": {"kind": kind, "message": message}});
    // Nothing is left to tell anybody when standard output is closed.
    let _ = io::stdout().lock().write_all(output::to_json(&error).as_bytes());
}

fn run(cli: cli::Cli) -> ExitCode {
    let json = cli.prints_json();
    match cli.run() {
        Ok(verdict) => verdict.into(),
        Err(failure) => {
            eprintln!("error: {}", output::printable(&failure.to_string()));
            if let Some(next) = failure.next() {
                eprintln!("  next: {}", output::printable(next));
            }
            if json {
                print_error(failure.kind(), &failure.to_string());
            }
            ExitCode::from(failure.code())
        }
    }
}
