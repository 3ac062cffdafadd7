//! QEMU's monitor: a JSON object on each line.

use std::{fmt, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    time::{Instant, sleep, timeout},
};

use crate::{Error, ErrorKind, Result, system::connect_below};

/// How long one command may take.
const LONGEST: Duration = Duration::from_secs(60);
/// The most bytes of one line.
const LINE: u64 = 1024 * 1024;

/// How long a migration that says nothing is waited for before it is asked.
const SILENCE: Duration = Duration::from_millis(100);

/// A connection to a monitor. QEMU serves one at a time; another one waits.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: BufReader<UnixStream>,
    /// What has come of a line.
    line: Vec<u8>,
    vm: String,
}

impl Qmp {
    pub(super) async fn connect(dir: &Path, socket: &str, vm: impl fmt::Display) -> Result<Self> {
        let stream = connect_below(dir, socket).await?;
        let mut qmp = Self { stream: BufReader::new(stream), line: Vec::new(), vm: vm.to_string() };
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

    /// Has the monitor say at once when a migration comes to another state.
    pub(super) async fn hear_of_migration(&mut self) -> Result<()> {
        let events = json!({ "capabilities": [{ "capability": "events", "state": true }] });
        self.run("migrate-set-capabilities", events).await.map(drop)
    }

    /// Waits for the end of a migration, out or in.
    pub(super) async fn migrated(&mut self, doing: &'static str, limit: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            // What the monitor said of it before it answered this is in the answer.
            let answer = self.run("query-migrate", json!({})).await?;
            match answer.get("status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let why =
                        answer.get("error-desc").and_then(Value::as_str).unwrap_or("QEMU does not say why");
                    return Err(self.error(doing, why));
                }
                _ if began.elapsed() > limit => {
                    return Err(self.error(doing, format!("it took longer than {} s", limit.as_secs())));
                }
                _ => {}
            }
            while let Ok(said) = timeout(SILENCE, self.next(doing)).await {
                let said = said?;
                let status = said.get("data").and_then(|data| data.get("status")).and_then(Value::as_str);
                if matches!(status, Some("completed" | "failed" | "cancelled")) {
                    break;
                }
            }
        }
    }

    /// Ends a migration out that is still under way, and waits until the machine has left it. That is later than its end:
    /// until then the machine cannot go on.
    pub(super) async fn leave_migration(&mut self) -> Result<()> {
        let (doing, began) = ("leave a migration", Instant::now());
        let mut cancelled = false;
        loop {
            let status = self.run("query-status", json!({})).await?;
            let migration = self.run("query-migrate", json!({})).await?;
            let status = status.get("status").and_then(Value::as_str);
            let under_way = !matches!(
                migration.get("status").and_then(Value::as_str),
                None | Some("none" | "completed" | "failed" | "cancelled")
            );
            // One in is not ours to end: the machine is of no use without it.
            if status == Some("inmigrate") || !(under_way || status == Some("finish-migrate")) {
                return Ok(());
            }
            if under_way && !cancelled {
                self.run("migrate_cancel", json!({})).await?;
                cancelled = true;
            }
            if began.elapsed() > LONGEST {
                return Err(self.error(doing, format!("it took longer than {} s", LONGEST.as_secs())));
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    async fn within(&mut self, doing: &'static str, limit: Duration) -> Result<Value> {
        match timeout(limit, self.next(doing)).await {
            Err(_) => Err(self.error(doing, format!("no answer within {} s", limit.as_secs()))),
            Ok(next) => next,
        }
    }

    /// The next thing that the monitor says. When the future is dropped, what has come of it is kept.
    async fn next(&mut self, doing: &'static str) -> Result<Value> {
        let room = LINE.saturating_sub(self.line.len() as u64);
        match (&mut self.stream).take(room).read_until(b'\n', &mut self.line).await {
            Err(error) => Err(self.error(doing, error)),
            Ok(0) => Err(self.error(doing, "QEMU closed the connection")),
            Ok(_) => {
                let line = std::mem::take(&mut self.line);
                serde_json::from_slice(&line).map_err(|error| self.error(doing, error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::UnixListener, task::JoinHandle};

    use super::*;

    /// A monitor that greets and then says this to one line after another. What it was told, when it has said it all.
    fn monitor(dir: &Path, said: &'static [&'static str]) -> JoinHandle<String> {
        let listener = UnixListener::bind(dir.join("q")).unwrap();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let (mut lines, mut told) = (BufReader::new(stream), String::new());
            lines.get_mut().write_all(b"{\"QMP\":{}}\n").await.unwrap();
            for answer in ["{\"return\":{}}\n"].iter().chain(said) {
                lines.read_line(&mut told).await.unwrap();
                for part in answer.split(PAUSE) {
                    lines.get_mut().write_all(part.as_bytes()).await.unwrap();
                    sleep(SILENCE / 4).await;
                }
            }
            told
        })
    }

    /// In what a monitor says: a silence.
    const PAUSE: &str = "…";

    #[tokio::test]
    async fn answers_are_told_from_events_and_errors() {
        let dir = tempfile::tempdir().unwrap();
        let server = monitor(
            dir.path(),
            &[
                "{\"event\":\"STOP\"}\n{\"return\":{\"status\":\"paused\"}}\n",
                "{\"error\":{\"class\":\"GenericError\",\"desc\":\"no such thing\"}}\n",
            ],
        );
        let mut qmp = Qmp::connect(dir.path(), "q", "vm-1").await.unwrap();
        let status = qmp.run("query-status", json!({})).await.unwrap();
        assert_eq!(status, json!({ "status": "paused" }));
        let error = qmp.run("nonsense", json!({})).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Vmm);
        assert!(error.to_string().contains("no such thing"), "{error}");
        assert!(server.await.unwrap().contains("query-status"));
        assert!(qmp.run("query-status", json!({})).await.is_err(), "a closed monitor is an error");
    }

    /// Asked once before and once after, and not while it is under way and says so, in two parts.
    #[tokio::test]
    async fn the_end_of_a_migration_is_heard() {
        let dir = tempfile::tempdir().unwrap();
        let server = monitor(
            dir.path(),
            &[
                "{\"return\":{\"status\":\"active\"}}\n{\"event\":\"MIGRATION\",\"data\":{\"status\":\"dev…ice\"}}\n\
                 {\"event\":\"MIGRATION\",\"data\":{\"status\":\"failed\"}}\n",
                "{\"return\":{\"status\":\"failed\",\"error-desc\":\"no room\"}}\n",
            ],
        );
        let mut qmp = Qmp::connect(dir.path(), "q", "vm-1").await.unwrap();
        let error = qmp.migrated("load", Duration::from_secs(20)).await.unwrap_err();
        assert!(error.to_string().contains("no room"), "{error}");
        assert_eq!(server.await.unwrap().matches("query-migrate").count(), 2);
    }

    #[tokio::test]
    async fn a_machine_is_waited_for_until_it_has_left_its_migration() {
        let dir = tempfile::tempdir().unwrap();
        const COMPLETED: &str = "{\"return\":{\"status\":\"completed\"}}\n";
        let server = monitor(
            dir.path(),
            &[
                "{\"return\":{\"status\":\"finish-migrate\"}}\n",
                COMPLETED,
                "{\"return\":{\"status\":\"postmigrate\"}}\n",
                COMPLETED,
            ],
        );
        let mut qmp = Qmp::connect(dir.path(), "q", "vm-1").await.unwrap();
        qmp.leave_migration().await.unwrap();
        let told = server.await.unwrap();
        assert_eq!(told.matches("query-status").count(), 2, "{told}");
        assert!(!told.contains("cancel"), "it had ended: {told}");
    }
}
