//! The kernel's interface for addresses and routes, as far as a guest needs it.

use std::{io, net::Ipv4Addr, os::fd::OwnedFd};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink::SocketAddrNetlink, recv, sendto,
    socket_with,
};

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const ERROR: u16 = 2;
const DONE: u16 = 3;

const REQUEST: u16 = 0x001;
const ACKNOWLEDGE: u16 = 0x004;
const DUMP: u16 = 0x300;
const REPLACE: u16 = 0x100;
const CREATE: u16 = 0x400;

const INET: u8 = 2;
const UP: u32 = 1;

/// A connection to the kernel.
pub(crate) struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) name: String,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The interfaces.
    pub(crate) fn links(&mut self) -> io::Result<Vec<Link>> {
        let mut links = Vec::new();
        let body = [0; 16];
        self.ask(GET_LINK, DUMP, &body, |body| {
            let (Some(index), Some(attributes)) = (number(body, 4), body.get(16..)) else { return };
            for (kind, value) in Attributes(attributes) {
                if kind == 3 {
                    let name = String::from_utf8_lossy(value).trim_end_matches('\0').to_owned();
                    links.push(Link { index, name });
                }
            }
        })?;
        Ok(links)
    }

    /// Brings an interface up, with another hardware address if one is given.
    pub(crate) fn up(&mut self, link: u32, mac: Option<[u8; 6]>) -> io::Result<()> {
        if let Some(mac) = mac {
            let mut body = link_body(link, 0);
            attribute(&mut body, 1, &mac);
            // Most drivers change it only while the interface is down.
            self.ask(NEW_LINK, ACKNOWLEDGE, &link_body(link, 0), |_| {})?;
            self.ask(NEW_LINK, ACKNOWLEDGE, &body, |_| {})?;
        }
        self.ask(NEW_LINK, ACKNOWLEDGE, &link_body(link, UP), |_| {})
    }

    /// Gives an interface one IPv4 address and takes the others.
    pub(crate) fn set_address(&mut self, link: u32, address: Ipv4Addr, prefix: u8) -> io::Result<()> {
        let mut old = Vec::new();
        self.ask(GET_ADDRESS, DUMP, &address_body(0, 0), |body| {
            if body.first() == Some(&INET) && number(body, 4) == Some(link) {
                old.push(body.to_vec());
            }
        })?;
        for body in old {
            self.ask(DELETE_ADDRESS, ACKNOWLEDGE, &body, |_| {})?;
        }
        let mut body = address_body(link, prefix);
        attribute(&mut body, 1, &address.octets());
        attribute(&mut body, 2, &address.octets());
        self.ask(NEW_ADDRESS, ACKNOWLEDGE | CREATE | REPLACE, &body, |_| {})
    }

    /// Sets the default route.
    pub(crate) fn set_gateway(&mut self, link: u32, gateway: Ipv4Addr) -> io::Result<()> {
        // Family, lengths of the two prefixes, service, main table, set at boot, universe, unicast, flags.
        let mut body = vec![INET, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0];
        attribute(&mut body, 5, &gateway.octets());
        attribute(&mut body, 4, &link.to_ne_bytes());
        self.ask(NEW_ROUTE, ACKNOWLEDGE | CREATE | REPLACE, &body, |_| {})
    }

    /// Sends one request, and gives each answer's body to `take`.
    fn ask(&mut self, kind: u16, flags: u16, body: &[u8], mut take: impl FnMut(&[u8])) -> io::Result<()> {
        self.sequence += 1;
        let length = 16 + body.len() as u32;
        let mut message = length.to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | flags).to_ne_bytes());
        message.extend(self.sequence.to_ne_bytes());
        message.extend([0; 4]);
        message.extend_from_slice(body);
        sendto(&self.socket, &message, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;

        let mut buffer = vec![0; 32 * 1024];
        loop {
            let (count, _) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            for (header, body) in Messages(buffer.get(..count).unwrap_or_default()) {
                match header {
                    ERROR => {
                        let code = number(body, 0).unwrap_or(0).cast_signed();
                        return if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) };
                    }
                    DONE => return Ok(()),
                    _ => take(body),
                }
            }
        }
    }
}

fn link_body(link: u32, flags: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    body.extend(link.to_ne_bytes());
    body.extend(flags.to_ne_bytes());
    body.extend(UP.to_ne_bytes());
    body
}

fn address_body(link: u32, prefix: u8) -> Vec<u8> {
    let mut body = vec![INET, prefix, 0, 0];
    body.extend(link.to_ne_bytes());
    body
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = 4 + value.len() as u16;
    body.extend(length.to_ne_bytes());
    body.extend(kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes)
}

/// The messages of one datagram: kind and body.
struct Messages<'a>(&'a [u8]);

impl<'a> Iterator for Messages<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = number(self.0, 0)? as usize;
        let kind = u16::from_ne_bytes(self.0.get(4..6)?.try_into().ok()?);
        let body = self.0.get(16..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, body))
    }
}

/// The attributes of a message: kind and value.
struct Attributes<'a>(&'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16::from_ne_bytes(self.0.get(..2)?.try_into().ok()?));
        let kind = u16::from_ne_bytes(self.0.get(2..4)?.try_into().ok()?);
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_names_the_loopback() {
        let links = Netlink::open().unwrap().links().unwrap();
        assert!(links.contains(&Link { index: 1, name: "lo".to_owned() }), "{links:?}");
    }

    #[test]
    fn attributes_are_padded_and_read_back() {
        let mut body = Vec::new();
        attribute(&mut body, 3, b"abcde");
        attribute(&mut body, 1, b"");
        assert_eq!(body.len(), 16);
        assert_eq!(Attributes(&body).collect::<Vec<_>>(), [(3, &b"abcde"[..]), (1, &b""[..])]);
        assert_eq!(Attributes(&[255, 255, 0]).next(), None, "half an attribute");
        assert_eq!(Attributes(&[2, 0, 0, 0]).next(), None, "shorter than its header");
    }
}
