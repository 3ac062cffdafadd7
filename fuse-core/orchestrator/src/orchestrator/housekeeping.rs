//! What must happen now and then and belongs to no host: old records, old events, certificates, the lease.

use std::{sync::Arc, time::Duration};

use super::{Inner, change::Change, guest::Token, provision::KeptAnswer, record};
use crate::{
    RecordKind, Result,
    model::{EnvironmentFilter, EnvironmentState, Timestamp},
    store::{Kind, MAX_PAGE},
};

/// The most records that one round removes.
const AT_ONCE: usize = 200;
/// How often it is looked whether a certificate must be renewed, for each environment.
const RENEWAL_CHECK: Duration = Duration::from_secs(12 * 3600);

impl Inner {
    /// One round of housekeeping. Every part is tried, whatever became of the others.
    pub(super) async fn keep_house(self: &Arc<Self>) -> Result<()> {
        let now = self.now();
        let mut result = self.drop_ended(now).await;
        result = result.and(self.drop_answers(now).await);
        result = result.and(self.drop_events(now).await);
        result = result.and(self.expire_snapshots().await);
        result = result.and(self.renew_certificates(now).await);
        self.locks.prune();
        result
    }

    /// Removes the records of environments that ended long ago.
    async fn drop_ended(&self, now: Timestamp) -> Result<()> {
        let before = now.before(self.config.keep_ended);
        let old = self.fleet().ended_before(before, AT_ONCE);
        for entry in old {
            let (id, vm) = (&entry.value.id, &entry.value.vm);
            let _held = self.locks.hold(RecordKind::Environment, id.as_str()).await;
            let same = self.environment(id).is_ok_and(|current| current.value.vm == *vm);
            if same {
                self.commit(Change::new().drop_environment(id).delete(Kind::Log, vm.as_str())).await?;
            }
        }
        Ok(())
    }

    /// Removes the answers to idempotency keys that are remembered no longer.
    async fn drop_answers(&self, now: Timestamp) -> Result<()> {
        let mut after = None;
        loop {
            let page = self.store.list(Kind::Idempotency, after.as_deref(), MAX_PAGE).await?;
            for found in &page.records {
                let kept: KeptAnswer = record::decode("idempotency", &found.id, &found.body)?;
                if now.since(kept.created_at) > self.config.keep_idempotency {
                    self.commit(Change::new().delete(Kind::Idempotency, &found.id)).await?;
                }
            }
            match page.next {
                None => return Ok(()),
                next => after = next,
            }
        }
    }

    /// Removes events that are kept no longer.
    async fn drop_events(&self, now: Timestamp) -> Result<()> {
        let before_ms = now.before(self.config.keep_events).as_micros() / 1_000;
        let position = self.store.position().await?;
        let mut through = position.floor;
        loop {
            let page = self.store.events(crate::store::EventQuery::all(through, MAX_PAGE)).await?;
            let old = page.events.iter().take_while(|event| event.at_ms < before_ms);
            let Some(last) = old.last() else { break };
            through = last.seq;
        }
        if through > position.floor {
            self.store.truncate_events(through).await?;
        }
        Ok(())
    }

    /// Gives new credentials to environments whose certificate ends soon.
    async fn renew_certificates(self: &Arc<Self>, now: Timestamp) -> Result<()> {
        let filter =
            EnvironmentFilter { state: Some(EnvironmentState::Running), ..EnvironmentFilter::default() };
        let (running, _) = self.fleet().environments(&filter, None, usize::MAX);
        let mut result = Ok(());
        for environment in running {
            {
                let mut fleet = self.fleet();
                let activity = fleet.activity(&environment.vm, now);
                if now.since(activity.renewal_checked_at) < RENEWAL_CHECK {
                    continue;
                }
                activity.renewal_checked_at = now;
            }
            let vault = self.vault(&environment.vm).await?;
            let due = vault.credentials.is_renewal_due(now.as_micros() / 1_000);
            if due || vault.next.is_some() {
                result = result.and(self.rotate(&environment.id, Token::Kept).await);
            }
        }
        result
    }
}
