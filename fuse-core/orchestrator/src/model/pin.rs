//! Certificates that are trusted by themselves.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The SHA-256 of a certificate (its DER bytes), which is trusted whoever issued it and whatever name it has.
///
/// Text is 64 hexadecimal digits; `sha256:` before them and colons between them are taken too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CertificatePin([u8; 32]);

impl CertificatePin {
    /// The pin of a certificate, given as its DER bytes.
    #[must_use]
    pub fn of(der: &[u8]) -> Self {
        Self(Sha256::digest(der).into())
    }

    /// Whether this is the pin of the certificate with these DER bytes.
    #[must_use]
    pub fn fits(&self, der: &[u8]) -> bool {
        *self == Self::of(der)
    }
}

impl fmt::Display for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for CertificatePin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{self}")
    }
}

impl FromStr for CertificatePin {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim();
        let digits = digits.strip_prefix("sha256:").or(digits.strip_prefix("SHA256:")).unwrap_or(digits);
        let digits: String = digits.chars().filter(|c| *c != ':').collect();
        let mut bytes = [0; 32];
        hex::decode_to_slice(&digits, &mut bytes)
            .map_err(|_| format!("{:?} is not a SHA-256 of 64 hexadecimal digits", cut(text)))?;
        Ok(Self(bytes))
    }
}

fn cut(text: &str) -> String {
    text.chars().take(140).collect()
}

impl TryFrom<String> for CertificatePin {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<CertificatePin> for String {
    fn from(pin: CertificatePin) -> Self {
        pin.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_way_to_write_a_pin_is_taken() {
        let pin = CertificatePin::of(b"certificate");
        let digits = pin.to_string();
        let pairs: Vec<String> =
            digits.as_bytes().chunks(2).map(|p| String::from_utf8_lossy(p).to_uppercase()).collect();
        for text in [digits.clone(), format!("sha256:{digits}"), pairs.join(":")] {
            assert_eq!(text.parse(), Ok(pin), "{text}");
        }
        for bad in ["", "sha256:", "12", &digits[1..], &format!("{digits}0"), "zz"] {
            assert!(bad.parse::<CertificatePin>().is_err(), "{bad}");
        }
        assert!(pin.fits(b"certificate") && !pin.fits(b"another"));
    }
}
