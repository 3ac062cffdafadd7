//! Grants: the right to fetch one snapshot for some minutes, as the control plane signs them.

use std::time::SystemTime;

use fuse_orchestrator::provider::grant;
use secrecy::{ExposeSecret, SecretString};

use crate::{Error, Result, store::Sha256Hex};

pub use grant::GRANT_HEADER;

/// A grant to fetch `digest` from the host whose token this is, good for 5 min from `now`.
///
/// # Errors
/// System, when there is no entropy.
pub fn new_grant(digest: &Sha256Hex, token: &SecretString, now: SystemTime) -> Result<String> {
    let grant = grant::new_grant(&digest.to_string(), token, now);
    let grant = grant.map_err(|error| Error::system("make", "a grant", error))?;
    Ok(grant.expose_secret().to_owned())
}

/// Whether `grant` lets its bearer fetch `digest` from the host whose token this is.
#[must_use]
pub fn is_granted(grant: &str, digest: &Sha256Hex, token: &SecretString, now: SystemTime) -> bool {
    grant::is_granted(grant, &digest.to_string(), token, now)
}
