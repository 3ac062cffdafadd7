//! One function for each call.

use std::time::Duration;

use fuse_orchestrator::model::{Arch, EnvironmentId, HostId, IdempotencyKey, SnapshotId};
use fuse_orchestrator::provider::FileUpload;
use fuse_orchestrator::{Error, Orchestrator, Problem, Removal, Result, wire};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The names of all calls, sorted.
pub const NAMES: [&str; 33] = [
    "api_keys",
    "check",
    "cordon",
    "create_api_key",
    "create_snapshot",
    "dead_letters",
    "delete_snapshot",
    "destroy",
    "dismiss_dead_letter",
    "drain",
    "drain_host",
    "exec",
    "fork",
    "get",
    "host",
    "host_drain",
    "hosts",
    "lineage",
    "list",
    "logs",
    "newest_event",
    "provision",
    "register_host",
    "remove_host",
    "resolve_snapshot",
    "restore_snapshot",
    "retry_dead_letter",
    "revoke_api_key",
    "rotate_token",
    "snapshot",
    "snapshots",
    "uncordon",
    "wait_running",
];

/// What a call may be given; each uses some.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Arguments {
    /// The name of what it is about.
    id: String,
    /// A body or query of the REST API.
    request: Value,
    /// Of a provision that happens once.
    idempotency_key: Option<String>,
    /// How long it may take, in seconds.
    limit_seconds: Option<f64>,
    /// Of a host: whatever it holds.
    force: bool,
    /// Of a log.
    source: String,
    /// Of a snapshot: the layer of a build.
    layer_key: String,
    /// Of a snapshot: `amd64` or `arm64`.
    arch: String,
}

pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| Error::Invalid(vec![Problem::new("body", error.to_string())]))
}

pub(crate) fn json<T: Serialize>(answer: &T) -> Result<String> {
    serde_json::to_string(answer)
        .map_err(|error| Error::BadAnswer { what: "answer".to_owned(), why: error.to_string() })
}

pub(crate) fn name<T>(field: &str, text: &str) -> Result<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| Error::Invalid(vec![Problem::new(field, error.to_string())]))
}

impl Arguments {
    fn environment(&self) -> Result<EnvironmentId> {
        name("id", &self.id)
    }

    fn snapshot(&self) -> Result<SnapshotId> {
        name("id", &self.id)
    }

    fn host(&self) -> Result<HostId> {
        name("id", &self.id)
    }

    fn body<T: DeserializeOwned>(&mut self) -> Result<T> {
        let request = self.request.take();
        let request = if request.is_null() { Value::Object(serde_json::Map::new()) } else { request };
        serde_json::from_value(request)
            .map_err(|error| Error::Invalid(vec![Problem::new("body", error.to_string())]))
    }

    fn limit(&self, default: f64) -> Result<Duration> {
        Duration::try_from_secs_f64(self.limit_seconds.unwrap_or(default)).map_err(|_| {
            Error::Invalid(vec![Problem::new("limit_seconds", "is a number of seconds, not negative")])
        })
    }
}

/// The answer of a call that has none.
fn nothing(done: Result<()>) -> Result<String> {
    done.map(|()| String::new())
}

pub(crate) async fn call(fuse: Orchestrator, call: String, arguments: String) -> Result<String> {
    let a: Arguments = parse(&arguments)?;
    match call.as_str() {
        "provision" | "wait_running" | "get" | "list" | "drain" | "destroy" | "fork" => {
            environments(&fuse, &call, a).await
        }
        "exec" | "logs" | "rotate_token" => guests(&fuse, &call, a).await,
        "create_snapshot" | "snapshot" | "snapshots" | "resolve_snapshot" | "lineage"
        | "restore_snapshot" | "delete_snapshot" => snapshots(&fuse, &call, a).await,
        "register_host" | "host" | "hosts" | "cordon" | "uncordon" | "remove_host" | "drain_host"
        | "host_drain" => hosts(&fuse, &call, a).await,
        _ => others(&fuse, &call, a).await,
    }
}

async fn environments(fuse: &Orchestrator, call: &str, mut a: Arguments) -> Result<String> {
    let environment = match call {
        "provision" => {
            let body = a.body::<wire::CreateEnvironment>()?.request()?;
            match &a.idempotency_key {
                Some(key) => {
                    let key: IdempotencyKey = name("idempotency_key", key)?;
                    fuse.provision_once(&key, body).await?
                }
                None => fuse.provision(body).await?,
            }
        }
        "list" => {
            let query: wire::EnvironmentQuery = a.body()?;
            let page = fuse.list(&query.filter()?, query.page_limit(), query.page_cursor()).await?;
            let environments = page.items.iter().map(|e| wire::Environment::from(&**e)).collect();
            return json(&wire::EnvironmentList { environments, next_cursor: page.next_cursor });
        }
        "destroy" => return nothing(fuse.destroy(&a.environment()?).await),
        "wait_running" => fuse.wait_running(&a.environment()?, a.limit(600.0)?).await?,
        "drain" => fuse.drain(&a.environment()?).await?,
        "fork" => {
            let body = a.body::<wire::ForkEnvironment>()?.request()?;
            fuse.fork(&a.environment()?, body).await?
        }
        _ => fuse.get(&a.environment()?).await?,
    };
    json(&wire::Environment::from(&*environment))
}

