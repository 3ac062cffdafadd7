//! Work that is done once under a key, and whose answer is kept: what a service needs for requests that are repeated.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ControlPlane, change::Change, provision::KeptAnswer, record};
use crate::{
    Error, Result,
    store::{Expect, Kind, StoreError},
};

/// The answer to a request, as it is kept for its repetitions. It is sealed in the store: it may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnceAnswer {
    /// Its status.
    pub status: u16,
    /// The type of its body; empty when there is none.
    pub content_type: String,
    /// Where to look for what it is about; empty for most.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub location: String,
    /// Its body.
    pub body: Vec<u8>,
}

/// Whether work under a key is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Once {
    /// It is: nobody began it before. That it has begun is durable now.
    First,
    /// It was done, and this was its answer.
    Answered(OnceAnswer),
    /// It was begun and never answered: it may have been done or not.
    Interrupted,
    /// The key was used for something else.
    Different,
}

impl ControlPlane {
    /// Begins work under `name`, for a request whose content is told apart by `digest`. Answers are remembered as long
    /// as those of [`ControlPlane::provision_once`]. Two calls at once for the same name are the caller's to prevent.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Secrets`]; [`Error::Invalid`] for a name that the store does not take.
    pub async fn begin_once(&self, name: &str, digest: &str) -> Result<Once> {
        let inner = &self.inner;
        inner.check_open()?;
        let found = inner.store.get(Kind::Idempotency, name).await?;
        let expect = match &found {
            None => Expect::Absent,
            Some(found) => {
                let kept: KeptAnswer = record::decode("idempotency", name, &found.body)?;
                if inner.now().since(kept.created_at) <= inner.config.keep_idempotency {
                    return self.known(name, digest, kept);
                }
                Expect::Revision(found.revision)
            }
        };
        let note = KeptAnswer {
            digest: digest.to_owned(),
            environment_id: None,
            answer: None,
            created_at: inner.now(),
        };
        let body = record::encode("idempotency", name, &note)?;
        let (inner, name) = (Arc::clone(inner), name.to_owned());
        let change = Change::new().put_bytes(Kind::Idempotency, &name, expect, body);
        match self.inner.finish(async move { inner.commit(change).await }).await {
            // Somebody else was faster.
            Err(Error::Store(StoreError::Conflict { .. })) => Ok(Once::Interrupted),
            result => result.map(|()| Once::First),
        }
    }

    fn known(&self, name: &str, digest: &str, kept: KeptAnswer) -> Result<Once> {
        if kept.digest != digest {
            return Ok(Once::Different);
        }
        let Some(sealed) = kept.answer else { return Ok(Once::Interrupted) };
        let sealed = hex::decode(sealed).map_err(|_| unreadable(name))?;
        let plain = self.inner.secrets.open(Kind::Idempotency, name, &sealed)?;
        // A parse error could quote what it read, so it is not passed on.
        serde_json::from_slice(&plain).map(Once::Answered).map_err(|_| unreadable(name))
    }

    /// Keeps the answer to work that [`ControlPlane::begin_once`] began.
    ///
    /// # Errors
    /// [`Error::Store`], [`Error::Secrets`]; the work then counts as interrupted.
    pub async fn finish_once(&self, name: &str, digest: &str, answer: &OnceAnswer) -> Result<()> {
        let inner = &self.inner;
        let plain = zeroize::Zeroizing::new(record::encode("idempotency", name, answer)?);
        let note = KeptAnswer {
            digest: digest.to_owned(),
            environment_id: None,
            answer: Some(hex::encode(inner.secrets.seal(Kind::Idempotency, name, &plain)?)),
            created_at: inner.now(),
        };
        let body = record::encode("idempotency", name, &note)?;
        let change = Change::new().put_bytes(Kind::Idempotency, name, Expect::Present, body);
        let inner = Arc::clone(inner);
        self.inner.finish(async move { inner.commit(change).await }).await
    }

    /// Takes back that work was begun: it failed, and may be tried again.
    ///
    /// # Errors
    /// [`Error::Store`]; the work then counts as interrupted.
    pub async fn forget_once(&self, name: &str) -> Result<()> {
        let change = Change::new().delete(Kind::Idempotency, name);
        let inner = Arc::clone(&self.inner);
        self.inner.finish(async move { inner.commit(change).await }).await
    }
}

fn unreadable(name: &str) -> Error {
    Error::BadRecord {
        kind: "idempotency",
        id: name.to_owned(),
        why: "its answer has the wrong shape".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_once_and_its_answer_is_kept() -> Result<()> {
        let fuse = ControlPlane::in_memory().await?;
        assert_eq!(fuse.begin_once("master/k", "a").await?, Once::First);
        assert_eq!(fuse.begin_once("master/k", "a").await?, Once::Interrupted);
        assert_eq!(fuse.begin_once("master/k", "b").await?, Once::Different);
        let answer = OnceAnswer {
            status: 201,
            content_type: "application/json".into(),
            location: String::new(),
            body: b"hush-hush".to_vec(),
        };
        fuse.finish_once("master/k", "a", &answer).await?;
        assert_eq!(fuse.begin_once("master/k", "a").await?, Once::Answered(answer));
        assert_eq!(fuse.begin_once("master/k", "b").await?, Once::Different);
        let stored = fuse.inner.store.get(Kind::Idempotency, "master/k").await?;
        let stored =
            String::from_utf8_lossy(&stored.map(|found| found.body).unwrap_or_default()).into_owned();
        assert!(!stored.contains("hush") && stored.contains("digest"), "{stored}");
        fuse.forget_once("master/k").await?;
        assert_eq!(fuse.begin_once("master/k", "b").await?, Once::First);
        fuse.close().await
    }
}
