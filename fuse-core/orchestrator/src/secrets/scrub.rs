//! Taking secrets out of text that people will read.
use super::SecretString;
use secrecy::ExposeSecret;
use std::borrow::Cow;
use std::fmt;

/// What stands where a secret stood.
pub const REDACTED: &str = "[REDACTED]";
/// Shortest secret that is looked for, in bytes. Shorter ones ("true", "8080") are parts of ordinary text.
pub const MIN_SCRUBBED: usize = 8;

/// Replaces secret values in text by [`REDACTED`].
///
/// It finds values as they are, not encoded ones (base64, escapes), and within one text: scrub whole lines of a
/// stream, not pieces of them.
#[derive(Clone, Default)]
pub struct Scrubber {
    /// Longest first, so that a secret that contains another one goes as a whole.
    secrets: Vec<SecretString>,
}

impl Scrubber {
    /// A scrubber for `secrets`; those shorter than [`MIN_SCRUBBED`] are left out.
    #[must_use]
    pub fn new(secrets: impl IntoIterator<Item = SecretString>) -> Self {
        let long = |secret: &SecretString| secret.expose_secret().len() >= MIN_SCRUBBED;
        let mut secrets: Vec<_> = secrets.into_iter().filter(long).collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        Self { secrets }
    }

    /// The text without the secrets; borrowed when there was none in it.
    #[must_use]
    pub fn scrub<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut clean = String::new();
        let mut rest = text;
        while let Some((at, len)) = self.first(rest) {
            clean.push_str(&rest[..at]);
            clean.push_str(REDACTED);
            rest = &rest[at + len..];
        }
        if clean.is_empty() {
            return Cow::Borrowed(rest);
        }
        clean.push_str(rest);
        Cow::Owned(clean)
    }

    /// Where the first secret begins, and the longest one that begins there.
    fn first(&self, text: &str) -> Option<(usize, usize)> {
        let found = self.secrets.iter().filter_map(|secret| {
            let secret = secret.expose_secret();
            text.find(secret).map(|at| (at, secret.len()))
        });
        found.min_by_key(|(at, len)| (*at, std::cmp::Reverse(*len)))
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} secrets)", self.secrets.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubber(secrets: &[&str]) -> Scrubber {
        Scrubber::new(secrets.iter().map(|secret| SecretString::from(*secret)))
    }

    #[test]
    fn secrets_go_and_the_rest_stays() {
        let scrubber = scrubber(&["hunter22", "hunter22-longer", "sieben7", "REDACTED", "pässwörter"]);
        for (text, clean) in [
            ("", ""),
            ("nothing here", "nothing here"),
            ("password=hunter22.", "password=[REDACTED]."),
            ("hunter22hunter22", "[REDACTED][REDACTED]"),
            ("hunter22-longer hunter22-lo", "[REDACTED] [REDACTED]-lo"),
            ("sieben7 is too short", "sieben7 is too short"),
            ("ü pässwörter ü", "ü [REDACTED] ü"),
            ("REDACTED", "[REDACTED]"),
            ("Hunter22", "Hunter22"),
        ] {
            assert_eq!(scrubber.scrub(text), clean);
        }
        assert!(matches!(scrubber.scrub("clean"), Cow::Borrowed(_)));
        assert_eq!(format!("{scrubber:?}"), "Scrubber(4 secrets)");
    }

    /// No text keeps a secret, however secrets overlap in it.
    #[test]
    fn overlapping_secrets_leave_nothing_whole() {
        let scrubber = scrubber(&["abababab", "babababa", "aaaaaaaa"]);
        for n in 0..1_u32 << 14 {
            let text: String = (0..14).map(|bit| if n >> bit & 1 == 1 { 'a' } else { 'b' }).collect();
            let clean = scrubber.scrub(&text);
            for secret in ["abababab", "babababa", "aaaaaaaa"] {
                assert!(!clean.contains(secret), "{text} became {clean}");
            }
        }
    }
}