async fn guests(fuse: &Orchestrator, call: &str, mut a: Arguments) -> Result<String> {
    let id = a.environment()?;
    match call {
        "exec" => {
            let body = a.body::<wire::ExecCommand>()?.request()?;
            json(&wire::ExecResult::from(&fuse.exec(&id, body).await?))
        }
        "logs" => {
            let query = wire::LogQuery { source: a.source, follow: String::new() };
            json(&fuse.logs(&id, query.parts()?.0).await?)
        }
        _ => nothing(fuse.rotate_token(&id).await),
    }
}

async fn snapshots(fuse: &Orchestrator, call: &str, mut a: Arguments) -> Result<String> {
    match call {
        "create_snapshot" => {
            let body = a.body::<wire::CreateSnapshot>()?.request()?;
            json(&wire::Snapshot::from(&*fuse.create_snapshot(&a.environment()?, body).await?))
        }
        "snapshots" => {
            let query: wire::SnapshotQuery = a.body()?;
            let page = fuse.snapshots(&query.filter()?, query.page_limit(), query.page_cursor()).await?;
            let snapshots = page.items.iter().map(|s| wire::Snapshot::from(&**s)).collect();
            json(&wire::SnapshotList { snapshots, next_cursor: page.next_cursor })
        }
        "resolve_snapshot" => {
            let arch: Arch = name("arch", &a.arch)?;
            match fuse.resolve_snapshot(&a.layer_key, arch).await? {
                Some(found) => json(&wire::Snapshot::from(&*found)),
                None => Ok(String::new()),
            }
        }
        "lineage" => {
            let line = fuse.lineage(&a.snapshot()?).await?;
            let snapshots = line.iter().map(|s| wire::Snapshot::from(&**s)).collect();
            json(&wire::SnapshotList { snapshots, next_cursor: None })
        }
        "restore_snapshot" => nothing(fuse.restore_snapshot(&a.snapshot()?).await),
        "delete_snapshot" => nothing(fuse.delete_snapshot(&a.snapshot()?).await),
        _ => json(&wire::Snapshot::from(&*fuse.snapshot(&a.snapshot()?).await?)),
    }
}

async fn hosts(fuse: &Orchestrator, call: &str, mut a: Arguments) -> Result<String> {
    match call {
        "register_host" => {
            let (id, registration) = a.body::<wire::RegisterHost>()?.registration()?;
            json(&wire::Host::from(&fuse.register_host(&id, registration).await?))
        }
        "hosts" => {
            let query: wire::PageQuery = a.body()?;
            let page = fuse.hosts(query.page_limit(), query.page_cursor()).await?;
            let hosts = page.items.iter().map(wire::Host::from).collect();
            json(&wire::HostList { hosts, next_cursor: page.next_cursor })
        }
        "drain_host" => {
            let limit = if a.limit_seconds.is_some() { Some(a.limit(0.0)?) } else { None };
            json(&wire::HostDrain::from(&fuse.drain_host(&a.host()?, limit).await?))
        }
        "host_drain" => match fuse.host_drain(&a.host()?).await? {
            Some(progress) => json(&wire::HostDrain::from(&progress)),
            None => Ok(String::new()),
        },
        "cordon" => nothing(fuse.cordon(&a.host()?).await),
        "uncordon" => nothing(fuse.uncordon(&a.host()?).await),
        "remove_host" => {
            let removal = if a.force { Removal::Forced } else { Removal::Empty };
            nothing(fuse.remove_host(&a.host()?, removal).await)
        }
        _ => json(&wire::Host::from(&fuse.host(&a.host()?).await?)),
    }
}

async fn others(fuse: &Orchestrator, call: &str, mut a: Arguments) -> Result<String> {
    match call {
        "create_api_key" => {
            let body: wire::CreateApiKey = a.body()?;
            json(&wire::ApiKey::from(&fuse.create_api_key(&body.label, body.scopes).await?))
        }
        "api_keys" => {
            let keys = fuse.api_keys().await?;
            json(&wire::ApiKeyList { api_keys: keys.iter().map(wire::ApiKey::from).collect() })
        }
        "revoke_api_key" => nothing(fuse.revoke_api_key(&a.id).await),
        "dead_letters" => {
            let letters = fuse.dead_letters().await?;
            json(&wire::DeadLetterList { dead_letters: letters.iter().map(wire::DeadLetter::from).collect() })
        }
        "retry_dead_letter" => nothing(fuse.retry_dead_letter(&a.id).await),
        "dismiss_dead_letter" => nothing(fuse.dismiss_dead_letter(&a.id).await),
        "newest_event" => json(&fuse.newest_event().await?),
        "check" => nothing(fuse.check(a.limit(10.0)?).await),
        other => Err(Error::Invalid(vec![Problem::new("call", format!("there is no call {other:?}"))])),
    }
}

pub(crate) async fn upload(
    fuse: Orchestrator,
    id: String,
    path: String,
    mode: u32,
    content: Vec<u8>,
) -> Result<String> {
    let id: EnvironmentId = name("id", &id)?;
    nothing(fuse.upload(&id, FileUpload { path, content, mode }).await)
}
