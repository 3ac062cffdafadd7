//! The workload: what the environment is for.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Token;

/// Starts the workload, with its gateway. One that runs already with the same command is left alone; one with another is
/// ended first.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StartWorkload {
    /// The VM's name, from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vm_id: Option<String>,
    /// A command line for `sh -lc`. None: there is no workload, only the gateway is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Variables beside those of `/fuse/env`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The working directory. None: the workspace if it exists, else `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The gateway, for the workload as `FUSE_GATEWAY_URL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The token for the gateway, for the workload as `FUSE_GATEWAY_TOKEN`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway_token: Option<Token>,
}

impl fmt::Debug for StartWorkload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StartWorkload")
            .field("vm_id", &self.vm_id)
            .field("command", &self.command)
            .field("env", &self.env.keys())
            .field("cwd", &self.cwd)
            .field("gateway", &self.gateway)
            .finish_non_exhaustive()
    }
}

/// Ends the workload: SIGTERM to its process group, and SIGKILL when the time is up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopWorkload {
    /// Milliseconds between the two, at most 600,000.
    #[serde(default = "StopWorkload::default_grace")]
    pub grace_ms: u64,
}

impl StopWorkload {
    fn default_grace() -> u64 {
        10_000
    }
}

impl Default for StopWorkload {
    fn default() -> Self {
        Self { grace_ms: Self::default_grace() }
    }
}

/// Asks for [`WorkloadFacts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WorkloadStatus {}

/// What the workload does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkloadState {
    /// There is none.
    #[default]
    None,
    /// It runs.
    Running,
    /// It is being ended.
    Stopping,
    /// It ended.
    Exited,
}

/// What the workload does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkloadFacts {
    /// What it does.
    pub state: WorkloadState,
    /// Its process, while it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How it ended; 128 + the signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Milliseconds that it has run, or ran.
    pub ran_ms: u64,
}

/// Tells the workload to finish: runs the command, then ends the workload as [`StopWorkload`] does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// A command line for `sh -lc`. None: SIGTERM is all the workload gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// Milliseconds for all of it, at most 600,000.
    #[serde(default = "Drain::default_timeout")]
    pub timeout_ms: u64,
}

impl Drain {
    fn default_timeout() -> u64 {
        30_000
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self { command: None, timeout_ms: Self::default_timeout() }
    }
}

/// What a drain came to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DrainResult {
    /// The exit code of the command; 0 when there was none.
    pub exit_code: i32,
    /// The last 4 KiB of what the command wrote.
    pub output: String,
    /// What the workload does now.
    pub workload: WorkloadFacts,
}
