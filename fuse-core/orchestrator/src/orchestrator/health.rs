//! The verdicts of health checks: the guest agent gives them, the control plane reads them. They only report.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::task::JoinSet;

use super::{Inner, change::Change, state_event};
use crate::{
    Result,
    model::{Environment, EnvironmentState, EventKind, Health, HealthState, HostId, Timestamp},
    provider::{ExecRequest, Verb},
};

/// Where the guest agent writes its verdict.
const VERDICT: &str = "/fuse/health.json";
/// How long one reading may take.
const READING: Duration = Duration::from_secs(5);
/// How many guests of a host are read at the same time.
const SIDE_BY_SIDE: usize = 8;
/// The most bytes of a verdict.
const VERDICT_BYTES: usize = 64 * 1024;
/// The most characters of its message that are kept.
const MESSAGE: usize = 500;

/// What the guest agent writes.
#[derive(Deserialize)]
struct Verdict {
    state: HealthState,
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    failures: u32,
    #[serde(default)]
    message: String,
}

impl Verdict {
    fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > VERDICT_BYTES {
            return None;
        }
        serde_json::from_slice(bytes).ok()
    }

    /// The verdict as it is kept. Its time is the guest's where that can be: a guest's clock may be wrong.
    fn keep(self, before: Option<&Health>, now: Timestamp) -> Health {
        let same = before.filter(|before| before.state == self.state).map(|before| before.since);
        let said = self.since.as_deref().and_then(|text| humantime::parse_rfc3339_weak(text).ok());
        let said = said.map(Timestamp::from).filter(|at| *at <= now);
        let message = self.message.chars().filter(|c| !c.is_control()).take(MESSAGE).collect();
        Health { state: self.state, since: same.or(said).unwrap_or(now), failures: self.failures, message }
    }
}

/// The note that the guests of a host are being read.
struct Sweep {
    inner: Arc<Inner>,
    host: HostId,
}

impl Drop for Sweep {
    fn drop(&mut self) {
        self.inner.fleet().health_sweeps.remove(&self.host);
    }
}

impl Inner {
    /// Reads the verdicts of every running environment of a host that has a health check. Nothing when they are being
    /// read already.
    pub(super) async fn read_verdicts(self: &Arc<Self>, host: &HostId) -> Result<()> {
        let mut checked: VecDeque<Arc<Environment>> = {
            let fleet = self.fleet();
            let running = fleet.of_host(host).map(|entry| &entry.value);
            let checked =
                running.filter(|it| it.state == EnvironmentState::Running && it.healthcheck.is_some());
            checked.cloned().collect()
        };
        if checked.is_empty() || !self.fleet().health_sweeps.insert(host.clone()) {
            return Ok(());
        }
        let _sweep = Sweep { inner: Arc::clone(self), host: host.clone() };
        let mut readings = JoinSet::new();
        loop {
            while readings.len() < SIDE_BY_SIDE
                && let Some(environment) = checked.pop_front()
            {
                let inner = Arc::clone(self);
                readings.spawn(async move { inner.read_verdict(&environment).await });
            }
            // A verdict that cannot be noted is read again in the next round.
            if readings.join_next().await.is_none() {
                return Ok(());
            }
        }
    }

    async fn read_verdict(&self, environment: &Environment) -> Result<()> {
        let (host, vm) = (&environment.host_id, &environment.vm);
        let provider = self.provider(host)?;
        let argv = vec!["cat".to_owned(), VERDICT.to_owned()];
        let request = ExecRequest { argv, timeout: READING };
        let read = self.call(host, Verb::Exec, vm.as_str(), READING, provider.exec(vm, &request)).await;
        // What cannot be read says nothing: the last verdict stays.
        let Some(verdict) =
            read.ok().filter(|done| done.exit_code == 0).and_then(|done| Verdict::parse(&done.stdout))
        else {
            return Ok(());
        };
        let mut changed = false;
        self.fleet().touch_environment(&environment.id, |current| {
            if current.vm == *vm && current.state == EnvironmentState::Running {
                let health = verdict.keep(current.health.as_ref(), self.now());
                changed = current.health.as_ref().is_none_or(|before| before.state != health.state);
                current.health = Some(health);
            }
        });
        if !changed {
            return Ok(());
        }
        let current = self.environment(&environment.id)?.value;
        let Some(health) = &current.health else { return Ok(()) };
        let mut event = state_event(EventKind::VmHealthChanged, &current)
            .with("health", health.state.as_str())
            .with("failures", health.failures);
        event.state = None;
        event.time = self.now();
        self.commit(Change::new().event(event)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_believed_only_as_far_as_they_make_sense() {
        let now = Timestamp::from_micros(1_700_000_000_000_000);
        let read = |text: &str| Verdict::parse(text.as_bytes()).map(|verdict| verdict.keep(None, now));
        let health =
            read(r#"{"state":"failing","since":"2001-02-03T04:05:06Z","failures":3,"message":"a\u0007b"}"#);
        let health = health.unwrap();
        assert_eq!((health.state, health.failures, health.message.as_str()), (HealthState::Failing, 3, "ab"));
        assert_eq!(health.since.to_string(), "2001-02-03T04:05:06.000000Z");
        let future = read(r#"{"state":"passing","since":"2099-01-01T00:00:00Z"}"#).unwrap();
        assert_eq!(future.since, now, "a guest whose clock is ahead does not write into the future");
        for nonsense in ["", "[]", "{}", r#"{"state":"splendid"}"#, r#"{"state":"passing","failures":-1}"#] {
            assert!(read(nonsense).is_none(), "{nonsense}");
        }
        assert!(
            read(&format!(r#"{{"state":"passing","message":"{}"}}"#, "x".repeat(VERDICT_BYTES))).is_none()
        );
    }

    #[test]
    fn a_verdict_that_stays_keeps_its_beginning() {
        let at = Timestamp::from_micros;
        let before =
            Health { state: HealthState::Passing, since: at(5), failures: 0, message: String::new() };
        let again = Verdict { state: HealthState::Passing, since: None, failures: 1, message: String::new() };
        assert_eq!(again.keep(Some(&before), at(9)).since, at(5));
        let other = Verdict { state: HealthState::Failing, since: None, failures: 3, message: String::new() };
        assert_eq!(other.keep(Some(&before), at(9)).since, at(9));
    }
}
