//! Ports of this host for ports of guests.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
    ops::RangeInclusive,
};

use crate::{Error, ErrorKind, Result};

/// A port of `range` that is neither in `used` nor bound by another program: the first from a random place on, so that
/// agents that share a range seldom meet.
///
/// # Errors
/// Busy.
pub fn free_port(range: &RangeInclusive<u16>, used: &BTreeSet<u16>) -> Result<u16> {
    let is_free =
        |port: &u16| !used.contains(port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(|error| Error::system("choose", "a port", error))?;
    let count = usize::from(range.end().saturating_sub(*range.start())) + 1;
    let first = usize::from(u16::from_le_bytes(random)) % count;
    range.clone().cycle().skip(first).take(count).find(is_free).ok_or_else(|| {
        let target = format!("a port of {} to {}", range.start(), range.end());
        Error::new(ErrorKind::Busy, "publish at", target, "all are in use; configure a larger range")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_in_use_are_passed_over() {
        let holder = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        let port = holder.local_addr().unwrap().port();
        assert!(free_port(&(port..=port), &BTreeSet::new()).is_err());
        drop(holder);
        assert_eq!(free_port(&(port..=port), &BTreeSet::new()).unwrap(), port);
        assert!(free_port(&(port..=port), &BTreeSet::from([port])).is_err());
    }
}
