//! Requests, answers, retries, errors.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use reqwest::{Request, Response, StatusCode, Url, header};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

use super::{
    ConnectionLimits,
    call::Call,
    transport::{Transport, TransportError, words},
};
use crate::{
    Error, ErrorCode, RemoteError, Result,
    wire::{self, route},
};

/// The most bytes of an error that are read.
const ERROR_BODY: usize = 64 * 1024;
/// The most characters of an answer that is no Fuse error that are passed on.
const ERROR_TEXT: usize = 300;
/// How often a call is tried again.
const AGAIN: usize = 4;
const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The longest that a server that is asked too often can have a call wait.
const LONGEST_PATIENCE: Duration = Duration::from_secs(30);

/// A way to a server.
#[derive(Debug)]
pub(super) struct Client {
    transport: Arc<dyn Transport>,
    base: Url,
    shown: String,
    token: Option<SecretString>,
    pub(super) limits: ConnectionLimits,
}

/// A try that failed.
struct Failure {
    error: Box<Error>,
    /// When another try makes sense: at once after a wait of our own, or after this one.
    again: Option<Option<Duration>>,
    /// Whether the call may have happened all the same.
    unsure: bool,
}

/// The tries of one call.
struct Tries {
    waits: ExponentialBackoff,
    /// Whether one of them may have done it.
    unsure: bool,
}

impl Tries {
    fn new() -> Self {
        let waits = ExponentialBuilder::default()
            .with_min_delay(FIRST_WAIT)
            .with_max_delay(LONGEST_WAIT)
            .with_max_times(AGAIN)
            .with_jitter();
        Self { waits: waits.build(), unsure: false }
    }

    /// Waits for the next try, when there is one to make.
    async fn again(&mut self, failure: Failure) -> Result<()> {
        self.unsure |= failure.unsure;
        match (failure.again, self.waits.next()) {
            (Some(patience), Some(wait)) => {
                tokio::time::sleep(patience.unwrap_or(wait)).await;
                Ok(())
            }
            _ => Err(*failure.error),
        }
    }
}

impl Failure {
    fn last(error: Error) -> Self {
        Self { error: Box::new(error), again: None, unsure: false }
    }
}

impl Client {
    pub(super) fn new(
        transport: Arc<dyn Transport>,
        base: Url,
        token: Option<SecretString>,
        limits: ConnectionLimits,
    ) -> Self {
        let shown = base.as_str().trim_end_matches('/').to_owned();
        Self { transport, base, shown, token, limits }
    }

    pub(super) fn url(&self) -> &str {
        &self.shown
    }

