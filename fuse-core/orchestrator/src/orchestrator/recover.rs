//! Recovery: the memory from the store.
//!
//! Nothing is decided here. What was half done is found by reconcile, host by host, when the host answers.

use std::sync::Arc;

use serde::{Serialize, de::DeserializeOwned};

use super::{Inner, record};
use crate::{
    Error, Result,
    model::{DeadLetter, Environment, Host, Observed, Snapshot, Teardown},
    provider::{AbsentProvider, HostAddress, Provider},
    secrets::ApiKeyRecord,
    store::{Kind, MAX_PAGE, Record, Store},
};

/// Reads every record of a kind.
async fn each<T: Serialize + DeserializeOwned>(
    store: &dyn Store,
    kind: Kind,
    mut take: impl FnMut(T, u64),
) -> Result<()> {
    let mut after = None;
    loop {
        let page = store.list(kind, after.as_deref(), MAX_PAGE).await?;
        for Record { id, body, revision, .. } in page.records {
            take(record::decode_whole(kind.as_str(), &id, &body)?, revision);
        }
        match page.next {
            None => return Ok(()),
            next => after = next,
        }
    }
}

impl Inner {
    /// Reads the whole state. The fleet is empty before.
    pub(super) async fn load(self: &Arc<Self>) -> Result<()> {
        let store = &*self.store;
        let mut hosts: Vec<(Host, u64)> = Vec::new();
        each(store, Kind::Host, |host, revision| hosts.push((host, revision))).await?;
        for (host, revision) in hosts {
            let provider = self.provider_of(&host).await?;
            self.fleet().put_host(host, revision, Some(provider));
        }
        // Teardowns first: a failed environment hands its room to one.
        let now = self.now();
        each(store, Kind::Teardown, |mut teardown: Teardown, revision| {
            // One that waits for its second look waits anew: the clock may have been set meanwhile.
            if teardown.removal.failed == 0 && teardown.removal.next_at.is_some() {
                teardown.removal.next_at = Some(now.after(self.config.second_look));
            }
            self.fleet().put_teardown(teardown, revision);
        })
        .await?;
        each(store, Kind::Environment, |mut environment: Environment, revision| {
            environment.observed = Observed::Unknown;
            environment.health = None;
            self.fleet().put_environment(environment, revision);
        })
        .await?;
        each(store, Kind::Snapshot, |snapshot: Snapshot, revision| {
            self.fleet().put_snapshot(snapshot, revision);
        })
        .await?;
        each(store, Kind::DeadLetter, |letter: DeadLetter, revision| {
            self.fleet().put_dead_letter(letter, revision);
        })
        .await?;
        each(store, Kind::ApiKey, |key: ApiKeyRecord, _| self.fleet().put_key(key)).await?;
        self.start_idle_clocks();
        Ok(())
    }

    /// Nobody can have used an environment while nobody ran: the idle time begins now.
    fn start_idle_clocks(&self) {
        let now = self.now();
        let mut fleet = self.fleet();
        let filter = crate::model::EnvironmentFilter::default();
        let (live, _) = fleet.environments(&filter, None, usize::MAX);
        for environment in live {
            fleet.activity(&environment.vm, now).used_at = now;
        }
    }

    /// The provider of a host that is in the store. A host that cannot be driven is silent, not gone.
    async fn provider_of(&self, host: &Host) -> Result<Arc<dyn Provider>> {
        let token = self.host_token(&host.id).await?;
        let address = HostAddress {
            id: host.id.clone(),
            url: host.url.clone(),
            backend: host.backend.clone(),
            token,
            certificate: host.certificate,
        };
        match self.connect(address) {
            Ok(provider) => Ok(provider),
            Err(error @ (Error::Invalid(_) | Error::Provider(_))) => {
                Ok(Arc::new(AbsentProvider { host: host.id.clone(), why: error.to_string() }))
            }
            Err(error) => Err(error),
        }
    }
}
