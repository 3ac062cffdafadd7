//! API keys: who may call, and what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ApiKeyId, Timestamp};

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Look.
    Read,
    /// Change environments and snapshots.
    Write,
    /// Change hosts, run commands in guests. Not API keys: those belong to the master alone.
    Admin,
}

/// An API key, without the key: only a hash of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its name.
    pub id: ApiKeyId,
    /// Words for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last used, to the minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked. A revoked key is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}
