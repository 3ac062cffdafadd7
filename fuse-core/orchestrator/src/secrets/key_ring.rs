//! The keys that seal secrets at rest.
use super::{SecretError, SecretString, random};
use crate::store::Kind;
use aes_gcm::aead::{Aead, KeyInit, Nonce, Payload};
use aes_gcm::{Aes256Gcm, Key};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Longest value that can be sealed, in bytes (3 MiB, so that it fits a record with all its framing).
pub const MAX_SEALED: usize = 3 << 20;
const MAGIC: &[u8; 4] = b"FSE1";
const KEY_ID: usize = 8;
const NONCE: usize = 12;
const HEADER: usize = MAGIC.len() + KEY_ID + NONCE;

/// Names a key without revealing it: the first 8 bytes of the SHA-256 of a label and the key.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; KEY_ID]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

struct RingKey {
    id: KeyId,
    hex: SecretString,
    cipher: Aes256Gcm,
}

/// Keys for sealing and opening. The first one seals, all of them open. Cheap to clone.
///
/// A sealed value is `FSE1 ‖ key id (8) ‖ nonce (12) ‖ ciphertext ‖ tag (16)`. The associated data are the header, the
/// kind and the id of the record, so a value that is moved to another record does not open. Nonces are random;
/// with one key up to 2^32 values can be sealed before the chance of a repeated nonce reaches 2^-32.
#[derive(Clone)]
pub struct KeyRing {
    keys: Arc<[RingKey]>,
}

impl KeyRing {
    /// Reads keys as `TOKEN_ENCRYPTION_KEY` holds them: 64 hexadecimal digits each, separated by commas or white
    /// space. The first one seals; the others only open what they sealed earlier. `source_name` says in errors where
    /// the text came from.
    ///
    /// # Errors
    /// [`SecretError::Key`] for no key, a key of another form, or the same key twice.
    pub fn parse(source_name: &str, text: &SecretString) -> Result<Self, SecretError> {
        let words = text
            .expose_secret()
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty());
        let mut keys: Vec<RingKey> = Vec::new();
        for (at, word) in words.enumerate() {
            let wrong =
                |why: String| SecretError::Key { number: at + 1, source_name: source_name.to_owned(), why };
            let mut bytes = Zeroizing::new([0; 32]);
            if word.len() != 64 {
                return Err(wrong(format!("has {} characters", word.chars().count())));
            }
            // The error of `hex` names the offending character, which is part of the key.
            hex::decode_to_slice(word, &mut *bytes).map_err(|_| wrong("is not hexadecimal".to_owned()))?;
            let key = RingKey::new(&bytes);
            if keys.iter().any(|known| known.id == key.id) {
                return Err(wrong("is there twice".to_owned()));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            let (number, why) = (1, "is missing".to_owned());
            return Err(SecretError::Key { number, source_name: source_name.to_owned(), why });
        }
        Ok(Self { keys: keys.into() })
    }

    /// A ring with one new random key, which is lost with the process unless [`KeyRing::to_text`] is kept.
    ///
    /// # Errors
    /// [`SecretError::Random`].
    pub fn generate() -> Result<Self, SecretError> {
        let keys = vec![RingKey::new(&*random::<32>()?)];
        Ok(Self { keys: keys.into() })
    }

    /// A ring that seals with a new random key and still opens what this one opens.
    ///
    /// # Errors
    /// [`SecretError::Random`].
    pub fn with_new_key(&self) -> Result<Self, SecretError> {
        let mut keys = vec![RingKey::new(&*random::<32>()?)];
        for key in self.keys.iter() {
            keys.push(RingKey { id: key.id, hex: key.hex.clone(), cipher: key.cipher.clone() });
        }
        Ok(Self { keys: keys.into() })
    }

    /// A ring with nothing but the key that seals. What the other keys sealed does not open with it.
    #[must_use]
    pub fn newest_alone(&self) -> Self {
        let newest = self.keys.iter().take(1);
        let keys = newest.map(|key| RingKey { id: key.id, hex: key.hex.clone(), cipher: key.cipher.clone() });
        Self { keys: keys.collect() }
    }

    /// The keys as [`KeyRing::parse`] reads them, newest first, a line each.
    #[must_use]
    pub fn to_text(&self) -> SecretString {
        let mut text = Zeroizing::new(String::with_capacity(65 * self.keys.len()));
        for key in self.keys.iter() {
            text.push_str(key.hex.expose_secret());
            text.push('\n');
        }
        SecretString::from(text.as_str())
    }

    /// The key that seals.
    #[must_use]
    pub fn newest(&self) -> KeyId {
        self.keys.first().map_or(KeyId([0; KEY_ID]), |key| key.id)
    }

