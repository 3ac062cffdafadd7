//! The machine: clock, identity, network, disks, power.
//!
//! What changes the machine is refused unless the agent was started for it (`--machine`), so that an agent that runs
//! beside other things cannot stop their clock or their power.

pub(crate) mod clock;
pub(crate) mod disks;
pub(crate) mod entropy;
pub(crate) mod identity;
pub(crate) mod netlink;
pub(crate) mod network;
pub(crate) mod power;
pub(crate) mod renew;

use fuse_guest_protocol::{ErrorCode, GuestError};

use crate::agent::Agent;

/// Refuses what changes the machine where that was not asked for.
pub(crate) fn owned(agent: &Agent) -> Result<(), GuestError> {
    if agent.options.machine {
        return Ok(());
    }
    Err(GuestError::new(
        ErrorCode::Refused,
        "this agent was started without --machine, so it changes neither clock, name, network nor power",
    ))
}
