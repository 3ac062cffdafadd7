//! `fuse dead-letter …`: what the control plane keeps failing at.

use clap::Subcommand;
use fuse_orchestrator::wire::{self, DeadLetterList};

use super::{Session, rows};
use crate::outcome::{Outcome, Verdict};
use crate::output::Table;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the dead letters
    #[command(after_help = "Examples:\n  fuse dead-letter list")]
    List,
    /// Try now what a dead letter is about
    #[command(after_help = "Examples:\n  fuse dead-letter retry destroy:fuse-t1")]
    Retry {
        /// The letter
        id: String,
    },
    /// Take a dead letter away; work behind it goes on, and writes a new one when it fails again
    #[command(after_help = "Examples:\n  fuse dead-letter dismiss stuck_task:fuse-t1")]
    Dismiss {
        /// The letter
        id: String,
    },
}

impl Command {
    pub(crate) async fn run(self, session: Session) -> Outcome {
        let fuse = &session.fuse;
        match self {
            Self::List => {
                let letters = fuse.dead_letters().await?;
                let list =
                    DeadLetterList { dead_letters: letters.iter().map(wire::DeadLetter::from).collect() };
                session.format.print(&list, || {
                    let mut table = Table::new(&["ID", "HOST", "TRIES>", "SINCE>", "LAST>", "REASON"]);
                    for letter in &letters {
                        table.row([
                            letter.key(),
                            letter.host_id.as_ref().map(ToString::to_string).unwrap_or_default(),
                            letter.retry_count.to_string(),
                            rows::age(letter.first_seen_at),
                            rows::age(letter.last_seen_at),
                            letter.reason.clone(),
                        ]);
                    }
                    if table.is_empty() { "no dead letters\n".to_owned() } else { table.text() }
                });
            }
            Self::Retry { id } => {
                fuse.retry_dead_letter(&id).await?;
                session.format.done(&format!("{id} was tried again, and is settled"));
            }
            Self::Dismiss { id } => {
                fuse.dismiss_dead_letter(&id).await?;
                session.format.done(&format!("{id} is dismissed"));
            }
        }
        Ok(Verdict::Fine)
    }
}
