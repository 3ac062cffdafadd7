//! The routes of the agent.

use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use fuse_orchestrator::{
    attach::Frame,
    model::{Capacity, EnvironmentId, OwnerId, Resources, VmName, VmPrefix},
    provider::{
        AgentStart, CreateRequest, ExecChunk, ExecRequest, ExecStream, FileUpload, ForkVmRequest, LogSource,
        Provider, ProviderError, ProviderErrorKind as Kind, SnapshotVmRequest, VmFacts,
        agent_api::{
            AgentCapacity, AgentSnapshot, CreateVm, Endpoint, Exec, ExecAnswer, Fork, LOG_START, Restore,
            SnapshotList, StartAgent, StartAgentAnswer, TakeSnapshot, Upload, Vm, VmList, extension,
        },
        stub::StubHost,
    },
};
use serde::Deserialize;
use std::time::Duration;

use super::{Flavour, TOKEN, terminal};

#[derive(Clone)]
pub struct Host {
    pub stub: StubHost,
    pub flavour: Flavour,
}

impl Host {
    fn is_ours(&self) -> bool {
        self.flavour == Flavour::Ours
    }
}

pub struct Failed(StatusCode, String);

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        (self.0, self.1).into_response()
    }
}

impl From<ProviderError> for Failed {
    fn from(error: ProviderError) -> Self {
        let status = match error.kind {
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::AlreadyExists => StatusCode::CONFLICT,
            Kind::Refused if error.message.contains("no such snapshot") => StatusCode::NOT_FOUND,
            Kind::Refused => StatusCode::BAD_REQUEST,
            Kind::Unsupported => StatusCode::NOT_IMPLEMENTED,
            Kind::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Unreachable | Kind::TimedOut => StatusCode::BAD_GATEWAY,
            Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.message)
    }
}

pub type Answer<T> = Result<T, Failed>;

pub fn router(stub: StubHost, flavour: Flavour) -> Router {
    let mut routes = Router::new()
        .route("/v1/vm", post(create).get(list))
        .route("/v1/vm/{id}", get(one).delete(destroy))
        .route("/v1/vm/{id}/upload", post(upload))
        .route("/v1/vm/{id}/exec", post(exec))
        .route("/v1/vm/{id}/snapshot", post(snapshot))
        .route("/v1/vm/{id}/snapshots", get(snapshots))
        .route("/v1/vm/{id}/restore", post(restore))
        .route("/v1/vm/{id}/fork", post(fork))
        .route("/v1/vm/{id}/attach", get(terminal::attach));
    routes = match flavour {
        Flavour::First => routes.route("/v1/vm/{id}/start-surfd", post(start)),
        _ => routes.route("/v1/vm/{id}/start-agent", post(start)).route("/v1/capacity", get(capacity)),
    };
    if flavour == Flavour::Ours {
        routes = routes
            .route("/v1/vm/{id}/exec/stream", post(exec_stream))
            .route("/v1/vm/{id}/logs", get(logs))
            .route("/v1/vm/{id}/snapshots/{sid}", delete(delete_snapshot));
    }
    routes
        .fallback(|| async { (StatusCode::NOT_FOUND, "not found") })
        .layer(DefaultBodyLimit::max(64 * 1024 * 1024))
        .layer(middleware::from_fn(guard))
        .with_state(Host { stub, flavour })
}

/// The token, on every route.
async fn guard(request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    if shown != Some(&format!("Bearer {TOKEN}")) {
        return (StatusCode::UNAUTHORIZED, "unauthorized").into_response();
    }
    next.run(request).await
}

pub fn name(id: &str) -> Answer<VmName> {
    VmName::new(id).map_err(|error| Failed(StatusCode::BAD_REQUEST, error.to_string()))
}

fn vm(host: &Host, facts: &VmFacts) -> Vm {
    let bare = Vm { vm_id: facts.name.to_string(), url: "127.0.0.1:19551".to_owned(), ..Vm::default() };
    if !host.is_ours() {
        return bare;
    }
    let resources = facts.resources.unwrap_or_default();
    Vm {
        owner: facts.owner.as_ref().map(ToString::to_string),
        environment_id: facts.environment_id.as_ref().map(ToString::to_string),
        cpus: Some(resources.cpus),
        memory_mb: Some(resources.ram_mb),
        storage_gb: Some(resources.storage_gb),
        ..bare
    }
}

