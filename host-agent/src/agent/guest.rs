//! What is done in guests: none of it takes the VM's lock.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use fuse_guest_protocol::{
    ErrorCode, Token, Verb,
    client::{Attachment, Client, ClientError, ExecStream, LogStream},
    verb::{
        Attach, Download, Exec, ExecResult, FileFacts, Health, HealthRequest, Logs, Renew, Request, SetTime,
        Shutdown, StartWorkload, Upload,
    },
};
use fuse_orchestrator::model::VmName;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    HostAgent, Inner,
    hold::Held,
    link::{guest_error, new_token, write_token},
    vm::{Vm, authority, forwards},
};
use crate::{
    Error, ErrorKind, Result,
    net::Lease,
    store::{Published, VmState},
};

/// The longest that a command may take.
pub const EXEC_LONGEST: Duration = Duration::from_secs(600);
/// The most bytes of each output of a command that is collected; more is cut.
pub const EXEC_OUTPUT: usize = 8 * 1024 * 1024;
/// How long a guest that runs may take until its agent answers.
const REACH: Duration = Duration::from_secs(20);
/// Beyond the time of a command: for the way to the guest and back.
const MARGIN: Duration = Duration::from_secs(15);
/// The most published ports of a VM.
const PUBLISHED_MOST: usize = 64;
/// Where the guest agent looks for the token that it takes on its port.
const TOKEN_FILE: &str = "/fuse/auth-token";

/// How the workload of a guest is started.
#[derive(Debug, Clone, Default)]
pub struct WorkloadStart {
    /// The token that the guest agent takes on its port from now on. None: the one that it has.
    pub token: Option<SecretString>,
    /// The workload, run with `sh -lc`. None: nothing.
    pub command: Option<String>,
    /// The gateway, for the workload.
    pub gateway: Option<String>,
    /// The token for the gateway, for the workload.
    pub gateway_token: Option<SecretString>,
    /// Guest ports to publish, with the names to publish them under.
    pub expose: Vec<(u16, Option<String>)>,
}

impl HostAgent {
    /// A connection to the agent of a VM's guest, for verbs that this type does not have.
    ///
    /// # Errors
    /// Not found, guest.
    pub async fn guest(&self, vm: &VmName) -> Result<Client> {
        let vm = self.inner.vm(vm)?;
        self.inner.reach(&vm).await
    }

    /// Runs a command and collects its output, at most [`EXEC_OUTPUT`] of each kind. One that runs out of its time is
    /// killed and has exit code 124.
    ///
    /// # Errors
    /// Not found (the VM), invalid, guest.
    pub async fn exec(&self, vm: &VmName, exec: &Exec) -> Result<fuse_guest_protocol::client::ExecOutput> {
        let vm = self.inner.vm(vm)?;
        let work = async {
            let client = self.inner.reach(&vm).await?;
            let limit = Duration::from_millis(exec.timeout_ms()) + MARGIN;
            match tokio::time::timeout(limit, client.exec_collect(exec, EXEC_OUTPUT)).await {
                Ok(Ok(output)) => Ok(output),
                // A shell says 127 to what it does not find, and so do we.
                Ok(Err(error)) if error.code() == Some(ErrorCode::NotFound) => {
                    let result = ExecResult { exit_code: 127, ..ExecResult::default() };
                    let stderr = format!("{error}\n").into_bytes();
                    Ok(fuse_guest_protocol::client::ExecOutput { result, stderr, ..Default::default() })
                }
                Ok(Err(error)) => Err(guest_error("run a command in", &vm.site, &error)),
                Err(_) => {
                    let why = format!("the guest did not answer within {} s", limit.as_secs());
                    Err(Error::new(ErrorKind::Guest, "run a command in", vm.name(), why))
                }
            }
        };
        self.inner.pace.time("exec", work).await
    }

    /// Runs a command and shows its output as it comes.
    ///
    /// # Errors
    /// Not found (the VM), guest.
    pub async fn exec_stream(&self, vm: &VmName, exec: &Exec) -> Result<ExecStream> {
        let vm = self.inner.vm(vm)?;
        let client = self.inner.reach(&vm).await?;
        client.exec(exec).await.map_err(|error| guest_error("run a command in", &vm.site, &error))
    }

