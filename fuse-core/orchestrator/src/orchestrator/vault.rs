//! What is kept of an environment under encryption: its credentials, its secrets, and its files until it runs.

use std::{collections::BTreeMap, fmt::Debug};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Inner, record};
use crate::{
    Error, Result,
    model::{GuestFile, ProvisionRequest, Timestamp, VmName},
    store::Kind,
};

/// The credentials of one environment: what its guest agent takes and shows.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The bearer token that the guest agent takes.
    pub token: SecretString,
    /// The certificate that it shows, PEM.
    pub certificate: String,
    /// The key of the certificate, PEM.
    pub key: SecretString,
    /// When the certificate ends.
    pub expires_at: Timestamp,
}

/// Makes credentials and keeps secrets unreadable at rest.
pub trait SecretKeeper: Debug + Send + Sync + 'static {
    /// Fresh credentials for the agent of `vm`.
    ///
    /// # Errors
    /// [`Error::Secret`] when there is no randomness or no certificate can be made.
    fn credentials(&self, vm: &VmName, now: Timestamp) -> Result<Credentials>;

    /// Encrypts `plain` for the record `id` of `kind`: it opens under no other.
    ///
    /// # Errors
    /// [`Error::Secret`].
    fn seal(&self, kind: &'static str, id: &str, plain: &[u8]) -> Result<Vec<u8>>;

    /// Decrypts what [`SecretKeeper::seal`] made for the same record.
    ///
    /// # Errors
    /// [`Error::Secret`] when no key fits or the bytes were changed or moved.
    fn open(&self, kind: &'static str, id: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>>;

    /// Fills `buffer` with random bytes, for names that must not be guessed or met twice.
    ///
    /// # Errors
    /// [`Error::Secret`] when there is no randomness.
    fn random(&self, buffer: &mut [u8]) -> Result<()>;
}

/// The decrypted content of a secret record. Never printed, zeroised when dropped.
#[derive(Clone)]
pub(super) struct Vault {
    pub(super) credentials: Credentials,
    /// New credentials on their way into the guest.
    pub(super) next: Option<Credentials>,
    pub(super) secrets: BTreeMap<String, SecretString>,
    pub(super) gateway_token: Option<SecretString>,
    /// What the boot needs and nobody after it.
    pub(super) boot: Option<BootFiles>,
}

/// Files that go into the guest at boot.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct BootFiles {
    pub(super) manifest: String,
    pub(super) env: Option<String>,
    pub(super) agent: BTreeMap<String, GuestFile>,
    pub(super) caller: BTreeMap<String, GuestFile>,
}

#[derive(Serialize, Deserialize)]
struct PlainCredentials<'a> {
    token: &'a str,
    certificate: &'a str,
    key: &'a str,
    expires_at: Timestamp,
}

#[derive(Serialize)]
struct PlainVault<'a> {
    credentials: PlainCredentials<'a>,
    next: Option<PlainCredentials<'a>>,
    secrets: BTreeMap<&'a str, &'a str>,
    gateway_token: Option<&'a str>,
    boot: Option<&'a BootFiles>,
}

#[derive(Deserialize)]
struct ReadCredentials {
    token: SecretString,
    certificate: String,
    key: SecretString,
    expires_at: Timestamp,
}

#[derive(Deserialize)]
struct ReadVault {
    credentials: ReadCredentials,
    next: Option<ReadCredentials>,
    secrets: BTreeMap<String, SecretString>,
    gateway_token: Option<SecretString>,
    boot: Option<BootFiles>,
}

impl<'a> From<&'a Credentials> for PlainCredentials<'a> {
    fn from(from: &'a Credentials) -> Self {
        Self {
            token: from.token.expose_secret(),
            certificate: &from.certificate,
            key: from.key.expose_secret(),
            expires_at: from.expires_at,
        }
    }
}

impl From<ReadCredentials> for Credentials {
    fn from(from: ReadCredentials) -> Self {
        let ReadCredentials { token, certificate, key, expires_at } = from;
        Self { token, certificate, key, expires_at }
    }
}

impl Vault {
    pub(super) fn new(request: &ProvisionRequest, credentials: Credentials) -> Result<Self> {
        let manifest = request.manifest().map_err(|problem| Error::Invalid(vec![problem]))?;
        Ok(Self {
            credentials,
            next: None,
            secrets: request.secrets.clone(),
            gateway_token: request.agent.gateway_token.clone(),
            boot: Some(BootFiles {
                manifest: manifest.json().to_owned(),
                env: manifest.env_file(&request.secrets),
                agent: request.agent.files.clone(),
                caller: request.files.clone(),
            }),
        })
    }

    /// The secrets as the guest gets them: JSON, by name.
    pub(super) fn secrets_json(&self) -> Result<Zeroizing<Vec<u8>>> {
        let plain: BTreeMap<_, _> = self.secrets.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect();
        Ok(Zeroizing::new(record::encode("secret", "secrets", &plain)?))
    }

    /// Removes every secret of at least 8 characters from `text`.
    pub(super) fn scrub(&self, text: &str) -> String {
        let credentials = [Some(&self.credentials), self.next.as_ref()];
        let tokens = credentials.into_iter().flatten().flat_map(|c| [&c.token, &c.key]);
        let hidden = self.secrets.values().chain(tokens).chain(self.gateway_token.as_ref());
        let mut scrubbed = text.to_owned();
        for secret in hidden.map(ExposeSecret::expose_secret).filter(|secret| secret.len() >= 8) {
            if scrubbed.contains(secret) {
                scrubbed = scrubbed.replace(secret, "[REDACTED]");
            }
        }
        scrubbed
    }
}

impl Inner {
    /// The sealed bytes of a vault, for the secret record of `vm`.
    pub(super) fn seal(&self, vm: &VmName, vault: &Vault) -> Result<Vec<u8>> {
        let plain = PlainVault {
            credentials: (&vault.credentials).into(),
            next: vault.next.as_ref().map(Into::into),
            secrets: vault.secrets.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect(),
            gateway_token: vault.gateway_token.as_ref().map(ExposeSecret::expose_secret),
            boot: vault.boot.as_ref(),
        };
        let plain = Zeroizing::new(record::encode("secret", vm.as_str(), &plain)?);
        self.secrets.seal(Kind::Secret.as_str(), vm.as_str(), &plain)
    }

    /// Reads the vault of `vm` from the store.
    pub(super) async fn vault(&self, vm: &VmName) -> Result<Vault> {
        let found = self.store.get(Kind::Secret, vm.as_str()).await?;
        let missing = || Error::Secret { doing: "read credentials", why: format!("{vm} has none in the store") };
        let sealed = found.ok_or_else(missing)?;
        let plain = self.secrets.open(Kind::Secret.as_str(), vm.as_str(), &sealed.body)?;
        // A parse error could quote what it read, so it is not passed on.
        let read: ReadVault = serde_json::from_slice(&plain).map_err(|error| Error::Secret {
            doing: "read credentials",
            why: format!("the record of {vm} has the wrong shape at column {}", error.column()),
        })?;
        Ok(Vault {
            credentials: read.credentials.into(),
            next: read.next.map(Into::into),
            secrets: read.secrets,
            gateway_token: read.gateway_token,
            boot: read.boot,
        })
    }
}
