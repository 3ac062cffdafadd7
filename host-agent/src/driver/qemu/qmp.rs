//! QEMU's monitor: a JSON object on each line.

use std::{fmt, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::timeout,
};

use crate::{Error, ErrorKind, Result, system::connect_below};

/// How long one command may take.
const LONGEST: Duration = Duration::from_secs(60);
/// The most bytes of one line.
const LINE: u64 = 1024 * 1024;

/// A connection to a monitor. QEMU serves one at a time; another one waits.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
    vm: String,
}

impl Qmp {
    pub(super) async fn connect(dir: &Path, socket: &str, vm: impl fmt::Display) -> Result<Self> {
        let stream = connect_below(dir, socket).await?;
        let mut qmp = Self { stream: BufReader::new(stream), vm: vm.to_string() };
        let greeting = qmp.within("greet", LONGEST).await?;
        if greeting.get("QMP").is_none() {
            return Err(qmp.error("greet", "it is not a QEMU monitor"));
        }
        qmp.run("qmp_capabilities", json!({})).await?;
        Ok(qmp)
    }

    fn error(&self, doing: &'static str, why: impl fmt::Display) -> Error {
        Error::new(ErrorKind::Vmm, doing, format!("{} (QEMU's monitor)", self.vm), why)
    }

    /// Runs a command and gives what it returns. Events that come meanwhile are passed over.
    pub(super) async fn run(&mut self, command: &'static str, arguments: Value) -> Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        let sent = self.stream.get_mut().write_all(line.as_bytes()).await;
        sent.map_err(|error| self.error(command, error))?;
        loop {
            let mut answer = self.within(command, LONGEST).await?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                let why = error.get("desc").and_then(Value::as_str).unwrap_or("it does not say why");
                return Err(self.error(command, why));
            }
        }
    }

    async fn within(&mut self, doing: &'static str, limit: Duration) -> Result<Value> {
        let mut line = Vec::new();
        let read = async { (&mut self.stream).take(LINE).read_until(b'\n', &mut line).await };
        match timeout(limit, read).await {
            Err(_) => Err(self.error(doing, format!("no answer within {} s", limit.as_secs()))),
            Ok(Err(error)) => Err(self.error(doing, error)),
            Ok(Ok(0)) => Err(self.error(doing, "QEMU closed the connection")),
            Ok(Ok(_)) => serde_json::from_slice(&line).map_err(|error| self.error(doing, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn answers_are_told_from_events_and_errors() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("q")).unwrap();
        let server = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut lines = BufReader::new(stream);
            let mut line = String::new();
            lines.get_mut().write_all(b"{\"QMP\":{}}\n").await.unwrap();
            for answer in [
                "{\"return\":{}}\n",
                "{\"event\":\"STOP\"}\n{\"return\":{\"status\":\"paused\"}}\n",
                "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such thing\"}}\n",
            ] {
                lines.read_line(&mut line).await.unwrap();
                lines.get_mut().write_all(answer.as_bytes()).await.unwrap();
            }
            line
        });
        let mut qmp = Qmp::connect(dir.path(), "q", "vm-1").await.unwrap();
        let status = qmp.run("query-status", json!({})).await.unwrap();
        assert_eq!(status, json!({ "status": "paused" }));
        let error = qmp.run("nonsense", json!({})).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Vmm);
        assert!(error.to_string().contains("no such thing"), "{error}");
        assert!(server.await.unwrap().contains("query-status"));
        assert!(qmp.run("query-status", json!({})).await.is_err(), "a closed monitor is an error");
    }
}
