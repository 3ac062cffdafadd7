//! `fuse environment logs`.

use std::io::{self, IsTerminal as _};

use clap::{Args, ValueEnum};
use fuse_orchestrator::model::EnvironmentId;
use fuse_orchestrator::provider::LogSource;

use crate::fleet::{Session, format, interrupt::Interrupt};
use crate::outcome::{Outcome, Verdict};
use crate::output;

/// Which log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    /// What the guest wrote to its console
    Console,
    /// What the startup script wrote
    Startup,
    /// What the agent and its workload wrote
    Agent,
}

/// Show the end of a log of an environment, also of one that ended lately
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fuse environment logs fuse-t1\n  fuse environment logs -f --source agent fuse-t1"
)]
pub(crate) struct Logs {
    /// The environment
    id: EnvironmentId,
    /// Which log
    #[arg(long, value_enum, default_value_t = Source::Console)]
    source: Source,
    /// Go on with what is written from now on, until the environment has ended
    #[arg(short, long)]
    follow: bool,
}

impl Logs {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let source = match self.source {
            Source::Console => LogSource::Console,
            Source::Startup => LogSource::Startup,
            Source::Agent => LogSource::Agent,
        };
        if !self.follow {
            let text = session.fuse.logs(&self.id, source).await?;
            let value = serde_json::json!({ "source": source.as_str(), "text": text });
            session.format.print(&value, || shown(&text));
            return Ok(Verdict::Fine);
        }
        let mut log = session.fuse.follow_logs(&self.id, source).await?;
        let mut interrupt = Interrupt::listen();
        loop {
            let piece = tokio::select! {
                piece = log.next() => piece?,
                () = interrupt.wait() => None,
            };
            let Some(piece) = piece else { return Ok(Verdict::Fine) };
            if session.format.is_table() {
                format::write(&shown(&piece));
            } else {
                session
                    .format
                    .print_one(&serde_json::json!({ "source": source.as_str(), "text": piece }), String::new);
            }
        }
    }
}

/// The text as a terminal may have it: what a guest writes must not steer it. A file gets it as it is.
fn shown(text: &str) -> String {
    if !io::stdout().is_terminal() {
        return text.to_owned();
    }
    let keep =
        |c: char| if matches!(c, '\n' | '\t') { c.to_string() } else { output::printable(&c.to_string()) };
    text.chars().filter(|c| *c != '\r').map(keep).collect()
}
