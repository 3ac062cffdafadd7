//! Grants: the right to fetch one snapshot of a host, for some minutes.
//!
//! A control plane signs a grant with the token of the host that has the snapshot, and gives it to the host that is to
//! fetch it: that one learns no token. `v1.DIGEST.EXPIRY.NONCE.MAC`, where the MAC is the HMAC-SHA256, with the token as
//! its key, of `fuse-artifact-grant/v1`, digest, expiry and nonce, a line each.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The header that carries a grant.
pub const GRANT_HEADER: &str = "x-fuse-artifact-grant";
/// How long a grant is good.
const LIFETIME: Duration = Duration::from_secs(300);
/// How far beyond that an expiry may lie: clocks differ.
const SLACK: Duration = Duration::from_secs(60);

/// HMAC-SHA256 (RFC 2104).
fn hmac(key: &[u8], message: &[u8]) -> [u8; 32] {
    let mut block = zeroize::Zeroizing::new([0_u8; 64]);
    if key.len() > block.len() {
        let digest: [u8; 32] = Sha256::digest(key).into();
        for (to, from) in block.iter_mut().zip(digest) {
            *to = from;
        }
    } else {
        for (to, from) in block.iter_mut().zip(key) {
            *to = *from;
        }
    }
    let padded = |pad: u8| -> Vec<u8> { block.iter().map(|byte| byte ^ pad).collect() };
    let (inner_pad, outer_pad) =
        (zeroize::Zeroizing::new(padded(0x36)), zeroize::Zeroizing::new(padded(0x5c)));
    let inner = Sha256::new().chain_update(&*inner_pad).chain_update(message).finalize();
    Sha256::new().chain_update(&*outer_pad).chain_update(inner).finalize().into()
}

fn signature(token: &SecretString, digest: &str, expiry: &str, nonce: &str) -> [u8; 32] {
    let message = format!("fuse-artifact-grant/v1\n{digest}\n{expiry}\n{nonce}");
    hmac(token.expose_secret().as_bytes(), message.as_bytes())
}

/// A grant to fetch what is known by `digest` (SHA-256, 64 hexadecimal digits) from the host whose token this is, good for 5 min from `now`.
///
/// # Errors
/// There is no entropy.
pub fn new_grant(
    digest: &str,
    token: &SecretString,
    now: SystemTime,
) -> Result<SecretString, getrandom::Error> {
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce)?;
    let nonce = hex::encode(nonce);
    let expiry = (now + LIFETIME).duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string();
    let mac = hex::encode(signature(token, digest, &expiry, &nonce));
    Ok(format!("v1.{digest}.{expiry}.{nonce}.{mac}").into())
}

/// Whether `grant` lets its bearer fetch `digest` from the host whose token this is.
#[must_use]
pub fn is_granted(grant: &str, digest: &str, token: &SecretString, now: SystemTime) -> bool {
    let parts: Vec<&str> = grant.split('.').collect();
    let ["v1", named, expiry, nonce, mac] = parts.as_slice() else { return false };
    if *named != digest || nonce.len() != 32 || token.expose_secret().is_empty() {
        return false;
    }
    let mut given = [0; 32];
    if hex::decode_to_slice(mac, &mut given).is_err() {
        return false;
    }
    let right = signature(token, digest, expiry, nonce);
    if !bool::from(given.ct_eq(&right)) {
        return false;
    }
    let Ok(expiry) = expiry.parse::<u64>() else { return false };
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    now <= expiry && expiry <= now + (LIFETIME + SLACK).as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hmac_is_that_of_rfc_4231() {
        assert_eq!(
            hex::encode(hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex::encode(hmac(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_grant_is_for_one_digest_one_host_and_five_minutes() {
        let (token, now) = (SecretString::from("the token of a host"), SystemTime::now());
        let (digest, other) = ("a".repeat(64), "b".repeat(64));
        let grant = new_grant(&digest, &token, now).unwrap();
        let grant = grant.expose_secret();
        assert!(is_granted(grant, &digest, &token, now));
        assert!(is_granted(grant, &digest, &token, now + Duration::from_secs(299)));
        assert!(!is_granted(grant, &digest, &token, now + Duration::from_secs(301)));
        assert!(!is_granted(grant, &other, &token, now));
        assert!(!is_granted(grant, &digest, &SecretString::from("another token"), now));
        let forever = grant.replacen(grant.split('.').nth(2).unwrap(), "99999999999", 1);
        assert!(!is_granted(&forever, &digest, &token, now));
        assert!(!is_granted(&grant.replace("v1.", "v2."), &digest, &token, now));
        assert!(!is_granted("", &digest, &token, now) && !is_granted("v1....", &digest, &token, now));
    }
}
