//! Idempotency keys: a request that is repeated gets the answer of the first one, and changes nothing twice.
//!
//! The answer of a create is a record of its own (the environment). For every other POST the answer is kept here,
//! sealed, in the store: that the work began is durable before it begins, so that a repetition after a crash is told
//! that the first one was interrupted, rather than doing it again.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts},
    response::IntoResponse as _,
};
use bytes::Bytes;
use fuse_orchestrator::{ControlPlane, Once, OnceAnswer, model::IdempotencyKey, wire::route};
use http_body_util::BodyExt as _;
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::{
    answer::{Answer, Failure},
    auth::Caller,
};

/// Answers larger than this are not kept, in bytes. A repetition is told so.
const LARGEST_ANSWER: usize = 256 * 1024;

/// The key of a request, if it has one.
///
/// # Errors
/// 400 for one that cannot be.
pub(crate) fn key_of(headers: &HeaderMap) -> Answer<Option<IdempotencyKey>> {
    let Some(value) = headers.get(route::IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().ok().and_then(|text| IdempotencyKey::new(text).ok());
    key.map(Some).ok_or_else(|| Failure::invalid("Idempotency-Key: 1 to 255 printable ASCII characters"))
}

/// The key of a create, apart from the same key of another caller.
///
/// # Errors
/// None that happens: the name is short and plain.
pub(crate) fn scoped(caller: &Caller, key: &IdempotencyKey) -> Answer<IdempotencyKey> {
    let name = name_of(caller.name(), key, "create");
    IdempotencyKey::new(name).map_err(|error| Failure::invalid(error.to_string()))
}

/// One caller's keys are nothing to another.
fn name_of(caller: &str, key: &IdempotencyKey, what: &str) -> String {
    let digest = Sha256::digest(key.as_str());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{caller}/{what}/{digest}")
}

/// A request that may be a repetition.
#[derive(Debug)]
pub(crate) struct Attempt {
    key: Option<IdempotencyKey>,
    caller: String,
    digest: String,
}

impl Attempt {
    /// What `caller` asks for with this head and body.
    ///
    /// # Errors
    /// 400 for a key that cannot be.
    pub(crate) fn new(parts: &Parts, caller: &Caller, body: &Bytes) -> Answer<Self> {
        let key = key_of(&parts.headers)?;
        let mut hash = Sha256::new();
        for part in [parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), body] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { key, caller: caller.name().to_owned(), digest })
    }
}

/// The repetitions that there are.
#[derive(Debug)]
pub(crate) struct Repeats {
    orchestrator: ControlPlane,
    running: Notes,
}

/// The work that is going on in this process, by its key: each ends its channel when it ends.
type Notes = Arc<Mutex<HashMap<String, watch::Receiver<()>>>>;

/// A note that work under a key is going on in this process.
struct Running {
    all: Notes,
    name: String,
    _ends: watch::Sender<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

impl Repeats {
    pub(crate) fn new(orchestrator: ControlPlane) -> Self {
        Self { orchestrator, running: Arc::default() }
    }

    /// Waits until no other request works under `name`, and notes that this one does.
    async fn take(&self, name: &str) -> Running {
        loop {
            let mut other = {
                let mut all = self.running.lock().unwrap_or_else(PoisonError::into_inner);
                match all.get(name) {
                    Some(other) => other.clone(),
                    None => {
                        let (ends, ended) = watch::channel(());
                        all.insert(name.to_owned(), ended);
                        let all = Arc::clone(&self.running);
                        return Running { all, name: name.to_owned(), _ends: ends };
                    }
                }
            };
            // Nothing is ever sent: this is the end of the other.
            while other.changed().await.is_ok() {}
        }
    }

    /// Does `work`, or gives the answer that it had when it was done before. With a key the work goes on when the
    /// caller goes away.
    pub(crate) async fn once(
        &self,
        attempt: Attempt,
        work: impl Future<Output = Answer> + Send + 'static,
    ) -> Answer {
        let Some(key) = attempt.key else { return work.await };
        let name = name_of(&attempt.caller, &key, "other");
        let running = self.take(&name).await;
        match self.orchestrator.begin_once(&name, &attempt.digest).await? {
            Once::First => {}
            Once::Answered(answer) => return restore(answer),
            Once::Different => {
                return Err(Failure::conflict(
                    "this Idempotency-Key was used for a different request; use a new key",
                ));
            }
            Once::Interrupted => {
                return Err(Failure::conflict(
                    "the first request with this Idempotency-Key was interrupted, or its answer was too large to keep: \
                     look at what became of it, then use a new key",
                ));
            }
        }
        let (orchestrator, digest) = (self.orchestrator.clone(), attempt.digest);
        let finished = tokio::spawn(async move {
            let _running = running;
            let answer = work.await;
            keep(&orchestrator, &name, &digest, answer).await
        });
        finished.await.unwrap_or_else(|error| Err(Failure::internal(format!("the request failed: {error}"))))
    }
}

async fn keep(orchestrator: &ControlPlane, name: &str, digest: &str, answer: Answer) -> Answer {
    let response = match answer {
        Ok(response) if response.status().is_success() => response,
        failed => {
            // What failed may be tried again. A note that stays is told as an interruption.
            if let Err(error) = orchestrator.forget_once(name).await {
                tracing::warn!("the note of an Idempotency-Key stays: {error}");
            }
            return failed;
        }
    };
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map_err(|error| Failure::internal(error.to_string()))?.to_bytes();
    let told = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    if body.len() <= LARGEST_ANSWER {
        let answer = OnceAnswer {
            status: parts.status.as_u16(),
            content_type: told(header::CONTENT_TYPE).unwrap_or_default().to_owned(),
            location: told(header::LOCATION).unwrap_or_default().to_owned(),
            body: body.to_vec(),
        };
        if let Err(error) = orchestrator.finish_once(name, digest, &answer).await {
            tracing::warn!("the answer to an Idempotency-Key could not be kept: {error}");
        }
    }
    Ok(Response::from_parts(parts, Body::from(body)))
}

fn restore(answer: OnceAnswer) -> Answer {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    for (name, text) in [(header::CONTENT_TYPE, answer.content_type), (header::LOCATION, answer.location)] {
        if let Ok(value) = HeaderValue::from_str(&text)
            && !value.is_empty()
        {
            response.headers_mut().insert(name, value);
        }
    }
    Ok(response.into_response())
}

/// Splits a request into its head and what is needed to read its body.
pub(crate) fn split(request: Request) -> (Parts, Request) {
    let (parts, body) = request.into_parts();
    let mut bare = Request::new(body);
    // The length that was told, for the limit.
    if let Some(length) = parts.headers.get(header::CONTENT_LENGTH) {
        bare.headers_mut().insert(header::CONTENT_LENGTH, length.clone());
    }
    (parts, bare)
}
