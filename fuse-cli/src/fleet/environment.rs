//! `fuse environment …`.

use std::time::Duration;

use clap::{Args, Subcommand};
use fuse_orchestrator::model::{
    Environment, EnvironmentFilter, EnvironmentId, EnvironmentState, HostId, TaskId,
};
use fuse_orchestrator::wire::{self, EnvironmentList};

use super::{Session, rows, values, watch::Watch};
use crate::outcome::{Failure, Outcome, Verdict};

mod boot;
mod create;
mod exec;
mod follow;
mod logs;
mod shell;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Create(Box<create::Create>),
    /// List environments; those that ended only with --state
    #[command(
        after_help = "Examples:\n  fuse environment list --watch\n  fuse environment list --state failed\n  fuse environment list --host h1 -o json"
    )]
    List(List),
    /// Show one environment, also one that ended lately
    #[command(
        after_help = "Examples:\n  fuse environment get fuse-t1\n  fuse environment get fuse-t1 -o json | jq .timings"
    )]
    Get {
        /// The environment
        id: EnvironmentId,
        #[command(flatten)]
        watch: Watch,
    },
    Watch(follow::Follow),
    Logs(logs::Logs),
    Exec(exec::Exec),
    Shell(shell::Shell),
    Fork(boot::Fork),
    /// Tell an environment to end its work
    #[command(after_help = "Examples:\n  fuse environment drain fuse-t1")]
    Drain {
        /// The environment
        id: EnvironmentId,
    },
    /// Destroy environments, whatever they are doing
    #[command(
        visible_alias = "rm",
        after_help = "Examples:\n  fuse environment destroy fuse-t1 fuse-t2 --yes"
    )]
    Destroy {
        /// The environments
        #[arg(required = true)]
        ids: Vec<EnvironmentId>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Give an environment new credentials; the old token stops working
    #[command(after_help = "Examples:\n  fuse environment rotate-token fuse-t1")]
    RotateToken {
        /// The environment
        id: EnvironmentId,
    },
}

/// Which environments are shown.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only in this state: provisioning, running, draining, destroying, failed or destroyed
    #[arg(long)]
    state: Option<String>,
    /// Only on this host
    #[arg(long, value_name = "ID")]
    host: Option<HostId>,
    /// Only of this task
    #[arg(long, value_name = "ID")]
    task: Option<TaskId>,
    /// At most so many
    #[arg(long, default_value_t = 1_000)]
    limit: usize,
    #[command(flatten)]
    watch: Watch,
}

impl Command {
    pub(crate) async fn run(self, session: Session) -> Outcome {
        let (fuse, format) = (&session.fuse, session.format);
        match self {
            Self::Create(create) => return create.run(&session).await,
            Self::List(list) => return list.run(&session).await,
            Self::Get { id, watch } => {
                let look = async || {
                    let environment = fuse.get(&id).await?;
                    Ok(format
                        .render(&wire::Environment::from(&*environment), || rows::environment(&environment)))
                };
                return watch.show(look).await;
            }
            Self::Watch(follow) => return follow.run(&session).await,
            Self::Logs(logs) => return logs.run(&session).await,
            Self::Exec(exec) => return exec.run(&session).await,
            Self::Shell(shell) => return shell.run(&session).await,
            Self::Fork(fork) => return fork.run(&session).await,
            Self::Drain { id } => print(&session, &*fuse.drain(&id).await?),
            Self::Destroy { ids, yes } => {
                let names: Vec<_> = ids.iter().map(ToString::to_string).collect();
                values::confirm(yes, &format!("destroy {}", names.join(", ")))?;
                for id in &ids {
                    fuse.destroy(id).await?;
                }
                format.done(&format!("destroyed: {}", names.join(", ")));
            }
            Self::RotateToken { id } => {
                fuse.rotate_token(&id).await?;
                format.done(&format!("{id} has a new token"));
            }
        }
        Ok(Verdict::Fine)
    }
}

fn print(session: &Session, environment: &Environment) {
    session.format.print(&wire::Environment::from(environment), || rows::environment(environment));
}

impl List {
    async fn run(&self, session: &Session) -> Outcome {
        let filter = EnvironmentFilter {
            task_id: self.task.clone(),
            state: self.state.as_deref().map(state).transpose()?,
            host_id: self.host.clone(),
        };
        let look = async || {
            let (mut items, mut cursor) = (Vec::new(), None::<String>);
            while items.len() < self.limit {
                let page =
                    session.fuse.list(&filter, Some(self.limit - items.len()), cursor.as_deref()).await?;
                items.extend(page.items);
                cursor = page.next_cursor;
                if cursor.is_none() {
                    break;
                }
            }
            let environments = items.iter().map(|item| wire::Environment::from(&**item)).collect();
            let body = EnvironmentList { environments, next_cursor: cursor };
            Ok(session.format.render(&body, || rows::environments(items.iter().map(|item| &**item))))
        };
        self.watch.show(look).await
    }
}

fn state(name: &str) -> Outcome<EnvironmentState> {
    EnvironmentState::ALL.into_iter().find(|state| state.as_str() == name).ok_or_else(|| {
        let all = EnvironmentState::ALL.map(EnvironmentState::as_str).join(", ");
        Failure::Usage(format!("{name:?} is no state of an environment; there are {all}"))
    })
}

/// How long a boot is waited for when nothing is said.
const BOOT_LIMIT: Duration = Duration::from_secs(600);
