//! Which module is due when: decisions only. Time and events come in as arguments, slots come out.
//!
//! A tick costs nothing for modules that are not due: intervals wait in a heap by due time, events wake the
//! modules on the list of their subscribers, and a module that is not active (paused, failed, never started)
//! is on neither. What it misses meanwhile is reconstructed from the sequence numbers of the last post and the last
//! clear of each event.

use alloc::vec::Vec;

use crate::event::{EVENT_COUNT, EventId, EventMask};
use crate::policy::{Activation, Policy};
use crate::queue::SlotQueue;

/// Order within a tick: priority, then load order.
pub(crate) type Order = (u8, u64);

/// Why a module is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Interval,
    /// By events; `since_us` is when the first of them came.
    Events {
        since_us: u64,
    },
}

/// What the schedule knows of one slot.
#[derive(Clone, Debug)]
struct Entry {
    order: Order,
    interval_us: u64,
    activation: Activation,
    subscribe: EventMask,
    active: bool,
    latch: u32,
    /// When the latch became non-empty, in µs of the platform's clock.
    since_us: u64,
    /// The sequence number up to which `latch` is right.
    seen: u64,
    /// Start of the last successful step.
    last_start_us: Option<u64>,
}

impl Entry {
    /// Active, and woken by events.
    #[inline]
    fn listens(&self) -> bool {
        self.active && self.activation.contains(Activation::EVENT)
    }

    #[inline]
    fn has_interval(&self) -> bool {
        self.activation.contains(Activation::INTERVAL)
    }

    #[inline]
    fn due_us(&self) -> u64 {
        self.last_start_us.map_or(0, |start| start.saturating_add(self.interval_us))
    }
}

/// The schedule of a runtime.
pub(crate) struct Schedule {
    entries: Vec<Option<Entry>>,
    /// Active interval modules, by due time.
    timers: SlotQueue<u64>,
    /// What is still to run in this tick.
    run: SlotQueue<Order>,
    /// What an event woke too late for this tick, or between ticks.
    woken: SlotQueue<Order>,
    /// The order of what runs now, while a tick is on.
    current: Option<Order>,
    /// For each event, the listening modules that subscribe to it.
    listeners: [Vec<u32>; EVENT_COUNT as usize],
    /// Number of the last post or clear.
    sequence: u64,
    posted: [u64; EVENT_COUNT as usize],
    posted_us: [u64; EVENT_COUNT as usize],
    cleared: [u64; EVENT_COUNT as usize],
}

impl Schedule {
    pub(crate) const fn new() -> Self {
        Self {
            entries: Vec::new(),
            timers: SlotQueue::new(),
            run: SlotQueue::new(),
            woken: SlotQueue::new(),
            current: None,
            listeners: [const { Vec::new() }; EVENT_COUNT as usize],
            sequence: 0,
            posted: [0; EVENT_COUNT as usize],
            posted_us: [0; EVENT_COUNT as usize],
            cleared: [0; EVENT_COUNT as usize],
        }
    }

