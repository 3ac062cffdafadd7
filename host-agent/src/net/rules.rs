//! The firewall as text: a pure function of what the agent knows.

use std::fmt::Write as _;

use ipnet::Ipv4Net;

use super::{AddressPool, Allowed, EgressPolicy, Protocol, TapLease, Verdict};

/// A guest, as the rules see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guest {
    /// Its addresses.
    pub lease: TapLease,
    /// Its published ports: of the host, of the guest.
    pub published: Vec<(u16, u16)>,
}

/// The rules for these guests, as `nft -f` takes them. Applied, they replace those before in one transaction.
///
/// `host` are the networks that this host is in.
#[must_use]
pub fn ruleset(pool: &AddressPool, policy: &EgressPolicy, host: &[Ipv4Net], guests: &[Guest]) -> String {
    let prefix = pool.device_prefix();
    let table = table(&prefix);
    let mut text = format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    let any = format!("\"{prefix}*\"");
    write_denied(&mut text, pool, policy, host);
    write_egress(&mut text, policy);
    let _ = writeln!(text, "  chain forward {{\n    type filter hook forward priority -10; policy accept;");
    let _ = writeln!(text, "    iifname {any} meta nfproto ipv6 drop");
    for guest in guests {
        let TapLease { veth, guest: address, .. } = &guest.lease;
        let _ = writeln!(text, "    iifname \"{veth}\" ip saddr != {address} drop");
    }
    let _ = writeln!(text, "    iifname {any} ct state established,related accept");
    let peers = if policy.peers { "accept" } else { "drop" };
    let _ = writeln!(text, "    iifname {any} oifname {any} {peers}");
    let _ = writeln!(text, "    iifname {any} jump egress");
    let _ = writeln!(text, "    oifname {any} ct state established,related accept");
    let _ = writeln!(text, "    oifname {any} ct status dnat accept");
    let _ = writeln!(text, "    oifname {any} drop\n  }}");
    let _ = writeln!(text, "  chain input {{\n    type filter hook input priority -10; policy accept;");
    let _ = writeln!(text, "    iifname {any} ct state established,related accept");
    let _ = writeln!(text, "    iifname {any} drop\n  }}");
    write_published(&mut text, &any, guests);
    let _ = writeln!(text, "  chain out {{\n    type nat hook postrouting priority srcnat; policy accept;");
    let _ = writeln!(text, "    oifname {any} ip saddr 127.0.0.0/8 masquerade");
    let _ = writeln!(text, "    ip saddr {} oifname != {any} masquerade\n  }}\n}}", pool.net());
    text
}

/// The rules that remove everything.
pub(super) fn removal(pool: &AddressPool) -> String {
    let table = table(&pool.device_prefix());
    format!("add table inet {table}\ndelete table inet {table}\n")
}

fn table(prefix: &str) -> String {
    format!("fuse_{}", prefix.trim_start_matches("fz").trim_end_matches('-'))
}

fn write_denied(text: &mut String, pool: &AddressPool, policy: &EgressPolicy, host: &[Ipv4Net]) {
    let mut nets: Vec<Ipv4Net> = policy.deny.iter().chain(host).copied().collect();
    nets.push(pool.net());
    let nets = Ipv4Net::aggregate(&nets);
    let list = nets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "  set denied {{ type ipv4_addr; flags interval; elements = {{ {list} }} }}");
}

fn write_egress(text: &mut String, policy: &EgressPolicy) {
    let _ = writeln!(text, "  chain egress {{");
    for allowed in policy.allow.iter().take(EgressPolicy::LONGEST) {
        write_allowed(text, allowed);
    }
    let _ = writeln!(text, "    ip daddr @denied drop");
    let rest = match policy.rest {
        Verdict::Allow => "accept",
        Verdict::Deny => "drop",
    };
    let _ = writeln!(text, "    {rest}\n  }}");
}

fn write_allowed(text: &mut String, allowed: &Allowed) {
    let Allowed { cidr, ports, protocol } = allowed;
    let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let both = [Protocol::Tcp, Protocol::Udp];
    for protocol in both.into_iter().filter(|one| protocol.is_none_or(|only| only == *one)) {
        let name = protocol.as_str();
        let _ = match ports.as_str() {
            "" => writeln!(text, "    ip daddr {cidr} meta l4proto {name} accept"),
            ports => writeln!(text, "    ip daddr {cidr} {name} dport {{ {ports} }} accept"),
        };
    }
    if ports.is_empty() && protocol.is_none() {
        let _ = writeln!(text, "    ip daddr {cidr} accept");
    }
}

