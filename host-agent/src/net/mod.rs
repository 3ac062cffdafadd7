//! The network of guests: addresses, rules, and what puts them into the kernel.
//!
//! Each VM has a network namespace with a tap for the guest, and a veth pair to the host. What a guest may reach is
//! decided in one nftables table of the host, a pure function of the agent's state ([`ruleset`]) that is replaced
//! whole, in one transaction, at each change: a rule can be neither forgotten nor left behind.

mod kernel;
mod policy;
mod pool;
mod ports;
mod rules;

pub use kernel::Networks;
pub use policy::{Allowed, EgressPolicy, Protocol, Verdict};
pub use pool::{AddressPool, Lease, TapLease};
pub use ports::free_port;
pub use rules::{Guest, ruleset};
