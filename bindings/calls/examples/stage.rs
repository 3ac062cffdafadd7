//! A stage on which programs in other languages play the orchestration scenarios: a control plane in memory over stub hosts,
//! in virtual time, behind the REST API on a port of this machine.
//!
//! Its time stands still while nobody asks for anything; while a request or a step is under way it jumps to whatever
//! happens next. So an hour passes at once, and nothing happens between two steps.
//!
//! Lines of JSON on the standard input make it act, each with one line in answer: `{"open": {"config", "hosts"}}` begins a
//! scenario, anything with `do` is a step (see `tests/scenarios/orchestration/README.md`; `settle` waits until the
//! environment `id` has booted; `host` puts up a stub host that `has` so much). The answer has `why` when the step went wrong. The first line it writes has `url` and `token`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    unreachable_pub,
    dead_code,
    reason = "tests"
)]

#[path = "../../../fuse-core/orchestrator/tests/scenarios/runner/steps.rs"]
mod steps;
#[path = "../../../fuse-core/orchestrator/tests/scenarios/runner/world.rs"]
mod world;

use std::io::{BufRead, Write};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use fuse_orchestrator::model::EnvironmentId;
use fuse_orchestrator::provider::stub::StubHost;
use fuse_orchestrator::{ControlPlane, Orchestrator};
use fuse_server::{ApiConfig, router};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use self::world::World;

/// How a scenario reaches the control plane that it runs on.
pub type Reach = fn(&ControlPlane) -> Orchestrator;

const TOKEN: &str = "the-token-of-the-scenarios";
/// Longer than any boot, in virtual time.
const LONG: Duration = Duration::from_secs(3_600);
/// How often what is ready may go on before time stands still.
const TURNS: usize = 200;

enum Message {
    Request(Box<Request>, oneshot::Sender<Response>),
    Line(String),
}

type Inbox = mpsc::UnboundedReceiver<Message>;

/// Answers on a port, in real time; each request is one for the stage.
fn listen(stage: mpsc::UnboundedSender<Message>) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let forward = move |request: Request| {
                let stage = stage.clone();
                async move {
                    let (answer, answered) = oneshot::channel();
                    stage.send(Message::Request(Box::new(request), answer)).ok();
                    answered.await.expect("the stage answers")
                }
            };
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, Router::new().fallback(forward)).await.unwrap();
        });
    });
    url
}

/// The answer of the API, with a body that is carried to the other runtime piece by piece, as far as it is ready.
async fn answer(api: Router, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let Ok(response) = api.oneshot(Request::from_parts(head, Body::from(body))).await;
    let (head, body) = response.into_parts();
    let (pieces, carried) = mpsc::unbounded_channel::<Result<Bytes, axum::Error>>();
    tokio::spawn(async move {
        let mut body = body.into_data_stream();
        loop {
            let piece = tokio::select! {
                piece = body.next() => piece,
                () = pieces.closed() => None,
            };
            let Some(piece) = piece else { return };
            if pieces.send(piece).is_err() {
                return;
            }
        }
    });
    let carried = futures_util::stream::unfold(carried, |mut carried| async {
        let piece = carried.recv().await?;
        Some((piece, carried))
    });
    Response::from_parts(head, Body::from_stream(carried))
}

struct Stage {
    world: Option<World>,
    api: Router,
}

impl Stage {
    async fn step(&mut self, line: &str) -> Result<(), String> {
        let step: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        if let Some(open) = step.get("open") {
            if let Some(world) = self.world.take() {
                world.plane.halt().await;
            }
            self.world =
                Some(World::open(&open["config"], &open["hosts"], |plane| plane.clone().into()).await?);
            return self.serve();
        }
        let world = self.world.as_mut().ok_or("no scenario was begun")?;
        if step["do"] == "host" {
            let name = step["host"].as_str().ok_or("which host?")?;
            let has = serde_json::from_value(step["has"].clone()).map_err(|error| error.to_string())?;
            world.stub.add(StubHost::new(name, has));
            return Ok(());
        }
        if step["do"] == "settle" {
            let id = step["id"].as_str().ok_or("whose boot?")?;
            let id = EnvironmentId::new(id).map_err(|error| error.to_string())?;
            // How it ended is for who asks for it over the API.
            let _ = world.fuse.wait_running(&id, LONG).await;
            return Ok(());
        }
        world.step(&step).await?;
        if step["do"] == "restart" { self.serve() } else { Ok(()) }
    }

    fn serve(&mut self) -> Result<(), String> {
        let world = self.world.as_ref().ok_or("no scenario was begun")?;
        let config = ApiConfig { auth_token: Some(TOKEN.into()), ..ApiConfig::default() };
        self.api = router(world.plane.clone(), config);
        Ok(())
    }

    /// Does what was asked for, and what is asked for meanwhile.
    async fn act(&mut self, first: Message, inbox: &mut Inbox) {
        let mut requests = JoinSet::new();
        let mut next = Some(first);
        loop {
            match next.take() {
                Some(Message::Line(line)) => say(&match self.step(&line).await {
                    Ok(()) => json!({}),
                    Err(why) => json!({ "why": why }),
                }),
                Some(Message::Request(request, back)) => {
                    let api = self.api.clone();
                    requests.spawn(async move { back.send(answer(api, *request).await).ok() });
                }
                None => {}
            }
            if requests.is_empty() {
                break;
            }
            tokio::select! {
                _ = requests.join_next() => {}
                message = inbox.recv() => next = message,
            }
        }
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
    }
}

fn say(value: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}").unwrap();
    out.flush().unwrap();
}

fn main() {
    let (stage, mut inbox) = mpsc::unbounded_channel();
    say(&json!({ "url": listen(stage.clone()), "token": TOKEN }));
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            stage.send(Message::Line(line.unwrap())).ok();
        }
        // Whoever it played for is gone.
        std::process::exit(0);
    });
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let mut stage = Stage { world: None, api: Router::new() };
    // Between two messages this thread sleeps outside of the runtime, so that its time stands still.
    while let Some(message) = inbox.blocking_recv() {
        runtime.block_on(stage.act(message, &mut inbox));
    }
}
