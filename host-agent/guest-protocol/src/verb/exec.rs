//! Programs: exec and attach.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::LogSource;

/// Runs a program. Exactly one of `argv` and `shell` is given.
///
/// The program ends when its stream is given up, when the connection ends, and when its time is up: its whole process
/// group gets SIGKILL.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Exec {
    /// The program and its arguments. A program without `/` is looked up in `PATH`.
    pub argv: Vec<String>,
    /// A command line for `sh -lc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// Variables beside those of the guest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The working directory. None: the workspace if it exists, else `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Milliseconds until it is killed; 0: 600,000, which is also the most.
    pub timeout_ms: u64,
    /// Whether INPUT comes. Otherwise the program reads from `/dev/null`.
    pub stdin: bool,
    /// A log that gets the output too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSource>,
}

impl Exec {
    /// The longest time a program may take, in milliseconds.
    pub const MAX_TIMEOUT_MS: u64 = 600_000;

    /// A program with its arguments.
    #[must_use]
    pub fn argv<I: IntoIterator<Item = S>, S: Into<String>>(argv: I) -> Self {
        Self { argv: argv.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// A command line for `sh -lc`.
    #[must_use]
    pub fn shell(line: impl Into<String>) -> Self {
        Self { shell: Some(line.into()), ..Self::default() }
    }

    /// The time that counts, in milliseconds.
    #[must_use]
    pub fn timeout_ms(&self) -> u64 {
        if self.timeout_ms == 0 { Self::MAX_TIMEOUT_MS } else { self.timeout_ms.min(Self::MAX_TIMEOUT_MS) }
    }
}

/// Values of variables may be secrets, so only their names are shown.
impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("argv", &self.argv)
            .field("shell", &self.shell)
            .field("env", &self.env.keys())
            .field("cwd", &self.cwd)
            .field("timeout_ms", &self.timeout_ms)
            .field("stdin", &self.stdin)
            .field("log", &self.log)
            .finish()
    }
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExecResult {
    /// Its exit code; 128 + the signal that ended it; 124 when its time was up.
    pub exit_code: i32,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Whether its time was up.
    pub timed_out: bool,
}

/// Runs a program on a terminal.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Attach {
    /// The program and its arguments; empty: a login shell.
    pub argv: Vec<String>,
    /// Variables beside those of the guest. `TERM` is `xterm-256color` unless given.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The working directory. None: the workspace if it exists, else `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// The size of the terminal.
    #[serde(flatten)]
    pub size: Size,
}

impl fmt::Debug for Attach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attach")
            .field("argv", &self.argv)
            .field("env", &self.env.keys())
            .field("cwd", &self.cwd)
            .field("size", &self.size)
            .finish()
    }
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Size {
    /// Rows, 1 to 65535.
    pub rows: u16,
    /// Columns, 1 to 65535.
    pub cols: u16,
}

impl Default for Size {
    fn default() -> Self {
        Self { rows: 24, cols: 80 }
    }
}

/// A signal for a running program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalRequest {
    /// Its number, 1 to 64. The program's whole process group gets it.
    pub signal: i32,
}
