//! The commands around the server: run it, examine its surroundings, carry its state away and back.

mod doctor;
mod local;
mod serve;
mod settings;
mod state;

use std::future::Future;
use std::io;
use std::path::PathBuf;

use crate::outcome::{Failure, Outcome};

pub(crate) use doctor::Doctor;
pub(crate) use serve::Serve;
pub(crate) use settings::spelled;
pub(crate) use state::State;

/// Runs asynchronous work to its end.
fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|source| Failure::Io { tried: "start threads for", path: own_path(), source })?;
    runtime.block_on(work)
}

fn own_path() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| PathBuf::from("fuse"))
}

/// Something about the server that cannot be used.
fn refused(what: &str, why: impl ToString) -> Failure {
    Failure::Refused { what: what.to_owned(), why: why.to_string() }
}

/// Text that could not be written to standard output.
fn unwritten(source: io::Error) -> Failure {
    Failure::Io { tried: "write to", path: PathBuf::from("standard output"), source }
}
