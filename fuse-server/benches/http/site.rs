//! What is measured: a control plane with many environments on the stub, behind a listener on loopback.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{Uri, header},
    response::Response,
    routing::{delete, get, post},
};
use fuse_orchestrator::{
    ControlPlane, HostRegistration,
    model::{Capacity, ProvisionRequest, TaskId},
};
use fuse_server::{ApiConfig, Listener};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub(crate) const ENVIRONMENTS: usize = 10_000;
pub(crate) const TOKEN: &str = "bench";
const MAX_CONNECTIONS: usize = 16_384;

/// A router that is served until it is dropped.
pub(crate) struct Served {
    pub(crate) url: String,
    stop: CancellationToken,
}

impl Served {
    pub(crate) async fn new(router: Router) -> Self {
        let listener = Listener::bind("127.0.0.1", 0, MAX_CONNECTIONS).await.expect("a listener");
        let url = format!("http://{}", listener.address().expect("an address"));
        let stop = CancellationToken::new();
        tokio::spawn(listener.serve(router, stop.clone(), Duration::from_secs(5)));
        Self { url, stop }
    }

    /// The floor: the same listener, with a route that has its answer ready.
    pub(crate) async fn bare(answer: String) -> Self {
        let ready = move || std::future::ready(answer.clone());
        Self::new(Router::new().route("/", get(ready))).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The generator repeats one request, and a name is good for one create. So the router is mounted beside two routes
/// that ask the same router with the next name, and with the oldest that is left.
#[derive(Clone)]
struct Names {
    api: Router,
    next: Arc<AtomicU64>,
    left: Arc<Mutex<VecDeque<u64>>>,
}

impl Names {
    async fn create(State(names): State<Self>, mut request: Request) -> Response {
        let number = names.next.fetch_add(1, Ordering::Relaxed);
        *request.uri_mut() = Uri::from_static("/v1/environments");
        request.headers_mut().remove(header::CONTENT_LENGTH);
        *request.body_mut() = Body::from(format!(r#"{{"task_id":"life-{number}"}}"#));
        let answer = names.ask(request).await;
        names.left.lock().expect("names").push_back(number);
        answer
    }

    async fn destroy(State(names): State<Self>, mut request: Request) -> Response {
        let number = names.left.lock().expect("names").pop_front().expect("one is left");
        *request.uri_mut() = format!("/v1/environments/fuse-life-{number}").parse().expect("a path");
        names.ask(request).await
    }

    async fn ask(&self, request: Request) -> Response {
        self.api.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
    }
}

/// The server, with [`ENVIRONMENTS`] that run.
pub(crate) async fn serve(fuse: &ControlPlane) -> Served {
    let config = ApiConfig { auth_token: Some(TOKEN.into()), ..ApiConfig::default() };
    let api = fuse_server::router(fuse.clone(), config);
    let names = Names { api: api.clone(), next: Arc::default(), left: Arc::default() };
    let numbered = Router::new()
        .route("/create", post(Names::create))
        .route("/destroy", delete(Names::destroy))
        .with_state(names);
    Served::new(api.merge(numbered)).await
}

/// Fills the control plane; MiB of resident memory that it took.
pub(crate) async fn fill(fuse: &ControlPlane) -> f64 {
    let capacity = Capacity { cpus: 1 << 20, ram_mb: 1 << 30, storage_gb: 1 << 30, vm_count: 1 << 20 };
    let host = HostRegistration { url: "stub://big".into(), capacity, ..HostRegistration::default() };
    fuse.register_host(&"big".parse().expect("a name"), host).await.expect("a host");
    let before = resident_mib();
    for number in 0..ENVIRONMENTS {
        let task = TaskId::new(format!("e{number:04}")).expect("a name");
        fuse.provision(ProvisionRequest::new(task)).await.expect("accepted");
    }
    let last = format!("fuse-e{:04}", ENVIRONMENTS - 1).parse().expect("an id");
    fuse.wait_running(&last, Duration::from_secs(60)).await.expect("it runs");
    resident_mib() - before
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0");
    line.split_whitespace().next().and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0) / 1024.0
}
