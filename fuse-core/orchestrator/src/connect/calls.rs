//! The calls about environments, snapshots, hosts, keys and letters.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use super::{Connection, call::Call};
use crate::{
    Error, ErrorCode, HostDrainProgress, HostRegistration, Page, Removal, Result,
    model::{
        Arch, DeadLetter, Environment, EnvironmentFilter, EnvironmentId, ForkRequest, Host, HostId,
        IdempotencyKey, ProvisionRequest, Snapshot, SnapshotFilter, SnapshotId, SnapshotRequest,
    },
    secrets::{ApiKey, ApiKeyRecord, Scope},
    wire::{self, route},
};

/// The longest line of ancestors that is followed.
const LINEAGE: usize = 1_000;

fn environment_path(path: &str, id: &EnvironmentId) -> String {
    route::with_name(path, id.as_str())
}

fn page<W, T>(items: Vec<W>, next_cursor: Option<String>) -> Result<Page<T>>
where
    T: TryFrom<W, Error = Error>,
{
    let items = items.into_iter().map(T::try_from).collect::<Result<_>>()?;
    Ok(Page { items, next_cursor })
}

fn shared<T>(page: Page<T>) -> Page<Arc<T>> {
    Page { items: page.items.into_iter().map(Arc::new).collect(), next_cursor: page.next_cursor }
}

impl Connection {
    async fn environment_of(&self, call: Call) -> Result<Arc<Environment>> {
        let environment: wire::Environment = self.client.json(call).await?;
        Ok(Arc::new(environment.try_into()?))
    }

    pub(crate) async fn provision(
        &self,
        key: Option<&IdempotencyKey>,
        request: &ProvisionRequest,
    ) -> Result<Arc<Environment>> {
        let doing = format!("create the environment of task {}", request.task_id);
        let mut call = Call::post(route::ENVIRONMENTS, doing)?
            .header("prefer", route::RESPOND_ASYNC)
            .json(&wire::CreateEnvironment::from(request))
            .within(self.client.limits.work);
        if let Some(key) = key {
            call = call.header(route::IDEMPOTENCY_KEY, key.as_str());
        }
        self.environment_of(call).await
    }

    pub(crate) async fn environment(&self, id: &EnvironmentId) -> Result<Arc<Environment>> {
        let path = environment_path(route::ENVIRONMENT, id);
        self.environment_of(Call::get(&path, format!("look at vm {id}"))).await
    }

