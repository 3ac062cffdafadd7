//! The addresses of guests.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use crate::{Error, ErrorKind, Result};

/// The network of a VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lease {
    /// A tap in a namespace.
    Tap(TapLease),
    /// Inside the VMM.
    User {
        /// The hardware address.
        mac: String,
    },
}

/// The addresses and devices of a VM.
///
/// ```text
/// guest ── tap0 │ namespace │ eth0 ── veth │ host
///  +2       +1                +6      +5      (addresses within the eight of this VM)
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TapLease {
    /// Its number in the pool.
    pub index: u32,
    /// The guest's address; its network has the prefix length 30.
    pub guest: Ipv4Addr,
    /// The router, as the guest sees it.
    pub gateway: Ipv4Addr,
    /// The host's end of the pair.
    pub outside: Ipv4Addr,
    /// The namespace's end of the pair.
    pub inside: Ipv4Addr,
    /// The guest's hardware address.
    pub mac: String,
    /// The namespace.
    pub netns: String,
    /// The host's device.
    pub veth: String,
}

impl TapLease {
    /// The name of the tap, the same in every namespace.
    pub const TAP: &'static str = "tap0";
}

/// Eight addresses for each VM.
#[derive(Debug, Clone)]
pub struct AddressPool {
    net: Ipv4Net,
    tag: String,
    used: BTreeSet<u32>,
}

impl AddressPool {
    /// A pool over `net`, a network of prefix length 8 to 29. `tag` is 1 to 4 of a-z 0-9 and tells the devices of this
    /// agent from those of others on the host.
    ///
    /// # Errors
    /// Invalid.
    pub fn new(net: Ipv4Net, tag: &str) -> Result<Self> {
        if !(8..=29).contains(&net.prefix_len()) {
            let why = "its prefix length is not 8 to 29; every VM takes eight addresses";
            return Err(Error::invalid("use", format!("the address pool {net}"), why));
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(1..=4).contains(&tag.len()) || !tag.bytes().all(plain) {
            return Err(Error::invalid(
                "use",
                format!("the network tag {tag:?}"),
                "it is not 1 to 4 of a-z 0-9",
            ));
        }
        Ok(Self { net: net.trunc(), tag: tag.to_owned(), used: BTreeSet::new() })
    }

    /// The network of all guests.
    #[must_use]
    pub const fn net(&self) -> Ipv4Net {
        self.net
    }

    /// What the devices of this pool's VMs are called on the host, up to their number.
    #[must_use]
    pub fn device_prefix(&self) -> String {
        format!("fz{}-", self.tag)
    }

    /// What the namespaces of this pool's VMs are called, up to their number.
    #[must_use]
    pub fn netns_prefix(&self) -> String {
        format!("fuse-{}-", self.tag)
    }

    /// How many VMs it has addresses for.
    #[must_use]
    pub const fn size(&self) -> u32 {
        1 << (29 - self.net.prefix_len())
    }

    /// The addresses of the VM number `index`.
    fn lease(&self, index: u32) -> TapLease {
        let base = u32::from(self.net.network()) + index * 8;
        let at = |offset: u32| Ipv4Addr::from(base + offset);
        let [_, b, c, d] = at(2).octets();
        TapLease {
            index,
            guest: at(2),
            gateway: at(1),
            outside: at(5),
            inside: at(6),
            mac: format!("06:00:ac:{b:02x}:{c:02x}:{d:02x}"),
            netns: format!("{}{index}", self.netns_prefix()),
            veth: format!("{}{index}", self.device_prefix()),
        }
    }

    /// Takes the lowest free number.
    ///
    /// # Errors
    /// Busy when all are taken.
    pub fn take(&mut self) -> Result<TapLease> {
        let free = (0..self.size()).find(|index| !self.used.contains(index));
        let Some(index) = free else {
            let why = format!("all {} are in use; configure a larger network", self.size());
            return Err(Error::new(ErrorKind::Busy, "take an address of", self.net, why));
        };
        self.used.insert(index);
        Ok(self.lease(index))
    }

    /// Notes a number that a VM has since before a restart.
    pub fn adopt(&mut self, lease: &TapLease) {
        self.used.insert(lease.index);
    }

    /// Gives a number back.
    pub fn give_back(&mut self, lease: &TapLease) {
        self.used.remove(&lease.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(net: &str) -> AddressPool {
        AddressPool::new(net.parse().unwrap(), "t").unwrap()
    }

    #[test]
    fn addresses_never_overlap_and_come_back() {
        let mut pool = pool("10.200.0.0/27");
        let leases: Vec<TapLease> = (0..4).map(|_| pool.take().unwrap()).collect();
        let mut all: Vec<Ipv4Addr> = leases
            .iter()
            .flat_map(|lease| [lease.guest, lease.gateway, lease.outside, lease.inside])
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 16);
        assert!(all.iter().all(|address| pool.net().contains(address)));
        assert_eq!(pool.take().unwrap_err().kind, ErrorKind::Busy);
        pool.give_back(&leases[2]);
        assert_eq!(pool.take().unwrap(), leases[2]);
    }

    #[test]
    fn a_pool_is_not_249_vms() {
        assert_eq!(pool("10.200.0.0/16").size(), 8192);
        let last = pool("10.0.0.0/8").lease(262_143 * 8 - 1);
        assert!(last.veth.len() <= 15, "{}", last.veth);
    }

    #[test]
    fn senseless_pools_are_refused() {
        let net = |text: &str| text.parse().unwrap();
        assert!(AddressPool::new(net("10.0.0.0/30"), "t").is_err());
        assert!(AddressPool::new(net("10.0.0.0/24"), "").is_err());
        assert!(AddressPool::new(net("10.0.0.0/24"), "a; drop").is_err());
    }
}
