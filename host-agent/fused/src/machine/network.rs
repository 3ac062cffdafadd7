//! The address of the guest.

use std::{io, net::Ipv4Addr, path::Path};

use fuse_guest_protocol::{ErrorCode, GuestError, verb::Network};

use super::{identity::replace, netlink::Netlink};

/// Name servers, at most: as many as resolvers read.
const NAMESERVERS: usize = 3;

/// Sets address, route and name servers.
pub(crate) fn configure(network: &Network) -> Result<(), GuestError> {
    let plan = Plan::of(network)?;
    let failed = |what: String| move |error: io::Error| GuestError::io(what, &error);
    let mut netlink = Netlink::open().map_err(failed("talking to the kernel".to_owned()))?;
    let links = netlink.links().map_err(failed("listing the interfaces".to_owned()))?;
    let wanted = network.interface.as_str();
    let link = links
        .iter()
        .find(|link| if wanted.is_empty() { link.name != "lo" } else { link.name == wanted })
        .ok_or_else(|| {
            let names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
            let text = format!("there is no interface {wanted:?}; there are {names:?}");
            GuestError::new(ErrorCode::NotFound, text)
        })?;
    let name = &link.name;
    netlink.up(link.index, plan.mac).map_err(failed(format!("bringing {name} up")))?;
    netlink
        .set_address(link.index, plan.address, plan.prefix)
        .map_err(failed(format!("giving {name} the address {}", network.address)))?;
    if let Some(gateway) = plan.gateway {
        netlink.set_gateway(link.index, gateway).map_err(failed(format!("routing by {gateway}")))?;
    }
    if !plan.nameservers.is_empty() {
        let text: String = plan.nameservers.iter().map(|server| format!("nameserver {server}\n")).collect();
        replace(Path::new("/etc/resolv.conf"), &text)
            .map_err(failed("writing /etc/resolv.conf".to_owned()))?;
    }
    Ok(())
}

/// Brings the loopback up.
pub(crate) fn loopback() -> io::Result<()> {
    Netlink::open()?.up(1, None)
}

/// A [`Network`] that was read.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    address: Ipv4Addr,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
    nameservers: Vec<std::net::IpAddr>,
    mac: Option<[u8; 6]>,
}

impl Plan {
    fn of(network: &Network) -> Result<Self, GuestError> {
        let invalid = |what: &str, text: &str, example: &str| {
            GuestError::new(
                ErrorCode::Invalid,
                format!("{what} {text:?} cannot be read; it looks like {example}"),
            )
        };
        let address = |text: &str| {
            let (address, prefix) = text.split_once('/')?;
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
            Some((address.parse().ok()?, prefix))
        };
        let (address, prefix) = address(&network.address)
            .ok_or_else(|| invalid("the address", &network.address, "10.0.0.2/24"))?;
        let gateway = network
            .gateway
            .as_deref()
            .map(|text| text.parse().map_err(|_| invalid("the gateway", text, "10.0.0.1")));
        let nameservers = network
            .nameservers
            .iter()
            .take(NAMESERVERS)
            .map(|text| text.parse().map_err(|_| invalid("the name server", text, "1.1.1.1")));
        let mac = network.mac.as_deref().map(|text| {
            let mut parts = text.split(':').map(|part| u8::from_str_radix(part, 16));
            let mut mac = [0; 6];
            for byte in &mut mac {
                match parts.next() {
                    Some(Ok(part)) => *byte = part,
                    _ => return Err(invalid("the hardware address", text, "06:00:ac:10:00:02")),
                }
            }
            Ok(mac)
        });
        Ok(Self {
            address,
            prefix,
            gateway: gateway.transpose()?,
            nameservers: nameservers.collect::<Result<_, _>>()?,
            mac: mac.transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_said() {
        let good = Network {
            address: "10.0.0.2/30".into(),
            mac: Some("06:00:ac:10:00:02".into()),
            ..Network::default()
        };
        assert_eq!(Plan::of(&good).unwrap().mac, Some([6, 0, 0xac, 0x10, 0, 2]));
        for bad in [
            Network { address: "10.0.0.2".into(), ..Network::default() },
            Network { address: "10.0.0.2/33".into(), ..Network::default() },
            Network { gateway: Some("x".into()), ..good.clone() },
            Network { mac: Some("06:00".into()), ..good.clone() },
            Network { nameservers: vec!["options debug".into()], ..good },
        ] {
            assert_eq!(Plan::of(&bad).unwrap_err().code, ErrorCode::Invalid, "{bad:?}");
        }
    }
}
