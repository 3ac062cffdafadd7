//! One call of the API.

use std::time::Duration;

use reqwest::Method;
use serde::Serialize;

use crate::{Error, Result, wire::route};

/// A call: what is sent, how long it may take, and what it is called in errors.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Option<(&'static str, bytes::Bytes)>,
    /// None: as long as an ordinary call.
    pub(super) limit: Option<Duration>,
    /// What is done, after "cannot".
    pub(super) doing: String,
}

impl Call {
    pub(super) fn new(method: Method, path: &str, doing: impl Into<String>) -> Self {
        Self {
            method,
            path: path.to_owned(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            limit: None,
            doing: doing.into(),
        }
    }

    pub(super) fn get(path: &str, doing: impl Into<String>) -> Self {
        Self::new(Method::GET, path, doing)
    }

    /// A POST, under a fresh idempotency key.
    pub(super) fn post(path: &str, doing: impl Into<String>) -> Result<Self> {
        let mut key = [0_u8; 16];
        getrandom::fill(&mut key).map_err(|error| Error::Secret {
            doing: "make an idempotency key",
            why: format!("the system gives no random bytes: {error}"),
        })?;
        Ok(Self::new(Method::POST, path, doing).header(route::IDEMPOTENCY_KEY, hex::encode(key)))
    }

    /// A POST of an action.
    pub(super) fn action(path: &str, action: &str, doing: impl Into<String>) -> Result<Self> {
        Ok(Self::post(path, doing)?.query("action", action))
    }

    pub(super) fn delete(path: &str, doing: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, doing)
    }

    pub(super) fn query(mut self, name: &str, value: impl ToString) -> Self {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// With the members of `query` that are there.
    pub(super) fn queries(mut self, query: &impl Serialize) -> Self {
        // These types are maps of texts: they always serialise.
        if let Ok(serde_json::Value::Object(members)) = serde_json::to_value(query) {
            let texts =
                members.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned())));
            self.query.extend(texts);
        }
        self
    }

    /// With a header, in place of one of the same name.
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
        self
    }

    /// With a JSON body.
    pub(super) fn json(mut self, body: &impl Serialize) -> Self {
        // These types are maps with text keys: they always serialise.
        self.body = Some(("application/json", serde_json::to_vec(body).unwrap_or_default().into()));
        self
    }

    pub(super) fn bytes(mut self, body: Vec<u8>) -> Self {
        self.body = Some(("application/octet-stream", body.into()));
        self
    }

    pub(super) const fn within(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(super) fn is_delete(&self) -> bool {
        self.method == Method::DELETE
    }

    /// Whether twice is the same as once: POSTs are, since they carry a key.
    pub(super) fn is_repeatable(&self) -> bool {
        self.method != Method::POST || self.headers.iter().any(|(name, _)| *name == route::IDEMPOTENCY_KEY)
    }
}
