//! The guest agent: carries exec, files, terminals, health and identity for the host, and runs the workload.
//!
//! As process 1 it is the init of the guest ([`init`]). Otherwise it is the service ([`serve`]): hosts connect over a
//! virtio-serial port, vsock and TCP, and all of them speak the guest protocol.
#![deny(unsafe_code)]

mod agent;
mod files;
mod health;
mod http;
mod init;
mod listen;
mod log;
mod machine;
mod options;
mod program;
mod session;
mod stream;
mod tokens;
mod verbs;

use std::{process::ExitCode, sync::Arc, time::Duration};

use fuse_guest_protocol::verb::{Drain, StopWorkload};
use tokio::signal::unix::{SignalKind, signal};

use agent::Agent;
use options::{Asked, Options};

fn main() -> ExitCode {
    if rustix::process::getpid().is_init() {
        return init::run();
    }
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    match Options::parse(&arguments) {
        Ok(Asked::Help) => println(options::USAGE),
        Ok(Asked::Version) => println(&format!("fused {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Asked::Serve(options)) => run(*options),
        Err(why) => {
            use std::io::Write;
            // There is nobody to tell that standard error is closed.
            let _ = writeln!(std::io::stderr(), "fused: {why}");
            ExitCode::from(2)
        }
    }
}

fn println(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn run(options: Options) -> ExitCode {
    // Started by our own init, the process would have the name of the link that it was started by; drain commands look
    // for this one. A name that does not take is no reason to stop.
    let _ = rustix::thread::set_name(c"fused");
    let agent = Agent::new(options);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .thread_keep_alive(Duration::from_secs(2))
        .build();
    match runtime {
        Ok(runtime) => {
            let code = runtime.block_on(serve(&agent));
            // What still runs belongs to connections that are over.
            runtime.shutdown_timeout(Duration::from_millis(100));
            code
        }
        Err(error) => {
            agent.logs.say(&format!("starting: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Serves until a signal ends it.
async fn serve(agent: &Arc<Agent>) -> ExitCode {
    let options = agent.options.clone();
    if let Some(address) = options.listen {
        tokio::spawn(listen::tcp::serve(Arc::clone(agent), address));
    }
    if let Some(port) = options.vsock_port {
        tokio::spawn(listen::vsock::serve(Arc::clone(agent), port));
    }
    if let Some(path) = options.serial {
        let agent = Arc::clone(agent);
        tokio::spawn(async move { listen::serial::serve(agent, &path).await });
    }
    tokio::spawn(health::watch(Arc::clone(agent)));
    match signals(agent).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            agent.logs.say(&format!("signals: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Waits for a signal that ends the agent. With `--stay`, SIGTERM drains the workload and is not one of them.
async fn signals(agent: &Arc<Agent>) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => {
                if !agent.options.stay {
                    break;
                }
                let agent = Arc::clone(agent);
                tokio::spawn(async move { agent.workload.drain(&agent, Drain::default()).await });
            }
            _ = interrupt.recv() => break,
        }
    }
    agent.workload.stop(agent, StopWorkload::default()).await;
    Ok(())
}
