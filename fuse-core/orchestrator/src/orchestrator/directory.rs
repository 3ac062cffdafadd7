//! The embedded default: everything in one directory, nothing to configure.

use std::{path::Path, sync::Arc};

use super::{ControlPlane, HostRegistration};
use crate::{
    Result,
    secrets::KeyRing,
    store::{SharedStore, SledStore},
};

impl ControlPlane {
    /// An orchestrator whose state is in the directory `dir`: a sled store below `state`, and the key of its secrets
    /// in the file `key` of mode 0600. Both are made when they are not there. One process at a time can have it open.
    ///
    /// With no host registered it makes one stub host called `default`, which runs commands in memory and isolates
    /// nothing; register real hosts to run real VMs. For those of this machine, in this process, the crate
    /// `fuse-host-agent` has `LocalVms::orchestrator`.
    ///
    /// # Errors
    /// [`Error::Store`](crate::Error::Store) when the store is locked, damaged or cannot be made,
    /// [`Error::Secrets`](crate::Error::Secrets) when the key file cannot be used.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self> {
        let dir = dir.as_ref();
        let store: SharedStore = Arc::new(SledStore::open(dir.join("state")).await?);
        let keys = KeyRing::load_or_create(&dir.join("key"))?;
        let stub = HostRegistration { url: "stub://default".to_owned(), ..HostRegistration::default() };
        Self::builder().store(store).secrets(Arc::new(keys)).default_host(stub).open().await
    }
}
