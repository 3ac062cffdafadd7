//! Records to and from the bytes of the store.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    Error, Result,
    model::Subject,
    store::{Kind, lost_field},
};

pub(super) fn encode<T: Serialize>(kind: &'static str, id: &str, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| bad(kind, id, &error))
}

pub(super) fn decode<T: DeserializeOwned>(kind: &'static str, id: &str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| bad(kind, id, &error))
}

/// Reads a record that will be written again. What it says and this version does not know would be lost then, so that
/// such a record is refused.
pub(super) fn decode_whole<T: Serialize + DeserializeOwned>(
    kind: &'static str,
    id: &str,
    body: &[u8],
) -> Result<T> {
    let refuse = |what: String| Error::BadRecord {
        kind,
        id: id.to_owned(),
        why: format!(
            "{what}; if a newer version of Fuse wrote it, start that version (nothing was changed), or import an \
             export from before the upgrade"
        ),
    };
    // What this version wrote it writes again, byte for byte, and nothing of it can be lost.
    if let Ok(value) = serde_json::from_slice::<T>(body)
        && encode(kind, id, &value)? == body
    {
        return Ok(value);
    }
    let stored: Value = serde_json::from_slice(body).map_err(|error| refuse(error.to_string()))?;
    let value = T::deserialize(&stored).map_err(|error| refuse(error.to_string()))?;
    let known = serde_json::to_value(&value).map_err(|error| bad(kind, id, &error))?;
    match lost_field(&stored, &known) {
        None => Ok(value),
        Some(field) => Err(refuse(format!("this version does not know its field `{field}`"))),
    }
}

fn bad(kind: &'static str, id: &str, error: &serde_json::Error) -> Error {
    // The message of serde_json names the place and the expectation; it may quote a short value, never a secret,
    // since secrets are encrypted before they become a record.
    Error::BadRecord { kind, id: id.to_owned(), why: error.to_string() }
}

/// The kind under which events about `subject` are kept.
pub(super) const fn kind_of(subject: &Subject) -> Kind {
    match subject {
        Subject::Environment(_) => Kind::Environment,
        Subject::Vm(_) => Kind::Teardown,
        Subject::Host(_) => Kind::Host,
        Subject::Snapshot(_) => Kind::Snapshot,
        Subject::ApiKey(_) => Kind::ApiKey,
        Subject::DeadLetter(_) => Kind::DeadLetter,
        Subject::Address(_) => Kind::Audit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EnvironmentSpec;

    fn decoded(body: &str) -> Result<EnvironmentSpec> {
        decode_whole("environment", "fuse-t1", body.as_bytes())
    }

    #[test]
    fn what_a_newer_version_wrote_is_refused_by_name() {
        let known = decoded(r#"{"cpus":1,"ram_mb":0,"region":"eu","later":""}"#).unwrap();
        assert_eq!((known.resources.cpus, known.region.as_str()), (1, "eu"), "what is empty says nothing");
        for newer in [r#"{"cpus":1,"numa":{"nodes":2}}"#, r#"{"numa":[0]}"#, r#"{"numa":true}"#] {
            let text = decoded(newer).unwrap_err().to_string();
            assert!(text.contains("environment fuse-t1") && text.contains("`numa`"), "{text}");
        }
        assert!(decoded(r#"{"cpus":1} x"#).is_err());
    }
}
