//! The program: settings in, a running server out, and an orderly end.

mod descriptors;
mod doctor;
mod local;
mod storage;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use fuse_orchestrator::{ControlPlane, HostRegistration};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    api::Service,
    follower,
    listener::{Listener, Tls, TlsError},
    metrics::{CountedLooks, MeasuredStore, Metrics},
    settings::{ProviderChoice, Settings, State},
};

pub use doctor::{Examination, Finding, Verdict, doctor};
pub use local::LocalHost;
pub use storage::{open_keys, open_store};

/// How often the files of TLS are looked at.
const TLS_PERIOD: Duration = Duration::from_secs(10);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The orchestrator cannot be opened.
    #[error(transparent)]
    ControlPlane(#[from] fuse_orchestrator::Error),
    /// The files of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// The provider that was asked for is not there.
    #[error("the provider local was asked for, and there is none: {0}; `fuse doctor` says more")]
    NoLocal(String),
    /// The system does not take part.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
}

/// A server that listens. It serves until [`Server::stop`] and [`Server::wait`].
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    orchestrator: ControlPlane,
    choices: Vec<String>,
    tls: Option<Tls>,
    stop: CancellationToken,
    /// Readiness and streams end before the listener does.
    listening: tokio::task::JoinHandle<usize>,
    background: TaskTracker,
}

impl Server {
    /// Opens the state, connects the hosts, and listens.
    ///
    /// # Errors
    /// [`ServeError`]; then nothing runs.
    pub async fn start(settings: Settings, local: Option<Arc<dyn LocalHost>>) -> Result<Self, ServeError> {
        let metrics = Metrics::default();
        let mut choices = Vec::new();
        // Before the state is opened: what is in the way of listening must not take the lease.
        let tls = settings.tls.clone().map(Tls::load).transpose()?;
        let listener = listen(&settings, tls.clone()).await?;
        let address =
            listener.address().map_err(|source| ServeError::System { doing: "tell the address", source })?;
        let orchestrator = open(&settings, local.as_deref(), &metrics, &mut choices).await?;

        let stop = CancellationToken::new();
        let background = TaskTracker::new();
        background.spawn(follower::follow(orchestrator.clone(), metrics.clone(), stop.clone()));
        if let Some(tls) = tls.clone() {
            background.spawn(tls.watch(TLS_PERIOD, stop.clone()));
        }
        let service =
            Service::new(orchestrator.clone(), settings.api.clone()).metrics(metrics).stop(stop.clone());
        let serving = listener.serve(service.router(), stop.clone(), settings.shutdown_timeout);
        let listening = tokio::spawn(serving);
        Ok(Self { address, orchestrator, choices, tls, stop, listening, background })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it chose, a line each, for people.
    #[must_use]
    pub fn choices(&self) -> &[String] {
        &self.choices
    }

    /// The orchestrator that it serves.
    #[must_use]
    pub const fn orchestrator(&self) -> &ControlPlane {
        &self.orchestrator
    }

    /// Reads the files of TLS again.
    ///
    /// # Errors
    /// [`TlsError`]: what was read before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.tls.as_ref().map_or(Ok(()), Tls::reload)
    }

    /// Takes no new requests from now on; those under way go on.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Waits until it has stopped, and closes the state. What was begun and not ended is finished by the next start.
    ///
    /// Returns how many connections were cut off because they took too long.
    ///
    /// # Errors
    /// [`ServeError::ControlPlane`] when the state cannot be closed cleanly; what was answered is durable all the same.
    pub async fn wait(self) -> Result<usize, ServeError> {
        let cut = self.listening.await.unwrap_or(0);
        self.stop.cancel();
        self.background.close();
        self.background.wait().await;
        self.orchestrator.close().await?;
        Ok(cut)
    }
}

async fn listen(settings: &Settings, tls: Option<Tls>) -> Result<Listener, ServeError> {
    let listener = Listener::bind(&settings.host, settings.port, settings.max_connections).await;
    let listener = listener.map_err(|source| ServeError::Listen {
        address: format!("{}:{}", settings.host, settings.port),
        source,
    })?;
    Ok(listener.with_tls(tls).with_deadlines(settings.deadlines))
}

async fn open(
    settings: &Settings,
    local: Option<&dyn LocalHost>,
    metrics: &Metrics,
    choices: &mut Vec<String>,
) -> Result<ControlPlane, ServeError> {
    let store = open_store(settings).await?;
    choices.push(format!("state: {}", store.describe()));
    if matches!(settings.state, State::Memory) {
        choices.push("NOTE: the state is in memory, and ends with this program".to_owned());
    }
    let keys = open_keys(settings)?;
    let mut builder = ControlPlane::builder()
        .config(settings.orchestrator.clone())
        .store(MeasuredStore::shared(store, metrics.clone()))
        .watch_reconcile(Arc::new(CountedLooks::new(metrics.clone())))
        .secrets(Arc::new(keys));
    if let Some(local) = local {
        builder = builder.connector(local.scheme(), local.connector());
    }
    let registration = default_host(settings, local, choices)?;
    Ok(builder.default_host(registration).open().await?)
}

