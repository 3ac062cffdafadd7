//! Records to and from the bytes of the store.

use serde::{Serialize, de::DeserializeOwned};

use crate::{Error, Result, model::Subject, store::Kind};

pub(super) fn encode<T: Serialize>(kind: &'static str, id: &str, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|error| bad(kind, id, &error))
}

pub(super) fn decode<T: DeserializeOwned>(kind: &'static str, id: &str, body: &[u8]) -> Result<T> {
    serde_json::from_slice(body).map_err(|error| bad(kind, id, &error))
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
    }
}
