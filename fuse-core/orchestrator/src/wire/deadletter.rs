//! Dead letters on the wire.

use serde::{Deserialize, Serialize};

use crate::{
    Result,
    model::{self, DeadLetterKind, Timestamp},
};

/// A dead letter: what the control plane keeps failing at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetter {
    /// Its name in paths: kind and entity.
    pub id: String,
    /// What keeps failing.
    pub kind: DeadLetterKind,
    /// The environment, VM or snapshot that it is about.
    pub entity_id: String,
    /// Its task, where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub task_id: String,
    /// Its host, where there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host_id: String,
    /// What went wrong, in words.
    pub reason: String,
    /// Tries that failed.
    pub retry_count: u32,
    /// When it was first given up.
    pub first_seen_at: Timestamp,
    /// When it last failed.
    pub last_seen_at: Timestamp,
}

/// Answer of GET /v1/dead-letters: all of them, by kind and entity.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DeadLetterList {
    /// The dead letters.
    pub dead_letters: Vec<DeadLetter>,
}

impl From<&model::DeadLetter> for DeadLetter {
    fn from(letter: &model::DeadLetter) -> Self {
        Self {
            id: letter.key(),
            kind: letter.kind,
            entity_id: letter.entity_id.clone(),
            task_id: letter.task_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            host_id: letter.host_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            reason: letter.reason.clone(),
            retry_count: letter.retry_count,
            first_seen_at: letter.first_seen_at,
            last_seen_at: letter.last_seen_at,
        }
    }
}

impl TryFrom<DeadLetter> for model::DeadLetter {
    type Error = crate::Error;

    fn try_from(letter: DeadLetter) -> Result<Self> {
        let mut problems = Vec::new();
        let letter = Self {
            kind: letter.kind,
            task_id: super::optional_name("task_id", &letter.task_id, &mut problems),
            host_id: super::optional_name("host_id", &letter.host_id, &mut problems),
            entity_id: letter.entity_id,
            reason: letter.reason,
            retry_count: letter.retry_count,
            first_seen_at: letter.first_seen_at,
            last_seen_at: letter.last_seen_at,
        };
        super::checked(letter, problems).map_err(|why| super::strange("dead letter", why))
    }
}