async fn capacity(State(host): State<Host>) -> Answer<Json<AgentCapacity>> {
    let Capacity { cpus, ram_mb, storage_gb, vm_count } = host.stub.probe().await?.capacity;
    let mut capacity = AgentCapacity {
        cpus,
        ram_mb,
        storage_gb,
        arch: Some("x86_64".to_owned()),
        ..AgentCapacity::default()
    };
    if host.is_ours() {
        capacity.vm_count = Some(vm_count);
        capacity.extensions = extension::ALL.map(str::to_owned).to_vec();
    }
    Ok(Json(capacity))
}

/// Everything that an agent without tags makes belongs to the same owner.
fn nobody() -> OwnerId {
    OwnerId::new("untagged").unwrap()
}

fn request(host: &Host, body: CreateVm) -> Answer<CreateRequest> {
    let text = |text: Option<String>| text.unwrap_or_default();
    let owner = body.owner.filter(|_| host.is_ours()).map(|owner| OwnerId::new(owner).unwrap());
    Ok(CreateRequest {
        name: name(&body.name)?,
        owner: owner.unwrap_or_else(nobody),
        environment_id: EnvironmentId::new(body.environment_id.unwrap_or_else(|| "none".to_owned())).unwrap(),
        resources: Resources {
            cpus: body.cpus.unwrap_or(1),
            ram_mb: body.memory_mb.unwrap_or(512),
            storage_gb: body.storage_gb.unwrap_or(0),
        },
        region: text(body.region),
        image: text(body.image),
        seed: body.seed_snapshot,
    })
}

async fn create(State(host): State<Host>, Json(body): Json<CreateVm>) -> Answer<Json<Vm>> {
    let made = host.stub.create(&request(&host, body)?).await?;
    Ok(Json(vm(&host, &made)))
}

#[derive(Deserialize)]
struct Which {
    prefix: Option<String>,
    owner: Option<String>,
}

async fn list(State(host): State<Host>, Query(which): Query<Which>) -> Answer<Json<VmList>> {
    // The stub's own list is by owner; the faults that are put into it strike here too.
    host.stub.list(&nobody(), &VmPrefix::standard()).await?;
    let mut vms = Vec::new();
    for name in host.stub.vms() {
        let Ok(facts) = host.stub.get(&name).await else { continue };
        let by_prefix = which.prefix.as_ref().is_some_and(|prefix| name.as_str().starts_with(prefix));
        let owner = facts.owner.as_ref().map(ToString::to_string);
        let by_owner = host.is_ours() && which.owner.is_some() && which.owner == owner;
        if by_prefix || by_owner {
            vms.push(vm(&host, &facts));
        }
    }
    Ok(Json(VmList { vms, keeps_owner: host.is_ours() }))
}

async fn one(State(host): State<Host>, Path(id): Path<String>) -> Answer<Json<Vm>> {
    Ok(Json(vm(&host, &host.stub.get(&name(&id)?).await?)))
}

async fn destroy(State(host): State<Host>, Path(id): Path<String>) -> Answer<StatusCode> {
    let id = name(&id)?;
    let there = host.stub.vm(&id).is_some();
    host.stub.destroy(&id).await?;
    // The original agent answers 404 for one that is gone.
    Ok(if there { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND })
}

fn ok() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "ok": true }))
}

async fn upload(
    State(host): State<Host>,
    Path(id): Path<String>,
    Json(body): Json<Upload>,
) -> Answer<Json<serde_json::Value>> {
    let content = BASE64_STANDARD.decode(&body.content_b64);
    let content = content.map_err(|error| Failed(StatusCode::BAD_REQUEST, error.to_string()))?;
    let file = FileUpload { path: body.path, content, mode: body.mode.unwrap_or(0o644) };
    host.stub.upload(&name(&id)?, &file).await?;
    Ok(ok())
}

fn command(body: Exec) -> ExecRequest {
    let timeout = Duration::from_millis(body.timeout_ms.unwrap_or(600_000));
    ExecRequest { argv: body.cmd, timeout }
}

async fn exec(
    State(host): State<Host>,
    Path(id): Path<String>,
    Json(body): Json<Exec>,
) -> Answer<Json<ExecAnswer>> {
    let done = host.stub.exec(&name(&id)?, &command(body)).await?;
    Ok(Json(ExecAnswer {
        exit_code: done.exit_code,
        stdout: BASE64_STANDARD.encode(done.stdout),
        stderr: BASE64_STANDARD.encode(done.stderr),
    }))
}

