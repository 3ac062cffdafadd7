//! Secrets: keys, what they seal, credentials, API keys, and keeping all of it out of sight.
//!
//! - A [`KeyRing`] seals values with AES-256-GCM under its newest key and opens values of every key that it holds.
//!   What is sealed is bound to the record that it belongs to, so two ciphertexts cannot be exchanged.
//! - [`Credentials`] are what an environment's guest agent proves itself with: a token and a TLS pair.
//! - An [`ApiKey`] is what a caller of the API shows; only its hash is kept.
//! - A [`Scrubber`] takes secret values out of text that people will read.
//!
//! Nothing here prints a secret: `Debug` and errors show ids and lengths. Values that are secret are
//! [`SecretString`]s or zeroised buffers and are overwritten when they are dropped.
mod api_key;
mod credentials;
mod error;
mod key_file;
mod key_ring;
mod rotation;
mod scrub;

pub(crate) use api_key::KeyHash;
pub use api_key::{ApiKey, ApiKeyIndex, ApiKeyRecord, Scope};
pub use credentials::{Credentials, DEFAULT_VALIDITY};
pub use error::SecretError;
pub use key_ring::{KeyId, KeyRing, MAX_SEALED};
pub use rotation::{Resealed, reseal_all};
pub use scrub::{MIN_SCRUBBED, REDACTED, Scrubber};
pub use secrecy::{ExposeSecret, SecretString};
pub use zeroize::Zeroizing;

/// Fills an array with random bytes of the operating system.
fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, SecretError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut *bytes).map_err(|error| SecretError::Random { why: error.to_string() })?;
    Ok(bytes)
}
