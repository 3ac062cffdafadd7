//! VMs of this machine, in the server's own process.

use std::{path::PathBuf, sync::Arc};

use fuse_host_agent::{Config, LocalConnector, agent::HostAgent};
use fuse_orchestrator::provider::{
    Connector, HostAddress, Provider, ProviderError, ProviderErrorKind, ProviderResult, Verb,
};
use fuse_server::LocalHost;

/// The scheme of this machine as a host.
const SCHEME: &str = "local";

/// VMs of this machine, or why there are none.
#[derive(Debug)]
pub(super) struct LocalVms(Result<HostAgent, String>);

impl LocalVms {
    /// Looks for a driver and an image, and takes over the VMs that run.
    pub(super) async fn open() -> Self {
        let data = std::env::var_os("FUSE_HOST_DATA").map(PathBuf::from);
        let data = data.unwrap_or_else(|| PathBuf::from("/var/lib/fuse-host-agent"));
        let opened = match Config::suggested(&data) {
            Ok(config) => HostAgent::open(config).await,
            Err(error) => Err(error),
        };
        Self(opened.map_err(|error| error.to_string()))
    }
}

impl LocalHost for LocalVms {
    fn scheme(&self) -> &str {
        SCHEME
    }

    fn url(&self) -> Result<String, String> {
        match &self.0 {
            Ok(agent) => Ok(format!("{SCHEME}://{}", agent.backend())),
            Err(why) => Err(why.clone()),
        }
    }

    fn connector(&self) -> Arc<dyn Connector> {
        match &self.0 {
            Ok(agent) => Arc::new(LocalConnector::new(agent.clone())),
            Err(why) => Arc::new(NoVms(why.clone())),
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
