//! A VM in memory.

use std::sync::{Mutex, MutexGuard, PoisonError};

use fuse_orchestrator::model::{OwnerId, Resources, Timestamp, VmName};

use tokio_util::sync::CancellationToken;

use super::link::GuestLink;
use crate::{
    driver::{Nic, Site},
    net::Lease,
    store::{Published, VmRecord, VmState},
    system::Console,
};

/// A VM of this agent.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(super) site: Site,
    record: Mutex<VmRecord>,
    /// Held by what changes the VM.
    pub(super) change: tokio::sync::Mutex<()>,
    pub(super) link: GuestLink,
    /// Set when the VM is to go: a create or restore that is under way ends.
    doomed: CancellationToken,
}

/// A VM, for callers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VmView {
    /// Its name.
    pub name: VmName,
    /// Where its agent's port is reached. Empty without a network.
    pub url: String,
    /// Whose it is.
    pub owner: Option<OwnerId>,
    /// The environment it is for. Empty: not said.
    pub environment_id: String,
    /// Its size.
    pub resources: Resources,
    /// How far it is.
    pub state: VmState,
    /// Its published ports.
    pub published: Vec<Published>,
    /// When it was made.
    pub created_at: Timestamp,
    /// The pid of its VMM.
    pub pid: Option<i32>,
    /// Its address.
    pub address: Option<std::net::Ipv4Addr>,
}

impl Vm {
    pub(super) fn new(site: Site, record: VmRecord) -> Self {
        let link = GuestLink::default();
        let change = tokio::sync::Mutex::default();
        Self { site, record: Mutex::new(record), change, link, doomed: CancellationToken::new() }
    }

    /// Says that the VM is to go.
    pub(super) fn doom(&self) {
        self.doomed.cancel();
    }

    /// Whether the VM is to go.
    pub(super) fn is_doomed(&self) -> bool {
        self.doomed.is_cancelled()
    }

    /// Waits until the VM is to go.
    pub(super) async fn doomed(&self) {
        self.doomed.cancelled().await;
    }

    pub(super) fn name(&self) -> &VmName {
        &self.site.name
    }

    pub(super) fn record(&self) -> MutexGuard<'_, VmRecord> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn console(&self) -> Console {
        Console::new(self.site.console())
    }

    pub(super) fn view(&self, host: &str) -> VmView {
        let record = self.record();
        let agent = record.published.iter().find(|port| port.guest == fuse_guest_protocol::TCP_PORT);
        VmView {
            name: record.name.clone(),
            url: agent.map_or_else(String::new, |port| authority(host, port.host)),
            owner: record.owner.clone(),
            environment_id: record.environment_id.clone(),
            resources: record.resources,
            state: record.state,
            published: record.published.clone(),
            created_at: record.created_at,
            pid: record.process.as_ref().map(|process| process.pid),
            address: match &record.net {
                Some(Lease::Tap(lease)) => Some(lease.guest),
                _ => None,
            },
        }
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub(super) fn authority(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The published ports as a VMM with a network of its own is told.
pub(super) fn forwards(published: &[Published]) -> Vec<(u16, u16)> {
    published.iter().map(|port| (port.host, port.guest)).collect()
}

/// Sets the published ports of a machine whose VMM publishes them itself.
pub(super) fn set_forwards(nic: &mut Option<Nic>, published: &[Published]) {
    if let Some(Nic::User { forwards: of_machine, .. }) = nic {
        *of_machine = forwards(published);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_version_6_have_brackets() {
        assert_eq!(authority("203.0.113.9", 80), "203.0.113.9:80");
        assert_eq!(authority("2001:db8::1", 80), "[2001:db8::1]:80");
        assert_eq!(authority("host.example", 80), "host.example:80");
    }
}