    /// Makes room for this many slots.
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.entries.reserve_exact(slots);
        self.timers.reserve(slots);
        self.run.reserve(slots);
        self.woken.reserve(slots);
    }

    /// Adds a module, not active yet. It latches events from now on.
    pub(crate) fn insert(&mut self, slot: u32, policy: &Policy, load_order: u64) {
        let index = slot as usize;
        if self.entries.len() <= index {
            self.entries.resize(index + 1, None);
        }
        let slots = self.entries.len();
        self.timers.reserve(slots);
        self.run.reserve(slots);
        self.woken.reserve(slots);
        self.entries[index] = Some(Entry {
            order: (policy.priority, load_order),
            interval_us: u64::from(policy.step_interval_us),
            activation: policy.activation,
            subscribe: policy.event_subscribe,
            active: false,
            latch: 0,
            since_us: 0,
            seen: self.sequence,
            last_start_us: None,
        });
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.deactivate(slot);
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            *entry = None;
        }
    }

    #[inline]
    fn entry(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    #[inline]
    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize)?.as_mut()
    }

    /// The events that wait for a module.
    pub(crate) fn latch(&self, slot: u32) -> EventMask {
        self.entry(slot).map_or(EventMask::NONE, |entry| EventMask::from_bits(self.caught_up(entry).0))
    }

    /// The latch of an entry that may have been inactive, and since when it is non-empty.
    fn caught_up(&self, entry: &Entry) -> (u32, u64) {
        if entry.listens() {
            return (entry.latch, entry.since_us);
        }
        let (mut latch, mut since_us) = (entry.latch, entry.since_us);
        for event in entry.subscribe.iter() {
            let id = event.get() as usize;
            if self.cleared[id] > entry.seen {
                latch &= !event.bit();
            }
            if self.posted[id] > entry.seen.max(self.cleared[id]) {
                if latch == 0 || self.posted_us[id] < since_us {
                    since_us = self.posted_us[id];
                }
                latch |= event.bit();
            }
        }
        (latch, since_us)
    }

    /// The module runs from now on.
    pub(crate) fn activate(&mut self, slot: u32) {
        let Some(entry) = self.entry(slot).filter(|e| !e.active) else { return };
        let (latch, since_us) = self.caught_up(entry);
        let sequence = self.sequence;
        let Some(entry) = self.entry_mut(slot) else { return };
        (entry.latch, entry.since_us, entry.seen, entry.active) = (latch, since_us, sequence, true);
        let (order, due, subscribe) = (entry.order, entry.due_us(), entry.subscribe);
        let (listens, has_interval) = (entry.listens(), entry.has_interval());
        if has_interval {
            self.timers.put(slot, due);
        }
        if listens {
            for event in subscribe.iter() {
                self.listeners[event.get() as usize].push(slot);
            }
            if latch != 0 {
                self.wake(slot, order);
            }
        }
    }

    /// The module is paused, failed or unloaded.
    pub(crate) fn deactivate(&mut self, slot: u32) {
        let sequence = self.sequence;
        let Some(entry) = self.entry(slot).filter(|e| e.active) else { return };
        let caught_up = self.caught_up(entry);
        let Some(entry) = self.entry_mut(slot) else { return };
        let (listens, subscribe) = (entry.listens(), entry.subscribe);
        (entry.latch, entry.since_us) = caught_up;
        (entry.active, entry.seen) = (false, sequence);
        self.timers.remove(slot);
        self.run.remove(slot);
        self.woken.remove(slot);
        if listens {
            for event in subscribe.iter() {
                let list = &mut self.listeners[event.get() as usize];
                if let Some(at) = list.iter().position(|s| *s == slot) {
                    list.swap_remove(at);
                }
            }
        }
    }

    /// A failed module begins anew: no events wait for it, and it is due at once.
    pub(crate) fn reset(&mut self, slot: u32) {
        self.deactivate(slot);
        let sequence = self.sequence;
        if let Some(entry) = self.entry_mut(slot) {
            (entry.latch, entry.seen, entry.last_start_us) = (0, sequence, None);
        }
    }

    /// Puts a woken module where it belongs: in this tick if its turn is still to come.
    fn wake(&mut self, slot: u32, order: Order) {
        if self.run.contains(slot) {
            return;
        }
        match self.current {
            Some(current) if order > current => self.run.put(slot, order),
            _ => self.woken.put(slot, order),
        }
    }

    /// Events were posted; `at_us` says when each.
    pub(crate) fn deliver(&mut self, events: EventMask, mut at_us: impl FnMut(EventId) -> u64) {
        self.sequence += 1;
        for event in events.iter() {
            let id = event.get() as usize;
            let at_us = at_us(event);
            self.posted[id] = self.sequence;
            self.posted_us[id] = at_us;
            for position in 0..self.listeners[id].len() {
                let slot = self.listeners[id][position];
                let Some(entry) = self.entry_mut(slot) else { continue };
                if entry.latch == 0 || at_us < entry.since_us {
                    entry.since_us = at_us;
                }
                entry.latch |= event.bit();
                let order = entry.order;
                self.wake(slot, order);
            }
        }
    }

    /// Takes an event back from every module.
    pub(crate) fn clear(&mut self, event: EventId) {
        self.sequence += 1;
        let id = event.get() as usize;
        self.cleared[id] = self.sequence;
        for position in 0..self.listeners[id].len() {
            let slot = self.listeners[id][position];
            let Some(entry) = self.entry_mut(slot) else { continue };
            entry.latch &= !event.bit();
            if entry.latch == 0 {
                self.woken.remove(slot);
            }
        }
    }

    /// Begins a tick: all that is due at `now_us` is queued in order.
    pub(crate) fn begin_tick(&mut self, now_us: u64) {
        self.current = None;
        if self.run.is_empty() {
            core::mem::swap(&mut self.run, &mut self.woken);
        }
        // Something is left to run only after a tick that a panic of the host's cut short.
        while let Some((order, slot)) = self.woken.pop() {
            self.run.put(slot, order);
        }
        while let Some((due, slot)) = self.timers.peek() {
            if due > now_us {
                break;
            }
            self.timers.pop();
            if let Some(order) = self.entry(slot).map(|e| e.order) {
                self.run.put(slot, order);
            }
        }
    }

    /// The next module of this tick and why it is due. Its latch is taken as it is now.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<(u32, Cause)> {
        let (order, slot) = self.run.pop()?;
        self.current = Some(order);
        let entry = self.entry_mut(slot)?;
        let cause = if entry.latch != 0 && entry.listens() {
            entry.latch = 0;
            Cause::Events { since_us: entry.since_us }
        } else {
            Cause::Interval
        };
        Some((slot, cause))
    }

    /// Ends a tick.
    pub(crate) fn end_tick(&mut self) {
        self.current = None;
    }

    /// Whether the start time of a step matters to this module.
    #[inline]
    pub(crate) fn wants_time(&self, slot: u32) -> bool {
        self.entry(slot).is_some_and(|e| e.has_interval() && e.interval_us > 0)
    }

    /// A step that started at `start_us` succeeded: the interval counts from there.
    #[inline]
    pub(crate) fn completed(&mut self, slot: u32, start_us: u64) {
        let Some(entry) = self.entry_mut(slot) else { return };
        if !entry.has_interval() {
            return;
        }
        entry.last_start_us = Some(start_us);
        if entry.active {
            let due = entry.due_us();
            self.timers.put(slot, due);
        }
    }

    /// How long until the module's interval has passed, in µs; 0 when it has, or has none.
    pub(crate) fn remaining_us(&self, slot: u32, now_us: u64) -> u64 {
        self.entry(slot).filter(|e| e.has_interval()).map_or(0, |e| e.due_us().saturating_sub(now_us))
    }

    /// How long until something is due, in µs; `None` when only an event or the host can wake a module.
    pub(crate) fn next_deadline_us(&self, now_us: u64) -> Option<u64> {
        if !self.woken.is_empty() || !self.run.is_empty() {
            return Some(0);
        }
        self.timers.peek().map(|(due, _)| due.saturating_sub(now_us))
    }
}

