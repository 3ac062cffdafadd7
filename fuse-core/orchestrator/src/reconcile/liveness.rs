//! Whether a host answers.

use super::{Limits, Listing, sightings::Silence};
use crate::model::{Host, HostLiveness, Liveness, Reason, ReasonCode, Timestamp};

/// The liveness of `host` after it was asked, when it changes.
pub(super) fn next(
    host: &Host,
    silence: Option<Silence>,
    listing: &Listing,
    limits: &Limits,
    now: Timestamp,
) -> Option<HostLiveness> {
    let (state, reason) = match (silence, listing) {
        (Some(silence), Listing::Silent { why }) => {
            // A host that was silent before a restart of the control plane has been silent all the while.
            let began = match host.liveness.state {
                Liveness::Ready => silence.since,
                _ => silence.since.min(host.liveness.since),
            };
            let state = if silence.cycles < limits.unreachable_after {
                // One silent cycle proves nothing, neither for a host that was ready nor for one that was lost.
                host.liveness.state
            } else if now.since(began) >= limits.lost_after {
                Liveness::Lost
            } else {
                host.liveness.state.max(Liveness::Unreachable)
            };
            let text = format!("{why}; no answer for {} s", now.since(began).as_secs());
            (state, Reason::new(ReasonCode::NoAnswer, text))
        }
        _ => (Liveness::Ready, Reason::from(ReasonCode::Answered)),
    };
    (state != host.liveness.state).then_some(HostLiveness { state, since: now, reason })
}
