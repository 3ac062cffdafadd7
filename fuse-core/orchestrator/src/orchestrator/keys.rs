//! API keys.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{Inner, Orchestrator, change::Change};
use crate::{
    Error, RecordKind, Result,
    model::{ApiKey, ApiKeyId, Event, EventKind, Scope, Subject},
};

const PREFIX: &str = "fuse_sk_";
/// How exact the time of the last use is.
const LAST_USE_STEP: Duration = Duration::from_secs(60);

/// An API key that was just made: the only time that the key itself is known.
#[derive(Debug)]
pub struct NewApiKey {
    /// Its record.
    pub record: ApiKey,
    /// The key. Show it once; it cannot be found out again.
    pub key: SecretString,
}

/// Who a key belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The key.
    pub id: ApiKeyId,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
}

/// An API key as it is stored: with the hash of the key.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredKey {
    #[serde(flatten)]
    pub(super) key: ApiKey,
    pub(super) hash: String,
}

impl StoredKey {
    pub(super) fn hash_bytes(&self) -> Option<[u8; 32]> {
        BASE64_URL_SAFE_NO_PAD.decode(&self.hash).ok()?.try_into().ok()
    }
}

fn stored(key: &ApiKey, hash: [u8; 32]) -> StoredKey {
    StoredKey { key: key.clone(), hash: BASE64_URL_SAFE_NO_PAD.encode(hash) }
}

impl Orchestrator {
    /// Makes an API key of 256 random bits. An empty set of scopes means read and write.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a label beyond 200 characters, [`Error::Secret`], [`Error::Store`].
    pub async fn create_api_key(&self, label: &str, scopes: BTreeSet<Scope>) -> Result<NewApiKey> {
        if label.chars().count() > 200 || label.chars().any(char::is_control) {
            return Err(Error::invalid("label", "has at most 200 characters, none of them a control character"));
        }
        let mut random = Zeroizing::new([0; 32]);
        self.inner.secrets.random(&mut *random)?;
        let text = Zeroizing::new(format!("{PREFIX}{}", BASE64_URL_SAFE_NO_PAD.encode(*random)));
        let hash: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        let id = self.inner.fresh("ak_")?;
        let scopes = if scopes.is_empty() { BTreeSet::from([Scope::Read, Scope::Write]) } else { scopes };
        let record = ApiKey {
            id: ApiKeyId::new(id.get(..19).unwrap_or(&id))?,
            label: label.to_owned(),
            scopes,
            created_at: self.inner.now(),
            last_used_at: None,
            revoked_at: None,
        };
        let (inner, kept) = (Arc::clone(&self.inner), record.clone());
        let work = async move {
            let event = Event::new(kept.created_at, EventKind::ApiKeyCreated, Subject::ApiKey(kept.id.clone()));
            let stored = stored(&kept, hash);
            inner.commit(Change::new().api_key(kept, Some(hash), &stored).event(event)).await
        };
        self.inner.finish(work).await?;
        Ok(NewApiKey { record, key: SecretString::from(text.as_str()) })
    }

    /// All API keys, newest first, revoked ones too.
    #[must_use]
    pub fn api_keys(&self) -> Vec<ApiKey> {
        let fleet = self.inner.fleet();
        let mut keys: Vec<_> = fleet.keys.values().map(|entry| (*entry.value).clone()).collect();
        keys.sort_by(|a, b| (b.created_at, &b.id).cmp(&(a.created_at, &a.id)));
        keys
    }

    /// Revokes an API key: it is refused from now on. Revoking twice is once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Store`].
    pub async fn revoke_api_key(&self, id: &ApiKeyId) -> Result<()> {
        let (inner, id) = (Arc::clone(&self.inner), id.clone());
        let work = async move {
            let now = inner.now();
            let event = Event::new(now, EventKind::ApiKeyRevoked, Subject::ApiKey(id.clone()));
            let revoke = |key: &mut ApiKey| {
                let first = key.revoked_at.is_none();
                key.revoked_at.get_or_insert(now);
                first
            };
            inner.change_key(&id, revoke, Some(event)).await
        };
        self.inner.finish(work).await
    }

    /// Whose key this is; none when there is no such key or it is revoked.
    ///
    /// The key is looked up by its SHA-256, so the time that it takes tells nothing about keys that exist.
    #[must_use]
    pub fn authenticate(&self, key: &str) -> Option<Principal> {
        let hash: [u8; 32] = Sha256::digest(key.as_bytes()).into();
        let now = self.inner.now();
        let record = {
            let fleet = self.inner.fleet();
            let id = fleet.key_hashes.get(&hash)?;
            Arc::clone(&fleet.keys.get(id)?.value)
        };
        if record.revoked_at.is_some() {
            return None;
        }
        if record.last_used_at.is_none_or(|last| now.since(last) >= LAST_USE_STEP) {
            let (inner, id) = (Arc::clone(&self.inner), record.id.clone());
            self.inner.tasks.spawn(async move {
                let used = |key: &mut ApiKey| {
                    let new = key.last_used_at.is_none_or(|last| now.since(last) >= LAST_USE_STEP);
                    key.last_used_at = Some(now);
                    new
                };
                // The time of the last use is a service; when it cannot be kept, the next use tries again.
                let _ = inner.change_key(&id, used, None).await;
            });
        }
        Some(Principal { id: record.id.clone(), scopes: record.scopes.clone() })
    }
}

impl Inner {
    /// Changes the record of a key, when `change` says that there is something to keep.
    async fn change_key(
        &self,
        id: &ApiKeyId,
        change: impl FnOnce(&mut ApiKey) -> bool,
        event: Option<Event>,
    ) -> Result<()> {
        let _held = self.locks.hold(RecordKind::ApiKey, id.as_str()).await;
        let (mut key, hash) = {
            let fleet = self.fleet();
            let entry = fleet.keys.get(id).ok_or_else(|| Error::not_found(RecordKind::ApiKey, id))?;
            let hash = fleet.key_hashes.iter().find(|(_, owner)| *owner == id).map(|(hash, _)| *hash);
            ((*entry.value).clone(), hash.unwrap_or_default())
        };
        if !change(&mut key) {
            return Ok(());
        }
        let stored = stored(&key, hash);
        let mut commit = Change::new().api_key(key, None, &stored);
        if let Some(event) = event {
            commit = commit.event(event);
        }
        self.commit(commit).await
    }
}
