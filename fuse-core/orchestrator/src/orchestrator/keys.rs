//! API keys.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use secrecy::SecretString;

use super::{ControlPlane, Inner, change::Change};
use crate::{
    Error, RecordKind, Result,
    model::{ApiKeyId, Event, EventKind, Subject},
    secrets::{ApiKey, ApiKeyRecord, Scope},
};

/// How exact the time of the last use is.
const LAST_USE_STEP: Duration = Duration::from_secs(60);

/// Why a caller was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No credentials, or wrong ones.
    Credentials,
    /// Its address is not in the list of allowed networks.
    Network,
}

impl ControlPlane {
    /// Makes an API key of 256 random bits. An empty set of scopes means read and write.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a label beyond 200 characters, [`Error::Secret`], [`Error::Store`].
    pub async fn create_api_key(&self, label: &str, scopes: BTreeSet<Scope>) -> Result<ApiKey> {
        if label.chars().count() > 200 || label.chars().any(char::is_control) {
            return Err(Error::invalid(
                "label",
                "has at most 200 characters, none of them a control character",
            ));
        }
        let scopes = if scopes.is_empty() { BTreeSet::from([Scope::Read, Scope::Write]) } else { scopes };
        let now = self.inner.now();
        let made = ApiKey::generate(label, scopes, now.as_micros() / 1_000)?;
        let subject = Subject::ApiKey(ApiKeyId::new(&made.record.id)?);
        let (inner, kept) = (Arc::clone(&self.inner), made.record.clone());
        let work = async move {
            let event = Event::new(now, EventKind::ApiKeyCreated, subject);
            inner.commit(Change::new().api_key(kept).event(event)).await
        };
        self.inner.finish(work).await?;
        Ok(made)
    }

    /// All API keys, newest first, revoked ones too.
    #[must_use]
    pub fn api_keys(&self) -> Vec<ApiKeyRecord> {
        let mut keys: Vec<_> = self.inner.fleet().keys.values().cloned().collect();
        keys.sort_by(|a, b| (b.created_ms, &b.id).cmp(&(a.created_ms, &a.id)));
        keys
    }

    /// Notes in the log of events that whoever serves this refused a caller. How often that may be, the caller of this
    /// bounds: each note is a commit.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn note_refusal(&self, refusal: Refusal, address: IpAddr) -> Result<()> {
        let kind = match refusal {
            Refusal::Credentials => EventKind::AuthFailed,
            Refusal::Network => EventKind::IpRejected,
        };
        let inner = Arc::clone(&self.inner);
        let event = Event::new(inner.now(), kind, Subject::Address(address.to_string()));
        self.inner.finish(async move { inner.commit(Change::new().event(event)).await }).await
    }

    /// Revokes an API key: it is refused from now on. Revoking twice is once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn revoke_api_key(&self, id: &str) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), id.to_owned());
        let work = async move {
            let now = inner.now();
            let revoke = |key: &mut ApiKeyRecord| {
                let first = key.revoked_ms.is_none();
                key.revoked_ms.get_or_insert(now.as_micros() / 1_000);
                first
            };
            inner.change_key(&id, revoke, Some(EventKind::ApiKeyRevoked)).await
        };
        self.inner.finish(work).await
    }

    /// The record of the key that a caller shows; none when there is no such key or it is revoked.
    #[must_use]
    pub fn authenticate(&self, shown: &SecretString) -> Option<ApiKeyRecord> {
        let record = self.inner.fleet().key_index.find(shown)?.clone();
        let now_ms = self.inner.now().as_micros() / 1_000;
        let step = u64::try_from(LAST_USE_STEP.as_millis()).unwrap_or(u64::MAX);
        let is_new =
            move |key: &ApiKeyRecord| key.last_used_ms.is_none_or(|last| now_ms.saturating_sub(last) >= step);
        if is_new(&record) {
            let (inner, id) = (Arc::clone(&self.inner), record.id.clone());
            self.inner.tasks.spawn(async move {
                let used = |key: &mut ApiKeyRecord| {
                    let new = is_new(key);
                    key.last_used_ms = Some(now_ms);
                    new
                };
                // The time of the last use is a service; when it cannot be kept, the next use tries again.
                let _ = inner.change_key(&id, used, None).await;
            });
        }
        Some(record)
    }
}

impl Inner {
    /// Changes the record of a key, when `change` says that there is something to keep.
    async fn change_key(
        &self,
        id: &str,
        change: impl FnOnce(&mut ApiKeyRecord) -> bool,
        event: Option<EventKind>,
    ) -> Result<()> {
        let _held = self.locks.hold(RecordKind::ApiKey, id).await;
        let known = self.fleet().keys.get(id).cloned();
        let mut key = known.ok_or_else(|| Error::not_found(RecordKind::ApiKey, id))?;
        if !change(&mut key) {
            return Ok(());
        }
        let mut commit = Change::new().api_key(key);
        if let Some(kind) = event {
            let subject = Subject::ApiKey(ApiKeyId::new(id)?);
            commit = commit.event(Event::new(self.now(), kind, subject));
        }
        self.commit(commit).await
    }
}
