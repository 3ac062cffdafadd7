//! The bearer token of a VM.

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

/// A bearer token, 16 to 512 bytes of printable ASCII. It does not show itself, and is wiped when dropped.
#[derive(Clone, Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(try_from = "String")]
pub struct Token(String);

impl Token {
    /// The shortest token.
    pub const MIN: usize = 16;
    /// The longest token.
    pub const MAX: usize = 512;

    /// Takes `text` as a token, without white space around it.
    ///
    /// # Errors
    /// What is wrong with it; never the text.
    pub fn new(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if !(Self::MIN..=Self::MAX).contains(&text.len()) {
            return Err("a token has 16 to 512 characters");
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("a token has only printable ASCII characters and no spaces");
        }
        Ok(Self(text.to_owned()))
    }

    /// The text. Not for logs, errors or command lines.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares without telling by its duration where the two differ.
    #[must_use]
    pub fn matches(&self, other: &str) -> bool {
        let (ours, theirs) = (self.0.as_bytes(), other.as_bytes());
        let mut different = u8::from(ours.len() != theirs.len());
        for (index, byte) in ours.iter().enumerate() {
            different |= byte ^ theirs.get(index).copied().unwrap_or(0);
        }
        std::hint::black_box(different) == 0
    }
}

impl TryFrom<String> for Token {
    type Error = &'static str;

    fn try_from(mut text: String) -> Result<Self, Self::Error> {
        let token = Self::new(&text);
        text.zeroize();
        token
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_match_only_themselves_and_do_not_show() {
        let token = Token::new(" 0123456789abcdef\n").unwrap();
        assert!(token.matches("0123456789abcdef"));
        for other in ["", "0123456789abcde", "0123456789abcdeg", "0123456789abcdef0", "x123456789abcdef"] {
            assert!(!token.matches(other), "{other}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!(Token::new("short").is_err() && Token::new("0123456789 abcdef").is_err());
    }
}
