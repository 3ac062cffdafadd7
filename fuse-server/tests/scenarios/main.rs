//! The orchestration scenarios over the REST API: client, routes and control plane in one process, in virtual time.
//!
//! Requests go from the client to the router without a network between them, which is what virtual time needs; what
//! the network does is the subject of other tests.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

#[path = "../../../fuse-core/orchestrator/tests/scenarios/runner/mod.rs"]
mod runner;

use std::{convert::Infallible, sync::Arc};

use async_trait::async_trait;
use axum::{Router, body::Body};
use fuse_orchestrator::{Connect, ControlPlane, Orchestrator, Transport, TransportError};
use fuse_server::{ApiConfig, router};
use tower::ServiceExt as _;

/// Hands requests to a router in the same process.
#[derive(Debug)]
struct InProcess(Router);

#[async_trait]
impl Transport for InProcess {
    async fn send(&self, request: reqwest::Request) -> Result<reqwest::Response, TransportError> {
        let request = http::Request::<reqwest::Body>::try_from(request)
            .map_err(|error| TransportError { unsent: true, why: error.to_string() })?;
        let answer: Result<http::Response<Body>, Infallible> =
            self.0.clone().oneshot(request.map(Body::new)).await;
        let answer = answer.unwrap_or_else(|never| match never {});
        Ok(answer.map(|body| reqwest::Body::wrap_stream(body.into_data_stream())).into())
    }
}

const TOKEN: &str = "the-token-of-the-scenarios";

fn over_rest(plane: &ControlPlane) -> Orchestrator {
    let config = ApiConfig { auth_token: Some(TOKEN.into()), ..ApiConfig::default() };
    let transport = InProcess(router(plane.clone(), config));
    let connect = Connect::new("http://in-process").token(TOKEN).transport(Arc::new(transport));
    connect.connection().unwrap().into()
}

#[test]
fn every_scenario_holds_over_rest() {
    runner::run_all(over_rest);
}