/// A clock that never goes backwards, made from one that may: while the platform's clock is behind the latest
/// time that it has shown, time stands still. So one wrong reading cannot make a module run early, whether it is
/// too low or the clock then comes back.
#[derive(Debug)]
pub(crate) struct SteadyClock {
    latest_us: u64,
}

impl SteadyClock {
    /// The last time is never shown, so that an interval that would end beyond it never does.
    const END_US: u64 = u64::MAX - 1;

    pub(crate) fn new(raw_us: u64) -> Self {
        Self { latest_us: raw_us.min(Self::END_US) }
    }

    #[inline]
    pub(crate) fn read(&mut self, raw_us: u64) -> u64 {
        self.latest_us = self.latest_us.max(raw_us.min(Self::END_US));
        self.latest_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(activation: Activation, interval: u32, events: u32, priority: u8) -> Policy {
        Policy {
            activation,
            step_interval_us: interval,
            event_subscribe: EventMask::from_bits(events),
            priority,
            ..Policy::default()
        }
    }

    fn run_tick(schedule: &mut Schedule, now: u64) -> Vec<u32> {
        let mut ran = Vec::new();
        schedule.begin_tick(now);
        while let Some((slot, _)) = schedule.next() {
            ran.push(slot);
            schedule.completed(slot, now);
        }
        schedule.end_tick();
        ran
    }

    fn post(schedule: &mut Schedule, bits: u32) {
        schedule.deliver(EventMask::from_bits(bits), |_| 0);
    }

    #[test]
    fn interval_modules_run_at_once_and_then_when_due() {
        let mut s = Schedule::new();
        s.insert(0, &policy(Activation::INTERVAL, 100, 0, 0), 0);
        assert!(run_tick(&mut s, 0).is_empty(), "not active yet");
        s.activate(0);
        assert_eq!(run_tick(&mut s, 50), [0]);
        assert!(run_tick(&mut s, 149).is_empty());
        assert_eq!(s.next_deadline_us(149), Some(1));
        assert_eq!(run_tick(&mut s, 150), [0], "an elapsed time equal to the interval is due");
    }

    #[test]
    fn order_is_priority_then_load_order() {
        let mut s = Schedule::new();
        for (slot, priority) in [(0, 9), (1, 1), (2, 9), (3, 1)] {
            s.insert(slot, &policy(Activation::INTERVAL, 0, 0, priority), u64::from(slot));
            s.activate(slot);
        }
        assert_eq!(run_tick(&mut s, 0), [1, 3, 0, 2]);
    }

    #[test]
    fn an_event_wakes_later_subscribers_in_this_tick_and_earlier_ones_in_the_next() {
        let mut s = Schedule::new();
        s.insert(0, &policy(Activation::EVENT, 0, 1, 0), 0);
        s.insert(1, &policy(Activation::INTERVAL, 1000, 0, 0), 1);
        s.insert(2, &policy(Activation::EVENT, 0, 1, 0), 2);
        (0..3).for_each(|slot| s.activate(slot));
        let mut ran = Vec::new();
        s.begin_tick(0);
        while let Some((slot, _)) = s.next() {
            ran.push(slot);
            s.completed(slot, 0);
            if slot == 1 {
                post(&mut s, 1);
            }
        }
        s.end_tick();
        assert_eq!(ran, [1, 2]);
        assert_eq!(s.next_deadline_us(0), Some(0));
        assert_eq!(run_tick(&mut s, 0), [0]);
        assert!(run_tick(&mut s, 0).is_empty());
    }

    #[test]
    fn paused_modules_latch_and_clear_takes_back() {
        let mut s = Schedule::new();
        s.insert(0, &policy(Activation::EVENT, 0, 0b11, 0), 0);
        post(&mut s, 1);
        assert_eq!(s.latch(0).bits(), 1, "loaded is enough");
        s.activate(0);
        s.deactivate(0);
        post(&mut s, 2);
        assert_eq!(s.latch(0).bits(), 3);
        s.clear(EventId::new(0).unwrap());
        assert_eq!(s.latch(0).bits(), 2);
        s.clear(EventId::new(1).unwrap());
        assert_eq!(s.latch(0).bits(), 0);
        post(&mut s, 1);
        s.activate(0);
        assert_eq!(run_tick(&mut s, 0), [0]);
        assert_eq!(s.latch(0).bits(), 0);
    }

    #[test]
    fn clearing_a_running_module_takes_it_out_of_the_queue() {
        let mut s = Schedule::new();
        s.insert(0, &policy(Activation::EVENT, 0, 1, 0), 0);
        s.activate(0);
        post(&mut s, 1);
        s.clear(EventId::new(0).unwrap());
        assert!(run_tick(&mut s, 0).is_empty());
    }

    #[test]
    fn manual_alone_is_never_due() {
        let mut s = Schedule::new();
        s.insert(0, &policy(Activation::MANUAL, 0, 1, 0), 0);
        s.activate(0);
        post(&mut s, 1);
        assert!(run_tick(&mut s, 1 << 40).is_empty());
        assert_eq!(s.latch(0).bits(), 1, "the latch is kept");
        assert_eq!(s.next_deadline_us(0), None);
    }

    #[test]
    fn a_clock_that_goes_back_stands_still() {
        let mut clock = SteadyClock::new(1000);
        assert_eq!(clock.read(1500), 1500);
        assert_eq!(clock.read(200), 1500);
        assert_eq!(clock.read(1501), 1501, "coming back is not time that passed");
        assert_eq!(clock.read(u64::MAX), u64::MAX - 1);
        assert_eq!(clock.read(0), u64::MAX - 1);
    }
}
