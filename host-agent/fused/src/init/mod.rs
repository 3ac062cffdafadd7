//! The init of the guest: mounts, loads modules, takes the root file system, sets name and address, starts the agent as a
//! service, and from then on reaps.
//!
//! What it is told stands on the kernel's command line:
//! `root=/dev/vda` `rootfstype=ext4` `ro` · `fuse.init=/sbin/init` (the init of the root file system instead of this one) ·
//! `fuse.vm_id=NAME` · `fuse.ip=10.0.0.2/30` `fuse.gateway=10.0.0.1` `fuse.dns=1.1.1.1` · `fuse.poweroff=reboot`.
//! Secrets never stand there.

mod modules;
mod mounts;
mod root;

use std::{
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

use fuse_guest_protocol::verb::Network;
use rustix::process::{WaitOptions, wait};

use crate::machine::{identity, network};

/// An agent that ended sooner than this is started again only after as long.
const TOO_SOON: Duration = Duration::from_secs(1);

/// Says something on the console.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    // There is nobody to tell that the console is closed.
    let _ = writeln!(std::io::stderr(), "fused: {text}");
}

/// The value of a parameter of the kernel's command line.
pub(crate) fn parameter(name: &str) -> Option<String> {
    find(&std::fs::read_to_string("/proc/cmdline").unwrap_or_default(), name)
}

fn find(line: &str, name: &str) -> Option<String> {
    let mut words = line.split_whitespace().rev();
    words.find_map(|word| word.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
}

/// Whether a word stands on the kernel's command line.
fn flag(name: &str) -> bool {
    std::fs::read_to_string("/proc/cmdline")
        .is_ok_and(|line| line.split_whitespace().any(|word| word == name))
}

/// Runs as process 1; returns only if the root file system cannot be had.
pub(crate) fn run() -> ExitCode {
    mounts::base();
    modules::load();
    match root::switch() {
        Ok(true) => {
            if let Some(init) = parameter("fuse.init") {
                let error = Command::new(&init).exec();
                say(&format!("{init}: {error}; going on as init"));
            }
        }
        Ok(false) => {}
        Err(error) => say(&format!("the root file system: {error}; going on without it")),
    }
    mounts::late();
    identify();
    reap()
}

fn identify() {
    if let Err(error) = network::loopback() {
        say(&format!("loopback: {error}"));
    }
    if let Err(error) = identity::settle(parameter("fuse.vm_id").as_deref()) {
        say(&format!("host name and machine id: {error}"));
    }
    if let Some(address) = parameter("fuse.ip") {
        let list = |text: String| text.split(',').map(str::to_owned).collect();
        let wanted = Network {
            address,
            gateway: parameter("fuse.gateway"),
            nameservers: parameter("fuse.dns").map(list).unwrap_or_default(),
            ..Network::default()
        };
        if let Err(error) = network::configure(&wanted) {
            say(&format!("network: {error}"));
        }
    }
}

/// Starts the agent, starts it again when it ends, and reaps whatever else has ended.
fn reap() -> ! {
    loop {
        let began = Instant::now();
        let mut agent = Command::new("/proc/self/exe");
        agent.arg0("fused").args(["--machine", "--stay"]);
        if let Some(vm_id) = parameter("fuse.vm_id").map(identity::now) {
            agent.args(["--vm-id", &vm_id]);
        }
        match agent.spawn() {
            Ok(child) => wait_for(child.id()),
            Err(error) => say(&format!("starting the agent: {error}")),
        }
        std::thread::sleep(TOO_SOON.saturating_sub(began.elapsed()));
    }
}

/// Reaps until the process `pid` has ended.
fn wait_for(pid: u32) {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((ended, status))) if u32::try_from(ended.as_raw_nonzero().get()) == Ok(pid) => {
                say(&format!("the agent ended ({status:?}); starting it again"));
                return;
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_parameter_counts() {
        let line = "quiet root=/dev/vda fuse.vm_id=a fuse.vm_id=b fuse.vm_identity=c\n";
        assert_eq!(find(line, "fuse.vm_id").as_deref(), Some("b"));
        assert_eq!(find(line, "root").as_deref(), Some("/dev/vda"));
        assert_eq!(find(line, "quiet"), None);
    }
}
