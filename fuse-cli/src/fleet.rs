//! Commands that talk to a control plane: environments, hosts, snapshots and what else a fleet has.

use std::future::Future;

use clap::Args;
use fuse_orchestrator::{Connection, Orchestrator};

use crate::outcome::{Failure, Outcome};

pub(crate) mod api_key;
pub(crate) mod connect;
pub(crate) mod context;
pub(crate) mod dead_letter;
pub(crate) mod environment;
pub(crate) mod event;
pub(crate) mod failure;
pub(crate) mod format;
pub(crate) mod host;
mod interrupt;
pub(crate) mod metrics;
mod rows;
pub(crate) mod snapshot;
pub(crate) mod status;
mod values;
mod watch;

use format::Format;

/// Which control plane, and how answers are printed.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// Talk to the control plane of this context, instead of FUSE_URL or the current one
    #[arg(long, global = true, value_name = "NAME")]
    context: Option<String>,
    /// How answers are printed
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

impl Reach {
    /// How answers are printed: `--json` says it too.
    pub(crate) fn format(&self, json: bool) -> Format {
        self.output.unwrap_or(if json { Format::Json } else { Format::Table })
    }
}

/// A command on its way: who is asked, and how answers are printed.
pub(crate) struct Session {
    pub(crate) fuse: Orchestrator,
    pub(crate) connection: Connection,
    pub(crate) format: Format,
}

/// Connects as `reach` says, and does `work`.
pub(crate) fn run<T, F>(reach: &Reach, json: bool, work: impl FnOnce(Session) -> F) -> Outcome<T>
where
    F: Future<Output = Outcome<T>>,
{
    let connection = context::target(reach.context.as_deref())?.connect()?;
    let session = Session { fuse: connection.clone().into(), connection, format: reach.format(json) };
    block_on(work(session))
}

/// Does `work` on a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::io("start threads for", std::path::Path::new("fuse")))?;
    let outcome = runtime.block_on(work);
    // A read of the keyboard that is under way never ends.
    runtime.shutdown_background();
    outcome
}
