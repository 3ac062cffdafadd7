//! The end of the machine.

use std::{sync::Arc, time::Duration};

use fuse_guest_protocol::verb::{PowerOff, Shutdown, StopWorkload};
use rustix::system::{RebootCommand, reboot};

use crate::agent::Agent;

/// How long the answer has to get out.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Ends the workload, syncs the disks, and has the power go soon after.
pub(crate) async fn shutdown(agent: &Arc<Agent>, shutdown: Shutdown) {
    agent.workload.stop(agent, StopWorkload { grace_ms: shutdown.grace_ms }).await;
    let _ = super::disks::sync().await;
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        tokio::time::sleep(LAST_WORD).await;
        off(&agent, shutdown.mode);
    });
}

fn off(agent: &Agent, mode: PowerOff) {
    // Machines without a switch (Firecracker's) end with a reboot; the command line of the kernel says so.
    let restart =
        mode == PowerOff::Reboot || crate::init::parameter("fuse.poweroff").as_deref() == Some("reboot");
    let command = if restart { RebootCommand::Restart } else { RebootCommand::PowerOff };
    if let Err(error) = reboot(command) {
        agent.logs.say(&format!("the power does not go: {error}"));
    }
}
