//! Records: what a store keeps.
use bytes::Bytes;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Longest id of a record or name of a lease, in bytes.
pub const MAX_ID: usize = 256;
/// Largest body of a record, in bytes (4 MiB).
pub const MAX_BODY: usize = 4 << 20;

/// What a record is about.
///
/// Closed on purpose: the words are part of the stored format, and a store that meets a word it does not know
/// says so instead of skipping it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// One sandbox and its task.
    Environment,
    /// The claim of a live environment on its task id.
    Task,
    /// A machine that runs environments.
    Host,
    /// A saved state of an environment.
    Snapshot,
    /// A VM that must go and that no environment stands for any more.
    Teardown,
    /// Encrypted credentials and secrets of an environment or a host.
    Secret,
    /// An API key (its hash).
    ApiKey,
    /// Work that was given up after its retries.
    DeadLetter,
    /// The answer kept for an idempotency key.
    Idempotency,
    /// The captured output of an environment.
    Log,
    /// An entry of the audit trail.
    Audit,
    /// A setting of the control plane itself.
    Setting,
}

impl Kind {
    /// Every kind, in the order of an export.
    pub const ALL: [Self; 12] = [
        Self::Environment,
        Self::Task,
        Self::Host,
        Self::Snapshot,
        Self::Teardown,
        Self::Secret,
        Self::ApiKey,
        Self::DeadLetter,
        Self::Idempotency,
        Self::Log,
        Self::Audit,
        Self::Setting,
    ];

    /// The word that is stored, printed and exported.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Task => "task",
            Self::Host => "host",
            Self::Snapshot => "snapshot",
            Self::Teardown => "teardown",
            Self::Secret => "secret",
            Self::ApiKey => "api_key",
            Self::DeadLetter => "dead_letter",
            Self::Idempotency => "idempotency",
            Self::Log => "log",
            Self::Audit => "audit",
            Self::Setting => "setting",
        }
    }

    /// The kind that a stored word names, or `None` for a word of another version.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One stored record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub kind: Kind,
    /// Its id: 1 to [`MAX_ID`] bytes, no control characters. Unique within the kind.
    pub id: String,
    /// The number of the commit that last wrote it. Commit numbers rise by one and are never used again,
    /// so a record that was deleted and made anew never comes back at a revision that it had before.
    pub revision: u64,
    /// The body: JSON as far as Fuse is concerned, opaque bytes as far as a store is. Up to [`MAX_BODY`] bytes.
    pub body: Bytes,
}

impl Record {
    /// A checksum over kind, id, revision and body: the first 16 bytes of their SHA-256.
    ///
    /// It is stored with the record, and the sum of all of them with the store, so neither a changed byte
    /// nor a record that went missing or came back old passes for good data.
    #[must_use]
    pub fn checksum(&self) -> u128 {
        let mut hash = Sha256::new();
        hash.update(b"fuse-record-1\0");
        hash.update(self.kind.as_str());
        hash.update([0]);
        hash.update(self.id.as_bytes());
        hash.update([0]);
        hash.update(self.revision.to_be_bytes());
        hash.update(&self.body);
        first_16(hash)
    }
}

/// Bodies may hold secrets, so only their length is printed.
impl std::fmt::Debug for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("revision", &self.revision)
            .field("body", &format_args!("{} bytes", self.body.len()))
            .finish()
    }
}

pub(crate) fn first_16(hash: Sha256) -> u128 {
    let digest = hash.finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    u128::from_be_bytes(first)
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The records, in the byte order of their ids.
    pub records: Vec<Record>,
    /// The id to continue after, or `None` when this is the last page.
    pub next: Option<String>,
}

/// Why `id` cannot be an id, if it cannot.
pub(crate) fn id_problem(what: &str, id: &str) -> Option<String> {
    if id.is_empty() || id.len() > MAX_ID {
        return Some(format!("{what} has {} bytes, and 1 to {MAX_ID} are allowed", id.len()));
    }
    id.chars().any(char::is_control).then(|| format!("{what} {id:?} contains a control character"))
}

/// What of a stored JSON would be lost if `known`, which was read from it, were written in its place: the path of the
/// first field that `known` lacks, such as `spec.numa` or `files.2.digest`. A field that is empty (null, false, 0, an empty
/// text, list or map) says nothing, and cannot be lost.
#[must_use]
pub fn lost_field(stored: &Value, known: &Value) -> Option<String> {
    let below = |name: &str, stored: &Value, known: &Value| {
        lost_field(stored, known).map(|inner| format!("{name}.{inner}"))
    };
    match (stored, known) {
        (Value::Object(stored), Value::Object(known)) => {
            stored.iter().find_map(|(name, value)| match known.get(name) {
                Some(other) => below(name, value, other),
                None => (!is_empty(value)).then(|| name.clone()),
            })
        }
        (Value::Array(stored), Value::Array(known)) => {
            let pairs = stored.iter().zip(known).enumerate();
            pairs.into_iter().find_map(|(at, (value, other))| below(&at.to_string(), value, other))
        }
        _ => None,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(is_set) => !is_set,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_would_be_lost_is_named_by_its_path() {
        let stored = json!({"id": "a", "spec": {"cpus": 1, "numa": {"nodes": 2}}, "files": [{"name": "x", "digest": "d"}]});
        let known = json!({"id": "a", "spec": {"cpus": 1}, "files": [{"name": "x"}]});
        assert!(matches!(lost_field(&stored, &known).as_deref(), Some("spec.numa" | "files.0.digest")));
        assert_eq!(lost_field(&known, &known), None);
        assert_eq!(lost_field(&known, &stored), None, "what is new is not lost");
        for empty in [json!(null), json!(false), json!(0), json!(""), json!([]), json!({})] {
            assert_eq!(lost_field(&json!({"later": empty}), &json!({})), None);
        }
        for said in [json!(true), json!(0.5), json!("x"), json!([0]), json!({"x": 1})] {
            assert_eq!(lost_field(&json!({"later": said}), &json!({})).as_deref(), Some("later"));
        }
    }

    #[test]
    fn kinds_and_words_are_a_bijection() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::parse("Environment"), None);
    }

    #[test]
    fn the_checksum_covers_every_field() {
        let record =
            Record { kind: Kind::Host, id: "a".into(), revision: 7, body: Bytes::from_static(b"{}") };
        let variants = [
            Record { kind: Kind::Task, ..record.clone() },
            Record { id: "b".into(), ..record.clone() },
            Record { revision: 8, ..record.clone() },
            Record { body: Bytes::from_static(b"[]"), ..record.clone() },
        ];
        for other in variants {
            assert_ne!(record.checksum(), other.checksum(), "{other:?}");
        }
    }

    #[test]
    fn a_debug_print_hides_the_body() {
        let record =
            Record { kind: Kind::Secret, id: "a".into(), revision: 1, body: Bytes::from_static(b"hunter22") };
        assert!(!format!("{record:?}").contains("hunter22"));
    }
}