    /// Opens a terminal.
    ///
    /// # Errors
    /// Not found (the VM), guest.
    pub async fn attach(&self, vm: &VmName, attach: &Attach) -> Result<Attachment> {
        let vm = self.inner.vm(vm)?;
        let client = self.inner.reach(&vm).await?;
        client.attach(attach).await.map_err(|error| guest_error("open a terminal in", &vm.site, &error))
    }

    /// Writes a file; it appears whole or not at all.
    ///
    /// # Errors
    /// Not found (the VM), invalid (the path), guest (no space, …).
    pub async fn upload(
        &self,
        vm: &VmName,
        upload: &Upload,
        content: &mut (impl AsyncRead + Unpin + Send),
    ) -> Result<FileFacts> {
        let vm = self.inner.vm(vm)?;
        let work = async {
            let client = self.inner.reach(&vm).await?;
            let written = client.upload(upload, content).await;
            written.map_err(|error| guest_error("write a file in", &vm.site, &error))
        };
        self.inner.pace.time("upload", work).await
    }

    /// Reads a file.
    ///
    /// # Errors
    /// Not found (the VM), invalid (no such file), guest.
    pub async fn download(
        &self,
        vm: &VmName,
        download: &Download,
        target: &mut (impl AsyncWrite + Unpin + Send),
    ) -> Result<FileFacts> {
        let vm = self.inner.vm(vm)?;
        let client = self.inner.reach(&vm).await?;
        let read = client.download(download, target).await;
        read.map_err(|error| guest_error("read a file in", &vm.site, &error))
    }

    /// Reads a log of the guest.
    ///
    /// # Errors
    /// Not found (the VM), guest.
    pub async fn guest_log(&self, vm: &VmName, logs: &Logs) -> Result<LogStream> {
        let vm = self.inner.vm(vm)?;
        let client = self.inner.reach(&vm).await?;
        client.logs(logs).await.map_err(|error| guest_error("read a log of", &vm.site, &error))
    }

    /// The last bytes of the console, at most `limit`.
    ///
    /// # Errors
    /// Not found, system.
    pub async fn console(&self, vm: &VmName, limit: usize) -> Result<Vec<u8>> {
        let console = self.inner.vm(vm)?.console();
        crate::system::blocking("read a console", move || console.tail(limit)).await
    }

    /// At most `limit` bytes of the console from the byte number `after` on, and where they begin: later where what came
    /// before is kept no longer.
    ///
    /// # Errors
    /// Not found, system.
    pub async fn console_after(&self, vm: &VmName, after: u64, limit: usize) -> Result<(u64, Vec<u8>)> {
        let console = self.inner.vm(vm)?.console();
        crate::system::blocking("read a console", move || console.after(after, limit)).await
    }

    /// Whether the guest agent lives, and what its health check says.
    ///
    /// # Errors
    /// Not found, guest.
    pub async fn health(&self, vm: &VmName) -> Result<Health> {
        self.call(vm, "ask for the health of", &HealthRequest {}).await
    }

