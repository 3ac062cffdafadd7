//! Faults on request.

use std::time::Duration;

use crate::{
    model::VmName,
    provider::{ProviderErrorKind, Verb},
};

/// What a fault does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The verb happens, and its answer comes, this much later.
    Delay(Duration),
    /// The verb happens now, and its answer, with what was true now, comes this much later.
    SlowAnswer(Duration),
    /// The verb does not happen.
    Fail(ProviderErrorKind, String),
    /// The verb happens; its answer is lost and an error comes instead.
    FailAfter(ProviderErrorKind, String),
    /// An error comes now; the verb happens this much later.
    FailThenHappen(ProviderErrorKind, Duration),
    /// The verb does not happen and no answer comes.
    Hang,
    /// The request arrives twice; the answer is that of the second.
    Twice,
}

/// A fault: what it does, to which verbs, how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What it does.
    pub effect: Effect,
    /// Only to this verb. None: to all.
    pub verb: Option<Verb>,
    /// Only to VMs whose name contains this text. Empty: to all, and to verbs of the host.
    pub vm: String,
    /// How many matching calls go by untouched first.
    pub skip: u32,
    /// How often it strikes, 1 or more. `u32::MAX`: for ever.
    pub times: u32,
}

impl Fault {
    /// A fault that strikes `verb` once.
    #[must_use]
    pub const fn once(verb: Verb, effect: Effect) -> Self {
        Self { effect, verb: Some(verb), vm: String::new(), skip: 0, times: 1 }
    }

    /// A fault that strikes `verb` always.
    #[must_use]
    pub const fn always(verb: Verb, effect: Effect) -> Self {
        Self { effect, verb: Some(verb), vm: String::new(), skip: 0, times: u32::MAX }
    }

    fn matches(&self, verb: Verb, vm: Option<&VmName>) -> bool {
        let hit = vm.map_or(self.vm.is_empty(), |vm| vm.as_str().contains(&self.vm));
        hit && self.verb.is_none_or(|only| only == verb)
    }
}

/// The faults of a host, in the order in which they were put in. The first that matches a call strikes it.
#[derive(Debug, Clone, Default)]
pub(super) struct Faults(Vec<Fault>);

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn strike(&mut self, verb: Verb, vm: Option<&VmName>) -> Option<Effect> {
        let at = self.0.iter().position(|fault| fault.matches(verb, vm))?;
        let fault = self.0.get_mut(at)?;
        if fault.skip > 0 {
            fault.skip -= 1;
            return None;
        }
        let effect = fault.effect.clone();
        if fault.times != u32::MAX {
            fault.times = fault.times.saturating_sub(1);
            if fault.times == 0 {
                self.0.remove(at);
            }
        }
        Some(effect)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_skips_strikes_and_ends() {
        let mut faults = Faults::default();
        faults.add(Fault { skip: 1, times: 2, ..Fault::once(Verb::Create, Effect::Hang) });
        let vm = VmName::new("a").unwrap();
        let struck: Vec<_> = (0..5).map(|_| faults.strike(Verb::Create, Some(&vm)).is_some()).collect();
        assert_eq!(struck, [false, true, true, false, false]);
        assert!(faults.strike(Verb::Destroy, Some(&vm)).is_none());
    }
}