async fn exec_stream(
    State(host): State<Host>,
    Path(id): Path<String>,
    Json(body): Json<Exec>,
) -> Answer<Response> {
    let ExecStream { output } = host.stub.exec_stream(&name(&id)?, &command(body)).await?;
    let frames = futures_util::stream::unfold(output, |mut output| async move {
        let frame = match output.recv().await? {
            ExecChunk::Stdout(bytes) => Frame::Stdout(bytes),
            ExecChunk::Stderr(bytes) => Frame::Stderr(bytes),
            ExecChunk::Exit(code) => Frame::Exit(code),
        };
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(frame.encode())), output))
    });
    let kind = [(header::CONTENT_TYPE, fuse_orchestrator::attach::MEDIA_TYPE)];
    Ok((kind, Body::from_stream(frames)).into_response())
}

async fn start(
    State(host): State<Host>,
    Path(id): Path<String>,
    Json(body): Json<StartAgent>,
) -> Answer<Json<StartAgentAnswer>> {
    let start = AgentStart {
        auth_token: body.auth_token.unwrap_or_default().into(),
        command: body.command.filter(|_| host.is_ours()),
        download_url: body.download_url,
        gateway: body.gateway,
        gateway_token: body.gateway_token.map(Into::into),
        expose: body.expose,
    };
    let endpoints = host.stub.start_agent(&name(&id)?, &start).await?;
    let told = |e: fuse_orchestrator::model::GuestEndpoint| Endpoint {
        name: e.name,
        url: e.url,
        port: e.port,
        host_port: Some(40_000),
    };
    Ok(Json(StartAgentAnswer { ok: true, endpoints: endpoints.into_iter().map(told).collect() }))
}

#[derive(Deserialize)]
struct Part {
    source: String,
    limit: usize,
    after: Option<u64>,
}

async fn logs(
    State(host): State<Host>,
    Path(id): Path<String>,
    Query(part): Query<Part>,
) -> Answer<Response> {
    let source = LogSource::ALL.into_iter().find(|source| source.as_str() == part.source);
    let source = source.ok_or_else(|| Failed(StatusCode::BAD_REQUEST, "no such log".to_owned()))?;
    let (start, bytes) = match part.after {
        None => (0, host.stub.logs(&name(&id)?, source, part.limit).await?),
        Some(after) => {
            let chunk = host.stub.read_log(&name(&id)?, source, after, part.limit).await?;
            (chunk.start, chunk.bytes)
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert(LOG_START, start.into());
    Ok((headers, bytes).into_response())
}

fn told(facts: fuse_orchestrator::provider::SnapshotFacts, origin: &VmName) -> AgentSnapshot {
    AgentSnapshot {
        snapshot_id: facts.artifact,
        comment: Some(facts.comment),
        created_at: Some("2026-01-02T03:04:05Z".to_owned()),
        origin_vm_id: Some(origin.to_string()),
        digest: Some(facts.digest),
        kind: Some(if facts.live { "live" } else { "disk" }.to_owned()),
        size_bytes: Some(facts.size_bytes),
    }
}

async fn snapshot(
    State(host): State<Host>,
    Path(id): Path<String>,
    Json(body): Json<TakeSnapshot>,
) -> Answer<Json<AgentSnapshot>> {
    let (id, ask) = (name(&id)?, SnapshotVmRequest { comment: body.comment, live: body.live });
    let facts = host.stub.snapshot(&id, &ask).await?;
    let full = told(facts, &id);
    Ok(Json(match host.flavour {
        // All that the first agents say.
        Flavour::First => AgentSnapshot { snapshot_id: full.snapshot_id, ..AgentSnapshot::default() },
        _ => AgentSnapshot { comment: None, ..full },
    }))
}

async fn snapshots(State(host): State<Host>, Path(id): Path<String>) -> Answer<Json<SnapshotList>> {
    let id = name(&id)?;
    let all = host.stub.snapshots(&id).await?;
    Ok(Json(SnapshotList { snapshots: all.into_iter().map(|facts| told(facts, &id)).collect() }))
}

async fn restore(
    State(host): State<Host>,
    Path(id): Path<String>,
    Json(body): Json<Restore>,
) -> Answer<Json<serde_json::Value>> {
    host.stub.restore(&name(&id)?, &body.snapshot_id).await?;
    Ok(ok())
}

async fn fork(State(host): State<Host>, Path(id): Path<String>, Json(body): Json<Fork>) -> Answer<Json<Vm>> {
    let request =
        ForkVmRequest { source: name(&id)?, artifact: body.snapshot_id, create: request(&host, body.vm)? };
    let made = host.stub.fork(&request).await?;
    Ok(Json(vm(&host, &made)))
}

async fn delete_snapshot(
    State(host): State<Host>,
    Path((id, artifact)): Path<(String, String)>,
) -> Answer<StatusCode> {
    host.stub.delete_snapshot(&name(&id)?, &artifact).await?;
    Ok(StatusCode::NO_CONTENT)
}