    /// All keys, the one that seals first.
    pub fn key_ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.iter().map(|key| key.id)
    }

    /// Encrypts `plain` for the record `kind` `id`.
    ///
    /// # Errors
    /// [`SecretError::TooLarge`] above [`MAX_SEALED`] bytes, [`SecretError::Random`].
    pub fn seal(&self, kind: Kind, id: &str, plain: &[u8]) -> Result<Vec<u8>, SecretError> {
        let too_large =
            || SecretError::TooLarge { kind, id: id.to_owned(), len: plain.len(), max: MAX_SEALED };
        let key = self.keys.first().filter(|_| plain.len() <= MAX_SEALED).ok_or_else(too_large)?;
        let nonce = random::<NONCE>()?;
        let mut sealed = [&MAGIC[..], &key.id.0, &nonce[..]].concat();
        let aad = associated(&sealed, kind, id);
        let nonce = Nonce::<Aes256Gcm>::from(*nonce);
        let encrypted =
            key.cipher.encrypt(&nonce, Payload { msg: plain, aad: &aad }).map_err(|_| too_large())?;
        sealed.extend(encrypted);
        Ok(sealed)
    }

    /// Decrypts what [`KeyRing::seal`] made for the same record.
    ///
    /// # Errors
    /// [`SecretError::UnknownKey`] when the ring lacks its key, [`SecretError::Damaged`] when the value was changed or
    /// belongs to another record.
    pub fn open(&self, kind: Kind, id: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let damaged = |why| SecretError::Damaged { kind, id: id.to_owned(), why };
        let (header, encrypted) =
            sealed.split_at_checked(HEADER).ok_or_else(|| damaged("it is too short"))?;
        let key_id = key_id(header).ok_or_else(|| damaged("it does not begin as a sealed value does"))?;
        let key =
            self.keys.iter().find(|key| key.id == key_id).ok_or_else(|| self.unknown(kind, id, key_id))?;
        let nonce = nonce(&header[HEADER - NONCE..]).ok_or_else(|| damaged("it is too short"))?;
        let payload = Payload { msg: encrypted, aad: &associated(header, kind, id) };
        key.cipher
            .decrypt(&nonce, payload)
            .map(Zeroizing::new)
            .map_err(|_| damaged("its authentication tag does not match"))
    }

    /// Decrypts a value of the original control plane: `nonce (12) ‖ ciphertext ‖ tag (16)`, without associated data,
    /// under any key of the ring. For taking over its state: nothing says which record such a value belongs to, so
    /// seal it anew at once.
    ///
    /// # Errors
    /// [`SecretError::Damaged`] when no key opens it; `kind` and `id` are for that message.
    pub fn open_upstream(
        &self,
        kind: Kind,
        id: &str,
        value: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        let damaged = |why| SecretError::Damaged { kind, id: id.to_owned(), why };
        let (first, encrypted) = value.split_at_checked(NONCE).ok_or_else(|| damaged("it is too short"))?;
        let nonce = nonce(first).ok_or_else(|| damaged("it is too short"))?;
        let opened = self.keys.iter().find_map(|key| key.cipher.decrypt(&nonce, encrypted).ok());
        opened.map(Zeroizing::new).ok_or_else(|| damaged("no key of the ring opens it"))
    }

    /// Whether a sealed value is under an older key than the one that seals, so that sealing it anew would let the
    /// older key go.
    #[must_use]
    pub fn is_stale(&self, sealed: &[u8]) -> bool {
        key_id(sealed) != Some(self.newest())
    }

    fn unknown(&self, kind: Kind, id: &str, key: KeyId) -> SecretError {
        let known = self.key_ids().map(|key| key.to_string()).collect::<Vec<_>>().join(", ");
        SecretError::UnknownKey { kind, id: id.to_owned(), key, known }
    }
}

impl RingKey {
    fn new(bytes: &[u8; 32]) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"fuse-key-id-1\0");
        hash.update(bytes);
        let mut id = [0; KEY_ID];
        id.copy_from_slice(&hash.finalize()[..KEY_ID]);
        let hex = SecretString::from(hex::encode(bytes));
        let key = Zeroizing::new(*bytes);
        Self { id: KeyId(id), hex, cipher: Aes256Gcm::new(<&Key<Aes256Gcm>>::from(&*key)) }
    }
}

fn key_id(sealed: &[u8]) -> Option<KeyId> {
    sealed.strip_prefix(MAGIC)?.first_chunk().map(|id| KeyId(*id))
}

fn nonce(bytes: &[u8]) -> Option<Nonce<Aes256Gcm>> {
    <[u8; NONCE]>::try_from(bytes).ok().map(Into::into)
}

/// Header, kind and id, each ended so that no two different triples give the same bytes.
fn associated(header: &[u8], kind: Kind, id: &str) -> Vec<u8> {
    [header, kind.as_str().as_bytes(), &[0], id.as_bytes(), &[0]].concat()
}

