//! What is kept of an environment under encryption: its credentials, its secrets, and its files until it runs.

use std::{collections::BTreeMap, fmt::Debug};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Inner, record};
use crate::{
    Error, Result,
    model::{GuestFile, ProvisionRequest, Timestamp, VmName},
    secrets::{Credentials, DEFAULT_VALIDITY, KeyRing, SecretError},
    store::Kind,
};

/// Makes credentials and keeps secrets unreadable at rest. A [`KeyRing`] is one.
pub trait SecretKeeper: Debug + Send + Sync + 'static {
    /// Fresh credentials for the agent of `vm`, around `token` when the caller chose it.
    ///
    /// # Errors
    /// [`SecretError`] when there is no randomness or no certificate can be made.
    fn credentials(
        &self,
        vm: &VmName,
        token: Option<&SecretString>,
        now: Timestamp,
    ) -> Result<Credentials, SecretError>;

    /// Encrypts `plain` for the record `id` of `kind`: it opens under no other.
    ///
    /// # Errors
    /// [`SecretError`].
    fn seal(&self, kind: Kind, id: &str, plain: &[u8]) -> Result<Vec<u8>, SecretError>;

    /// Decrypts what [`SecretKeeper::seal`] made for the same record.
    ///
    /// # Errors
    /// [`SecretError`] when no key fits or the bytes were changed or moved.
    fn open(&self, kind: Kind, id: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError>;

    /// Fills `buffer` with random bytes, for names that must not be guessed or met twice.
    ///
    /// # Errors
    /// [`SecretError::Random`].
    fn random(&self, buffer: &mut [u8]) -> Result<(), SecretError>;
}

impl SecretKeeper for KeyRing {
    fn credentials(
        &self,
        vm: &VmName,
        token: Option<&SecretString>,
        now: Timestamp,
    ) -> Result<Credentials, SecretError> {
        let now_ms = now.as_micros() / 1_000;
        match token {
            None => Credentials::generate(vm.as_str(), now_ms, DEFAULT_VALIDITY),
            Some(token) => Credentials::with_token(token.clone(), vm.as_str(), now_ms, DEFAULT_VALIDITY),
        }
    }

    fn seal(&self, kind: Kind, id: &str, plain: &[u8]) -> Result<Vec<u8>, SecretError> {
        Self::seal(self, kind, id, plain)
    }

    fn open(&self, kind: Kind, id: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        Self::open(self, kind, id, sealed)
    }

    fn random(&self, buffer: &mut [u8]) -> Result<(), SecretError> {
        getrandom::fill(buffer).map_err(|error| SecretError::Random { why: error.to_string() })
    }
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
    pub(super) env: Option<SecretText>,
    pub(super) agent: BTreeMap<String, GuestFile>,
    pub(super) caller: BTreeMap<String, GuestFile>,
}

/// Text that holds secrets and is only ever written encrypted.
pub(super) type SecretText = Zeroizing<String>;

#[derive(Serialize, Deserialize)]
struct PlainVault<'a> {
    /// What [`Credentials::to_bytes`] makes, which is JSON text.
    credentials: SecretText,
    next: Option<SecretText>,
    secrets: BTreeMap<String, SecretText>,
    gateway_token: Option<SecretText>,
    boot: Option<std::borrow::Cow<'a, BootFiles>>,
}

fn write(credentials: &Credentials) -> Result<SecretText> {
    let bytes = credentials.to_bytes()?;
    let text = std::str::from_utf8(&bytes).map_err(|_| malformed("credentials"))?;
    Ok(Zeroizing::new(text.to_owned()))
}

fn malformed(what: &str) -> Error {
    Error::Secret { doing: "read a secret record", why: format!("its {what} has the wrong shape") }
}

fn plain(secret: &SecretString) -> SecretText {
    Zeroizing::new(secret.expose_secret().to_owned())
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
                env: manifest.env_file(&request.secrets).map(Zeroizing::new),
                agent: request.agent.files.clone(),
                caller: request.files.clone(),
            }),
        })
    }

    /// The secrets as the guest gets them: JSON, by name.
    pub(super) fn secrets_json(&self) -> Result<Zeroizing<Vec<u8>>> {
        let plain: BTreeMap<_, _> =
            self.secrets.iter().map(|(k, v)| (k.as_str(), v.expose_secret())).collect();
        Ok(Zeroizing::new(record::encode("secret", "secrets", &plain)?))
    }

    /// Removes every secret from `text`.
    pub(super) fn scrub(&self, text: &str) -> String {
        let credentials = [Some(&self.credentials), self.next.as_ref()];
        let tokens = credentials.into_iter().flatten().flat_map(|c| [c.token(), c.key()]);
        let hidden = self.secrets.values().chain(tokens).chain(self.gateway_token.as_ref());
        crate::secrets::Scrubber::new(hidden.cloned()).scrub(text).into_owned()
    }
}

impl Inner {
    /// The sealed bytes of a vault, for the secret record of `vm`.
    pub(super) fn seal(&self, vm: &VmName, vault: &Vault) -> Result<Vec<u8>> {
        let vault = PlainVault {
            credentials: write(&vault.credentials)?,
            next: vault.next.as_ref().map(write).transpose()?,
            secrets: vault.secrets.iter().map(|(name, value)| (name.clone(), plain(value))).collect(),
            gateway_token: vault.gateway_token.as_ref().map(plain),
            boot: vault.boot.as_ref().map(std::borrow::Cow::Borrowed),
        };
        let bytes = Zeroizing::new(record::encode("secret", vm.as_str(), &vault)?);
        Ok(self.secrets.seal(Kind::Secret, vm.as_str(), &bytes)?)
    }

    /// Reads the vault of `vm` from the store.
    pub(super) async fn vault(&self, vm: &VmName) -> Result<Vault> {
        let found = self.store.get(Kind::Secret, vm.as_str()).await?;
        let missing =
            || Error::Secret { doing: "read credentials", why: format!("{vm} has none in the store") };
        let sealed = found.ok_or_else(missing)?;
        let bytes = self.secrets.open(Kind::Secret, vm.as_str(), &sealed.body)?;
        // A parse error could quote what it read, so it is not passed on.
        let read: PlainVault<'static> = serde_json::from_slice(&bytes).map_err(|_| malformed("content"))?;
        let secret = |text: SecretText| SecretString::from(text.as_str());
        let credentials = |text: SecretText| Credentials::from_bytes(text.as_bytes());
        Ok(Vault {
            credentials: credentials(read.credentials)?,
            next: read.next.map(credentials).transpose()?,
            secrets: read.secrets.into_iter().map(|(name, text)| (name, secret(text))).collect(),
            gateway_token: read.gateway_token.map(secret),
            boot: read.boot.map(std::borrow::Cow::into_owned),
        })
    }
}
