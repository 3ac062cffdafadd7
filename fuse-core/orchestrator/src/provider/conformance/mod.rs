//! The suite that every provider must pass.
//!
//! A test of a provider makes a [`Bench`] (a host with nothing of ours on it, and what it can do) and runs every case:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
//! use std::sync::Arc;
//! use fuse_orchestrator::provider::{conformance::{self, Bench}, stub::StubHost};
//!
//! let report = conformance::run(|| async {
//!     Bench::new(Arc::new(StubHost::new("h1", StubHost::standard_capacity())))
//! })
//! .await;
//! assert!(report.failed().is_empty(), "{report}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The guest must have a POSIX shell with `echo`, `cat`, `true`, `false`, `sleep`, `exit`, `rm` and `sync`. Every VM that
//! a case makes has the bench's prefix and a name that no other case uses, and is destroyed at its end.

mod guest;
mod life;
mod snapshots;

use std::{fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

use super::{CreateRequest, Provider, ProviderError, ProviderErrorKind, ProviderResult};
use crate::model::{EnvironmentId, OwnerId, Resources, VmName, VmPrefix};

/// What a host can do that not every host can. A case about something that it cannot do checks that it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Can {
    /// Keeps owner tags.
    pub owner: bool,
    /// Terminals.
    pub attach: bool,
    /// Logs.
    pub logs: bool,
    /// Snapshots and restores.
    pub snapshot: bool,
    /// Forks, and boots from snapshots.
    pub fork: bool,
    /// Deletes snapshots.
    pub delete_snapshot: bool,
    /// Starts the workload of the agent spec.
    pub workload: bool,
}

impl Can {
    /// Everything.
    pub const ALL: Self = Self {
        owner: true,
        attach: true,
        logs: true,
        snapshot: true,
        fork: true,
        delete_snapshot: true,
        workload: true,
    };
}

/// A host to try, and what to expect of it.
#[derive(Debug, Clone)]
pub struct Bench {
    /// The host.
    pub provider: Arc<dyn Provider>,
    /// What it can do.
    pub can: Can,
    /// The size of the VMs that are made.
    pub resources: Resources,
    /// The image that they boot from. Empty: the host's default.
    pub image: String,
    /// How long one verb may take until the case fails.
    pub patience: Duration,
    /// What the names of the VMs begin with.
    pub prefix: VmPrefix,
    /// Whose they are.
    pub owner: OwnerId,
}

impl Bench {
    /// A bench for a host that can do everything, with VMs of one processor and 128 MiB and patience of 60 s.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self {
            provider,
            can: Can::ALL,
            resources: Resources { cpus: 1, ram_mb: 128, storage_gb: 1 },
            image: String::new(),
            patience: Duration::from_secs(60),
            prefix: VmPrefix::standard(),
            owner: OwnerId::named("conformance"),
        }
    }

    fn vm(&self, case: &str) -> VmName {
        let environment = self.environment(case);
        self.prefix.vm(&environment, "conformance")
    }

    fn environment(&self, case: &str) -> EnvironmentId {
        EnvironmentId::named(&format!("{}{case}", self.prefix))
    }

    fn request(&self, case: &str) -> CreateRequest {
        CreateRequest {
            name: self.vm(case),
            owner: self.owner.clone(),
            environment_id: self.environment(case),
            resources: self.resources,
            region: String::new(),
            image: self.image.clone(),
            seed: None,
        }
    }

    /// Waits for a verb as long as it may take.
    async fn wait<T>(&self, what: &str, verb: impl Future<Output = T>) -> Result<T, String> {
        let late = |_| format!("{what} did not end within {} s", self.patience.as_secs());
        tokio::time::timeout(self.patience, verb).await.map_err(late)
    }

    /// Waits for a verb that must succeed.
    async fn ok<T>(&self, what: &str, verb: impl Future<Output = ProviderResult<T>>) -> Result<T, String> {
        self.wait(what, verb).await?.map_err(|error| format!("{what}: {error}"))
    }

    /// Waits for a verb that must fail in this way.
    async fn fails<T: fmt::Debug>(
        &self,
        what: &str,
        kind: ProviderErrorKind,
        verb: impl Future<Output = ProviderResult<T>>,
    ) -> Result<ProviderError, String> {
        match self.wait(what, verb).await? {
            Err(error) if error.kind == kind => Ok(error),
            Err(error) => {
                Err(format!("{what}: it must fail as {kind:?}, and failed as {:?}: {error}", error.kind))
            }
            Ok(answer) => Err(format!("{what}: it must fail as {kind:?}, and answered {answer:?}")),
        }
    }
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

type Outcome<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// One case.
#[derive(Clone, Copy)]
pub struct Case {
    /// What holds when it passes.
    pub name: &'static str,
    run: for<'a> fn(&'a Bench) -> Outcome<'a>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Case({})", self.name)
    }
}

impl Case {
    /// Runs the case on a bench.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub async fn run(&self, bench: &Bench) -> Result<(), String> {
        (self.run)(bench).await
    }
}

macro_rules! cases {
    ($($module:ident { $($name:ident,)+ })+) => {
        /// Every case, in the order in which they build on each other.
        pub const CASES: &[Case] = &[$($(
            Case { name: stringify!($name), run: |bench| Box::pin($module::$name(bench)) },
        )+)+];
    };
}

cases! {
    life {
    a_probe_tells_what_the_host_has,
    a_vm_is_made_found_and_removed,
    a_name_is_taken_once,
    what_is_not_there_is_not_found,
    destroy_is_idempotent,
    lists_are_complete_and_know_whose_a_vm_is,
    vms_are_made_side_by_side,
    a_dropped_create_leaves_something_that_can_be_destroyed,
    }
    guest {
    files_arrive_whole_and_replace_older_ones,
    commands_end_with_their_code_and_output,
    a_command_that_runs_out_of_time_ends_with_124,
    a_long_command_delays_no_other_verb,
    output_comes_as_a_stream,
    the_agent_starts_and_starts_anew,
    a_terminal_shows_what_a_program_prints,
    logs_are_read_and_followed,
    errors_hold_no_secrets,
    }
    snapshots {
    a_vm_is_set_back_to_a_snapshot,
    snapshots_are_listed_in_order_and_outlive_their_vm,
    deleting_a_snapshot_is_idempotent,
    a_fork_begins_with_the_disk_of_its_source,
    a_vm_boots_from_a_snapshot,
    }
}

/// What became of the cases.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Each case with why it failed, if it did.
    pub cases: Vec<(&'static str, Option<String>)>,
}

impl Report {
    /// The cases that failed.
    #[must_use]
    pub fn failed(&self) -> Vec<&'static str> {
        self.cases.iter().filter(|(_, why)| why.is_some()).map(|(name, _)| *name).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, why) in &self.cases {
            match why {
                None => writeln!(f, "passed  {name}")?,
                Some(why) => writeln!(f, "FAILED  {name}: {why}")?,
            }
        }
        Ok(())
    }
}

/// Runs every case, each on a bench of its own.
pub async fn run<F: Future<Output = Bench>>(bench: impl Fn() -> F) -> Report {
    let mut report = Report::default();
    for case in CASES {
        let bench = bench().await;
        report.cases.push((case.name, case.run(&bench).await.err()));
    }
    report
}