/// Shows the ids of the keys only.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.key_ids()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn ring(text: &str) -> Result<KeyRing, SecretError> {
        KeyRing::parse("TOKEN_ENCRYPTION_KEY", &SecretString::from(text))
    }

    #[test]
    fn what_is_sealed_opens_for_its_record_only() -> Result<(), SecretError> {
        let ring = KeyRing::generate()?;
        let sealed = ring.seal(Kind::Secret, "a", b"hunter22")?;
        assert_eq!(**ring.open(Kind::Secret, "a", &sealed)?, *b"hunter22");
        assert!(matches!(ring.open(Kind::Secret, "b", &sealed), Err(SecretError::Damaged { .. })));
        assert!(matches!(ring.open(Kind::Host, "a", &sealed), Err(SecretError::Damaged { .. })));
        assert!(ring.open_upstream(Kind::Secret, "a", &sealed).is_err());
        assert_ne!(ring.seal(Kind::Secret, "a", b"hunter22")?, sealed, "nonces differ");
        assert_eq!(**ring.open(Kind::Secret, "e", &ring.seal(Kind::Secret, "e", b"")?)?, *b"");
        Ok(())
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() -> Result<(), SecretError> {
        let ring = KeyRing::generate()?;
        let sealed = ring.seal(Kind::Secret, "a", b"hunter22")?;
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.open(Kind::Secret, "a", &flipped).is_err(), "bit {bit}");
        }
        for len in 0..sealed.len() {
            assert!(ring.open(Kind::Secret, "a", &sealed[..len]).is_err(), "cut at {len}");
        }
        Ok(())
    }

    #[test]
    fn old_keys_open_and_the_new_one_seals() -> Result<(), SecretError> {
        let old = ring(KEY)?;
        let sealed = old.seal(Kind::Secret, "a", b"x")?;
        let both = old.with_new_key()?;
        assert!(both.is_stale(&sealed) && !old.is_stale(&sealed));
        assert_eq!(**both.open(Kind::Secret, "a", &sealed)?, *b"x");
        let anew = both.seal(Kind::Secret, "a", b"x")?;
        assert!(!both.is_stale(&anew));
        let Err(SecretError::UnknownKey { key, .. }) = old.open(Kind::Secret, "a", &anew) else {
            unreachable!("the old ring cannot have the new key")
        };
        assert_eq!(key, both.newest());
        let read_back = KeyRing::parse("file", &both.to_text())?;
        assert!(read_back.key_ids().eq(both.key_ids()));
        Ok(())
    }

    /// Made with another implementation (Node's crypto module) from key, nonce a0…ab and this text.
    #[test]
    fn values_of_the_original_open() -> Result<(), SecretError> {
        let value = hex::decode(
            "a0a1a2a3a4a5a6a7a8a9aaab87765c5835b876cd0704eaf37315abbb1ed52bd6230db8e68ce64d844ca6512ff3",
        )
        .unwrap_or_default();
        assert_eq!(**ring(KEY)?.open_upstream(Kind::Secret, "a", &value)?, *b"an upstream token");
        let several = format!("{}, {KEY}", "ab".repeat(32));
        assert_eq!(**ring(&several)?.open_upstream(Kind::Secret, "a", &value)?, *b"an upstream token");
        let other = ring(&"ab".repeat(32))?;
        assert!(other.open_upstream(Kind::Secret, "a", &value).is_err());
        assert!(other.open_upstream(Kind::Secret, "a", b"short").is_err());
        Ok(())
    }

    #[test]
    fn wrong_keys_are_refused_without_being_shown() {
        let upper = KEY.to_uppercase();
        assert!(ring(&upper).is_ok());
        for (text, says) in [
            ("", "key 1 of TOKEN_ENCRYPTION_KEY is missing"),
            (" , \n", "is missing"),
            (&KEY[1..], "has 63 characters"),
            (&format!("{KEY},{}", "zz".repeat(32)), "key 2 of TOKEN_ENCRYPTION_KEY is not hexadecimal"),
            (&format!("{KEY} {upper}"), "is there twice"),
        ] {
            let error =
                ring(text).map_or_else(|error| error.to_string(), |ring| format!("accepted as {ring:?}"));
            assert!(error.contains(says), "{error}");
            assert!(!error.contains("zz") && !error.contains(&KEY[1..]), "{error}");
        }
    }

    #[test]
    fn a_debug_print_shows_ids_only() -> Result<(), SecretError> {
        let ring = ring(KEY)?;
        assert_eq!(format!("{ring:?}"), format!("[KeyId({})]", ring.newest()));
        assert!(!KEY.contains(&ring.newest().to_string()));
        Ok(())
    }

    #[test]
    fn too_large_is_said() -> Result<(), SecretError> {
        let error = KeyRing::generate()?.seal(Kind::Secret, "a", &vec![0; MAX_SEALED + 1]);
        assert!(matches!(error, Err(SecretError::TooLarge { .. })));
        Ok(())
    }
}
