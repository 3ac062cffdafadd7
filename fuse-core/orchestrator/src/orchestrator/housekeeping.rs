//! What must happen now and then and belongs to no host: old records, old events, certificates, the lease.

use std::{sync::Arc, time::Duration};

use super::{Inner, change::Change, guest::Token, provision::KeptAnswer, record};
use crate::{
    RecordKind, Result,
    model::{EnvironmentFilter, EnvironmentState, Timestamp},
    store::{Kind, MAX_PAGE},
};

/// The most records that are removed between two looks at what is old.
const AT_ONCE: usize = 200;
/// The most such looks in one round: more wait for the next.
const LOOKS: usize = 100;
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
        for _ in 0..LOOKS {
            let old = self.fleet().ended_before(before, AT_ONCE);
            let last = old.len() < AT_ONCE;
            for entry in old {
                let (id, vm) = (&entry.value.id, &entry.value.vm);
                let _held = self.locks.hold(RecordKind::Environment, id.as_str()).await;
                let same = self.environment(id).is_ok_and(|current| current.value.vm == *vm);
                if same {
                    self.commit(Change::new().drop_environment(id).delete(Kind::Log, vm.as_str())).await?;
                }
            }
            if last {
                break;
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
            let renewed = match self.vault(&environment.vm).await {
                Ok(vault)
                    if vault.next.is_some() || vault.credentials.is_renewal_due(now.as_micros() / 1_000) =>
                {
                    self.rotate(&environment.id, Token::Kept).await
                }
                // One that cannot be read holds up no other.
                vault => vault.map(drop),
            };
            result = result.and(renewed);
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::{Config, ControlPlane, HostRegistration};
    use super::*;
    use crate::{
        Delivery,
        model::{Clock, EnvironmentId, EventKind, HostId, IdempotencyKey, ProvisionRequest, TaskId},
        provider::stub::{Effect, Fault, StubConnector},
        provider::{ProviderErrorKind, Verb},
    };

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A clock that stands until it is set.
    #[derive(Debug)]
    struct Hand(Mutex<Timestamp>);

    impl Hand {
        fn pass(&self, time: Duration) {
            let mut now = self.0.lock().unwrap();
            *now = now.after(time);
        }
    }

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            *self.0.lock().unwrap()
        }
    }

    struct House {
        fuse: ControlPlane,
        clock: Arc<Hand>,
        stub: Arc<StubConnector>,
    }

    impl House {
        async fn new() -> Self {
            let clock = Arc::new(Hand(Mutex::new(Timestamp::from_micros(1_700_000_000_000_000))));
            let stub = Arc::new(StubConnector::new());
            let config = Config { reconcile_period: None, ..Config::default() };
            let h1 = HostRegistration { url: "stub://h1".into(), ..HostRegistration::default() };
            let fuse = ControlPlane::builder()
                .config(config)
                .clock(Arc::clone(&clock) as _)
                .connector("stub", Arc::clone(&stub) as _);
            let fuse = fuse.open().await.unwrap();
            fuse.register_host(&HostId::new("h1").unwrap(), h1).await.unwrap();
            Self { fuse, clock, stub }
        }

        async fn running(&self, task: &str) -> EnvironmentId {
            let request = ProvisionRequest::new(TaskId::new(task).unwrap());
            let id = self.fuse.provision(request).await.unwrap().id.clone();
            self.fuse.wait_running(&id, Duration::from_secs(20)).await.unwrap();
            id
        }

        async fn keep(&self) -> Result<()> {
            self.fuse.inner.keep_house().await
        }
    }

    #[tokio::test]
    async fn records_of_the_ended_go_after_their_time_and_not_before() {
        let house = House::new().await;
        let (old, live) = (house.running("old").await, house.running("live").await);
        house.fuse.destroy(&old).await.unwrap();
        house.clock.pass(DAY - Duration::from_secs(1));
        house.keep().await.unwrap();
        assert!(house.fuse.get(&old).is_ok());
        house.clock.pass(Duration::from_secs(2));
        house.keep().await.unwrap();
        assert!(house.fuse.get(&old).is_err() && house.fuse.get(&live).is_ok());
        for kind in [Kind::Environment, Kind::Log, Kind::Secret] {
            let left = house.fuse.inner.store.list(kind, None, MAX_PAGE).await.unwrap().records;
            let of_live = left.iter().filter(|record| !record.id.contains("old")).count();
            assert_eq!(left.len(), of_live, "{kind:?}: {left:?}");
        }
    }

    /// However many end between two rounds, none is kept for ever.
    #[tokio::test]
    async fn more_than_one_batch_goes_in_one_round() {
        let house = House::new().await;
        for number in 0..AT_ONCE + 5 {
            let request = ProvisionRequest::new(TaskId::new(format!("t{number}")).unwrap());
            let id = house.fuse.provision(request).await.unwrap().id.clone();
            house.fuse.destroy(&id).await.unwrap();
        }
        house.clock.pass(2 * DAY);
        house.keep().await.unwrap();
        assert_eq!(house.fuse.counts().values().sum::<usize>(), 0);
    }

    #[tokio::test]
    async fn answers_to_keys_are_forgotten_after_their_time() {
        let house = House::new().await;
        let key = IdempotencyKey::new("k").unwrap();
        let request = || ProvisionRequest::new(TaskId::new("t").unwrap());
        let first = house.fuse.provision_once(&key, request()).await.unwrap();
        house.clock.pass(DAY / 2);
        house.keep().await.unwrap();
        assert_eq!(house.fuse.provision_once(&key, request()).await.unwrap().vm, first.vm);
        house.clock.pass(DAY);
        house.keep().await.unwrap();
        assert_eq!(house.fuse.inner.store.list(Kind::Idempotency, None, 10).await.unwrap().records.len(), 0);
    }

    #[tokio::test]
    async fn events_go_after_their_time_and_a_reader_is_told() {
        let house = House::new().await;
        house.running("t").await;
        let before = house.fuse.newest_event();
        house.clock.pass(8 * DAY);
        house.fuse.cordon(&HostId::new("h1").unwrap()).await.unwrap();
        house.keep().await.unwrap();
        assert_eq!(house.fuse.inner.store.position().await.unwrap().floor, before);
        // A reader that comes later reads from the store.
        house.fuse.inner.hub.skip_to(before + 2);
        let mut reader = house.fuse.events(0);
        let first = reader.try_next().await.unwrap();
        assert_eq!(first, Some(Delivery::Lost { count: before }));
        let Some(Delivery::Event(next)) = reader.try_next().await.unwrap() else { panic!() };
        assert_eq!((next.sequence, next.event), (before + 1, EventKind::HostCordoned));
    }

    #[tokio::test]
    async fn certificates_are_renewed_and_the_token_stays() {
        let house = House::new().await;
        let id = house.running("t").await;
        let before = house.fuse.credentials(&id).await.unwrap();
        house.clock.pass(59 * DAY);
        house.keep().await.unwrap();
        assert_eq!(house.fuse.credentials(&id).await.unwrap().expires_ms(), before.expires_ms());
        house.clock.pass(2 * DAY);
        house.keep().await.unwrap();
        let after = house.fuse.credentials(&id).await.unwrap();
        assert!(after.expires_ms() > before.expires_ms());
        use secrecy::ExposeSecret as _;
        assert_eq!(after.token().expose_secret(), before.token().expose_secret());
    }

    /// One part that fails, and one environment that cannot be renewed, hold up nothing else.
    #[tokio::test]
    async fn what_fails_holds_up_nothing_else() {
        let house = House::new().await;
        let (stuck, well) = (house.running("stuck").await, house.running("well").await);
        let gone = house.running("gone").await;
        house.fuse.destroy(&gone).await.unwrap();
        let vm = house.fuse.get(&stuck).unwrap().vm.clone();
        let delete = Change::new().delete(Kind::Secret, vm.as_str());
        house.fuse.inner.commit(delete).await.unwrap();
        let before = house.fuse.credentials(&well).await.unwrap().expires_ms();
        house.clock.pass(61 * DAY);
        house.keep().await.unwrap_err();
        assert!(house.fuse.get(&gone).is_err(), "old records go all the same");
        assert!(house.fuse.credentials(&well).await.unwrap().expires_ms() > before);
        let host = house.stub.host("h1");
        host.inject(Fault::always(Verb::StartAgent, Effect::Fail(ProviderErrorKind::Failed, "no".into())));
        house.clock.pass(61 * DAY);
        house.keep().await.unwrap_err();
    }
}