/// VM slots of an agent that is given by its address alone: as many as the original agent takes at most.
const AGENT_VM_SLOTS: u32 = 249;

/// What the host named `default` is.
fn default_host(
    settings: &Settings,
    local: Option<&dyn LocalHost>,
    choices: &mut Vec<String>,
) -> Result<HostRegistration, ServeError> {
    let usable = match local {
        Some(local) => local.url(),
        None => Err("this program was built without local VMs".to_owned()),
    };
    let (url, token) = match (&settings.provider, &settings.agent_url, usable) {
        (ProviderChoice::Auto | ProviderChoice::Remote, Some(agent), _) => {
            choices.push(format!("provider: the host agent at {agent}"));
            (agent.clone(), settings.agent_token.clone())
        }
        (ProviderChoice::Auto | ProviderChoice::Local, _, Ok(url)) => {
            choices.push(format!("provider: VMs of this machine ({url})"));
            (url, None)
        }
        (ProviderChoice::Local, _, Err(why)) => return Err(ServeError::NoLocal(why)),
        (ProviderChoice::Auto, None, Err(why)) => {
            choices.push(format!(
                "provider: STUB. Environments are only simulated, and isolate nothing ({why})"
            ));
            choices.push("NOTE: set FIRECRACKER_BASE_URL, or register hosts, to run real VMs".to_owned());
            ("stub://default".to_owned(), None)
        }
        (ProviderChoice::Stub | ProviderChoice::Remote, ..) => {
            choices.push("provider: stub. Environments are only simulated, and isolate nothing".to_owned());
            ("stub://default".to_owned(), None)
        }
    };
    let mut registration = HostRegistration { url, token, ..HostRegistration::default() };
    if registration.url.starts_with("http") {
        // Agents tell their processors, memory and disk, and not how many VMs they take.
        registration.capacity.vm_count = AGENT_VM_SLOTS;
    }
    Ok(registration)
}

/// Runs a server until the program is told to end: SIGTERM or SIGINT. SIGHUP reads the files of TLS again.
/// `ready` is called when it listens.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(
    settings: Settings,
    local: Option<Arc<dyn LocalHost>>,
    ready: impl FnOnce(&Server),
) -> Result<(), ServeError> {
    let system = |source| ServeError::System { doing: "listen for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(system)?;
    if let Some(files) = descriptors::raise().filter(|files| *files < settings.max_connections as u64) {
        tracing::warn!(
            "there are {files} file descriptors for at most {} connections: `fuse doctor` says what to do",
            settings.max_connections
        );
    }
    let server = Server::start(settings, local).await?;
    ready(&server);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hang_up.recv() => match server.reload() {
                Ok(()) => tracing::info!("the files of TLS were read again"),
                Err(error) => tracing::warn!("{error}; the former certificate stays in use"),
            },
        }
    }
    tracing::info!("stopping: requests under way may end");
    server.stop();
    let cut = server.wait().await?;
    if cut > 0 {
        tracing::warn!(connections = cut, "connections were cut off because they took too long");
    }
    tracing::info!("stopped");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

    use super::*;
    use crate::settings::{Origin, Sources};

    fn default_host_of(values: &[(&str, &str)]) -> HostRegistration {
        let mut sources = Sources::new();
        for (name, value) in values {
            sources.set(name, value, Origin::Variable).unwrap();
        }
        let settings = Settings::resolve(&sources, Some("/var/lib/fuse".into())).unwrap();
        default_host(&settings, None, &mut Vec::new()).unwrap()
    }

    #[test]
    fn an_agent_that_is_given_by_its_address_alone_has_slots() {
        let agent = [("firecracker-url", "http://127.0.0.1:8090"), ("firecracker-token", "0123456789abcdef")];
        let host = default_host_of(&agent);
        assert_eq!((host.url.as_str(), host.capacity.vm_count), ("http://127.0.0.1:8090", 249));
        assert_eq!(host.capacity.cpus, 0, "what the agent tells is asked of it");
    }

    #[test]
    fn without_an_agent_and_without_local_vms_it_is_the_stub() {
        let host = default_host_of(&[]);
        assert_eq!((host.url.as_str(), host.capacity.vm_count), ("stub://default", 0));
    }
}
