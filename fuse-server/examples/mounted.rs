//! A service of one's own, with the control plane mounted beside its routes.
//!
//! `cargo run -p fuse-server --example mounted`, then:
//!
//! ```text
//! curl http://127.0.0.1:8088/hello
//! curl -H 'Authorization: Bearer example-token' http://127.0.0.1:8088/v1/environments -d '{"task_id":"t1"}'
//! ```

use std::{error::Error, time::Duration};

use axum::{Router, extract::State, routing::get};
use fuse_orchestrator::ControlPlane;
use fuse_server::{ApiConfig, Listener, Service};
use tokio_util::sync::CancellationToken;

/// A route of our own, over the same control plane.
async fn hello(State(fuse): State<ControlPlane>) -> String {
    let live: usize =
        fuse.counts().iter().filter(|(state, _)| !state.is_ended()).map(|(_, count)| count).sum();
    format!("{live} environments are alive\n")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let fuse = ControlPlane::in_memory().await?;
    let stop = CancellationToken::new();
    let config = ApiConfig { auth_token: Some("example-token".into()), ..ApiConfig::default() };
    let api = Service::new(fuse.clone(), config).stop(stop.clone()).router();
    let app = Router::new().route("/hello", get(hello)).with_state(fuse.clone()).merge(api);

    let listener = Listener::bind("127.0.0.1", 8088, 1_024).await?;
    println!("listening on http://{}", listener.address()?);
    let signal = stop.clone();
    tokio::spawn(async move {
        // Without a signal handler it serves until it is killed, which is as well.
        let _ = tokio::signal::ctrl_c().await;
        signal.cancel();
    });
    listener.serve(app, stop, Duration::from_secs(10)).await;
    fuse.close().await?;
    Ok(())
}
