//! What a guest agent proves itself with, and what it asks its callers for.
use super::{SecretError, SecretString, random};
use rcgen::{CertificateParams, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use zeroize::Zeroizing;

/// How long a certificate is valid unless asked otherwise: 90 days.
pub const DEFAULT_VALIDITY: Duration = Duration::from_secs(90 * 86_400);
/// Certificates are valid from this long before they are made, for guests whose clock is behind.
const BACKDATED_MS: u64 = 60_000;

/// Credentials of one environment: a bearer token and a self-signed TLS pair.
#[derive(Clone)]
pub struct Credentials {
    token: SecretString,
    certificate: String,
    key: SecretString,
    made_ms: u64,
    expires_ms: u64,
}

/// The form that is sealed.
#[derive(Serialize, Deserialize)]
struct Stored {
    token: Zeroizing<String>,
    certificate: String,
    key: Zeroizing<String>,
    made_ms: u64,
    expires_ms: u64,
}

impl Credentials {
    /// Makes new ones for the VM called `name`: a token of 32 random bytes as 64 hexadecimal digits, and an ECDSA
    /// P-256 pair with CN `name` and the addresses 127.0.0.1 and 0.0.0.0, valid from a minute before `now_ms`
    /// (milliseconds since the Unix epoch) for `validity` (at least an hour is sensible).
    ///
    /// # Errors
    /// [`SecretError::Random`], [`SecretError::Certificate`].
    pub fn generate(name: &str, now_ms: u64, validity: Duration) -> Result<Self, SecretError> {
        let token = SecretString::from(hex::encode(*random::<32>()?));
        Self::with_token(token, name, now_ms, validity)
    }

    /// Makes a new TLS pair and keeps the token: what renewal before expiry does. Connections that are open go on.
    ///
    /// # Errors
    /// [`SecretError::Certificate`].
    pub fn renewed(&self, name: &str, now_ms: u64, validity: Duration) -> Result<Self, SecretError> {
        Self::with_token(self.token.clone(), name, now_ms, validity)
    }

    /// Makes a new TLS pair beside a given token, for a caller that chose the token.
    ///
    /// # Errors
    /// [`SecretError::Certificate`].
    pub fn with_token(
        token: SecretString,
        name: &str,
        now_ms: u64,
        validity: Duration,
    ) -> Result<Self, SecretError> {
        let validity_ms = u64::try_from(validity.as_millis()).unwrap_or(u64::MAX);
        let expires_ms = now_ms.saturating_add(validity_ms);
        let (certificate, key) = tls_pair(name, now_ms.saturating_sub(BACKDATED_MS), expires_ms)?;
        Ok(Self { token, certificate, key, made_ms: now_ms, expires_ms })
    }

    /// The bearer token: 64 hexadecimal digits.
    #[must_use]
    pub fn token(&self) -> &SecretString {
        &self.token
    }

    /// The certificate, in PEM. Not secret.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The private key of the certificate, in PEM (PKCS#8).
    #[must_use]
    pub fn key(&self) -> &SecretString {
        &self.key
    }

    /// When the certificate ends, in milliseconds since the Unix epoch.
    #[must_use]
    pub fn expires_ms(&self) -> u64 {
        self.expires_ms
    }

    /// Whether two thirds of the certificate's time have passed, so that it should be renewed now. That leaves a
    /// third of the time for retries.
    #[must_use]
    pub fn is_renewal_due(&self, now_ms: u64) -> bool {
        let lifetime = self.expires_ms.saturating_sub(self.made_ms);
        now_ms >= self.made_ms.saturating_add(lifetime / 3 * 2)
    }

    /// The form for [`KeyRing::seal`](super::KeyRing::seal).
    ///
    /// # Errors
    /// None that a value made by this type can cause.
    pub fn to_bytes(&self) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let stored = Stored {
            token: Zeroizing::new(self.token.expose_secret().to_owned()),
            certificate: self.certificate.clone(),
            key: Zeroizing::new(self.key.expose_secret().to_owned()),
            made_ms: self.made_ms,
            expires_ms: self.expires_ms,
        };
        // With room for all of it, so that no reallocation leaves a copy behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(8 << 10));
        serde_json::to_writer(&mut *bytes, &stored).map_err(|error| unreadable(&error))?;
        Ok(bytes)
    }

    /// Reads what [`Credentials::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`SecretError::Certificate`] when the bytes are something else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SecretError> {
        let stored: Stored = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
        Ok(Self {
            token: SecretString::from(stored.token.as_str()),
            certificate: stored.certificate,
            key: SecretString::from(stored.key.as_str()),
            made_ms: stored.made_ms,
            expires_ms: stored.expires_ms,
        })
    }
}