fn write_published(text: &mut String, any: &str, guests: &[Guest]) {
    let mut elements = Vec::new();
    for Guest { lease, published } in guests {
        elements.extend(published.iter().map(|(host, guest)| format!("{host} : {} . {guest}", lease.guest)));
    }
    let list = match elements.is_empty() {
        true => String::new(),
        false => format!(" elements = {{ {} }}", elements.join(", ")),
    };
    let _ = writeln!(text, "  map published {{ type inet_service : ipv4_addr . inet_service;{list} }}");
    let _ = writeln!(text, "  chain in {{\n    type nat hook prerouting priority dstnat; policy accept;");
    let _ =
        writeln!(text, "    iifname != {any} fib daddr type local dnat ip to tcp dport map @published\n  }}");
    let _ = writeln!(text, "  chain local {{\n    type nat hook output priority -100; policy accept;");
    let _ = writeln!(text, "    fib daddr type local dnat ip to tcp dport map @published\n  }}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(policy: &EgressPolicy) -> String {
        let mut pool = AddressPool::new("10.200.0.0/16".parse().unwrap(), "a1").unwrap();
        let guests = [
            Guest { lease: pool.take().unwrap(), published: vec![(19550, 9550), (19551, 80)] },
            Guest { lease: pool.take().unwrap(), published: Vec::new() },
        ];
        ruleset(&pool, policy, &["203.0.113.0/24".parse().unwrap()], &guests)
    }

    fn position(text: &str, part: &str) -> usize {
        text.find(part).unwrap_or_else(|| panic!("{part:?} is not in:\n{text}"))
    }

    #[test]
    fn the_whole_table_is_replaced_in_one_transaction() {
        let text = example(&EgressPolicy::default());
        assert!(text.starts_with("add table inet fuse_a1\ndelete table inet fuse_a1\ntable inet fuse_a1 {"));
        assert!(text.ends_with("}\n}\n"), "{text}");
    }

    #[test]
    fn guests_reach_neither_metadata_nor_the_host_nor_each_other() {
        let text = example(&EgressPolicy::default());
        for part in ["169.254.0.0/16", "203.0.113.0/24", "10.0.0.0/8"] {
            position(&text, part);
        }
        let peers = position(&text, "iifname \"fza1-*\" oifname \"fza1-*\" drop");
        assert!(peers < position(&text, "jump egress"));
        position(&text, "iifname \"fza1-*\" drop\n  }");
        assert!(position(&text, "ip daddr @denied drop") < position(&text, "    accept\n"));
    }

    #[test]
    fn an_address_that_is_not_the_guests_goes_nowhere() {
        let text = example(&EgressPolicy::default());
        let spoofed = position(&text, "iifname \"fza1-1\" ip saddr != 10.200.0.10 drop");
        assert!(spoofed < position(&text, "ct state established,related accept"));
    }

    #[test]
    fn what_is_allowed_comes_before_what_is_denied() {
        let allow = vec![
            Allowed {
                cidr: "10.1.0.0/16".parse().unwrap(),
                ports: vec![443, 5432],
                protocol: Some(Protocol::Tcp),
            },
            Allowed { cidr: "10.2.0.1/32".parse().unwrap(), ports: vec![53], protocol: None },
        ];
        let text = example(&EgressPolicy { allow, rest: Verdict::Deny, ..EgressPolicy::default() });
        let first = position(&text, "ip daddr 10.1.0.0/16 tcp dport { 443, 5432 } accept");
        assert!(first < position(&text, "@denied drop"));
        position(&text, "ip daddr 10.2.0.1/32 udp dport { 53 } accept");
        position(&text, "@denied drop\n    drop\n");
    }

    #[test]
    fn published_ports_lead_to_their_guest() {
        let text = example(&EgressPolicy::default());
        position(&text, "elements = { 19550 : 10.200.0.2 . 9550, 19551 : 10.200.0.2 . 80 }");
    }
}
