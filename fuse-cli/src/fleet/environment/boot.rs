//! Environments that come up: shown while they do.

use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use clap::Args;
use fuse_orchestrator::model::{Environment, EnvironmentId, ForkRequest, SnapshotId};
use indicatif::{ProgressBar, ProgressStyle};

use super::BOOT_LIMIT;
use crate::fleet::{Session, rows, values};
use crate::outcome::{Outcome, Verdict};
use crate::output;

/// How often an environment that comes up is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How long a boot is waited for.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Do not wait until it runs
    #[arg(long)]
    no_wait: bool,
    /// Wait at most so long; it comes up all the same
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "10m")]
    wait: Duration,
}

impl Default for Wait {
    fn default() -> Self {
        Self { no_wait: false, wait: BOOT_LIMIT }
    }
}

/// Fork a running environment: the new one begins with its disk
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  fuse environment fork fuse-t1\n  fuse environment fork fuse-t1 --reuse-snapshot snap-0123"
)]
pub(crate) struct Fork {
    /// The environment
    id: EnvironmentId,
    /// Begin with this snapshot of it instead of a fresh one
    #[arg(long, value_name = "SNAPSHOT")]
    reuse_snapshot: Option<SnapshotId>,
    /// Words for people
    #[arg(long, default_value = "")]
    comment: String,
    #[command(flatten)]
    wait: Wait,
}

impl Fork {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let request = ForkRequest { reuse_snapshot_id: self.reuse_snapshot, comment: self.comment };
        let forked = session.fuse.fork(&self.id, request).await?;
        self.wait.finish(session, &forked).await
    }
}

impl Wait {
    /// Waits until `accepted` runs, and prints it.
    pub(super) async fn finish(&self, session: &Session, accepted: &Environment) -> Outcome {
        if self.no_wait {
            super::print(session, accepted);
            return Ok(Verdict::Fine);
        }
        let screen = Screen::new(session.format.is_table());
        let running = tokio::select! {
            running = session.fuse.wait_running(&accepted.id, self.wait) => running,
            never = screen.follow(session, &accepted.id) => match never {},
        };
        screen.end();
        let running = running?;
        if session.format.is_table() {
            let took = running.updated_at.since(running.created_at);
            // Nothing is left to tell anybody when standard error is closed.
            let _ = writeln!(
                std::io::stderr(),
                "{} runs after {}: {}",
                output::printable(running.id.as_str()),
                humantime::format_duration(Duration::from_millis(
                    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
                )),
                rows::phases(&running.timings)
            );
        }
        super::print(session, &running);
        Ok(Verdict::Fine)
    }
}

/// What is shown meanwhile: a line with the phases so far, on a terminal only.
struct Screen {
    bar: ProgressBar,
    begun: Instant,
}

impl Screen {
    fn new(for_people: bool) -> Self {
        let bar = if for_people && std::io::stderr().is_terminal() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, begun: Instant::now() }
    }

    async fn follow(&self, session: &Session, id: &EnvironmentId) -> std::convert::Infallible {
        loop {
            if !self.bar.is_hidden()
                && let Ok(now) = session.fuse.get(id).await
            {
                let elapsed = self.begun.elapsed().as_secs_f32();
                let phases = rows::phases(&now.timings);
                self.bar
                    .set_message(output::printable(&format!("{id} {}, {elapsed:.0} s  {phases}", now.state)));
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
