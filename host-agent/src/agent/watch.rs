//! The watch: VMMs that end without being asked, and consoles that grow.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::task::JoinHandle;

use super::{Inner, vm::Vm};
use crate::store::VmState;

/// How often processes are looked at.
const PERIOD: Duration = Duration::from_millis(250);
/// How many looks pass between two trims of the consoles.
const TRIM: u32 = 20;

/// The background work of an agent. Ends when it is dropped.
#[derive(Debug)]
pub(super) struct Watch(JoinHandle<()>);

impl Watch {
    pub(super) fn start(inner: &Arc<Inner>) -> Self {
        let inner = Arc::downgrade(inner);
        Self(tokio::spawn(async move {
            let mut looks = 0_u32;
            loop {
                tokio::time::sleep(PERIOD).await;
                looks = looks.wrapping_add(1);
                if !look(&inner, looks.is_multiple_of(TRIM)).await {
                    return;
                }
            }
        }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Looks at every VM. False when the agent is gone.
async fn look(inner: &Weak<Inner>, trim: bool) -> bool {
    let Some(inner) = inner.upgrade() else { return false };
    let vms: Vec<Arc<Vm>> = inner.table().values().cloned().collect();
    for vm in vms {
        if trim && let Err(error) = vm.console().trim() {
            tracing::warn!(vm = %vm.name(), %error, "cannot shorten a console");
        }
        if has_ended(&vm) {
            // Whoever changes the VM sees its end by itself.
            let Ok(_change) = vm.change.try_lock() else { continue };
            if has_ended(&vm) {
                let said = inner.driver.epitaph(&vm.site);
                let reason = match said {
                    Some(said) => format!("its VMM ended: {said}"),
                    None => "its VMM ended".to_owned(),
                };
                if let Err(error) = inner.bury(&vm, &reason).await {
                    tracing::error!(vm = %vm.name(), %error, "a VM that ended cannot be removed yet");
                }
            }
        }
    }
    true
}

fn has_ended(vm: &Vm) -> bool {
    let record = vm.record();
    let lives = matches!(record.state, VmState::Running | VmState::Paused);
    lives && !record.process.as_ref().is_some_and(|process| process.is_alive())
}
