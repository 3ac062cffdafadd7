//! Keys for callers of the API.
use super::{SecretError, SecretString, random};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const PREFIX: &str = "fuse_sk_";
/// Characters of 32 bytes in base64url without padding.
const BODY: usize = 43;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Scope {
    /// Look at environments, snapshots, hosts and events.
    Read,
    /// Change environments and snapshots.
    Write,
    /// Change hosts, run commands in guests, and whatever else the other two do not allow.
    Admin,
}

/// A new key, with its secret. The secret exists only here: it is shown to the caller once and never stored.
#[derive(Debug)]
pub struct ApiKey {
    /// What the caller shows: `fuse_sk_` and 43 characters.
    pub secret: SecretString,
    /// What is stored.
    pub record: ApiKeyRecord,
}

/// The stored half of an API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// `ak_` and 16 hexadecimal digits.
    pub id: String,
    /// What its owner calls it; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// What it may do.
    pub scopes: BTreeSet<Scope>,
    /// The SHA-256 of the whole key.
    pub hash: KeyHash,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: u64,
    /// When it was last used, as far as that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_ms: Option<u64>,
    /// When it was revoked; a revoked key opens nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_ms: Option<u64>,
}

/// A SHA-256, written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyHash([u8; 32]);

impl ApiKey {
    /// Makes a key of 256 random bits.
    ///
    /// # Errors
    /// [`SecretError::Random`].
    pub fn generate(label: &str, scopes: BTreeSet<Scope>, now_ms: u64) -> Result<Self, SecretError> {
        let mut secret = Zeroizing::new(String::with_capacity(PREFIX.len() + BODY));
        secret.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(*random::<32>()?, &mut secret);
        let record = ApiKeyRecord {
            id: format!("ak_{}", hex::encode(*random::<8>()?)),
            label: label.to_owned(),
            scopes,
            hash: KeyHash::of(&secret),
            created_ms: now_ms,
            last_used_ms: None,
            revoked_ms: None,
        };
        Ok(Self { secret: SecretString::from(secret.as_str()), record })
    }
}

impl ApiKeyRecord {
    /// Whether the key may do what needs `scope`. [`Scope::Admin`] may do everything.
    #[must_use]
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }

    /// Whether `shown` is this key and it was not revoked. Takes the same time wherever the two differ.
    #[must_use]
    pub fn opens(&self, shown: &SecretString) -> bool {
        let same = self.hash.0.ct_eq(&KeyHash::of(shown.expose_secret()).0);
        bool::from(same) && self.revoked_ms.is_none()
    }
}

impl KeyHash {
    pub(crate) fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hex::encode(hash.0)
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash)
            .map_err(|_| "the hash of an API key is not 64 hexadecimal digits")?;
        Ok(Self(hash))
    }
}

/// All keys by their hash, to find the one that a caller shows without comparing it with each.
///
/// The look-up by hash is not constant in time and need not be: what its time tells is about the hash of what the
/// caller sent, and nobody can choose that towards a stored one. The comparison that decides is constant in time.
#[derive(Debug, Default, Clone)]
pub struct ApiKeyIndex {
    by_hash: HashMap<KeyHash, ApiKeyRecord>,
}

impl ApiKeyIndex {
    /// Adds a key, or puts a changed one in place of its former self.
    pub fn insert(&mut self, record: ApiKeyRecord) {
        self.by_hash.retain(|_, known| known.id != record.id);
        self.by_hash.insert(record.hash, record);
    }

    /// Takes a key out.
    pub fn remove(&mut self, id: &str) {
        self.by_hash.retain(|_, known| known.id != id);
    }

    /// The key that a caller shows, if there is one and it was not revoked.
    #[must_use]
    pub fn find(&self, shown: &SecretString) -> Option<&ApiKeyRecord> {
        let text = shown.expose_secret();
        if text.len() != PREFIX.len() + BODY || !text.starts_with(PREFIX) {
            return None;
        }
        self.by_hash.get(&KeyHash::of(text)).filter(|record| record.opens(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(scopes: &[Scope]) -> Result<ApiKey, SecretError> {
        ApiKey::generate("ci", scopes.iter().copied().collect(), 5)
    }

    #[test]
    fn a_key_has_the_form_that_clients_expect() -> Result<(), SecretError> {
        let made = key(&[Scope::Read])?;
        let text = made.secret.expose_secret();
        assert_eq!(text.len(), 51);
        assert!(
            text.strip_prefix("fuse_sk_")
                .is_some_and(|body| URL_SAFE_NO_PAD.decode(body).is_ok_and(|b| b.len() == 32))
        );
        assert!(
            made.record.id.strip_prefix("ak_").is_some_and(|id| hex::decode(id).is_ok_and(|b| b.len() == 8))
        );
        let stored = serde_json::to_string(&made.record).unwrap_or_default();
        assert!(
            !stored.contains(text)
                && !stored.contains(&text[8..])
                && !format!("{made:?}").contains(&text[8..])
        );
        assert_eq!(serde_json::from_str::<ApiKeyRecord>(&stored).ok(), Some(made.record));
        Ok(())
    }

    #[test]
    fn only_the_key_itself_opens_and_only_until_it_is_revoked() -> Result<(), SecretError> {
        let (mut one, two) = (key(&[Scope::Read])?, key(&[Scope::Read])?);
        let mut index = ApiKeyIndex::default();
        index.insert(one.record.clone());
        index.insert(two.record.clone());
        assert_eq!(index.find(&one.secret).map(|found| &found.id), Some(&one.record.id));
        let text = one.secret.expose_secret();
        for wrong in
            [&text[..50], &format!("{text}x"), &text.replace("fuse_sk_", "fuse_ak_"), "", &one.record.id]
        {
            assert!(index.find(&SecretString::from(wrong)).is_none(), "a wrong key opened");
        }
        assert!(!one.record.opens(&two.secret));
        one.record.revoked_ms = Some(9);
        index.insert(one.record.clone());
        assert!(index.find(&one.secret).is_none());
        assert!(index.find(&two.secret).is_some());
        index.remove(&two.record.id);
        assert!(index.find(&two.secret).is_none());
        Ok(())
    }

    #[test]
    fn scopes_are_apart_and_admin_has_all() -> Result<(), SecretError> {
        let all = [Scope::Read, Scope::Write, Scope::Admin];
        let allowed = |key: &ApiKey| all.map(|scope| key.record.allows(scope));
        assert_eq!(allowed(&key(&[])?), [false, false, false]);
        assert_eq!(allowed(&key(&[Scope::Read])?), [true, false, false]);
        assert_eq!(allowed(&key(&[Scope::Write])?), [false, true, false]);
        assert_eq!(allowed(&key(&[Scope::Admin])?), [true, true, true]);
        Ok(())
    }
}
