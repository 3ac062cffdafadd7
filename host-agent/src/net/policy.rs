//! What guests may reach.

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It passes.
    #[default]
    Allow,
    /// It is dropped.
    Deny,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "their names say it")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A destination that guests may reach whatever else the policy says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allowed {
    /// Where.
    pub cidr: Ipv4Net,
    /// At which ports; empty: at all, with any protocol.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// How; none: TCP and UDP.
    #[serde(default)]
    pub protocol: Option<Protocol>,
}

/// What guests may reach. Whatever it says, they reach neither this host (and so not the agent) nor, unless
/// [`EgressPolicy::peers`] says so, each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EgressPolicy {
    /// Destinations that are allowed first of all; at most 256.
    pub allow: Vec<Allowed>,
    /// Networks that are denied next. The standard: link-local (cloud metadata), loopback, private networks, carrier-grade
    /// NAT, multicast, reserved. The host's own networks are always among them.
    pub deny: Vec<Ipv4Net>,
    /// What holds for the rest.
    pub rest: Verdict,
    /// Whether guests of this host reach each other.
    pub peers: bool,
}

impl EgressPolicy {
    /// The most entries of each list.
    pub const LONGEST: usize = 256;
}

impl Default for EgressPolicy {
    fn default() -> Self {
        let private = [
            [0, 0, 0, 0, 8],
            [10, 0, 0, 0, 8],
            [100, 64, 0, 0, 10],
            [127, 0, 0, 0, 8],
            [169, 254, 0, 0, 16],
            [172, 16, 0, 0, 12],
            [192, 168, 0, 0, 16],
            [224, 0, 0, 0, 3],
        ];
        let net = |[a, b, c, d, length]: [u8; 5]| Ipv4Net::new([a, b, c, d].into(), length).ok();
        let deny = private.into_iter().filter_map(net).collect();
        Self { allow: Vec::new(), deny, rest: Verdict::Allow, peers: false }
    }
}
