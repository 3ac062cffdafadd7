//! Work in the background, and who works on which VM.

use std::{future::Future, sync::Arc};

use tokio::{
    runtime::Handle,
    sync::{Notify, OwnedMutexGuard},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::Inner;
use crate::model::VmName;

/// The tasks of one orchestrator. They end with it.
#[derive(Debug)]
pub(super) struct Tasks {
    running: TaskTracker,
    end: CancellationToken,
    runtime: Handle,
}

impl Tasks {
    /// Must be made inside a tokio runtime, on which the tasks run.
    pub(super) fn new() -> Self {
        Self { running: TaskTracker::new(), end: CancellationToken::new(), runtime: Handle::current() }
    }

    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let end = self.end.clone();
        let work = async move {
            end.run_until_cancelled(work).await;
        };
        self.running.spawn_on(work, &self.runtime);
    }

    /// Ends all of them where they stand, and all that begin later.
    pub(super) fn abort(&self) {
        self.end.cancel();
    }

    /// Waits until none runs any more.
    pub(super) async fn ended(&self) {
        self.running.close();
        self.running.wait().await;
    }
}

/// The right to work on a VM: to boot it, remove it, set it back. One at a time has it.
#[derive(Debug)]
pub(super) struct Work {
    inner: Arc<Inner>,
    vm: VmName,
    permit: Option<OwnedMutexGuard<()>>,
}

impl Work {
    /// Waits for the right. While somebody waits or works, reconcile leaves the VM alone.
    pub(super) async fn begin(inner: &Arc<Inner>, vm: &VmName) -> Self {
        let lock = {
            let now = inner.now();
            let mut fleet = inner.fleet();
            let activity = fleet.activity(vm, now);
            activity.busy += 1;
            Arc::clone(&activity.work)
        };
        let mut work = Self { inner: Arc::clone(inner), vm: vm.clone(), permit: None };
        work.permit = Some(lock.lock_owned().await);
        work
    }

    /// What is notified when the boot of this VM should end.
    pub(super) fn cancel(&self) -> Arc<Notify> {
        let now = self.inner.now();
        Arc::clone(&self.inner.fleet().activity(&self.vm, now).cancel)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let now = self.inner.now();
        if let Some(activity) = self.inner.fleet().known_activity_mut(&self.vm) {
            activity.busy = activity.busy.saturating_sub(1);
            activity.settled_at = now;
        }
    }
}
