//! The boot: from an accepted environment to a running one, or to a failed one and a teardown.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, stream};
use tokio::time::Instant;

use super::{
    Inner, change::Change, profile, provision::micros, record, state_event, tasks::Work, vault::Vault,
};
use crate::{
    Error, Result,
    model::{
        Attempts, Environment, EnvironmentState, Event, EventKind, GuestEndpoint, Health, HealthState,
        Manifest, Observed, Phase, PhaseTimings, Reason, ReasonCode, Subject, Teardown, TeardownCause,
        service,
    },
    provider::{
        AgentStart, CreateRequest, ExecRequest, FileUpload, ForkVmRequest, LogSource, Provider,
        ProviderError, ProviderErrorKind, ProviderResult, Verb, VmFacts,
    },
    store::{Expect, Kind},
};

/// In the reason of a failed environment whose startup script ran out of time.
pub(super) const SCRIPT_TIMEOUT: &str = "startup script ran out of its time";
/// Exit code of a command that ran out of time.
const TIMED_OUT: i32 = 124;
/// How long a boot that is to end waits for a create that is on its way.
const CREATE_GRACE: Duration = Duration::from_secs(30);

/// The logs that are kept with a record, by source.
pub(super) type KeptLogs = BTreeMap<LogSource, String>;

/// A boot on its way.
pub(super) struct Boot {
    inner: Arc<Inner>,
    environment: Arc<Environment>,
    vault: Option<Vault>,
    work: Work,
    timings: PhaseTimings,
    logs: KeptLogs,
    /// What became of the request that makes the VM.
    made: Made,
}

/// Whether there is a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    /// None was asked for.
    No,
    /// It was asked for and there is no answer.
    Unsure,
    /// There is, or was.
    Yes,
}

/// A VM that came up.
struct Up {
    url: String,
    endpoints: Vec<GuestEndpoint>,
    warnings: Vec<String>,
}

/// Why a boot ended without a running VM.
pub(super) enum Down {
    Failed(ReasonCode, String),
    /// The environment is to go; whoever ended it removes the VM.
    Cancelled,
}

impl From<ProviderError> for Down {
    fn from(error: ProviderError) -> Self {
        Self::Failed(ReasonCode::BootFailed, error.to_string())
    }
}

impl From<Error> for Down {
    fn from(error: Error) -> Self {
        Self::Failed(ReasonCode::BootFailed, error.to_string())
    }
}

pub(super) fn encode_logs(vm: &crate::model::VmName, logs: &KeptLogs) -> Result<Vec<u8>> {
    record::encode("log", vm.as_str(), logs)
}

impl Boot {
    pub(super) fn new(
        inner: &Arc<Inner>,
        environment: Arc<Environment>,
        vault: Option<Vault>,
        work: Work,
    ) -> Self {
        let timings = environment.timings;
        let logs = KeptLogs::new();
        Self { inner: Arc::clone(inner), environment, vault, work, timings, logs, made: Made::No }
    }

    pub(super) async fn run(mut self) {
        let outcome = self.attempt().await;
        let ended = match outcome {
            Ok(up) => self.succeed(up).await,
            Err(Down::Cancelled) => {
                self.note_unsure();
                Ok(())
            }
            Err(Down::Failed(code, why)) => self.fail(code, &why).await,
        };
        // What could not be written is found by reconcile, which begins the boot again.
        drop(ended);
    }

    pub(super) const fn environment(&self) -> &Arc<Environment> {
        &self.environment
    }

    pub(super) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// `text` without the secrets of the environment.
    pub(super) fn scrubbed(&self, text: &str) -> String {
        self.vault.as_ref().map_or_else(|| text.to_owned(), |vault| vault.scrub(text))
    }

    /// Adds to a log that is kept with the record; its end stays.
    pub(super) fn note_log(&mut self, source: LogSource, text: &str) {
        let log = self.logs.entry(source).or_default();
        log.push_str(text);
        *log = tail(log, self.inner.config.log_bytes).to_owned();
    }

    /// The commands that start the services of the manifest; none when it declares none, or the guest has them.
    pub(super) fn services_script(&self) -> Result<Option<String>, Down> {
        let Some(files) = self.vault.as_ref().and_then(|vault| vault.boot.as_ref()) else { return Ok(None) };
        let manifest = Manifest::parse(&files.manifest).map_err(|problem| Error::Invalid(vec![problem]))?;
        Ok(manifest.has_services().then(|| service::podman(manifest.services())))
    }

    /// Whether the boot was begun more often than `tries`.
    pub(super) fn is_beyond(&self, tries: u32) -> bool {
        self.environment.boots > tries
    }

