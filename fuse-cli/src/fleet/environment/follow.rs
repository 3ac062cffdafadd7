//! `fuse environment watch`.

use clap::Args;
use fuse_orchestrator::Delivery;
use fuse_orchestrator::model::{EnvironmentId, EnvironmentState, Subject};

use crate::fleet::{Session, event, interrupt::Interrupt};
use crate::outcome::{Outcome, Verdict};

/// Show what happens to an environment, until it has ended
#[derive(Debug, Args)]
#[command(after_help = "\
Ends with exit code 0 when the environment was destroyed, or is in the state of --until; with 1 when it failed.

Examples:
  fuse environment watch fuse-t1
  fuse environment watch fuse-t1 --until running")]
pub(crate) struct Follow {
    /// The environment
    id: EnvironmentId,
    /// End when it is in this state
    #[arg(long, value_name = "STATE")]
    until: Option<String>,
}

impl Follow {
    pub(super) async fn run(self, session: &Session) -> Outcome {
        let until = self.until.as_deref().map(super::state).transpose()?;
        // Taken before the look, so that nothing is missed in between; then told from the beginning.
        session.fuse.get(&self.id).await?;
        let mut events = session.fuse.events_about(Subject::Environment(self.id.clone()), 0);
        let mut interrupt = Interrupt::listen();
        loop {
            let delivery = tokio::select! {
                delivery = events.next() => delivery?,
                () = interrupt.wait() => return Ok(Verdict::Fine),
            };
            let Some(delivery) = delivery else { return Ok(Verdict::Fine) };
            event::show(session.format, &delivery, events.position());
            let Delivery::Event(event) = &delivery else { continue };
            let Some(state) = event.state else { continue };
            if Some(state) == until {
                return Ok(Verdict::Fine);
            }
            // A task id that is used again begins anew: then the end that is told is a former one.
            let has_ended =
                async || session.fuse.get(&self.id).await.map_or(true, |now| now.state.is_ended());
            match state {
                EnvironmentState::Destroyed if has_ended().await => return Ok(Verdict::Fine),
                EnvironmentState::Failed if has_ended().await => return Ok(Verdict::Problems),
                _ => {}
            }
        }
    }
}
