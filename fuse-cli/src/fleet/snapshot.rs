//! `fuse snapshot …`.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::{Args, Subcommand};
use fuse_orchestrator::model::{
    EnvironmentId, SnapshotFilter, SnapshotId, SnapshotMode, SnapshotRequest, SnapshotState, TaskId,
};
use fuse_orchestrator::wire::{self, SnapshotList};

use super::{Session, rows, values, watch::Watch};
use crate::outcome::{Failure, Outcome, Verdict};

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take a snapshot of a running environment
    #[command(
        after_help = "Examples:\n  fuse snapshot create fuse-t1 --comment 'before the upgrade'\n  fuse snapshot create fuse-t1 --retention 24h"
    )]
    Create(Create),
    /// List snapshots, newest first
    #[command(
        after_help = "Examples:\n  fuse snapshot list\n  fuse snapshot list --environment fuse-t1 -o yaml"
    )]
    List(List),
    /// Show one snapshot
    #[command(after_help = "Examples:\n  fuse snapshot get snap-0123")]
    Get {
        /// The snapshot
        id: SnapshotId,
    },
    /// Set the environment of a snapshot back to it
    #[command(after_help = "Examples:\n  fuse snapshot restore snap-0123")]
    Restore {
        /// The snapshot
        id: SnapshotId,
    },
    /// Delete snapshots
    #[command(after_help = "Examples:\n  fuse snapshot delete snap-0123 --yes")]
    Delete {
        /// The snapshots
        #[arg(required = true)]
        ids: Vec<SnapshotId>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}

/// A snapshot to take.
#[derive(Debug, Args)]
pub(crate) struct Create {
    /// The environment
    environment: EnvironmentId,
    /// Words for people
    #[arg(long, default_value = "")]
    comment: String,
    /// A name to find it by
    #[arg(long)]
    name: Option<String>,
    /// Keep it for this long; until it is deleted when nothing is said
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    retention: Option<Duration>,
    /// Data of your own
    #[arg(long, value_name = "KEY=VALUE", value_parser = values::pair)]
    metadata: Vec<(String, String)>,
    /// With memory and processor state, where the host can
    #[arg(long)]
    live: bool,
}

/// Which snapshots are shown.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only of this environment
    #[arg(long, value_name = "ID")]
    environment: Option<EnvironmentId>,
    /// Only of this task
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// Only in this state: creating, ready, restoring, deleting or error
    #[arg(long)]
    state: Option<String>,
    /// Only with this name
    #[arg(long)]
    name: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 200)]
    limit: usize,
    #[command(flatten)]
    watch: Watch,
}

impl Command {
    pub(crate) async fn run(self, session: Session) -> Outcome {
        let (fuse, format) = (&session.fuse, session.format);
        match self {
            Self::Create(create) => {
                let mut metadata: BTreeMap<_, _> = create.metadata.into_iter().collect();
                metadata.extend(create.name.map(|name| ("name".to_owned(), name)));
                let request = SnapshotRequest {
                    comment: create.comment,
                    mode: SnapshotMode::Manual,
                    retention_seconds: create.retention.unwrap_or_default().as_secs(),
                    metadata,
                    live: create.live,
                };
                let snapshot = fuse.create_snapshot(&create.environment, request).await?;
                format.print(&wire::Snapshot::from(&*snapshot), || rows::snapshot(&snapshot));
            }
            Self::List(list) => {
                let filter = list.filter()?;
                let look = async || {
                    let (mut items, mut cursor) = (Vec::new(), None::<String>);
                    while items.len() < list.limit {
                        let page = fuse
                            .snapshots(&filter, Some(list.limit - items.len()), cursor.as_deref())
                            .await?;
                        items.extend(page.items);
                        cursor = page.next_cursor;
                        if cursor.is_none() {
                            break;
                        }
                    }
                    let snapshots = items.iter().map(|item| wire::Snapshot::from(&**item)).collect();
                    let body = SnapshotList { snapshots, next_cursor: cursor };
                    Ok(format.render(&body, || rows::snapshots(items.iter().map(|item| &**item))))
                };
                return list.watch.show(look).await;
            }
            Self::Get { id } => {
                let snapshot = fuse.snapshot(&id).await?;
                format.print(&wire::Snapshot::from(&*snapshot), || rows::snapshot(&snapshot));
            }
            Self::Restore { id } => {
                fuse.restore_snapshot(&id).await?;
                format.done(&format!("the environment of {id} is set back to it"));
            }
            Self::Delete { ids, yes } => {
                let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
                values::confirm(yes, &format!("delete {}", names.join(", ")))?;
                for id in &ids {
                    fuse.delete_snapshot(id).await?;
                }
                format.done(&format!("deleted: {}", names.join(", ")));
            }
        }
        Ok(Verdict::Fine)
    }
}

impl List {
    fn filter(&self) -> Outcome<SnapshotFilter> {
        let state = match self.state.as_deref() {
            None => None,
            Some(name) => match SnapshotState::ALL.into_iter().find(|state| state.as_str() == name) {
                Some(state) => Some(state),
                None => {
                    let all = SnapshotState::ALL.map(SnapshotState::as_str).join(", ");
                    return Err(Failure::Usage(format!(
                        "{name:?} is no state of a snapshot; there are {all}"
                    )));
                }
            },
        };
        Ok(SnapshotFilter {
            environment_id: self.environment.clone(),
            task_id: self.task.clone(),
            state,
            name: self.name.clone(),
            ..SnapshotFilter::default()
        })
    }
}
