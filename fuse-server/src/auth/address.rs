//! Where a request comes from.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The most entries of X-Forwarded-For that are looked at.
const MOST_HOPS: usize = 32;

/// Why the address of a caller is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AddressProblem;

/// The address of the caller: of the peer, or, when the peer is a trusted proxy, the nearest address behind it that
/// is none.
///
/// # Errors
/// [`AddressProblem`] when there is no peer, or a trusted proxy says something that is no address.
pub(crate) fn caller_address(
    peer: Option<SocketAddr>,
    headers: &HeaderMap,
    trusted: &[IpNet],
) -> Result<IpAddr, AddressProblem> {
    let peer = peer.ok_or(AddressProblem)?.ip().to_canonical();
    if !is_in(peer, trusted) {
        return Ok(peer);
    }
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let hops = lines.flat_map(|line| line.to_str().unwrap_or("?").rsplit(',').map(str::trim));
    let mut nearest = peer;
    for hop in hops.take(MOST_HOPS) {
        nearest = hop_address(hop).ok_or(AddressProblem)?;
        if !is_in(nearest, trusted) {
            break;
        }
    }
    Ok(nearest)
}

/// An entry of X-Forwarded-For: an address, perhaps with a port.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(hop);
    let parsed = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|address| address.ip()));
    parsed.map(|ip: IpAddr| ip.to_canonical())
}

fn is_in(ip: IpAddr, nets: &[IpNet]) -> bool {
    nets.iter().any(|net| net.contains(&ip))
}

/// Whether `ip` may call. An empty list lets everybody.
pub(crate) fn is_allowed(ip: IpAddr, allowed: &[IpNet]) -> bool {
    allowed.is_empty() || is_in(ip, allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(peer: &str, forwarded: &[&'static str], trusted: &[&str]) -> Result<String, AddressProblem> {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|net| net.parse().unwrap()).collect();
        caller_address(Some(peer.parse().unwrap()), &headers, &trusted).map(|ip| ip.to_string())
    }

    #[test]
    fn headers_of_strangers_are_not_believed() {
        assert_eq!(seen("192.0.2.1:9", &["10.0.0.1"], &[]), Ok("192.0.2.1".into()));
        assert_eq!(seen("192.0.2.1:9", &["10.0.0.1"], &["10.0.0.0/8"]), Ok("192.0.2.1".into()));
    }

    #[test]
    fn the_nearest_address_behind_trusted_proxies_counts() {
        let trusted = ["10.0.0.0/8"];
        assert_eq!(
            seen("10.0.0.1:9", &["203.0.113.9, 198.51.100.2, 10.0.0.7"], &trusted),
            Ok("198.51.100.2".into())
        );
        assert_eq!(seen("10.0.0.1:9", &["203.0.113.9", "10.1.1.1"], &trusted), Ok("203.0.113.9".into()));
        assert_eq!(seen("10.0.0.1:9", &["203.0.113.9:4711"], &trusted), Ok("203.0.113.9".into()));
        assert_eq!(seen("10.0.0.1:9", &[], &trusted), Ok("10.0.0.1".into()));
        assert_eq!(seen("10.0.0.1:9", &["unknown"], &trusted), Err(AddressProblem));
    }

    #[test]
    fn v4_in_v6_is_v4() {
        assert_eq!(seen("[::ffff:192.0.2.1]:9", &[], &[]), Ok("192.0.2.1".into()));
        assert!(is_allowed("192.0.2.1".parse().unwrap(), &["192.0.2.0/24".parse().unwrap()]));
        assert!(!is_allowed("192.0.3.1".parse().unwrap(), &["192.0.2.0/24".parse().unwrap()]));
    }
}
