//! What can go wrong with secrets. No message contains one.
use super::KeyId;
use crate::store::{Kind, StoreError};
use std::path::PathBuf;

/// A refusal or a failure around secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// An encryption key has the wrong form.
    #[error(
        "encryption key {number} of {source_name} {why}; each key is 64 hexadecimal digits (`openssl rand -hex 32`)"
    )]
    Key {
        /// Which of the keys, from 1.
        number: usize,
        /// Where the keys came from.
        source_name: String,
        /// What is wrong.
        why: String,
    },
    /// The key file cannot be used.
    #[error("key file {} {why}; {advice}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
        /// What to do.
        advice: &'static str,
    },
    /// A sealed value names a key that the ring does not have.
    #[error(
        "cannot open the secret of {kind} `{id}`: it was sealed with key {key}, and this process has {known}; \
         add the old key after the new one in TOKEN_ENCRYPTION_KEY"
    )]
    UnknownKey {
        /// Kind of the record.
        kind: Kind,
        /// Id of the record.
        id: String,
        /// The key that it was sealed with.
        key: KeyId,
        /// The keys that are known, in words.
        known: String,
    },
    /// A sealed value is not what was sealed for that record.
    #[error(
        "cannot open the secret of {kind} `{id}`: {why}; it was changed, cut, or belongs to another record, \
         so replace it (rotate the token, set the secret again) or restore an export"
    )]
    Damaged {
        /// Kind of the record.
        kind: Kind,
        /// Id of the record.
        id: String,
        /// What does not match.
        why: &'static str,
    },
    /// The value is too large to be sealed.
    #[error("cannot seal {len} bytes for {kind} `{id}`: {max} are allowed")]
    TooLarge {
        /// Kind of the record.
        kind: Kind,
        /// Id of the record.
        id: String,
        /// Its length, in bytes.
        len: usize,
        /// The longest that is allowed, in bytes.
        max: usize,
    },
    /// The operating system gave no random bytes.
    #[error("no random bytes from the operating system: {why}; nothing can be encrypted without them")]
    Random {
        /// The system's words.
        why: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a certificate for `{name}`: {why}")]
    Certificate {
        /// Whose certificate.
        name: String,
        /// Why.
        why: String,
    },
    /// The store failed while secrets were sealed anew.
    #[error(transparent)]
    Store(#[from] StoreError),
}
