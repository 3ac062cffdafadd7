//! Running modules: one by hand, or all that are due.

use alloc::string::String;

use super::life::wrong_state;
use super::{Loaded, Runtime, Slot, StepOutcome, StepTiming, TickReport};
use crate::error::{Entry, Error, Explained, Failure, Result};
use crate::instance::Stop;
use crate::module::{ModuleId, ModuleState};
use crate::schedule::Cause;
use crate::stats::ModuleStats;

/// Of steps that need no clock, the first this many are timed.
const TIMED_FIRST: u64 = 16;
/// And one in this many.
const TIMED_ONE_IN: u64 = 64;

impl Runtime {
    /// Steps one module now, whatever its activation. Only where that contains INTERVAL, the interval must have
    /// passed. The events that wait for it stay.
    ///
    /// # Errors
    /// In this order: [`WrongState`](crate::ErrorKind::WrongState) when the runtime is stopped,
    /// [`NotFound`](crate::ErrorKind::NotFound), [`WrongState`](crate::ErrorKind::WrongState) when the module is
    /// not Running, [`IntervalNotElapsed`](crate::ErrorKind::IntervalNotElapsed); then the failure of the step.
    #[inline]
    pub fn run_step(&mut self, id: ModuleId) -> Result<()> {
        if self.stopped {
            return Err(self.is_stopped("run_step"));
        }
        let state = self.loaded(id)?.state;
        if state != ModuleState::Running {
            return Err(wrong_state("step", id, state, "Running"));
        }
        let slot = id.slot() as u32;
        // A module without an interval is always due: when it started says nothing.
        if !self.schedule.wants_time(slot) {
            return self.run(id, Entry::Step);
        }
        let start = self.now_us();
        let remaining_us = self.schedule.remaining_us(slot, start);
        if remaining_us > 0 {
            return Err(Error::IntervalNotElapsed { module: id, remaining_us });
        }
        self.run(id, Entry::Step)?;
        self.schedule.completed(slot, start);
        Ok(())
    }

    /// Steps every module that is due, once each, by priority and then load order. A failure of one is in the
    /// report and does not stop the others.
    ///
    /// # Errors
    /// [`WrongState`](crate::ErrorKind::WrongState) when the runtime is stopped.
    pub fn tick(&mut self) -> Result<TickReport<'_>> {
        if self.stopped {
            return Err(self.is_stopped("tick"));
        }
        self.outcomes.clear();
        let mut raw = self.host().platform.timestamp_us();
        let mut now = self.clock.read(raw);
        self.deliver_events_at(raw);
        self.schedule.begin_tick(now);
        // Reading the clock costs about as much as an empty step: once, and again only after a step ran.
        let mut stale = false;
        while let Some((slot, cause)) = self.schedule.next() {
            let id = ModuleId::new(slot, self.slots[slot as usize].generation);
            if stale && (cause != Cause::Interval || self.schedule.wants_time(slot)) {
                raw = self.host().platform.timestamp_us();
                now = self.clock.read(raw);
            }
            if let Cause::Events { since_us } = cause {
                self.record_latency(id, raw, since_us);
            }
            let result = self.run(id, Entry::Step);
            stale = true;
            if result.is_ok() {
                self.schedule.completed(slot, now);
            }
            self.outcomes.push(StepOutcome { module: id, result: result.map_err(|e| e.kind()) });
            self.deliver_events();
        }
        self.schedule.end_tick();
        Ok(TickReport { outcomes: &self.outcomes })
    }

    /// How long the host may sleep until a module is due, in microseconds: 0 when one is, `None` when only an event
    /// or the host itself can make one due.
    #[must_use]
    pub fn next_deadline_us(&mut self) -> Option<u64> {
        if self.stopped {
            return None;
        }
        self.deliver_events();
        let now = self.now_us();
        self.schedule.next_deadline_us(now)
    }

    #[inline]
    fn record_latency(&mut self, id: ModuleId, now_us: u64, since_us: u64) {
        if let Ok(loaded) = self.loaded_mut(id) {
            loaded.stats.event_latency.record(now_us.saturating_sub(since_us).saturating_mul(1000));
        }
    }

    /// Runs an entry point of a module that may run it, and keeps its statistics.
    #[inline]
    pub(super) fn run(&mut self, id: ModuleId, entry: Entry) -> Result<()> {
        let token = self.next_token();
        let every = self.config.step_timing == StepTiming::Every;
        let Some(Slot { loaded: Some(loaded), .. }) = self.slots.get_mut(id.slot()) else {
            return Err(Error::NoSuchModule { module: id });
        };
        let steps = loaded.stats.steps;
        let timed =
            every || loaded.instance.has_wall_quota() || steps < TIMED_FIRST || steps % TIMED_ONE_IN == 0;
        let before = if timed { self.host.as_ref().map(|host| host.platform.cycles()) } else { None };
        let result = loaded.instance.call(entry, token, &mut self.host);
        if let (Some(before), Some(host)) = (before, &self.host)
            && entry == Entry::Step
        {
            let cycles = host.platform.cycles().wrapping_sub(before);
            loaded.stats.step_time.record(host.platform.cycles_to_ns(cycles));
        }
        let stats = &mut loaded.stats;
        if loaded.instance.has_fuel() && entry == Entry::Step {
            let used = loaded.instance.fuel_used();
            stats.fuel_last = used;
            stats.fuel_peak = stats.fuel_peak.max(used);
            stats.fuel_total = stats.fuel_total.saturating_add(used);
        }
        stats.memory_peak_bytes = stats.memory_peak_bytes.max(loaded.instance.store.data().bounds.peak);
        match result {
            Ok(()) => {
                stats.steps += u64::from(entry == Entry::Step);
                Ok(())
            }
            Err(stop) => Err(self.failed(id, entry, &stop)),
        }
    }

    /// Takes a module out after a failure: state, schedule, statistics, log.
    #[cold]
    fn failed(&mut self, id: ModuleId, entry: Entry, stop: &Stop) -> Error {
        self.schedule.deactivate(id.slot() as u32);
        let name = match self.loaded_mut(id) {
            Ok(loaded) => mark_failed(loaded, stop.failure),
            Err(gone) => return gone,
        };
        let failure = stop.failure;
        let group = Self::missing_group(&self.groups, failure);
        if let Some(host) = &mut self.host {
            host.security(Some(id), format_args!("`{name}` in {entry}: {}", Explained(failure, group)));
        }
        let group = group.map(text);
        Error::Failed { name, module: id, entry, failure, group }
    }
}

fn mark_failed(loaded: &mut Loaded, failure: Failure) -> String {
    loaded.state = match failure {
        Failure::Quota(_) => ModuleState::QuotaExceeded,
        _ => ModuleState::Trapped,
    };
    loaded.failure = Some(failure);
    count(&mut loaded.stats, failure);
    text(&loaded.name)
}

/// A copy for an error, empty where there is no memory for it: a failed step must not need any.
pub(super) fn text(from: &str) -> String {
    let mut copy = String::new();
    if copy.try_reserve_exact(from.len()).is_ok() {
        copy.push_str(from);
    }
    copy
}

/// Counts a failure.
pub(super) fn count(stats: &mut ModuleStats, failure: Failure) {
    match failure {
        Failure::Violation(_) => stats.violations += 1,
        Failure::Quota(_) => stats.quota_hits += 1,
        Failure::Trap(_) => stats.traps += 1,
    }
}
