//! The health check of the environment: asks, remembers, and writes the verdict to `/fuse/health.json`.
//!
//! It only reports. Nothing is ended for it.

use std::{
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use fuse_guest_protocol::verb::HealthState;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
    time::{sleep, timeout},
};

use crate::{agent::Agent, program};

/// What the last checks came to.
#[derive(Debug, Default)]
pub(crate) struct Board {
    now: Mutex<(HealthState, String)>,
    reload: Notify,
}

impl Board {
    pub(crate) fn now(&self) -> (HealthState, String) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The file of the check has changed.
    pub(crate) fn reload(&self) {
        self.reload.notify_one();
    }

    fn set(&self, state: HealthState, reason: &str) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = (state, reason.to_owned());
    }
}

/// What `/fuse/healthcheck.json` says. Zero means the default.
#[derive(Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
struct Check {
    http: Option<Http>,
    exec: Option<Vec<String>>,
    interval_seconds: u32,
    timeout_seconds: u32,
    retries: u32,
    start_period_seconds: u32,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Http {
    port: u16,
    #[serde(default)]
    path: String,
}

/// What `/fuse/health.json` says.
#[derive(Debug, Serialize)]
struct Verdict<'a> {
    state: HealthState,
    since: &'a str,
    failures: u32,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

impl Check {
    fn read(path: &Path) -> Result<Option<Self>, String> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let check: Self =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        if check.http.is_some() == check.exec.as_ref().is_some_and(|argv| !argv.is_empty()) {
            return Err(format!("{} needs either http or exec", path.display()));
        }
        Ok(Some(check))
    }

    fn seconds(given: u32, default: u32) -> Duration {
        Duration::from_secs(u64::from(if given == 0 { default } else { given }))
    }

    async fn ask(&self, agent: &Agent) -> Result<(), String> {
        let limit = Self::seconds(self.timeout_seconds, 2);
        let asking = async {
            match (&self.http, &self.exec) {
                (Some(http), _) => http.ask().await,
                (None, Some(argv)) => run(agent, argv).await,
                (None, None) => Ok(()),
            }
        };
        timeout(limit, asking)
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", limit.as_secs())))
    }
}

impl Http {
    async fn ask(&self) -> Result<(), String> {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        if path.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
            return Err("the path has spaces or control characters".to_owned());
        }
        let failed = |error: std::io::Error| format!("GET port {} {path}: {error}", self.port);
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.map_err(failed)?;
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nUser-Agent: fused\r\nConnection: close\r\n\r\n",
            self.port
        );
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let mut line = Vec::new();
        while line.len() < 1024 && !line.contains(&b'\n') {
            let mut buffer = [0; 256];
            match stream.read(&mut buffer).await.map_err(failed)? {
                0 => break,
                count => line.extend_from_slice(&buffer[..count]),
            }
        }
        let text = String::from_utf8_lossy(&line);
        let status =
            text.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)).and_then(|code| code.parse().ok());
        match status {
            Some(200..=399_u16) => Ok(()),
            Some(status) => Err(format!("GET port {} {path}: status {status}", self.port)),
            None => Err(format!("GET port {} {path}: the answer is not HTTP", self.port)),
        }
    }
}

async fn run(agent: &Agent, argv: &[String]) -> Result<(), String> {
    let none = std::collections::BTreeMap::new();
    let mut command = program::command(agent, argv, None, &none, None).map_err(|error| error.message)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    let (mut child, mut group) = program::spawn(agent, command).await.map_err(|error| error.message)?;
    let status = child.wait().await.map_err(|error| error.to_string())?;
    group.release();
    let result = program::result(status);
    if result.exit_code == 0 { Ok(()) } else { Err(format!("exit code {}", result.exit_code)) }
}

/// Checks for ever.
pub(crate) async fn watch(agent: Arc<Agent>) {
    loop {
        match Check::read(&agent.options.healthcheck) {
            Ok(Some(check)) => {
                tokio::select! {
                    () = repeat(&agent, &check) => {}
                    () = agent.health.reload.notified() => {}
                }
            }
            Ok(None) => {
                agent.health.set(HealthState::None, "");
                agent.health.reload.notified().await;
            }
            Err(error) => {
                agent.logs.say(&format!("health check: {error}"));
                report(&agent, HealthState::Failing, &now(), 1, &error);
                agent.health.reload.notified().await;
            }
        }
    }
}

async fn repeat(agent: &Agent, check: &Check) {
    let began = Instant::now();
    let start_period = Duration::from_secs(check.start_period_seconds.into());
    let retries = if check.retries == 0 { 3 } else { check.retries };
    let (mut state, mut since, mut failures) = (HealthState::Starting, now(), 0_u32);
    report(agent, state, &since, 0, "");
    loop {
        let answer = check.ask(agent).await;
        let next = match &answer {
            Ok(()) => {
                failures = 0;
                HealthState::Passing
            }
            Err(_) if state == HealthState::Starting && began.elapsed() < start_period => state,
            Err(_) => {
                failures = failures.saturating_add(1);
                if failures >= retries { HealthState::Failing } else { state }
            }
        };
        if next != state {
            (state, since) = (next, now());
        }
        report(agent, state, &since, failures, answer.as_ref().err().map_or("", String::as_str));
        sleep(Check::seconds(check.interval_seconds, 10)).await;
    }
}

fn report(agent: &Agent, state: HealthState, since: &str, failures: u32, message: &str) {
    agent.health.set(state, message);
    let Ok(text) = serde_json::to_string(&Verdict { state, since, failures, message }) else { return };
    let path = &agent.options.health_state;
    // A verdict that says what the last one said is not worth a write.
    if std::fs::read_to_string(path).is_ok_and(|there| there == text) {
        return;
    }
    if let Err(error) = crate::machine::identity::replace(path, &text) {
        agent.logs.say(&format!("writing {}: {error}", path.display()));
    }
}

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default()
}