    /// Sends a call and reads its answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T> {
        let body = self.whole(&call).await?;
        serde_json::from_slice(&body).map_err(|error| unreadable(&call, &error, body.len()))
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str, doing: &str) -> Result<T> {
        self.json(Call::get(path, doing)).await
    }

    /// Sends a call whose answer says nothing but that it is done.
    pub(super) async fn done(&self, call: Call) -> Result<()> {
        self.whole(&call).await.map(drop)
    }

    pub(super) async fn text(&self, path: &str, doing: &str) -> Result<String> {
        self.text_of(Call::get(path, doing)).await
    }

    pub(super) async fn text_of(&self, call: Call) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.whole(&call).await?).into_owned())
    }

    /// The readiness, which is an answer also when it says no.
    pub(super) async fn readiness(&self) -> Result<wire::Readiness> {
        let call = Call::get(route::READY, "ask for the readiness");
        let once = async {
            let response = self.send(&call).await?;
            let (status, id) = (response.status(), request_id(&response));
            Ok((status, id, self.read(&call, response, ERROR_BODY).await?))
        };
        let (status, id, body) = self.in_time(&call, once).await.map_err(|failure| *failure.error)?;
        serde_json::from_slice(&body).map_err(|_| error_of(status, &id, &body, &self.shown))
    }

    /// Sends a call, again where that is safe, and reads its whole answer.
    async fn whole(&self, call: &Call) -> Result<Vec<u8>> {
        let mut tries = Tries::new();
        loop {
            let once = async {
                let response = self.send(call).await?;
                let response = self.check(call, response).await?;
                self.read(call, response, self.limits.answer).await
            };
            match self.in_time(call, once).await {
                Ok(body) => return Ok(body),
                // The try before this one did it, and its answer was lost.
                Err(failure)
                    if tries.unsure && call.is_delete() && failure.error.code() == ErrorCode::NotFound =>
                {
                    return Ok(Vec::new());
                }
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    /// Sends a call whose answer is a stream, again where that is safe. The limit holds until the answer begins.
    pub(super) async fn stream(&self, call: &Call) -> Result<Response> {
        let mut tries = Tries::new();
        loop {
            let once = async {
                let response = self.send(call).await?;
                self.check(call, response).await
            };
            match self.in_time(call, once).await {
                Ok(response) => return Ok(response),
                Err(failure) => tries.again(failure).await?,
            }
        }
    }

    async fn in_time<T>(
        &self,
        call: &Call,
        work: impl Future<Output = std::result::Result<T, Failure>>,
    ) -> std::result::Result<T, Failure> {
        let limit = call.limit.unwrap_or(self.limits.call);
        tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(self.late(call, limit)))
    }

    fn request(&self, call: &Call) -> Result<Request> {
        let bad = |why: String| Error::invalid("url", why);
        let path = format!("{}{}", self.shown, call.path);
        let mut url = Url::parse(&path).map_err(|error| bad(format!("{path:?} is none: {error}")))?;
        // A name such as `..` would lead somewhere else.
        let asked = call.path.split('/').count();
        let base = self.base.path().trim_end_matches('/').split('/').count();
        if url.path().split('/').count() != asked + base - 1 {
            return Err(Error::invalid(
                "id",
                format!("{path:?} cannot be asked for: it has a name of dots alone"),
            ));
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        let mut request = Request::new(call.method.clone(), url);
        let headers = request.headers_mut();
        for (name, value) in &call.headers {
            let value = header::HeaderValue::from_str(value)
                .map_err(|_| Error::invalid(name, "has characters that a header cannot have"))?;
            headers.insert(*name, value);
        }
        if let Some(token) = &self.token {
            let value = format!("{}{}", route::BEARER, token.expose_secret());
            let mut value = header::HeaderValue::from_str(&value)
                .map_err(|_| Error::invalid("token", "has characters that a header cannot have"))?;
            value.set_sensitive(true);
            headers.insert(header::AUTHORIZATION, value);
        }
        if let Some((kind, body)) = &call.body {
            headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
            *request.body_mut() = Some(body.clone().into());
        }
        Ok(request)
    }

    async fn send(&self, call: &Call) -> Result<Response, Failure> {
        let request = self.request(call).map_err(Failure::last)?;
        self.transport.send(request).await.map_err(|error| self.lost(call, error))
    }

    /// The answer, when it tells of success.
    async fn check(&self, call: &Call, response: Response) -> Result<Response, Failure> {
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let id = request_id(&response);
        let after =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = self.read(call, response, ERROR_BODY).await.unwrap_or_default();
        let is_ours = serde_json::from_slice::<wire::ErrorBody>(&body).is_ok();
        let error = error_of(status, &id, &body, &self.shown);
        let again = match status {
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = after.map(Duration::from_secs);
                wait.is_none_or(|wait| wait <= LONGEST_PATIENCE).then_some(wait)
            }
            // Something between here and the server says that the server is away.
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
                if !is_ours && call.is_repeatable() =>
            {
                Some(None)
            }
            _ => None,
        };
        Err(Failure { error: Box::new(error), again, unsure: !is_ours })
    }

    async fn read(&self, call: &Call, mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        loop {
            let piece = response.chunk().await.map_err(|error| {
                let why = format!("the answer broke off after {} bytes: {}", body.len(), words(&error));
                self.lost(call, TransportError { unsent: false, why })
            })?;
            let Some(piece) = piece else { return Ok(body) };
            if body.len() + piece.len() > most {
                let why = format!("it is longer than {most} bytes and was not read on");
                return Err(Failure::last(Error::BadAnswer { what: answer_to(call), why }));
            }
            body.extend_from_slice(&piece);
        }
    }

    pub(super) fn lost_stream(&self, call: &Call, error: &reqwest::Error) -> Error {
        *self.lost(call, TransportError { unsent: false, why: words(error) }).error
    }

    fn lost(&self, call: &Call, error: TransportError) -> Failure {
        let advice = if error.unsent {
            "check the address, and that the server runs there"
        } else {
            "it may have happened all the same"
        };
        let again = error.unsent || call.is_repeatable();
        Failure {
            error: Box::new(self.no_answer(call, error.why, advice)),
            again: again.then_some(None),
            unsure: !error.unsent,
        }
    }

    fn late(&self, call: &Call, limit: Duration) -> Failure {
        let why = format!("it took longer than {} s", limit.as_secs_f32());
        let advice = "it may still happen; look whether it did";
        Failure { error: Box::new(self.no_answer(call, why, advice)), again: None, unsure: true }
    }

    pub(super) fn no_answer(&self, call: &Call, why: String, advice: &'static str) -> Error {
        Error::NoAnswer { doing: call.doing.clone(), server: self.shown.clone(), why, advice }
    }
}

fn request_id(response: &Response) -> String {
    let id = response.headers().get(route::REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    if route::is_request_id(id) { id.to_owned() } else { String::new() }
}

fn answer_to(call: &Call) -> String {
    format!("answer to {} {}", call.method, call.path)
}

/// The parser's words may quote a value; its place and its category tell enough.
fn unreadable(call: &Call, error: &serde_json::Error, bytes: usize) -> Error {
    let why = format!("{:?} error at byte {} of {bytes}", error.classify(), error.column());
    Error::BadAnswer { what: answer_to(call), why }
}

/// The error that an answer of failure tells.
fn error_of(status: StatusCode, id: &str, body: &[u8], server: &str) -> Error {
    if let Ok(told) = serde_json::from_slice::<wire::ErrorBody>(body) {
        return told.into_error(status.as_u16(), id);
    }
    let said: String =
        String::from_utf8_lossy(body).chars().filter(|c| !c.is_control()).take(ERROR_TEXT).collect();
    let message = if status.is_redirection() {
        format!("{server} answers {status}, a redirect, which is not followed; connect to where it leads")
    } else if said.is_empty() {
        format!("{server} answers {status}, and not as a Fuse server does")
    } else {
        format!("{server} answers {status}, and not as a Fuse server does: {said}")
    };
    let remote =
        RemoteError { status: status.as_u16(), code: String::new(), message, request_id: id.to_owned() };
    Error::Remote(Box::new(remote))
}
