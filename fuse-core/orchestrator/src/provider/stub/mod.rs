//! A host in memory: deterministic, with a tiny guest, and with faults on request.
//!
//! [`StubHost`] keeps VMs and snapshots in memory and runs a guest that knows a few commands (see [`guest`]), so that
//! exec, files, snapshots and forks work everywhere. It isolates nothing and is for trying out and for tests.
//!
//! Tests put [`Fault`]s into it: delays, errors before and after the effect, answers that never come, requests that
//! arrive twice, VMs that vanish, a host that is down.

mod faults;
pub mod guest;
mod host;
mod provider;

pub use faults::{Effect, Fault};
pub use host::{StubHost, StubVm};
pub use provider::StubConnector;
