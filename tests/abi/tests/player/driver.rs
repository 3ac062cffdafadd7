//! The driver's process: a line in, a line out.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What a call came to.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    /// It worked; the words of the answer.
    Ok(Vec<String>),
    /// It failed.
    Err {
        /// The class, as scenarios name it.
        kind: String,
        /// The message.
        text: String,
    },
}

impl Reply {
    /// The words of an answer that must be a good one.
    pub(crate) fn words(self) -> Result<Vec<String>, String> {
        match self {
            Self::Ok(words) => Ok(words),
            Self::Err { kind, text } => Err(format!("failed with {kind}: {text}")),
        }
    }
}

/// The class of a status, as scenarios name it.
pub(crate) fn kind(status: &str) -> String {
    match status {
        "1" => "InvalidArg",
        "2" => "NotFound",
        "3" => "ModuleLimit",
        "4" => "LoadFailed",
        "5" => "PolicyViolation",
        "6" => "QuotaExceeded",
        "7" => "Trap",
        "8" => "IntervalNotElapsed",
        "9" => "WrongState",
        "10" => "BufferTooSmall",
        other => other,
    }
    .to_owned()
}

/// Text of hexadecimal.
pub(crate) fn unhex(word: &str) -> Result<String, String> {
    let bytes = fuse_conformance::host::from_hex(word.trim_start_matches('-'))?;
    String::from_utf8(bytes).map_err(|e| e.to_string())
}

/// A running driver.
pub(crate) struct Driver {
    child: Child,
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts the program.
    pub(crate) fn start(program: &Path) -> Result<Self, String> {
        let cannot = |e: std::io::Error| format!("cannot run {}: {e}", program.display());
        let mut child =
            Command::new(program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(cannot)?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        let from = BufReader::new(from.ok_or("the driver has no output")?);
        Ok(Self { child, to, from })
    }

    /// Makes a call.
    pub(crate) fn call(&mut self, line: &str) -> Result<Reply, String> {
        let shown: String = line.chars().take(200).collect();
        let to = self.to.as_mut().ok_or("the driver has ended")?;
        writeln!(to, "{line}").and_then(|()| to.flush()).map_err(|e| format!("`{shown}`: {e}"))?;
        let mut answer = String::new();
        self.from.read_line(&mut answer).map_err(|e| e.to_string())?;
        let mut words = answer.split_whitespace().map(ToOwned::to_owned);
        match words.next().as_deref() {
            Some("ok") => Ok(Reply::Ok(words.collect())),
            Some("err") => {
                let (status, text) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
                Ok(Reply::Err { kind: kind(&status), text: unhex(&text)? })
            }
            _ => Err(format!("the driver died of `{shown}`: {:?}", self.child.wait())),
        }
    }

    /// Lets it end, and says how it ended.
    pub(crate) fn end(&mut self) -> Result<(), String> {
        self.to = None;
        let status = self.child.wait().map_err(|e| e.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the driver ended with {status}")) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
