//! Holding the programs of a guest still while its memory is saved.
//!
//! A clone wakes with the memory of its origin: name, machine id, addresses, random numbers. Its programs were standing
//! still when that memory was saved, so the guest agent alone runs in it, makes it one of its own, and then lets them go
//! on. Guest agents that cannot do so are renewed while their programs run; the snapshot's record says which it is.

use std::time::Duration;

use fuse_guest_protocol::{
    Verb,
    verb::{Freeze, SetTime, Thaw},
};

use super::{Inner, guest::unix_ns, link::guest_error, vm::Vm};
use crate::{Error, Result};

/// A file in a VM's directory while its programs are held, for an agent that starts after a crash. It needs no sync: what
/// loses it loses the VM too.
const MARK: &str = "held";
/// How long the agent of a guest that runs may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Beyond the time that a clone may take until it is renewed: the host has given it up before its programs go on.
const SLACK: Duration = Duration::from_secs(60);

/// How long programs are held at most: in a clone, until it is renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held(Duration);

impl Held {
    /// As snapshots have it on record.
    pub(super) fn millis(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }

    /// How long a clone may take until it is renewed.
    pub(super) fn deadline(held_ms: u64) -> Option<Duration> {
        (held_ms > 0).then(|| Duration::from_millis(held_ms).saturating_sub(SLACK / 2))
    }
}

impl Inner {
    /// Has the programs of a guest that runs stand still. None when its agent cannot, which is no error.
    pub(super) async fn hold_programs(&self, vm: &Vm) -> Option<Held> {
        // Known from before: not worth a connection.
        if !vm.link.agent().is_empty() && !vm.link.knows(Verb::Freeze) {
            return None;
        }
        let limit = self.longest_hold();
        let held = async {
            let client = vm.link.client(&*self.driver, &vm.site, ANSWER).await?;
            if !vm.link.knows(Verb::Freeze) {
                return Ok(false);
            }
            let mark = vm.site.file(MARK);
            std::fs::write(&mark, []).map_err(|error| Error::system("write", mark.display(), error))?;
            let request = Freeze { limit_ms: limit.millis() };
            let frozen = client.call(&request).await;
            frozen.map_err(|error| guest_error("hold the programs of", &vm.site, &error))?;
            Ok::<_, Error>(true)
        };
        let why = match tokio::time::timeout(ANSWER, held).await {
            Ok(Ok(true)) => return Some(limit),
            Ok(Ok(false)) => return None,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        tracing::warn!(vm = %vm.name(), why, "clones of this snapshot run for a moment before they are renewed");
        if self.holds(vm) {
            self.release_programs(vm).await;
        }
        None
    }

    /// How long programs are held at most.
    pub(super) fn longest_hold(&self) -> Held {
        Held(self.config.boot_limit() + SLACK)
    }

    /// Whether the programs of a VM may stand still.
    pub(super) fn holds(&self, vm: &Vm) -> bool {
        vm.site.file(MARK).exists()
    }

    /// The programs of a VM go on, or went on with its memory.
    pub(super) fn forget_hold(&self, vm: &Vm) {
        let _ = std::fs::remove_file(vm.site.file(MARK));
    }

    /// Lets the programs of a guest go on, with the clock of now. When its agent does not answer, the guest does so by
    /// itself when the time of the hold is over.
    pub(super) async fn release_programs(&self, vm: &Vm) {
        let again = async {
            // A connection that was made while the machine was saved may be cut once more.
            while let Err(error) = self.release_once(vm).await {
                tracing::debug!(vm = %vm.name(), %error, "trying again");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(ANSWER * 2, again).await.is_err() {
            tracing::warn!(vm = %vm.name(), "the guest does not answer; its programs go on by themselves later");
            return;
        }
        self.forget_hold(vm);
    }

    async fn release_once(&self, vm: &Vm) -> Result<()> {
        let client = vm.link.client(&*self.driver, &vm.site, ANSWER).await?;
        // It stood still for a while. A guest that has no clock says so, and that is well.
        let _ = client.call(&SetTime { unix_ns: unix_ns() }).await;
        let thawed = client.call(&Thaw {}).await;
        thawed.map(drop).map_err(|error| guest_error("let the programs go on of", &vm.site, &error))
    }
}
