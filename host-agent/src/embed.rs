//! The VMs of this machine in the process of a control plane: no server, no daemon.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use fuse_orchestrator::{
    Builder, ControlPlane, HostRegistration, Orchestrator,
    model::{EnvironmentFilter, Host, HostId},
    provider::{Connector, HostAddress, Provider, ProviderError, ProviderErrorKind, ProviderResult, Verb},
    secrets::KeyRing,
    store::{SharedStore, SledStore},
};

use crate::{Config, LocalConnector, agent::HostAgent};

/// The URL of the host that stands in where there are no VMs.
const STUB: &str = "stub://default";
/// The host that is this machine.
pub(crate) const HOST: &str = "default";

/// VMs of this machine, or why there are none.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use fuse_host_agent::LocalVms;
///
/// let vms = LocalVms::open(&LocalVms::data_dir()).await;
/// println!("{vms}");
/// let fuse = vms.orchestrator("/var/lib/my-service").await?;
/// # Ok(())
/// # }
/// ```
///
/// `fuse` provisions real VMs then, where a driver works and an image is installed (`fuse image build` makes one); else
/// environments are simulated, and `vms` says so and why.
#[derive(Debug, Clone)]
pub struct LocalVms(Result<HostAgent, String>);

impl LocalVms {
    /// The scheme of this machine as a host.
    pub const SCHEME: &'static str = "local";

    /// The data directory of the host agent when nobody says: `$FUSE_HOST_DATA`, else `/var/lib/fuse-host-agent`.
    #[must_use]
    pub fn data_dir() -> PathBuf {
        let named = std::env::var_os("FUSE_HOST_DATA").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        named.unwrap_or_else(|| PathBuf::from("/var/lib/fuse-host-agent"))
    }

    /// Looks for a driver and for the image `default` in `data`, and takes over the VMs that run. What works on this
    /// machine is chosen as [`Config::suggested`] says.
    pub async fn open(data: &Path) -> Self {
        match Config::suggested(data) {
            Ok(config) => Self::with(config).await,
            Err(error) => Self(Err(error.to_string())),
        }
    }

    /// The VMs of an agent that is configured so.
    pub async fn with(config: Config) -> Self {
        Self(HostAgent::open(config).await.map_err(|error| error.to_string()))
    }

    /// The agent that runs the VMs; none where there are none.
    #[must_use]
    pub fn agent(&self) -> Option<&HostAgent> {
        self.0.as_ref().ok()
    }

    /// The URL of this machine as a host.
    ///
    /// # Errors
    /// Why there can be no VMs: no driver, no kernel, no image; with what to do about it.
    pub fn url(&self) -> Result<String, String> {
        self.0.as_ref().map(|agent| format!("{}://{}", Self::SCHEME, agent.backend())).map_err(Clone::clone)
    }

    /// Makes providers for that URL. Where there are no VMs, they say why.
    #[must_use]
    pub fn connector(&self) -> Arc<dyn Connector> {
        match &self.0 {
            Ok(agent) => Arc::new(LocalConnector::new(agent.clone())),
            Err(why) => Arc::new(NoVms(why.clone())),
        }
    }

    /// A control plane whose state is in `dir`, as [`ControlPlane::open`], and whose host `default` is this machine; the
    /// stub, which runs commands in memory and isolates nothing, where there are no VMs. Ask [`LocalVms::url`] or print
    /// this to know which.
    ///
    /// A directory that was used with the stub moves to real VMs as soon as there are some and it has no environments
    /// left. One whose environments are real VMs never falls back to the stub: they are unknown until the machine can
    /// run VMs again.
    ///
    /// # Errors
    /// As [`ControlPlane::open`].
    pub async fn orchestrator(&self, dir: impl AsRef<Path>) -> fuse_orchestrator::Result<Orchestrator> {
        self.plane(state_in(dir.as_ref()).await?).await.map(Orchestrator::from)
    }

    /// Makes this machine the host `default` of a control plane that is put together otherwise, such as one with its
    /// state in Postgres. A host of that name that is registered already stays as it is.
    pub fn add_to(&self, builder: Builder) -> Builder {
        if let Err(why) = &self.0 {
            tracing::warn!("environments are only simulated, and isolate nothing: {why}");
        }
        self.beneath(builder)
    }

    /// No VMs, since nobody wants any.
    pub(crate) fn unwanted(why: &str) -> Self {
        Self(Err(why.to_owned()))
    }

    /// A control plane over this machine with its state in `state`.
    pub(crate) async fn plane(&self, state: Builder) -> fuse_orchestrator::Result<ControlPlane> {
        let plane = self.beneath(state).open().await?;
        self.settle(&plane).await?;
        Ok(plane)
    }

    fn beneath(&self, builder: Builder) -> Builder {
        builder.connector(Self::SCHEME, self.connector()).default_host(self.registration())
    }

    fn registration(&self) -> HostRegistration {
        HostRegistration {
            url: self.url().unwrap_or_else(|_| STUB.to_owned()),
            ..HostRegistration::default()
        }
    }

    /// Replaces a stub that was registered before there were VMs, unless environments live on it.
    async fn settle(&self, plane: &ControlPlane) -> fuse_orchestrator::Result<()> {
        let id = HostId::new(HOST)?;
        let Host { url, .. } = plane.host(&id)?;
        let Ok(ours) = self.url() else { return Ok(()) };
        if url == ours || !url.starts_with("stub://") {
            return Ok(());
        }
        let filter = EnvironmentFilter { host_id: Some(id.clone()), ..EnvironmentFilter::default() };
        if !plane.list(&filter, Some(1), None)?.items.is_empty() {
            tracing::warn!(
                "the host {id} stays a stub, since environments live on it; destroy them for real VMs"
            );
            return Ok(());
        }
        plane.register_host(&id, self.registration()).await.map(drop)
    }
}

/// A control plane to be, with its state in `dir`, as [`ControlPlane::open`] has it.
pub(crate) async fn state_in(dir: &Path) -> fuse_orchestrator::Result<Builder> {
    let store: SharedStore = Arc::new(SledStore::open(dir.join("state")).await?);
    let keys = KeyRing::load_or_create(&dir.join("key"))?;
    Ok(ControlPlane::builder().store(store).secrets(Arc::new(keys)))
}

impl fmt::Display for LocalVms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ok(agent) => {
                let (backend, version) = (agent.backend(), agent.vmm_version());
                write!(f, "real VMs of {backend} {version} ({})", agent.accelerator())
            }
            Err(why) => write!(f, "the STUB, which runs commands in memory and isolates nothing: {why}"),
        }
    }
}

/// Stands for the VMs of a machine that has none.
#[derive(Debug)]
struct NoVms(String);

impl Connector for NoVms {
    fn connect(&self, host: &HostAddress) -> ProviderResult<Arc<dyn Provider>> {
        Err(ProviderError::new(ProviderErrorKind::Refused, Verb::Probe, &host.id, "", self.0.as_str()))
    }
}
