//! What is done in guests, on the wire.

use std::time::Duration;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{checked, page::one_of, problem};
use crate::{
    Result,
    provider::{ExecOutput, ExecRequest, LogSource},
};

/// How long a command may take when nothing is said, in milliseconds.
const EXEC_DEFAULT_MS: i64 = 60_000;
/// The longest that a command may take, in milliseconds; more is cut to it.
const EXEC_LONGEST_MS: i64 = 600_000;

/// Body of POST /v1/environments/{id}?action=exec: one of `cmd` and `shell`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecCommand {
    /// A program and its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    /// A command line for `sh -lc`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub shell: String,
    /// Milliseconds that it may take: 60,000 when nothing is said, at most 600,000.
    #[serde(skip_serializing_if = "super::is_zero")]
    pub timeout_ms: i64,
}

impl ExecCommand {
    /// The request.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when both or neither are given, or the time is negative.
    pub fn request(self) -> Result<ExecRequest> {
        let mut problems = Vec::new();
        match (self.cmd.is_empty(), self.shell.is_empty()) {
            (true, true) => problem(&mut problems, "cmd", "is empty; give cmd or shell"),
            (false, false) => problem(&mut problems, "cmd", "excludes shell; give one of them"),
            (false, true) if self.cmd.first().is_some_and(String::is_empty) => {
                problem(&mut problems, "cmd", "begins with an empty program");
            }
            _ => {}
        }
        let ms = match self.timeout_ms {
            0 => EXEC_DEFAULT_MS,
            ms => ms.min(EXEC_LONGEST_MS),
        };
        let timeout = Duration::from_millis(u64::try_from(ms).unwrap_or_else(|_| {
            problem(&mut problems, "timeout_ms", format!("{ms} is negative"));
            0
        }));
        let request = if self.shell.is_empty() {
            ExecRequest { argv: self.cmd, timeout }
        } else {
            ExecRequest::shell(&self.shell, timeout)
        };
        checked(request, problems)
    }
}

impl From<&ExecRequest> for ExecCommand {
    fn from(request: &ExecRequest) -> Self {
        let ms = i64::try_from(request.timeout.as_millis()).unwrap_or(EXEC_LONGEST_MS);
        Self { cmd: request.argv.clone(), shell: String::new(), timeout_ms: ms.clamp(1, EXEC_LONGEST_MS) }
    }
}

/// Answer of exec, whatever the exit code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecResult {
    /// The exit code; 124 when it ran out of time.
    pub exit_code: i32,
    /// Its standard output; bytes that are not UTF-8 are replaced.
    #[serde(default)]
    pub stdout: String,
    /// Its standard error; bytes that are not UTF-8 are replaced.
    #[serde(default)]
    pub stderr: String,
    /// Its standard output in base64, only when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout_b64: Option<String>,
    /// Its standard error in base64, only when it is not UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr_b64: Option<String>,
}

fn split(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => (String::from_utf8_lossy(bytes).into_owned(), Some(BASE64_STANDARD.encode(bytes))),
    }
}

fn join(text: String, base64: Option<String>) -> Result<Vec<u8>> {
    match base64 {
        None => Ok(text.into_bytes()),
        Some(base64) => BASE64_STANDARD.decode(base64).map_err(|why| super::strange("exec answer", why)),
    }
}

impl From<&ExecOutput> for ExecResult {
    fn from(output: &ExecOutput) -> Self {
        let ((stdout, stdout_b64), (stderr, stderr_b64)) = (split(&output.stdout), split(&output.stderr));
        Self { exit_code: output.exit_code, stdout, stderr, stdout_b64, stderr_b64 }
    }
}

impl TryFrom<ExecResult> for ExecOutput {
    type Error = crate::Error;

    fn try_from(result: ExecResult) -> Result<Self> {
        Ok(Self {
            exit_code: result.exit_code,
            stdout: join(result.stdout, result.stdout_b64)?,
            stderr: join(result.stderr, result.stderr_b64)?,
        })
    }
}

/// Query of GET /v1/environments/{id}/logs, whose answer is text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct LogQuery {
    /// `console` (the default), `startup` or `agent`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// `true` goes on with what is written from now on, until the environment has ended.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub follow: String,
}

impl LogQuery {
    /// Which log, and whether to go on.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a log that there is not.
    pub fn parts(&self) -> Result<(LogSource, bool)> {
        let mut problems = Vec::new();
        let source = one_of("source", &self.source, &LogSource::ALL, LogSource::as_str, &mut problems);
        let follow = match self.follow.as_str() {
            "" | "0" | "false" => false,
            "1" | "true" => true,
            other => {
                problem(&mut problems, "follow", format!("{other:?} is not true or false"));
                false
            }
        };
        checked((source.unwrap_or(LogSource::Console), follow), problems)
    }
}

/// Query of PUT /v1/environments/{id}/files, whose body is the bytes of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams), into_params(parameter_in = Query))]
pub struct FileQuery {
    /// The absolute path in the guest.
    pub path: String,
    /// Its mode in octal, such as `600`; 644 when nothing is said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mode: String,
}

impl FileQuery {
    /// The mode as a number.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when it is not octal or above 7777.
    pub fn mode(&self) -> Result<u32> {
        if self.mode.is_empty() {
            return Ok(0o644);
        }
        match u32::from_str_radix(&self.mode, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(mode),
            _ => {
                Err(crate::Error::invalid("mode", format!("{:?} is not an octal mode up to 7777", self.mode)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_cmd_and_shell_is_given() {
        let command = |cmd: &[&str], shell: &str, timeout_ms| {
            let cmd = cmd.iter().map(ToString::to_string).collect();
            ExecCommand { cmd, shell: shell.to_owned(), timeout_ms }.request()
        };
        assert!(command(&[], "", 0).is_err());
        assert!(command(&["true"], "true", 0).is_err());
        assert!(command(&[""], "", 0).is_err());
        assert!(command(&["true"], "", -1).is_err());
        let shell = command(&[], "echo a", 0).unwrap();
        assert_eq!(
            (shell.argv, shell.timeout.as_millis()),
            (vec!["sh".into(), "-lc".into(), "echo a".into()], 60_000)
        );
        assert_eq!(command(&["true"], "", 9_999_999).unwrap().timeout.as_secs(), 600);
    }

    #[test]
    fn output_that_is_not_text_survives() {
        for stdout in [&b"plain"[..], b"\xff\xfe\x00", b""] {
            let output = ExecOutput { exit_code: 3, stdout: stdout.to_vec(), stderr: b"\x80".to_vec() };
            let json = serde_json::to_string(&ExecResult::from(&output)).unwrap();
            let back: ExecResult = serde_json::from_str(&json).unwrap();
            assert_eq!(ExecOutput::try_from(back).unwrap(), output);
        }
        let plain = ExecOutput { exit_code: 0, stdout: Vec::new(), stderr: Vec::new() };
        let json = serde_json::to_string(&ExecResult::from(&plain)).unwrap();
        assert_eq!(json, r#"{"exit_code":0,"stdout":"","stderr":""}"#);
    }

    #[test]
    fn modes_are_octal() {
        let mode = |text: &str| FileQuery { path: "/x".into(), mode: text.into() }.mode().ok();
        assert_eq!((mode(""), mode("600"), mode("0755")), (Some(0o644), Some(0o600), Some(0o755)));
        assert_eq!((mode("9"), mode("10000"), mode("-1")), (None, None, None));
    }
}
