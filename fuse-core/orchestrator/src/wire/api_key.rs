//! API keys on the wire.

use std::collections::BTreeSet;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::Secret;
use crate::{
    Result,
    model::Timestamp,
    secrets::{ApiKey as NewKey, ApiKeyRecord, KeyHash, Scope},
};

/// Body of POST /v1/api-keys; may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CreateApiKey {
    /// What its owner calls it, at most 200 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// What it may do; nothing means read and write.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<Scope>,
}

/// An API key. The key itself is there once: in the answer that made it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKey {
    /// Its name: `ak_` and 16 hexadecimal digits.
    pub id: String,
    /// What its owner calls it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// What it may do.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
    /// The key: `fuse_sk_` and 43 characters. Only in the answer of POST /v1/api-keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Secret>,
}

/// Answer of GET /v1/api-keys: newest first, revoked ones too.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ApiKeyList {
    /// The keys.
    pub api_keys: Vec<ApiKey>,
}

fn of_ms(ms: u64) -> Timestamp {
    Timestamp::from_micros(ms.saturating_mul(1_000))
}

impl From<&ApiKeyRecord> for ApiKey {
    fn from(record: &ApiKeyRecord) -> Self {
        Self {
            id: record.id.clone(),
            label: record.label.clone(),
            scopes: record.scopes.clone(),
            created_at: of_ms(record.created_ms),
            last_used_at: record.last_used_ms.map(of_ms),
            revoked_at: record.revoked_ms.map(of_ms),
            key: None,
        }
    }
}

impl From<&NewKey> for ApiKey {
    fn from(made: &NewKey) -> Self {
        Self { key: Some(Secret(made.secret.clone())), ..Self::from(&made.record) }
    }
}

impl ApiKey {
    /// The record, as far as the wire tells it: the hash is that of the key where the key is there, else of nothing.
    #[must_use]
    pub fn record(&self) -> ApiKeyRecord {
        let to_ms = |time: Timestamp| time.as_micros() / 1_000;
        let shown = self.key.as_ref().map_or("", |key| key.0.expose_secret());
        ApiKeyRecord {
            id: self.id.clone(),
            label: self.label.clone(),
            scopes: self.scopes.clone(),
            hash: KeyHash::of(shown),
            created_ms: to_ms(self.created_at),
            last_used_ms: self.last_used_at.map(to_ms),
            revoked_ms: self.revoked_at.map(to_ms),
        }
    }

    /// The new key of an answer that made one.
    ///
    /// # Errors
    /// [`Error::BadAnswer`](crate::Error::BadAnswer) when the key is not there.
    pub fn into_new(self) -> Result<NewKey> {
        let record = self.record();
        let key = self.key.ok_or_else(|| super::strange("new API key", "it has no key"))?;
        Ok(NewKey { secret: key.0, record })
    }
}
