//! One agent over HTTP: requests, limits, retries, errors.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::{Method, Response, StatusCode, Url, header, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, de::DeserializeOwned};

use super::{RemoteLimits, address};
use crate::{
    model::CertificatePin,
    provider::{
        HostAddress, ProviderError, ProviderErrorKind as Kind, ProviderResult, SnapshotOffer, Verb, grant,
    },
    secrets::Scrubber,
};

/// The most bytes of an error that are read.
const ERROR_BODY: usize = 64 * 1024;
/// The most characters of an error that are passed on.
const ERROR_TEXT: usize = 500;
const TRIES: usize = 2;
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// A connection to one agent.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    host: String,
    token: Option<SecretString>,
    certificate: Option<CertificatePin>,
    pub(super) limits: RemoteLimits,
}

/// A request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) verb: Verb,
    pub(super) target: &'a str,
    method: Method,
    path: Vec<&'a str>,
    query: Vec<(&'static str, String)>,
    body: Option<Vec<u8>>,
    limit: Duration,
    most: Option<usize>,
    /// Whether twice is the same as once.
    repeatable: bool,
    /// What must not be in an error.
    hidden: Vec<SecretString>,
}

/// A request that failed, and whether it never left.
struct Failure {
    error: ProviderError,
    unsent: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(
        verb: Verb,
        target: &'a str,
        method: Method,
        path: &[&'a str],
        limit: Duration,
    ) -> Self {
        Self {
            verb,
            target,
            method,
            path: path.to_vec(),
            query: Vec::new(),
            body: None,
            limit,
            most: None,
            repeatable: false,
            hidden: Vec::new(),
        }
    }

    pub(super) fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    /// With a JSON body.
    pub(super) fn json(mut self, body: &impl Serialize) -> Self {
        // These types are maps with text keys: they always serialise.
        self.body = Some(serde_json::to_vec(body).unwrap_or_default());
        self
    }

    pub(super) const fn repeatable(mut self) -> Self {
        self.repeatable = true;
        self
    }

    pub(super) const fn at_most(mut self, bytes: usize) -> Self {
        self.most = Some(bytes);
        self
    }

    pub(super) fn hide(mut self, secrets: impl IntoIterator<Item = SecretString>) -> Self {
        self.hidden.extend(secrets);
        self
    }
}

impl Client {
    /// A client for `host`. Speaks to nobody yet.
    pub(super) fn new(host: &HostAddress, limits: RemoteLimits) -> Result<Self, String> {
        let base = address::parse(&host.url)?;
        if let Some(token) = &host.token
            && header::HeaderValue::from_str(token.expose_secret()).is_err()
        {
            return Err("the token of the host has characters that a header cannot have".to_owned());
        }
        let builder = reqwest::Client::builder()
            .tls_backend_preconfigured(super::peer_tls(&base, host.certificate)?)
            .http1_only()
            .no_proxy()
            .referer(false)
            .redirect(redirect::Policy::none())
            .connect_timeout(limits.connect)
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(16)
            .user_agent(concat!("fuse-orchestrator/", env!("CARGO_PKG_VERSION")));
        let http = crate::link::drop_dead(builder, limits.unacknowledged)
            .build()
            .map_err(|error| text_of(&error))?;
        Ok(Self {
            http,
            base,
            host: host.id.to_string(),
            token: host.token.clone(),
            certificate: host.certificate,
            limits,
        })
    }

    /// Lets other hosts fetch a snapshot of this one, with the token of its agent.
    pub(super) fn offer(&self, artifact: &str, digest: &str) -> ProviderResult<SnapshotOffer> {
        let fail =
            |kind, why: String| ProviderError::new(kind, Verb::FetchSnapshot, &self.host, artifact, why);
        let Some(token) = &self.token else {
            let why = "the host is registered without a token, which a grant is signed with".to_owned();
            return Err(fail(Kind::Unsupported, why));
        };
        let signed = grant::new_grant(digest, token, std::time::SystemTime::now());
        let grant = signed.map_err(|error| fail(Kind::Failed, format!("no grant could be made: {error}")))?;
        let (url, artifact, digest) = (self.base.to_string(), artifact.to_owned(), digest.to_owned());
        Ok(SnapshotOffer { url, certificate: self.certificate, artifact, digest, grant })
    }

    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// An error of `call`; the message loses every secret that the call knows.
    pub(super) fn error(&self, call: &Call<'_>, kind: Kind, message: &str) -> ProviderError {
        let secrets = self.token.iter().chain(&call.hidden).cloned();
        let message = Scrubber::new(secrets).scrub(message).into_owned();
        ProviderError::new(kind, call.verb, &self.host, call.target, message)
    }

    fn url(&self, call: &Call<'_>) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(&call.path);
        }
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        url
    }

    pub(super) fn request(&self, call: &Call<'_>) -> reqwest::RequestBuilder {
        let mut request = self.http.request(call.method.clone(), self.url(call));
        if let Some(token) = &self.token
            && let Ok(mut value) = header::HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
        {
            value.set_sensitive(true);
            request = request.header(header::AUTHORIZATION, value);
        }
        if let Some(body) = &call.body {
            request = request.header(header::CONTENT_TYPE, "application/json").body(body.clone());
        }
        request
    }