    /// Ends a boot that was interrupted too often.
    pub(super) async fn give_up(mut self) -> Result<()> {
        self.made = Made::Unsure;
        let text = format!("its boot was interrupted {} times", self.environment.boots - 1);
        self.fail(ReasonCode::Interrupted, &text).await
    }

    /// Tells whoever removes the VM that it may be made yet.
    fn note_unsure(&self) {
        if let Some(activity) = self.inner.fleet().known_activity_mut(&self.environment.vm) {
            activity.unsure |= self.made == Made::Unsure;
        }
    }

    async fn attempt(&mut self) -> Result<Up, Down> {
        let vault = match self.vault.take() {
            Some(vault) => vault,
            None => self.inner.vault(&self.environment.vm).await?,
        };
        let vault = self.vault.insert(vault).clone();
        let provider = self.inner.provider(&self.environment.host_id)?;
        let cancel = self.work.cancel();
        let facts = {
            let given_up = async {
                cancel.notified().await;
                tokio::time::sleep(CREATE_GRACE).await;
            };
            tokio::select! {
                biased;
                facts = self.create(&*provider) => facts?,
                () = given_up => return Err(Down::Cancelled),
            }
        };
        tokio::select! {
            biased;
            () = cancel.notified() => Err(Down::Cancelled),
            up = self.fill(&provider, &vault, facts) => up,
        }
    }

    /// Makes the VM.
    async fn create(&mut self, provider: &dyn Provider) -> Result<VmFacts, Down> {
        let inner = Arc::clone(&self.inner);
        let environment = Arc::clone(&self.environment);
        let (host, vm) = (&environment.host_id, &environment.vm);
        let limits = &inner.config.timeouts;
        if environment.boots > 1 {
            // How far the boot before this one came is not known; nobody has seen that VM run.
            self.made = Made::Unsure;
            let destroy = provider.destroy(vm);
            inner.call(host, Verb::Destroy, vm.as_str(), limits.destroy, destroy).await?;
        }
        let request = CreateRequest {
            name: vm.clone(),
            owner: inner.owner.clone(),
            environment_id: environment.id.clone(),
            resources: environment.spec.resources,
            region: environment.spec.region.clone(),
            image: environment.spec.image.clone(),
            seed: None,
        };
        let source = self.source().await?;
        let started = Instant::now();
        self.made = Made::Unsure;
        let made = match source {
            Source::Image => {
                inner.call(host, Verb::Create, vm.as_str(), limits.create, provider.create(&request)).await
            }
            Source::Seed(artifact) => {
                let request = CreateRequest { seed: Some(artifact), ..request };
                inner.call(host, Verb::Create, vm.as_str(), limits.create, provider.create(&request)).await
            }
            Source::Fork(source, artifact) => {
                let request = ForkVmRequest { source, artifact, create: request };
                inner.call(host, Verb::Fork, vm.as_str(), limits.create, provider.fork(&request)).await
            }
        };
        let facts = match made {
            // The name is ours alone, so this is our own request that arrived twice.
            Err(error) if error.kind == ProviderErrorKind::AlreadyExists => {
                inner.call(host, Verb::Get, vm.as_str(), limits.query, provider.get(vm)).await?
            }
            Err(error) => {
                if error.kind.is_answer() {
                    // The host says that it failed. It may have left something behind all the same.
                    self.made = Made::Yes;
                }
                return Err(error.into());
            }
            Ok(facts) => facts,
        };
        self.made = Made::Yes;
        self.note_phase(Phase::Create, started);
        Ok(facts)
    }

    /// Notes how long a phase took. Who looks sees it at once; it is durable with the end of the boot.
    fn note_phase(&mut self, phase: Phase, started: Instant) {
        self.timings.note(phase, micros(started.elapsed()));
        let (vm, timings) = (self.environment.vm.clone(), self.timings);
        self.inner.fleet().touch_environment(&self.environment.id, |current| {
            if current.vm == vm && current.state == EnvironmentState::Provisioning {
                current.timings = timings;
            }
        });
    }

    /// What the VM begins with; a snapshot of another host is brought here first.
    async fn source(&self) -> Result<Source> {
        let Some(seed) = &self.environment.seed else { return Ok(Source::Image) };
        let snapshot = self.inner.snapshot(&seed.snapshot_id)?.value;
        Ok(match seed.forked_from {
            None => Source::Seed(self.inner.bring(&snapshot, &self.environment.host_id).await?),
            Some(_) => Source::Fork(snapshot.vm.clone(), snapshot.artifact.clone()),
        })
    }

