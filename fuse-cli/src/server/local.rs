//! VMs of this machine, in the server's own process.

use std::sync::Arc;

use fuse_orchestrator::provider::Connector;
use fuse_server::LocalHost;

/// VMs of this machine, or why there are none.
#[derive(Debug)]
pub(super) struct LocalVms(fuse_host_agent::LocalVms);

impl LocalVms {
    /// Looks for a driver and an image, and takes over the VMs that run.
    pub(super) async fn open() -> Self {
        Self(fuse_host_agent::LocalVms::open(&fuse_host_agent::LocalVms::data_dir()).await)
    }
}

impl LocalHost for LocalVms {
    fn scheme(&self) -> &str {
        fuse_host_agent::LocalVms::SCHEME
    }

    fn url(&self) -> Result<String, String> {
        self.0.url()
    }

    fn connector(&self) -> Arc<dyn Connector> {
        self.0.connector()
    }
}