    /// Sends a request, again where that is safe, and reads its whole answer.
    pub(super) async fn send(&self, call: &Call<'_>) -> ProviderResult<Answer> {
        let once = || async {
            let work = async {
                let response = self.open(call, self.request(call)).await?;
                let headers = response.headers().clone();
                let body = self.read(call, response, call.most.unwrap_or(self.limits.answer)).await?;
                Ok(Answer { headers, body })
            };
            tokio::time::timeout(call.limit, work).await.unwrap_or_else(|_| Err(self.late(call)))
        };
        once.retry(waits())
            .when(|failure: &Failure| failure.unsent || (call.repeatable && is_passing(failure.error.kind)))
            .await
            .map_err(|failure| failure.error)
    }

    /// Sends a request whose answer is a stream. The limit holds until the answer begins.
    pub(super) async fn stream(
        &self,
        call: &Call<'_>,
        prepare: impl Fn(reqwest::RequestBuilder) -> reqwest::RequestBuilder,
    ) -> ProviderResult<Response> {
        let once = || async {
            let work = self.open(call, prepare(self.request(call)));
            tokio::time::timeout(call.limit, work).await.unwrap_or_else(|_| Err(self.late(call)))
        };
        once.retry(waits()).when(|failure: &Failure| failure.unsent).await.map_err(|failure| failure.error)
    }

    /// Sends a request and reads its answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: &Call<'_>) -> ProviderResult<T> {
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            // The message of the parser may quote a value; its place and category tell enough.
            let kind = answer.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
            let message = format!(
                "the answer is not what this route answers: {:?} at byte {} of {}, content type {:?}",
                error.classify(),
                error.column(),
                answer.body.len(),
                kind.unwrap_or("none"),
            );
            self.senseless(call, &message)
        })
    }

    /// The error of an answer that makes no sense: what became of the verb is not known.
    pub(super) fn senseless(&self, call: &Call<'_>, message: &str) -> ProviderError {
        self.error(call, Kind::Unreachable, message)
    }

    fn late(&self, call: &Call<'_>) -> Failure {
        let message = format!("no whole answer within {} s; it may still happen", call.limit.as_secs_f32());
        Failure { error: self.error(call, Kind::TimedOut, &message), unsent: false }
    }

    /// The answer, when it tells of success.
    async fn open(&self, call: &Call<'_>, request: reqwest::RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.lost(call, &error))?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        if status.is_redirection() {
            let message = format!(
                "it answers {status}, a redirect, which is not followed; register the host where it is"
            );
            return Err(Failure { error: self.error(call, Kind::Failed, &message), unsent: false });
        }
        let said = match self.read(call, response, ERROR_BODY).await {
            Ok(body) => readable(&body),
            Err(_) => "(the words of the error could not be read)".to_owned(),
        };
        let kind = meaning(call.verb, status);
        let words = match kind {
            Kind::Unauthorized => {
                "the agent does not take the token of the host; register the host with the right one"
            }
            Kind::Unreachable => "something before the agent says that it does not answer",
            _ => "the agent says",
        };
        let error = self.error(call, kind, &format!("{words}: {status}: {said}"));
        Err(Failure { error, unsent: false })
    }

    fn lost(&self, call: &Call<'_>, error: &reqwest::Error) -> Failure {
        let unsent = error.is_connect();
        let (kind, words) = match unsent {
            true => (Kind::Unreachable, "the agent cannot be reached"),
            false if error.is_timeout() => {
                (Kind::TimedOut, "the answer did not come in time; it may still happen")
            }
            false => (Kind::Unreachable, "the connection broke before the answer; it may have happened"),
        };
        Failure { error: self.error(call, kind, &format!("{words}: {}", text_of(error))), unsent }
    }

    async fn read(&self, call: &Call<'_>, mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| {
            let message = format!("the answer broke off after {} bytes: {}", body.len(), text_of(&error));
            Failure { error: self.senseless(call, &message), unsent: false }
        })? {
            if body.len() + piece.len() > most {
                let message = format!("the answer is longer than {most} bytes and was not read on");
                return Err(Failure { error: self.senseless(call, &message), unsent: false });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }
}

/// A whole answer of success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: header::HeaderMap,
    pub(super) body: Vec<u8>,
}

fn waits() -> ExponentialBuilder {
    ExponentialBuilder::default().with_min_delay(FIRST_WAIT).with_max_times(TRIES).with_jitter()
}

/// Whether another try may find it different.
const fn is_passing(kind: Kind) -> bool {
    matches!(kind, Kind::Unreachable | Kind::Busy)
}

/// What a status says about a verb.
fn meaning(verb: Verb, status: StatusCode) -> Kind {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Kind::Unauthorized,
        // What is not there is the snapshot that it was to boot from.
        StatusCode::NOT_FOUND if verb == Verb::Create => Kind::Refused,
        StatusCode::NOT_FOUND => Kind::NotFound,
        StatusCode::CONFLICT if matches!(verb, Verb::Create | Verb::Fork) => Kind::AlreadyExists,
        StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Kind::Busy,
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Kind::Unreachable,
        StatusCode::NOT_IMPLEMENTED | StatusCode::METHOD_NOT_ALLOWED => Kind::Unsupported,
        status if status.is_client_error() => Kind::Refused,
        _ => Kind::Failed,
    }
}

/// The words of an error body: its beginning, without control characters.
fn readable(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    clean.take(ERROR_TEXT).collect()
}

/// The words of an error and of what caused it, without the URL.
fn text_of(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&words);
        }
        cause = error.source();
    }
    if text.is_empty() { "it failed".to_owned() } else { text }
}
