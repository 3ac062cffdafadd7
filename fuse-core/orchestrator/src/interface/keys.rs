//! API keys.

use std::collections::BTreeSet;

use super::{Orchestrator, backend};
use crate::{
    Result,
    secrets::{ApiKey, ApiKeyRecord, Scope},
};

impl Orchestrator {
    /// Makes an API key of 256 random bits. An empty set of scopes means read and write.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a label beyond 200 characters,
    /// [`Error::Secret`](crate::Error::Secret), [`Error::Store`](crate::Error::Store).
    pub async fn create_api_key(&self, label: &str, scopes: BTreeSet<Scope>) -> Result<ApiKey> {
        backend!(
            self,
            plane => plane.create_api_key(label, scopes).await,
            connection => connection.create_api_key(label, scopes).await
        )
    }

    /// All API keys, newest first, revoked ones too. The hashes of their secrets do not cross the network: there they
    /// are those of nothing.
    ///
    /// # Errors
    /// Only over the network: [`Error::NoAnswer`](crate::Error::NoAnswer) and what else the server says.
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRecord>> {
        backend!(self, plane => Ok(plane.api_keys()), connection => connection.api_keys().await)
    }

    /// Revokes an API key: it is refused from now on. Revoking twice is once.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Store`](crate::Error::Store).
    pub async fn revoke_api_key(&self, id: &str) -> Result<()> {
        backend!(
            self,
            plane => plane.revoke_api_key(id).await,
            connection => connection.revoke_api_key(id).await
        )
    }
}
