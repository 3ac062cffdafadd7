//! `fuse event …`: what happens.

use clap::{Args, Subcommand};
use fuse_orchestrator::{
    Delivery, Subscription,
    model::{self, EnvironmentId, HostId, SnapshotId, Subject},
    wire,
};

use super::format::Format;
use super::{Session, interrupt::Interrupt, rows};
use crate::outcome::{Outcome, Verdict};
use crate::output;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what happens, as it happens
    #[command(
        after_help = "Examples:\n  fuse event tail\n  fuse event tail --since 0 --no-follow -o json\n  fuse event tail --environment fuse-t1"
    )]
    Tail(Tail),
}

/// What is shown.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// Begin after the event with this number; 0 shows everything that is kept
    #[arg(long, value_name = "NUMBER")]
    since: Option<u64>,
    /// Only what is about this environment
    #[arg(long, value_name = "ID", group = "about")]
    environment: Option<EnvironmentId>,
    /// Only what is about this host
    #[arg(long, value_name = "ID", group = "about")]
    host: Option<HostId>,
    /// Only what is about this snapshot
    #[arg(long, value_name = "ID", group = "about")]
    snapshot: Option<SnapshotId>,
    /// End when everything that has happened was shown
    #[arg(long)]
    no_follow: bool,
}

impl Command {
    pub(crate) async fn run(self, session: Session) -> Outcome {
        let Self::Tail(tail) = self;
        let fuse = &session.fuse;
        let after = match tail.since {
            Some(after) => after,
            None => fuse.newest_event().await?,
        };
        let subject = tail
            .environment
            .map(Subject::Environment)
            .or(tail.host.map(Subject::Host))
            .or(tail.snapshot.map(Subject::Snapshot));
        let mut events = match subject {
            Some(subject) => fuse.events_about(subject, after),
            None => fuse.events(after),
        };
        let mut interrupt = Interrupt::listen();
        while let Some(delivery) = next(&mut events, tail.no_follow, &mut interrupt).await? {
            show(session.format, &delivery, events.position());
        }
        Ok(Verdict::Fine)
    }
}

/// The next event; none when it is asked for no longer.
async fn next(
    events: &mut Subscription,
    no_follow: bool,
    interrupt: &mut Interrupt,
) -> Outcome<Option<Delivery>> {
    if no_follow {
        return Ok(events.try_next().await?);
    }
    tokio::select! {
        delivery = events.next() => Ok(delivery?),
        () = interrupt.wait() => Ok(None),
    }
}

/// Prints one event.
pub(crate) fn show(format: Format, delivery: &Delivery, position: u64) {
    match delivery {
        Delivery::Event(event) => format.print_one(&wire::Event::from(&**event), || line(event)),
        Delivery::Lost { count } => {
            let lost = wire::Lost::new(*count, position);
            format.print_one(&lost, || format!("({count} events were removed from the log before this one)"));
        }
    }
}

fn line(event: &model::Event) -> String {
    let mut line = format!("{}  {:<20}  {}", event.time, event.event.as_str(), event.subject.id());
    if let Some(state) = event.state {
        line.push_str(&format!("  {state}"));
    }
    if let Some(reason) = &event.reason {
        line.push_str(&format!("  ({})", rows::reason(reason)));
    }
    for (name, value) in &event.details {
        line.push_str(&format!("  {name}={value}"));
    }
    output::printable(&line)
}
