//! Where VMs of this machine come in.

use std::{fmt::Debug, sync::Arc};

use fuse_orchestrator::provider::Connector;

/// Drives VMs of this machine, in this process. The crate of the host agent has one; tests have others.
pub trait LocalHost: Debug + Send + Sync {
    /// The scheme of its URLs, such as `local`.
    fn scheme(&self) -> &str;

    /// The URL of this machine as a host.
    ///
    /// # Errors
    /// Why there can be no VMs: no driver, no kernel, no image; with what to do about it.
    fn url(&self) -> Result<String, String>;

    /// Makes providers for its URLs.
    fn connector(&self) -> Arc<dyn Connector>;
}