    /// Asks the guest to turn itself off, and removes the VM when it has; or when it has not after `grace`.
    ///
    /// # Errors
    /// As [`HostAgent::destroy`].
    pub async fn shut_down(&self, vm: &VmName, grace: Duration) -> Result<()> {
        let Ok(there) = self.inner.vm(vm) else { return Ok(()) };
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX).min(600_000);
        let asked = tokio::time::timeout(grace, async {
            let request = Shutdown { grace_ms: grace_ms / 2, ..Shutdown::default() };
            if self.call(vm, "shut down", &request).await.is_err() {
                let _ = self.inner.driver.power_button(&there.site).await;
            }
            let process = there.record().process.clone();
            if let Some(process) = process {
                process.ended().await;
            }
        });
        if asked.await.is_err() {
            tracing::info!(%vm, "the guest did not turn itself off in its time");
        }
        self.destroy(vm).await
    }

    /// Starts the workload of a guest and publishes its ports. The published ports.
    ///
    /// # Errors
    /// Not found (the VM), invalid, busy (no free port), guest.
    pub async fn start_workload(&self, name: &VmName, start: &WorkloadStart) -> Result<Vec<Published>> {
        let vm = self.inner.vm(name)?;
        let client = self.inner.reach(&vm).await?;
        let fail = |error: ClientError| guest_error("start the workload of", &vm.site, &error);
        let bad = |why: &str| Error::invalid("start the workload of", name, why);
        if let Some(token) = &start.token {
            let upload = Upload { path: TOKEN_FILE.to_owned(), mode: 0o600, size: None };
            client.upload_bytes(&upload, token.expose_secret().as_bytes()).await.map_err(fail)?;
        }
        let gateway_token = match &start.gateway_token {
            Some(token) => Some(Token::new(token.expose_secret()).map_err(bad)?),
            None => None,
        };
        let request = StartWorkload {
            vm_id: Some(name.to_string()),
            command: start.command.clone().filter(|command| !command.trim().is_empty()),
            gateway: start.gateway.clone(),
            gateway_token,
            ..StartWorkload::default()
        };
        match client.call(&request).await {
            Ok(_) => {}
            // A guest agent of somebody else's that starts its workload by itself.
            Err(error) if error.code() == Some(ErrorCode::Unsupported) && request.command.is_none() => {}
            Err(error) => return Err(fail(error)),
        }
        self.inner.publish(&vm, &start.expose).await
    }

    /// Where a published port of a VM is reached.
    #[must_use]
    pub fn public_url(&self, published: &Published) -> String {
        authority(&self.inner.config.public_host, published.host)
    }

    async fn call<R: Request + Sync>(
        &self,
        vm: &VmName,
        doing: &'static str,
        request: &R,
    ) -> Result<R::Answer> {
        let vm = self.inner.vm(vm)?;
        let client = self.inner.reach(&vm).await?;
        client.call(request).await.map_err(|error| guest_error(doing, &vm.site, &error))
    }
}

impl Inner {
    /// The agent of a guest that should run.
    pub(super) async fn reach(&self, vm: &Vm) -> Result<Client> {
        let state = vm.record().state;
        if matches!(state, VmState::Paused | VmState::Restoring) {
            return Err(super::snapshot::not_now(vm, "reach the agent of"));
        }
        vm.link.client(&*self.driver, &vm.site, REACH).await
    }

    /// Waits for the agent of a guest that boots, and tells it its addresses.
    pub(super) async fn introduce(self: &Arc<Self>, vm: &Arc<Vm>) -> Result<()> {
        let client = self.first_answer(vm).await?;
        let Some(network) = self.guest_network(vm) else { return Ok(()) };
        match client.call(&network).await {
            Ok(_) => Ok(()),
            Err(error) if error.code() == Some(ErrorCode::Unsupported) => {
                tracing::warn!(vm = %vm.name(), "the guest agent takes no addresses; its image must set them");
                Ok(())
            }
            Err(error) => Err(guest_error("set the addresses of", &vm.site, &error)),
        }
    }

    /// Makes a guest that goes on from saved memory one of its own, before its caller hears of it: entropy, clock,
    /// addresses, token; and, when it is `fresh`, name and machine id. Programs that stand still since the memory was saved
    /// (`held_ms`) go on at the end of it, or never.
    pub(super) async fn renew(self: &Arc<Self>, vm: &Arc<Vm>, fresh: bool, held_ms: u64) -> Result<()> {
        let Some(limit) = Held::deadline(held_ms) else { return self.renew_once(vm, fresh).await };
        let late = |_| {
            let why = format!(
                "it was not renewed within {} s, after which its programs would go on",
                limit.as_secs()
            );
            Error::new(ErrorKind::Guest, "renew", vm.name(), why)
        };
        tokio::time::timeout(limit, self.renew_once(vm, fresh)).await.map_err(late)?
    }

