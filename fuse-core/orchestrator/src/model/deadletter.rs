//! Dead letters: what the control plane keeps failing at and an operator should look at.

use serde::{Deserialize, Serialize};

use super::{HostId, TaskId, Timestamp};

/// The kinds of dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum DeadLetterKind {
    /// A VM that nobody remembers, or that a failed boot left behind, cannot be removed.
    OrphanDestroy,
    /// The VM of an environment cannot be removed.
    Destroy,
    /// An environment ran past its maximum run time and was destroyed.
    StuckTask,
    /// An environment was not used and was destroyed.
    IdleTimeout,
    /// The bytes of a snapshot cannot be removed.
    SnapshotDelete,
}

impl DeadLetterKind {
    /// The name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrphanDestroy => "orphan_destroy",
            Self::Destroy => "destroy",
            Self::StuckTask => "stuck_task",
            Self::IdleTimeout => "idle_timeout",
            Self::SnapshotDelete => "snapshot_delete",
        }
    }
}

/// A dead letter. Work on it goes on with backoff; the letter goes when the work succeeds or an operator dismisses
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// What keeps failing.
    pub kind: DeadLetterKind,
    /// The environment, VM or snapshot that it is about.
    pub entity_id: String,
    /// Its task, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<TaskId>,
    /// Its host, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_id: Option<HostId>,
    /// What went wrong, in words.
    pub reason: String,
    /// Tries that failed.
    pub retry_count: u32,
    /// When it was first given up.
    pub first_seen_at: Timestamp,
    /// When it last failed.
    pub last_seen_at: Timestamp,
}

impl DeadLetter {
    /// The key that the record has in the store: kind and entity.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.kind.as_str(), self.entity_id)
    }
}