    /// Fills the VM: files, then the startup script, then the agent.
    async fn fill(
        &mut self,
        provider: &Arc<dyn Provider>,
        vault: &Vault,
        facts: VmFacts,
    ) -> Result<Up, Down> {
        let is_fork = self.environment.seed.as_ref().is_some_and(|seed| seed.forked_from.is_some());
        let files = if is_fork {
            profile::credential_files(&vault.credentials)
        } else {
            profile::boot_files(&self.environment, vault)?
        };
        let started = Instant::now();
        self.upload(provider, files).await?;
        self.note_phase(Phase::Upload, started);
        if !is_fork && !self.environment.startup_script.is_empty() {
            let started = Instant::now();
            self.run_script(&**provider, vault).await?;
            self.note_phase(Phase::StartScript, started);
        }
        if !is_fork {
            self.run_services(&**provider).await?;
        }
        let started = Instant::now();
        let start = agent_start(&self.environment, vault, &vault.credentials);
        let (host, vm) = (&self.environment.host_id, &self.environment.vm);
        let limit = self.inner.config.timeouts.agent;
        let call = provider.start_agent(vm, &start);
        let endpoints = self.inner.call(host, Verb::StartAgent, vm.as_str(), limit, call).await?;
        self.note_phase(Phase::Agent, started);
        let mut warnings = Vec::new();
        if self.environment.agent.command.is_some() && !provider.starts_workloads().await {
            warnings.push(
                "the agent of its host does not start workloads, so its command does not run".to_owned(),
            );
        }
        Ok(Up { url: facts.url, endpoints, warnings })
    }

    async fn upload(&self, provider: &Arc<dyn Provider>, files: Vec<FileUpload>) -> ProviderResult<()> {
        let environment = &self.environment;
        upload_all(&self.inner, provider, environment, files).await
    }

    async fn run_script(&mut self, provider: &dyn Provider, vault: &Vault) -> Result<(), Down> {
        let config = &self.inner.config;
        let limit = match self.environment.startup_script_timeout_seconds {
            0 => config.script_timeout,
            seconds => Duration::from_secs(seconds),
        };
        let (host, vm) = (&self.environment.host_id, &self.environment.vm);
        let request = ExecRequest::shell(&self.environment.startup_script, limit);
        let call = provider.exec(vm, &request);
        let margin = config.timeouts.exec_margin;
        let output = self.inner.call(host, Verb::Exec, vm.as_str(), limit + margin, call).await?;
        let text = [output.stdout, output.stderr].concat();
        let text = vault.scrub(&String::from_utf8_lossy(&text));
        self.note_log(LogSource::Startup, &text);
        match output.exit_code {
            0 => Ok(()),
            TIMED_OUT => {
                let text = format!("{SCRIPT_TIMEOUT} of {} s", limit.as_secs());
                Err(Down::Failed(ReasonCode::BootFailed, text))
            }
            code => {
                let last = tail(text.trim_end(), 400);
                let text = format!("startup script ended with exit code {code}: {last}");
                Err(Down::Failed(ReasonCode::BootFailed, text))
            }
        }
    }

    async fn succeed(&mut self, up: Up) -> Result<()> {
        let environment = Arc::clone(&self.environment);
        let Some(mut vault) = self.vault.take() else { return Ok(()) };
        let deployed = (!vault.secrets.is_empty()).then(|| {
            let names = vault.secrets.keys().cloned().collect::<Vec<_>>();
            (names.len(), names.join(","))
        });
        let boot = vault.boot.take();
        let sealed = match boot {
            Some(boot) if !(boot.agent.is_empty() && boot.caller.is_empty()) => {
                Some(self.inner.seal(&environment.vm, &vault)?)
            }
            _ => None,
        };
        let logs = if self.logs.is_empty() { None } else { Some(encode_logs(&environment.vm, &self.logs)?) };
        let timings = self.timings;
        let warnings = up.warnings;
        let change = |current: &mut Environment, now| {
            if current.vm != environment.vm || current.state != EnvironmentState::Provisioning {
                return Err(super::not_our_vm(&environment.vm));
            }
            current.enter(EnvironmentState::Running, ReasonCode::Booted.into(), now)?;
            current.url = up.url;
            current.endpoints = up.endpoints;
            current.observed = Observed::Present;
            current.warnings.extend(warnings);
            current.health = current.healthcheck.as_ref().map(|_| Health {
                state: HealthState::Starting,
                since: now,
                failures: 0,
                message: String::new(),
            });
            current.timings = timings;
            let mut change = Change::new().event(state_event(EventKind::VmRunning, current));
            if let Some((count, names)) = deployed {
                let subject = Subject::Environment(current.id.clone());
                let event = Event::new(now, EventKind::SecretsDeployed, subject);
                change = change.event(event.with("secret_keys", names).with("count", count));
            }
            if let Some(sealed) = sealed {
                change = change.put_bytes(Kind::Secret, current.vm.as_str(), Expect::Any, sealed);
            }
            if let Some(logs) = logs {
                change = change.put_bytes(Kind::Log, current.vm.as_str(), Expect::Any, logs);
            }
            Ok(change)
        };
        self.inner.change_environment(&environment.id, change).await?;
        self.inner.note_fresh(&environment.vm);
        Ok(())
    }