    async fn renew_once(self: &Arc<Self>, vm: &Arc<Vm>, fresh: bool) -> Result<()> {
        let mut entropy = vec![0; 64];
        getrandom::fill(&mut entropy).map_err(|error| Error::system("make", "entropy", error))?;
        let token = new_token()?;
        let request = Renew {
            entropy,
            unix_ns: Some(unix_ns()),
            vm_id: Some(vm.name().to_string()),
            machine_id: fresh,
            network: self.guest_network(vm),
            token: Some(token.clone()),
        };
        let limit = self.config.boot_limit();
        let renewed = vm.link.renew(&*self.driver, &vm.site, limit, &request);
        let renewed = self.while_it_lives(vm, renewed).await?;
        write_token(&vm.site.dir, &token)?;
        for warning in &renewed.warnings {
            tracing::warn!(vm = %vm.name(), warning, "renewing a guest");
        }
        if fresh && !renewed.reseeded {
            let why = "the guest's random generator did not take new entropy, so it would repeat that of its origin";
            return Err(Error::new(ErrorKind::Guest, "renew", vm.name(), why));
        }
        if !renewed.reseeded && vm.link.knows(Verb::Thaw) {
            self.release_programs(vm).await;
        }
        Ok(())
    }

    /// Sets the clock of a guest that stood still. Best effort: the guest may be one that has no clock.
    pub(super) async fn set_clock(&self, vm: &Vm) {
        let set = async {
            let client = self.reach(vm).await?;
            let request = SetTime { unix_ns: unix_ns() };
            client.call(&request).await.map_err(|error| guest_error("set the clock of", &vm.site, &error))
        };
        if let Err(error) = set.await {
            tracing::warn!(%error, "the clock of a guest that stood still is behind");
        }
    }

    async fn first_answer(&self, vm: &Vm) -> Result<Client> {
        let limit = self.config.boot_limit();
        self.while_it_lives(vm, vm.link.client(&*self.driver, &vm.site, limit)).await
    }

    /// Waits for what a guest that has been started answers, as long as its VMM lives.
    async fn while_it_lives<T>(&self, vm: &Vm, answer: impl Future<Output = Result<T>>) -> Result<T> {
        let Some(process) = vm.record().process.clone() else {
            return Err(super::snapshot::not_now(vm, "reach the agent of"));
        };
        tokio::select! {
            biased;
            answer = answer => answer,
            () = process.ended() => {
                let said = self.driver.epitaph(&vm.site).unwrap_or_default();
                let why = format!("its VMM ended before its agent answered: {said}");
                Err(Error::new(ErrorKind::Vmm, "boot", vm.name(), why))
            }
        }
    }

    /// Publishes ports, beside that of the agent; those that were published before stay.
    async fn publish(
        self: &Arc<Self>,
        vm: &Arc<Vm>,
        expose: &[(u16, Option<String>)],
    ) -> Result<Vec<Published>> {
        let mut published = vm.record().published.clone();
        let net = vm.record().net.clone();
        let refuse = |why: String| Error::invalid("publish ports of", vm.name(), why);
        if net.is_none() && !expose.is_empty() {
            return Err(refuse("it has no network; configure one for this agent".to_owned()));
        }
        let mut asked = Vec::new();
        for (guest, name) in expose {
            if *guest == 0 || published.len() >= PUBLISHED_MOST {
                return Err(refuse(format!(
                    "port {guest}: ports are 1 to 65535, and {PUBLISHED_MOST} are the most"
                )));
            }
            let known = published.iter_mut().find(|port| port.guest == *guest);
            let port = match known {
                Some(port) => {
                    port.name.clone_from(name);
                    port.clone()
                }
                None => {
                    let port = Published { name: name.clone(), guest: *guest, host: self.take_port()? };
                    if matches!(net, Some(Lease::User { .. })) {
                        self.driver.forward(&vm.site, port.host, port.guest).await?;
                    }
                    published.push(port.clone());
                    port
                }
            };
            asked.push(port);
        }
        let now = published.clone();
        self.keep(vm, |record| {
            record.published = now;
            super::vm::set_forwards(&mut record.machine.nic, &record.published);
        })
        .await?;
        if let (Some(Lease::Tap(_)), Some(networks)) = (&net, &self.networks) {
            networks.publish(vm.name(), forwards(&published)).await?;
        }
        Ok(asked)
    }
}

/// Nanoseconds since 1970.
pub(super) fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// The processor of this host, as saved memory depends on it.
pub(super) fn host_cpu() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name =
        text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name));
    name.unwrap_or_default().trim().to_owned()
}
