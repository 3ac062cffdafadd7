//! Programs of this machine that do one thing and end.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command};

use crate::{Error, Result};

/// How long such a program may take.
const LONGEST: Duration = Duration::from_secs(60);
/// The most bytes of its complaint that an error repeats.
const COMPLAINT: usize = 600;

/// Runs a program with `input` on its standard input and gives its output.
///
/// # Errors
/// A system error with the end of what it wrote to standard error, when it cannot be started, fails, or takes longer
/// than 60 s.
pub async fn run(program: &str, arguments: &[&str], input: &[u8]) -> Result<Vec<u8>> {
    let line = || format!("{program} {}", arguments.join(" "));
    let fail = |why: String| Error::system("run", line(), why);
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| fail(format!("{error}; is it installed?")))?;
    let stdin = child.stdin.take();
    let work = async {
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that ends without reading says why with its exit code.
                let _ = stdin.write_all(input).await;
            }
        };
        let (output, ()) = tokio::join!(child.wait_with_output(), feed);
        output
    };
    let output = match tokio::time::timeout(LONGEST, work).await {
        Err(_) => return Err(fail(format!("it took longer than {} s", LONGEST.as_secs()))),
        Ok(output) => output.map_err(|error| fail(error.to_string()))?,
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint = complaint.trim();
    let from = complaint.len().saturating_sub(COMPLAINT);
    let end = complaint.get(from..).unwrap_or(complaint);
    Err(fail(format!("{}: {end}", output.status)))
}
