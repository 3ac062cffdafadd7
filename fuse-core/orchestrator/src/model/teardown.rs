//! VMs that must go: what a failed boot left behind, and VMs that nobody remembers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{EnvironmentId, HostId, Resources, Timestamp, VmName};

/// How often something was tried, and when it is due again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attempts {
    /// Tries that failed.
    pub failed: u32,
    /// When the next try is due; none means at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// What the last failure said.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
}

impl Attempts {
    const FIRST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(600);

    /// Whether a try is due. One that is due later than any wait was planned under another clock, and is due now.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.next_at.is_none_or(|at| at <= now || at.since(now) > Self::LONGEST)
    }

    /// Notes a failed try. The next is due after 5 s, 10 s, 20 s, …, at most 10 min; tries never stop.
    pub fn note_failure(&mut self, error: impl Into<String>, now: Timestamp) {
        let wait = Self::FIRST.saturating_mul(1 << self.failed.min(10)).min(Self::LONGEST);
        self.failed = self.failed.saturating_add(1);
        self.next_at = Some(now.after(wait));
        self.last_error = error.into();
        if let Some((end, _)) = self.last_error.char_indices().nth(500) {
            self.last_error.truncate(end);
        }
    }
}

/// Why a VM is torn down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TeardownCause {
    /// Its boot failed.
    FailedBoot,
    /// It is ours and no record knows it, seen repeatedly over the grace time.
    Orphan,
}

/// A VM that must go and that no environment stands for any more.
///
/// It is tried until it succeeds. Its capacity stays taken until then, so that nothing is placed into memory that
/// a VM still uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Teardown {
    /// The VM.
    pub vm: VmName,
    /// Where it is.
    pub host_id: HostId,
    /// Why it must go.
    pub cause: TeardownCause,
    /// The environment it belonged to, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<EnvironmentId>,
    /// The capacity that it still takes. Orphans take none, since nobody knows their size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Resources>,
    /// Whether its creation may still be on its way: an answer was lost. It is then removed twice, a minute apart.
    #[serde(default)]
    pub unsure: bool,
    /// How the removal goes.
    #[serde(default)]
    pub removal: Attempts,
    /// Since when it must go.
    pub created_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_ten_minutes() {
        let mut attempts = Attempts::default();
        let now = Timestamp::from_micros(1_000_000);
        assert!(attempts.is_due(now));
        let mut waits = Vec::new();
        for _ in 0..9 {
            attempts.note_failure("no", now);
            waits.push(attempts.next_at.unwrap().since(now).as_secs());
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert!(!attempts.is_due(now));
    }

    #[test]
    fn a_clock_that_was_set_back_delays_nothing() {
        let mut attempts = Attempts::default();
        attempts.note_failure("no", Timestamp::from_micros(7_200_000_000));
        assert!(attempts.is_due(Timestamp::from_micros(1_000_000)));
    }
}
