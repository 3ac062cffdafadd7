//! How often and how long: the figures of an agent.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// A verb's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counted {
    /// How often it succeeded.
    pub good: u64,
    /// How often it failed.
    pub failed: u64,
    /// The time of those that succeeded, together.
    pub time: Duration,
    /// The longest of them.
    pub longest: Duration,
}

/// The figures of an agent since it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// By verb.
    pub verbs: BTreeMap<&'static str, Counted>,
    /// VMs whose VMM ended without being asked.
    pub deaths: u64,
    /// VMs that were taken over from an earlier run.
    pub adopted: u64,
    /// Things that a crash left behind and that were removed.
    pub swept: u64,
}

#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Figures>);

impl Pace {
    fn change(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn figures(&self) -> Figures {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn death(&self) {
        self.change(|figures| figures.deaths += 1);
    }

    pub(super) fn adopted(&self) {
        self.change(|figures| figures.adopted += 1);
    }

    pub(super) fn swept(&self) {
        self.change(|figures| figures.swept += 1);
    }

    /// Times what `work` does as `verb`.
    pub(super) async fn time<T>(
        &self,
        verb: &'static str,
        work: impl Future<Output = crate::Result<T>>,
    ) -> crate::Result<T> {
        let began = std::time::Instant::now();
        let result = work.await;
        let took = began.elapsed();
        self.change(|figures| {
            let counted = figures.verbs.entry(verb).or_default();
            match result.is_ok() {
                true => {
                    counted.good += 1;
                    counted.time += took;
                    counted.longest = counted.longest.max(took);
                }
                false => counted.failed += 1,
            }
        });
        result
    }
}