    pub(crate) async fn environments(
        &self,
        filter: &EnvironmentFilter,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Result<Page<Arc<Environment>>> {
        let query = wire::EnvironmentQuery::new(filter, limit, cursor);
        let call = Call::get(route::ENVIRONMENTS, "list the environments").queries(&query);
        let list: wire::EnvironmentList = self.client.json(call).await?;
        page(list.environments, list.next_cursor).map(shared)
    }

    pub(crate) async fn drain(&self, id: &EnvironmentId) -> Result<Arc<Environment>> {
        let path = environment_path(route::ENVIRONMENT, id);
        let call = Call::action(&path, route::DRAIN, format!("drain vm {id}"))?;
        self.environment_of(call.within(self.client.limits.work)).await
    }

    pub(crate) async fn destroy(&self, id: &EnvironmentId) -> Result<()> {
        let path = environment_path(route::ENVIRONMENT, id);
        let limit = self.client.limits.call.saturating_add(Duration::from_secs(30));
        self.client.done(Call::delete(&path, format!("destroy vm {id}")).within(limit)).await
    }

    pub(crate) async fn rotate_token(&self, id: &EnvironmentId) -> Result<()> {
        let path = environment_path(route::ENVIRONMENT, id);
        let call = Call::action(&path, route::ROTATE_TOKEN, format!("rotate the token of vm {id}"))?;
        self.client.done(call.within(self.client.limits.work)).await
    }

    pub(crate) async fn fork(&self, id: &EnvironmentId, request: &ForkRequest) -> Result<Arc<Environment>> {
        let path = environment_path(route::ENVIRONMENT, id);
        let call = Call::action(&path, route::FORK, format!("fork vm {id}"))?
            .header("prefer", route::RESPOND_ASYNC)
            .json(&wire::ForkEnvironment::from(request));
        self.environment_of(call.within(self.client.limits.work)).await
    }

    pub(crate) async fn create_snapshot(
        &self,
        id: &EnvironmentId,
        request: &SnapshotRequest,
    ) -> Result<Arc<Snapshot>> {
        let path = environment_path(route::ENVIRONMENT_SNAPSHOTS, id);
        let call = Call::post(&path, format!("take a snapshot of vm {id}"))?
            .json(&wire::CreateSnapshot::from(request));
        self.snapshot_of(call.within(self.client.limits.work)).await
    }

    async fn snapshot_of(&self, call: Call) -> Result<Arc<Snapshot>> {
        let snapshot: wire::Snapshot = self.client.json(call).await?;
        Ok(Arc::new(snapshot.try_into()?))
    }

    pub(crate) async fn snapshot(&self, id: &SnapshotId) -> Result<Arc<Snapshot>> {
        let path = route::with_name(route::SNAPSHOT, id.as_str());
        self.snapshot_of(Call::get(&path, format!("look at snapshot {id}"))).await
    }

    pub(crate) async fn snapshots(
        &self,
        filter: &SnapshotFilter,
        limit: Option<usize>,
        cursor: Option<&str>,
    ) -> Result<Page<Arc<Snapshot>>> {
        let query = wire::SnapshotQuery::new(filter, limit, cursor);
        let call = Call::get(route::SNAPSHOTS, "list the snapshots").queries(&query);
        let list: wire::SnapshotList = self.client.json(call).await?;
        page(list.snapshots, list.next_cursor).map(shared)
    }

    pub(crate) async fn lineage(&self, id: &SnapshotId) -> Result<Vec<Arc<Snapshot>>> {
        let mut line = Vec::new();
        let mut next = self.snapshot(id).await?.parent_snapshot_id.clone();
        while let Some(parent) = next.filter(|_| line.len() < LINEAGE) {
            let snapshot = match self.snapshot(&parent).await {
                Err(error) if error.code() == ErrorCode::NotFound => break,
                snapshot => snapshot?,
            };
            next = snapshot.parent_snapshot_id.clone();
            line.push(snapshot);
        }
        Ok(line)
    }

    pub(crate) async fn restore_snapshot(&self, id: &SnapshotId) -> Result<()> {
        let path = route::with_name(route::SNAPSHOT, id.as_str());
        let call = Call::action(&path, route::RESTORE, format!("restore snapshot {id}"))?;
        self.client.done(call.within(self.client.limits.work)).await
    }

    pub(crate) async fn delete_snapshot(&self, id: &SnapshotId) -> Result<()> {
        let path = route::with_name(route::SNAPSHOT, id.as_str());
        let limit = self.client.limits.call.saturating_add(Duration::from_secs(30));
        self.client.done(Call::delete(&path, format!("delete snapshot {id}")).within(limit)).await
    }

    pub(crate) async fn register_host(&self, id: &HostId, registration: &HostRegistration) -> Result<Host> {
        let call = Call::post(route::HOSTS, format!("register host {id}"))?
            .json(&wire::RegisterHost::new(id, registration));
        self.client.json::<wire::Host>(call).await?.try_into()
    }

    pub(crate) async fn host(&self, id: &HostId) -> Result<Host> {
        let path = route::with_name(route::HOST, id.as_str());
        self.client.json::<wire::Host>(Call::get(&path, format!("look at host {id}"))).await?.try_into()
    }

    pub(crate) async fn hosts(&self, limit: Option<usize>, cursor: Option<&str>) -> Result<Page<Host>> {
        let limit = limit.map(|limit| limit.to_string());
        let query = wire::PageQuery { limit, cursor: cursor.map(ToOwned::to_owned) };
        let list: wire::HostList =
            self.client.json(Call::get(route::HOSTS, "list the hosts").queries(&query)).await?;
        page(list.hosts, list.next_cursor)
    }

    pub(crate) async fn cordon(&self, id: &HostId) -> Result<()> {
        let path = route::with_name(route::HOST, id.as_str());
        self.client.done(Call::action(&path, route::CORDON, format!("cordon host {id}"))?).await
    }

    pub(crate) async fn uncordon(&self, id: &HostId) -> Result<()> {
        let path = route::with_name(route::HOST, id.as_str());
        self.client.done(Call::action(&path, route::UNCORDON, format!("uncordon host {id}"))?).await
    }

    pub(crate) async fn remove_host(&self, id: &HostId, removal: Removal) -> Result<()> {
        let path = route::with_name(route::HOST, id.as_str());
        let mut call = Call::delete(&path, format!("remove host {id}"));
        if removal == Removal::Forced {
            call = call.query("force", "true");
        }
        self.client.done(call).await
    }

    pub(crate) async fn drain_host(&self, id: &HostId, limit: Option<Duration>) -> Result<HostDrainProgress> {
        let path = route::with_name(route::HOST, id.as_str());
        let mut call = Call::action(&path, route::DRAIN, format!("drain host {id}"))?;
        if let Some(limit) = limit {
            call = call.query("limit_seconds", limit.as_secs());
        }
        Ok(self.client.json::<wire::HostDrain>(call).await?.into())
    }

    pub(crate) async fn host_drain(&self, id: &HostId) -> Result<Option<HostDrainProgress>> {
        let path = route::with_name(route::HOST_DRAIN, id.as_str());
        let drain = self.client.get::<wire::HostDrain>(&path, "ask how the drain of a host goes").await;
        match drain {
            Ok(drain) => Ok(Some(drain.into())),
            // Either nobody asked for it, or there is no such host.
            Err(error) if error.code() == ErrorCode::NotFound => self.host(id).await.map(|_| None),
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn resolve_snapshot(
        &self,
        layer_key: &str,
        arch: Arch,
    ) -> Result<Option<Arc<Snapshot>>> {
        let call = Call::get(route::SNAPSHOTS_RESOLVE, "find the snapshot of a layer")
            .query("layer_key", layer_key)
            .query("arch", arch);
        let resolved: wire::Resolved = self.client.json(call).await?;
        resolved.snapshot.map(|snapshot| snapshot.try_into().map(Arc::new)).transpose()
    }

    pub(crate) async fn dead_letters(&self) -> Result<Vec<DeadLetter>> {
        let list: wire::DeadLetterList =
            self.client.get(route::DEAD_LETTERS, "list the dead letters").await?;
        list.dead_letters.into_iter().map(TryInto::try_into).collect()
    }

    pub(crate) async fn retry_dead_letter(&self, key: &str) -> Result<()> {
        let path = route::with_name(route::DEAD_LETTER, key);
        let call = Call::action(&path, route::RETRY, format!("retry dead letter {key}"))?;
        self.client.done(call.within(self.client.limits.work)).await
    }

    pub(crate) async fn dismiss_dead_letter(&self, key: &str) -> Result<()> {
        let path = route::with_name(route::DEAD_LETTER, key);
        self.client.done(Call::action(&path, route::DISMISS, format!("dismiss dead letter {key}"))?).await
    }

    pub(crate) async fn create_api_key(&self, label: &str, scopes: BTreeSet<Scope>) -> Result<ApiKey> {
        let body = wire::CreateApiKey { label: label.to_owned(), scopes };
        let call = Call::post(route::API_KEYS, "make an API key")?.json(&body);
        self.client.json::<wire::ApiKey>(call).await?.into_new()
    }

    pub(crate) async fn api_keys(&self) -> Result<Vec<ApiKeyRecord>> {
        let list: wire::ApiKeyList = self.client.get(route::API_KEYS, "list the API keys").await?;
        Ok(list.api_keys.iter().map(wire::ApiKey::record).collect())
    }

    pub(crate) async fn revoke_api_key(&self, id: &str) -> Result<()> {
        let path = route::with_name(route::API_KEY, id);
        self.client.done(Call::delete(&path, format!("revoke API key {id}"))).await
    }

    pub(crate) async fn check(&self, limit: Duration) -> Result<()> {
        let late = || Error::Timeout { what: format!("the readiness of {}", self.url()), after: limit };
        let readiness = tokio::time::timeout(limit, self.readiness()).await.map_err(|_| late())??;
        if readiness.is_ready() {
            return Ok(());
        }
        let wire::Checks { state_store, fleet } = readiness.checks;
        Err(Error::Remote(Box::new(crate::RemoteError {
            status: 503,
            code: ErrorCode::Unavailable.as_str().to_owned(),
            message: format!("the server is not ready: store: {state_store}; fleet: {fleet}"),
            request_id: String::new(),
        })))
    }
}
