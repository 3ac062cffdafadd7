//! Runs a program, with its output as it comes.

use std::{process::Stdio, time::Duration};

use fuse_guest_protocol::{
    Channel, GuestError, MAX_PAYLOAD,
    frame::Control,
    verb::{Exec, ExecResult, LogSource, SignalRequest},
};
use rustix::process::Signal;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin},
    time::timeout,
};

use super::{Group, TIMED_OUT, command, result, signal_of, spawn};
use crate::{
    agent::Agent,
    session::{Arrival, Input, Output},
    verbs::Context,
};

/// How long after a program has ended its output is waited for, while something that it left behind keeps it open.
const LINGER: Duration = Duration::from_millis(200);

/// Runs a program.
pub(crate) async fn run(context: Context<'_>, exec: Exec) -> Result<ExecResult, GuestError> {
    let Context { agent, output, input, .. } = context;
    let mut command = command(agent, &exec.argv, exec.shell.as_deref(), &exec.env, exec.cwd.as_deref())?;
    command.stdin(if exec.stdin { Stdio::piped() } else { Stdio::null() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let (mut child, mut group) = spawn(agent, command).await?;

    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let log = exec.log.map(|source| (agent.as_ref(), source));
    let pumps = async {
        tokio::join!(pump(stdout, &output, Channel::Output, log), pump(stderr, &output, Channel::Error, log),)
    };
    let running = async {
        tokio::select! {
            result = finish(&mut child, pumps) => result,
            never = feed(input, stdin, &group) => match never {},
        }
    };
    let ended = timeout(Duration::from_millis(exec.timeout_ms()), running).await;
    match ended {
        Ok(result) => {
            group.release();
            output.end(Channel::Output).await;
            output.end(Channel::Error).await;
            result
        }
        Err(_) => {
            group.signal(Signal::KILL);
            let _ = child.wait().await;
            Ok(ExecResult { exit_code: TIMED_OUT, signal: Some(Signal::KILL.as_raw()), timed_out: true })
        }
    }
}

/// Waits for the program, and then for its output.
async fn finish<T>(child: &mut Child, pumps: impl Future<Output = T>) -> Result<ExecResult, GuestError> {
    let failed = |error| GuestError::io("waiting for the program", &error);
    tokio::pin!(pumps);
    tokio::select! {
        status = child.wait() => {
            let status = status.map_err(failed)?;
            // What the program wrote is in the pipes already; what it left behind may keep them open for ever.
            let _ = timeout(LINGER, pumps).await;
            Ok(result(status))
        }
        _ = &mut pumps => Ok(result(child.wait().await.map_err(failed)?)),
    }
}

/// From a pipe to the stream, until the pipe ends or the connection does.
async fn pump(
    pipe: Option<impl AsyncRead + Unpin>,
    output: &Output,
    channel: Channel,
    log: Option<(&Agent, LogSource)>,
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; MAX_PAYLOAD];
    loop {
        let count = match pipe.read(&mut buffer).await {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        let bytes = &buffer[..count];
        if let Some(log) = log.and_then(|(agent, source)| agent.logs.of(source)) {
            log.append(bytes);
        }
        if output.send(channel, bytes).await.is_err() {
            return;
        }
    }
}

/// From the stream to the program; never ends by itself.
async fn feed(mut input: Input, mut stdin: Option<ChildStdin>, group: &Group) -> std::convert::Infallible {
    loop {
        match input.next().await {
            Arrival::Data(bytes) => {
                // A program that does not read any more is no error; the rest is dropped.
                if let Some(pipe) = &mut stdin
                    && pipe.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
                input.consumed(bytes.len());
            }
            Arrival::End => stdin = None,
            Arrival::Control(Control::Signal, arguments) => {
                let signal = serde_json::from_slice::<SignalRequest>(&arguments).ok();
                if let Some(signal) = signal.and_then(|request| signal_of(request.signal)) {
                    group.signal(signal);
                }
            }
            Arrival::Control(Control::Resize, _) => {}
        }
    }
}