    async fn fail(mut self, code: ReasonCode, why: &str) -> Result<()> {
        let why = self.vault.as_ref().map_or_else(|| why.to_owned(), |vault| vault.scrub(why));
        if self.made == Made::Yes {
            self.keep_console().await;
        }
        let environment = Arc::clone(&self.environment);
        let teardown = (self.made != Made::No).then(|| Teardown {
            vm: environment.vm.clone(),
            host_id: environment.host_id.clone(),
            cause: TeardownCause::FailedBoot,
            environment_id: Some(environment.id.clone()),
            holds: Some(environment.spec.resources),
            // A request of an earlier boot may be on its way yet, too.
            unsure: self.made == Made::Unsure || environment.boots > 1,
            removal: Attempts::default(),
            created_at: self.inner.now(),
        });
        let logs = if self.logs.is_empty() { None } else { Some(encode_logs(&environment.vm, &self.logs)?) };
        let timings = self.timings;
        let goes = teardown.is_some();
        let change = |current: &mut Environment, now| {
            if current.vm != environment.vm || current.state != EnvironmentState::Provisioning {
                return Err(super::not_our_vm(&environment.vm));
            }
            current.enter(EnvironmentState::Failed, Reason::new(code, why), now)?;
            current.timings = timings;
            let mut change = Change::new()
                .delete(Kind::Secret, current.vm.as_str())
                .event(state_event(EventKind::VmProvisionFailed, current));
            if let Some(teardown) = teardown {
                change = change.teardown(teardown);
            }
            if let Some(logs) = logs {
                change = change.put_bytes(Kind::Log, current.vm.as_str(), Expect::Any, logs);
            }
            Ok(change)
        };
        self.inner.change_environment(&environment.id, change).await?;
        let Self { inner, work, .. } = self;
        drop(work);
        if goes {
            inner.tear_down(&environment.vm).await?;
        }
        Ok(())
    }

    /// Keeps the end of the console of a VM that is about to go, if the host tells it.
    async fn keep_console(&mut self) {
        let kept = self.inner.console_of(&self.environment).await;
        if let Some(text) = kept {
            let text = self.vault.as_ref().map_or_else(|| text.clone(), |vault| vault.scrub(&text));
            self.logs.insert(LogSource::Console, text);
        }
    }
}

enum Source {
    Image,
    Seed(String),
    Fork(crate::model::VmName, String),
}

/// How the agent of an environment is started with these credentials.
pub(super) fn agent_start(
    environment: &Environment,
    vault: &Vault,
    credentials: &crate::secrets::Credentials,
) -> AgentStart {
    AgentStart {
        auth_token: credentials.token().clone(),
        command: environment.agent.command.clone(),
        download_url: environment.agent.download_url.clone(),
        gateway: environment.agent.gateway.clone(),
        gateway_token: vault.gateway_token.clone(),
        expose: environment.expose.clone(),
    }
}

/// Uploads files of different paths, some at a time. After a failure, too, all of them have ended when it returns.
pub(super) async fn upload_all(
    inner: &Inner,
    provider: &Arc<dyn Provider>,
    environment: &Environment,
    files: Vec<FileUpload>,
) -> ProviderResult<()> {
    let (host, vm) = (&environment.host_id, &environment.vm);
    let limit = inner.config.timeouts.upload;
    let upload = |file: FileUpload| async move {
        inner.call(host, Verb::Upload, vm.as_str(), limit, provider.upload(vm, &file)).await
    };
    let uploads = stream::iter(files).map(upload);
    let uploads = uploads.buffer_unordered(inner.config.parallel_uploads.max(1));
    uploads.fold(Ok(()), |before, this| std::future::ready(before.and(this))).await
}

/// The last `limit` bytes of `text`, cut at a character.
pub(super) fn tail(text: &str, limit: usize) -> &str {
    let from = text.len().saturating_sub(limit);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
    text.get(from..).unwrap_or_default()
}
