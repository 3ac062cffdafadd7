//! The workload: one program that runs as long as the environment does.

use std::{
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use fuse_guest_protocol::{
    GuestError,
    verb::{
        Drain, DrainResult, ExecResult, LogSource, StartWorkload, StopWorkload, WorkloadFacts, WorkloadState,
    },
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Child,
    sync::{Notify, watch},
    time::timeout,
};

use super::{Group, TIMED_OUT, command, result, spawn};
use crate::agent::{Agent, Gateway};

/// The longest a request may wait for the workload, in milliseconds.
const MOST_MS: u64 = 600_000;
/// How much of a drain's output is answered, in bytes.
const DRAIN_OUTPUT: usize = 4096;

/// The workload.
#[derive(Debug, Default)]
pub(crate) struct Workload {
    state: Mutex<State>,
    /// One start or stop at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    run: Option<Run>,
}

#[derive(Debug)]
struct Run {
    command: String,
    pid: Option<u32>,
    began: Instant,
    ended: watch::Receiver<Option<(ExecResult, Instant)>>,
    stop: Arc<Notify>,
    group: Arc<Group>,
    stopping: bool,
}

impl Workload {
    /// What the workload does.
    pub(crate) fn facts(&self) -> WorkloadFacts {
        let state = self.state();
        let Some(run) = &state.run else { return WorkloadFacts::default() };
        let ended = run.ended.borrow().clone();
        let until = ended.as_ref().map_or_else(Instant::now, |(_, at)| *at);
        WorkloadFacts {
            state: match (&ended, run.stopping) {
                (Some(_), _) => WorkloadState::Exited,
                (None, true) => WorkloadState::Stopping,
                (None, false) => WorkloadState::Running,
            },
            pid: if ended.is_none() { run.pid } else { None },
            exit_code: ended.map(|(result, _)| result.exit_code),
            ran_ms: u64::try_from(until.duration_since(run.began).as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Starts the workload, unless the same one runs already.
    pub(crate) async fn start(
        &self,
        agent: &Arc<Agent>,
        start: StartWorkload,
    ) -> Result<WorkloadFacts, GuestError> {
        let _turn = self.turn.lock().await;
        if let Some(vm_id) = &start.vm_id {
            agent.set_vm_id(vm_id);
        }
        if let Some(url) = start.gateway.clone() {
            agent.set_gateway(Gateway { url, token: start.gateway_token.clone() });
        }
        let Some(line) = start.command.clone().filter(|line| !line.trim().is_empty()) else {
            return Ok(self.facts());
        };
        let same =
            self.state().run.as_ref().is_some_and(|run| run.command == line && run.ended.borrow().is_none());
        if same {
            return Ok(self.facts());
        }
        self.end(Duration::from_secs(10)).await;
        let run = launch(agent, &line, &start).await?;
        self.state().run = Some(run);
        agent.logs.say("the workload started");
        Ok(self.facts())
    }

    /// Ends the workload.
    pub(crate) async fn stop(&self, agent: &Agent, stop: StopWorkload) -> WorkloadFacts {
        let _turn = self.turn.lock().await;
        self.end(Duration::from_millis(stop.grace_ms.min(MOST_MS))).await;
        agent.logs.say("the workload was stopped");
        self.facts()
    }

    /// Runs the drain command, then ends the workload, all within the time that is given.
    pub(crate) async fn drain(&self, agent: &Arc<Agent>, drain: Drain) -> Result<DrainResult, GuestError> {
        let until = Instant::now() + Duration::from_millis(drain.timeout_ms.min(MOST_MS));
        let (exit_code, output) = match drain.command.as_deref().filter(|line| !line.trim().is_empty()) {
            Some(line) => drain_command(agent, line, until).await?,
            None => (0, String::new()),
        };
        let _turn = self.turn.lock().await;
        self.end(until.saturating_duration_since(Instant::now())).await;
        agent.logs.say("drained");
        Ok(DrainResult { exit_code, output, workload: self.facts() })
    }

    /// SIGTERM, and SIGKILL when the time is up. Returns when the workload has ended.
    async fn end(&self, grace: Duration) {
        let (mut ended, stop, group) = {
            let mut state = self.state();
            let Some(run) = &mut state.run else { return };
            if run.ended.borrow().is_some() {
                return;
            }
            run.stopping = true;
            (run.ended.clone(), Arc::clone(&run.stop), Arc::clone(&run.group))
        };
        group.signal(Signal::TERM);
        if timeout(grace, ended.wait_for(Option::is_some)).await.is_err() {
            group.signal(Signal::KILL);
            stop.notify_one();
            let _ = ended.wait_for(Option::is_some).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn launch(agent: &Arc<Agent>, line: &str, start: &StartWorkload) -> Result<Run, GuestError> {
    let mut command = command(agent, &[], Some(line), &start.env, start.cwd.as_deref())?;
    let gateway = agent.gateway();
    if !gateway.url.is_empty() {
        command.env("FUSE_GATEWAY_URL", &gateway.url);
    }
    if let Some(token) = &gateway.token {
        command.env("FUSE_GATEWAY_TOKEN", token.expose());
    }
    command.env("FUSE_VM_ID", agent.vm_id());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let (child, group) = spawn(agent, command).await?;
    let (end, ended) = watch::channel(None);
    let stop = Arc::new(Notify::new());
    let run = Run {
        command: line.to_owned(),
        pid: child.id(),
        began: Instant::now(),
        ended,
        stop: Arc::clone(&stop),
        group: Arc::new(group),
        stopping: false,
    };
    tokio::spawn(watch_over(Arc::clone(agent), child, stop, end));
    Ok(run)
}

/// Keeps the workload's output and sees its end.
async fn watch_over(
    agent: Arc<Agent>,
    mut child: Child,
    stop: Arc<Notify>,
    end: watch::Sender<Option<(ExecResult, Instant)>>,
) {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let pumps = async { tokio::join!(keep(&agent, stdout), keep(&agent, stderr)) };
    tokio::pin!(pumps);
    let status = tokio::select! {
        status = child.wait() => {
            let _ = timeout(Duration::from_millis(200), pumps).await;
            status
        }
        _ = &mut pumps => child.wait().await,
        () = stop.notified() => {
            let _ = child.start_kill();
            child.wait().await
        }
    };
    let result = status.map(result).unwrap_or(ExecResult { exit_code: -1, ..ExecResult::default() });
    agent.logs.say(&format!("the workload ended with exit code {}", result.exit_code));
    end.send_replace(Some((result, Instant::now())));
}

async fn keep(agent: &Agent, pipe: Option<impl AsyncRead + Unpin>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 8192];
    while let Ok(count) = pipe.read(&mut buffer).await
        && count > 0
    {
        if let Some(log) = agent.logs.of(LogSource::Workload) {
            log.append(&buffer[..count]);
        }
    }
}

async fn drain_command(agent: &Arc<Agent>, line: &str, until: Instant) -> Result<(i32, String), GuestError> {
    let mut command = command(agent, &[], Some(line), &std::collections::BTreeMap::new(), None)?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let (mut child, mut group) = spawn(agent, command).await?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = Mutex::new(Vec::new());
    let running = async {
        let pumps = async { tokio::join!(tail(stdout, &output), tail(stderr, &output)) };
        tokio::pin!(pumps);
        tokio::select! {
            status = child.wait() => {
                let _ = timeout(Duration::from_millis(200), pumps).await;
                status
            }
            _ = &mut pumps => child.wait().await,
        }
    };
    let left = until.saturating_duration_since(Instant::now());
    let exit_code = match timeout(left, running).await {
        Ok(Ok(status)) => {
            group.release();
            result(status).exit_code
        }
        Ok(Err(error)) => return Err(GuestError::io("waiting for the drain command", &error)),
        Err(_) => {
            drop(group);
            TIMED_OUT
        }
    };
    let output = output.into_inner().unwrap_or_else(PoisonError::into_inner);
    let output = String::from_utf8_lossy(&output[output.len().saturating_sub(DRAIN_OUTPUT)..]).into_owned();
    Ok((exit_code, output))
}

async fn tail(pipe: Option<impl AsyncRead + Unpin>, output: &Mutex<Vec<u8>>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 4096];
    while let Ok(count) = pipe.read(&mut buffer).await
        && count > 0
    {
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        output.extend_from_slice(&buffer[..count]);
        let excess = output.len().saturating_sub(2 * DRAIN_OUTPUT);
        output.drain(..excess);
    }
}
