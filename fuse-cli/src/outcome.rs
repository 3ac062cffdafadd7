//! How a command ends: its exit code, and errors that say what was tried, on what, and why it failed.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::fleet::failure;

/// The exit codes, as `--help` lists them.
pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0  done; nothing was found wrong
  1  done, and something is wrong: `check` found problems, `inspect` a breach of the contract,
     or a module failed under `run`
  2  the command line is not valid
  3  a file or folder could not be read or written
  4  the input was refused: not a module, an artifact or a configuration that the runtime takes,
     or a request that breaks a rule of the control plane
  5  there is no such environment, host, snapshot, key or letter
  6  it contradicts what is there: a task that is taken, an environment that does not run
  7  the token is missing, wrong, or may not do this
  8  not now: no answer, no capacity, or it took too long
  9  the control plane failed, or cannot do this
125  `environment exec` and `environment shell`: the command could not be run;
     every other exit code of these two is that of the command";

/// A command that did its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing was found wrong.
    Fine,
    /// The answer is that something is wrong.
    Problems,
    /// A command in a guest ended with this code.
    Guest(u8),
}

impl Verdict {
    /// What the exit code of a command in a guest means: the same, as far as an exit code can say it.
    pub(crate) fn of_guest(code: i32) -> Self {
        Self::Guest(u8::try_from(code).unwrap_or(255))
    }
}

/// A command that could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The arguments do not go together.
    #[error("{0}")]
    Usage(String),
    /// The system refused something.
    #[error("cannot {tried} {}: {source}", path.display())]
    Io { tried: &'static str, path: PathBuf, source: io::Error },
    /// The input is not what it should be.
    #[error("{what}: {why}")]
    Refused { what: String, why: String },
    /// The control plane refused or failed, or did not answer.
    #[error("{error}")]
    Fleet { error: Box<fuse_orchestrator::Error>, next: String },
    /// A command in a guest could not be run.
    #[error("{0}")]
    Guest(Box<Self>),
}

impl Failure {
    /// The input at `path` is not what it should be.
    pub(crate) fn refused(path: &Path, why: impl ToString) -> Self {
        Self::Refused { what: path.display().to_string(), why: why.to_string() }
    }

    /// A converter for `map_err`.
    pub(crate) fn io(tried: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { tried, path: path.into(), source }
    }

    /// The failure of a command in a guest: its exit code is not one that a command is likely to have.
    pub(crate) fn of_guest(self) -> Self {
        Self::Guest(Box::new(self))
    }

    /// What to do next, when there is something to do.
    pub(crate) fn next(&self) -> Option<&str> {
        match self {
            Self::Fleet { next, .. } => Some(next.as_str()).filter(|next| !next.is_empty()),
            Self::Guest(inner) => inner.next(),
            _ => None,
        }
    }

    /// The name that `--json` gives it.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Fleet { error, .. } => failure::kind(error),
            Self::Guest(inner) => inner.kind(),
            Self::Usage(_) => "usage",
            Self::Io { .. } => "io",
            Self::Refused { .. } => "refused",
        }
    }

    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Fleet { error, .. } => failure::exit_code(error),
            Self::Guest(_) => 125,
            Self::Usage(_) => 2,
            Self::Io { .. } => 3,
            Self::Refused { .. } => 4,
        }
    }
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Fine => Self::SUCCESS,
            Verdict::Problems => Self::from(1),
            Verdict::Guest(code) => Self::from(code),
        }
    }
}

/// What each command returns.
pub(crate) type Outcome<T = Verdict> = Result<T, Failure>;

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Outcome<Vec<u8>> {
    std::fs::read(path).map_err(Failure::io("read", path))
}

/// Writes a whole file: under another name first, so that a reader never sees half of it.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Outcome<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    std::fs::write(&part, bytes).map_err(Failure::io("write", path))?;
    std::fs::rename(&part, path).map_err(|source| {
        // The error to report is that of the rename; the part is worth nothing.
        let _ = std::fs::remove_file(&part);
        Failure::Io { tried: "write", path: path.into(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_replaces_the_file_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.bin");
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(read(&file).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_refused_write_names_the_file_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let taken = dir.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        let error = write(&taken, b"x").unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot write {}", taken.display())));
        assert_eq!(error.code(), 3);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
