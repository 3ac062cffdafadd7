//! Hosts, and the letters that tell an operator of what does not work.

use std::time::Duration;

use super::{Orchestrator, backend};
use crate::{
    HostDrainProgress, HostRegistration, Page, Removal, Result,
    model::{DeadLetter, Host, HostId},
};

impl Orchestrator {
    /// Registers a host, or registers it again: then its record keeps its age, its cordon and everything on it.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) with every problem; [`Error::Provider`](crate::Error::Provider) when
    /// the host does not take the token, or does not answer and its capacity is not fully declared.
    pub async fn register_host(&self, id: &HostId, registration: HostRegistration) -> Result<Host> {
        backend!(
            self,
            plane => plane.register_host(id, registration).await,
            connection => connection.register_host(id, &registration).await
        )
    }

    /// One host.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn host(&self, id: &HostId) -> Result<Host> {
        backend!(self, plane => plane.host(id), connection => connection.host(id).await)
    }

    /// A page of hosts, by id.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a cursor that no list gave out.
    pub async fn hosts(&self, limit: Option<usize>, cursor: Option<&str>) -> Result<Page<Host>> {
        backend!(self, plane => plane.hosts(limit, cursor), connection => connection.hosts(limit, cursor).await)
    }

    /// Lets no new environments go to a host. Those that it has go on.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Store`](crate::Error::Store).
    pub async fn cordon(&self, id: &HostId) -> Result<()> {
        backend!(self, plane => plane.cordon(id).await, connection => connection.cordon(id).await)
    }

    /// Lets new environments go to a host again.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Store`](crate::Error::Store).
    pub async fn uncordon(&self, id: &HostId) -> Result<()> {
        backend!(self, plane => plane.uncordon(id).await, connection => connection.uncordon(id).await)
    }

    /// Empties a host: cordons it, drains each of its environments, and destroys each when its drain command has ended,
    /// or when `limit` is over (none: the drain limit of the configuration, 15 min). Returns when the order is durable;
    /// it is carried out in the background, and [`Orchestrator::host_drain`] tells how it goes. An uncordon takes the
    /// order back.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Store`](crate::Error::Store).
    pub async fn drain_host(&self, id: &HostId, limit: Option<Duration>) -> Result<HostDrainProgress> {
        backend!(
            self,
            plane => plane.drain_host(id, limit).await,
            connection => connection.drain_host(id, limit).await
        )
    }

    /// How the emptying of a host goes; none when nobody asked for it.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn host_drain(&self, id: &HostId) -> Result<Option<HostDrainProgress>> {
        backend!(self, plane => plane.host_drain(id), connection => connection.host_drain(id).await)
    }

    /// Removes a host.
    ///
    /// # Errors
    /// [`Error::HostInUse`](crate::Error::HostInUse) when environments or teardowns point to it and the removal is
    /// not forced; [`Error::NotFound`](crate::Error::NotFound), [`Error::Store`](crate::Error::Store).
    pub async fn remove_host(&self, id: &HostId, removal: Removal) -> Result<()> {
        backend!(
            self,
            plane => plane.remove_host(id, removal).await,
            connection => connection.remove_host(id, removal).await
        )
    }

    /// All dead letters, by kind and entity.
    ///
    /// # Errors
    /// Only over the network: [`Error::NoAnswer`](crate::Error::NoAnswer) and what else the server says.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        backend!(self, plane => Ok(plane.dead_letters()), connection => connection.dead_letters().await)
    }

    /// Tries now what a dead letter is about. The letter goes when it succeeds, or when there was nothing to try.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound); what the try fails with.
    pub async fn retry_dead_letter(&self, key: &str) -> Result<()> {
        backend!(
            self,
            plane => plane.retry_dead_letter(key).await,
            connection => connection.retry_dead_letter(key).await
        )
    }

    /// Takes a dead letter away. Work that is behind it goes on, and writes a new one when it fails again.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound), [`Error::Store`](crate::Error::Store).
    pub async fn dismiss_dead_letter(&self, key: &str) -> Result<()> {
        backend!(
            self,
            plane => plane.dismiss_dead_letter(key).await,
            connection => connection.dismiss_dead_letter(key).await
        )
    }
}
