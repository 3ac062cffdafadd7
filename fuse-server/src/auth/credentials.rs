//! Tokens and cookies.

use std::fmt;

use axum::http::{HeaderMap, HeaderValue, header};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::answer::{Answer, Failure};

/// The name of the cookie that a login sets.
const SESSION_COOKIE: &str = "fuse_session";
/// How long the cookie lives, in seconds: a week.
const COOKIE_AGE: u32 = 604_800;

/// The master token, ready to be compared in a time that does not depend on what is shown.
#[derive(Clone)]
pub(crate) struct MasterToken([u8; 32]);

impl MasterToken {
    pub(crate) fn new(token: &SecretString) -> Self {
        Self(Sha256::digest(token.expose_secret().as_bytes()).into())
    }

    /// Whether `shown` is the token.
    pub(crate) fn matches(&self, shown: &SecretString) -> bool {
        let digest: [u8; 32] = Sha256::digest(shown.expose_secret().as_bytes()).into();
        digest.ct_eq(&self.0).into()
    }
}

impl fmt::Debug for MasterToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MasterToken")
    }
}

/// The token that a request shows: that of the header, else that of the cookie.
///
/// # Errors
/// 401 for a header that is not a bearer token, also when there is a cookie, and when there is nothing.
pub(crate) fn shown_token(headers: &HeaderMap) -> Answer<Option<SecretString>> {
    if let Some(value) = headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(|text| text.strip_prefix("Bearer "));
        return match token.filter(|token| !token.is_empty()) {
            Some(token) => Ok(Some(SecretString::from(token))),
            None => Err(missing()),
        };
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut sessions = pairs.filter(|(name, value)| *name == SESSION_COOKIE && !value.is_empty());
    Ok(sessions.next().map(|(_, value)| SecretString::from(value)))
}

/// The refusal of a request without credentials.
pub(crate) fn missing() -> Failure {
    Failure::unauthorized("missing or malformed credentials")
}

/// The cookie that logs in (with a token) or out (without). None when the token cannot stand in a cookie.
pub(crate) fn session_cookie(token: Option<&SecretString>, secure: bool) -> Option<HeaderValue> {
    let (value, age) = match token {
        Some(token) => (token.expose_secret(), COOKIE_AGE),
        None => ("", 0),
    };
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{SESSION_COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Lax{secure}");
    let mut value = HeaderValue::from_str(&text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_static(v))).collect()
    }

    fn shown(pairs: &[(&'static str, &'static str)]) -> Result<Option<String>, u16> {
        let found = shown_token(&headers(pairs));
        found.map(|t| t.map(|t| t.expose_secret().to_owned())).map_err(|f| f.status.as_u16())
    }

    #[test]
    fn the_header_wins_and_must_be_well_formed() {
        let cookie = ("cookie", "a=b; fuse_session=tok");
        assert_eq!(shown(&[cookie]), Ok(Some("tok".into())));
        assert_eq!(shown(&[("authorization", "Bearer x"), cookie]), Ok(Some("x".into())));
        for bad in ["bearer x", "Bearer", "Bearer ", "Basic x", ""] {
            assert_eq!(shown(&[("authorization", bad), cookie]), Err(401), "{bad:?}");
        }
        assert_eq!(shown(&[("authorization", "Bearer  x")]), Ok(Some(" x".into())));
        assert_eq!(shown(&[]), Ok(None));
    }

    #[test]
    fn the_master_token_is_compared_whole() {
        let token = MasterToken::new(&"secret-token".into());
        assert!(token.matches(&"secret-token".into()));
        for wrong in ["", "secret-toke", "secret-token ", "Secret-token"] {
            assert!(!token.matches(&wrong.into()), "{wrong}");
        }
        assert!(!format!("{token:?}").contains("secret"));
    }

    #[test]
    fn cookies_have_their_attributes() {
        let login = session_cookie(Some(&"t".into()), true).unwrap();
        assert_eq!(login, "fuse_session=t; Path=/; Max-Age=604800; HttpOnly; SameSite=Lax; Secure");
        let logout = session_cookie(None, false).unwrap();
        assert_eq!(logout, "fuse_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax");
    }
}