/// The place of the fault, never the text around it.
fn unreadable(error: &serde_json::Error) -> SecretError {
    let why = format!("the stored credentials cannot be read (byte {} of their JSON)", error.column());
    SecretError::Certificate { name: "stored credentials".to_owned(), why }
}

fn tls_pair(name: &str, from_ms: u64, until_ms: u64) -> Result<(String, SecretString), SecretError> {
    let failed = |why: String| SecretError::Certificate { name: name.to_owned(), why };
    let addresses = vec!["127.0.0.1".to_owned(), "0.0.0.0".to_owned()];
    let mut params = CertificateParams::new(addresses).map_err(|error| failed(error.to_string()))?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = moment(from_ms).map_err(|error| failed(error.to_string()))?;
    params.not_after = moment(until_ms).map_err(|error| failed(error.to_string()))?;
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|error| failed(error.to_string()))?;
    let certificate = params.self_signed(&pair).map_err(|error| failed(error.to_string()))?;
    let key = Zeroizing::new(pair.serialize_pem());
    Ok((certificate.pem(), SecretString::from(key.as_str())))
}

fn moment(ms: u64) -> Result<time::OffsetDateTime, time::error::ComponentRange> {
    time::OffsetDateTime::from_unix_timestamp(i64::try_from(ms / 1_000).unwrap_or(i64::MAX))
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("expires_ms", &self.expires_ms).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_760_000_000_000;
    const DAY: u64 = 86_400_000;

    #[test]
    fn the_pair_is_what_the_guest_needs() -> Result<(), Box<dyn std::error::Error>> {
        let made = Credentials::generate("fuse-t1", NOW, DEFAULT_VALIDITY)?;
        assert_eq!(made.token().expose_secret().len(), 64);
        assert!(hex::decode(made.token().expose_secret()).is_ok());
        let (_, pem) = x509_parser::pem::parse_x509_pem(made.certificate().as_bytes())?;
        let certificate = pem.parse_x509()?;
        assert_eq!(certificate.subject().to_string(), "CN=fuse-t1");
        assert_eq!(certificate.validity().not_before.timestamp() as u64 * 1_000, NOW - 60_000);
        assert_eq!(certificate.validity().not_after.timestamp() as u64 * 1_000, made.expires_ms());
        let names =
            certificate.subject_alternative_name()?.map(|san| format!("{:?}", san.value.general_names));
        assert!(
            names.is_some_and(|names| names.contains("[127, 0, 0, 1]") && names.contains("[0, 0, 0, 0]"))
        );
        assert_eq!(certificate.public_key().parsed()?.key_size(), 256);
        let pair = KeyPair::from_pem(made.key().expose_secret())?;
        assert_eq!(pair.public_key_raw(), certificate.public_key().subject_public_key.data.as_ref());
        Ok(())
    }

    #[test]
    fn renewal_comes_before_expiry_and_keeps_the_token() -> Result<(), SecretError> {
        let made = Credentials::generate("a", NOW, DEFAULT_VALIDITY)?;
        assert!(!made.is_renewal_due(NOW) && !made.is_renewal_due(NOW + 59 * DAY));
        assert!(made.is_renewal_due(NOW + 60 * DAY) && made.is_renewal_due(NOW + 1_000 * DAY));
        let renewed = made.renewed("a", NOW + 60 * DAY, DEFAULT_VALIDITY)?;
        assert_eq!(renewed.token().expose_secret(), made.token().expose_secret());
        assert_ne!(renewed.certificate(), made.certificate());
        assert_eq!(renewed.expires_ms(), NOW + 150 * DAY);
        let other = Credentials::generate("a", NOW, DEFAULT_VALIDITY)?;
        assert_ne!(other.token().expose_secret(), made.token().expose_secret());
        Ok(())
    }

    #[test]
    fn they_survive_storage_and_are_never_printed() -> Result<(), SecretError> {
        let made = Credentials::generate("a", NOW, DEFAULT_VALIDITY)?;
        let back = Credentials::from_bytes(&made.to_bytes()?)?;
        assert_eq!(back.token().expose_secret(), made.token().expose_secret());
        assert_eq!(back.key().expose_secret(), made.key().expose_secret());
        assert_eq!((back.certificate(), back.expires_ms()), (made.certificate(), made.expires_ms()));
        let printed = format!("{made:?} {:?}", made.token());
        assert!(!printed.contains(made.token().expose_secret()) && !printed.contains("PRIVATE"), "{printed}");
        let error = Credentials::from_bytes(br#"{"token":"hunter22", oops"#)
            .map_or_else(|e| e.to_string(), |_| String::new());
        assert!(error.contains("cannot be read") && !error.contains("hunter22"), "{error}");
        Ok(())
    }
}
