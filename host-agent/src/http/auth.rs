//! Who may.

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;

use super::{Api, answer::Failure};

/// Lets requests with the token pass.
pub(super) async fn bearer(State(api): State<Api>, request: Request, next: Next) -> Response {
    if carries(request.headers(), &api.token) {
        return next.run(request).await;
    }
    Failure(StatusCode::UNAUTHORIZED, "unauthorized".to_owned()).into_response()
}

/// Whether the headers carry `token`, compared in a time that does not tell where they differ.
fn carries(headers: &HeaderMap, token: &SecretString) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
    let token = token.expose_secret().as_bytes();
    !token.is_empty() && given.is_some_and(|given| bool::from(given.ct_eq(token)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_passes() {
        let token = SecretString::from("0123456789abcdef");
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            carries(&headers, &token)
        };
        assert!(with("Bearer 0123456789abcdef"));
        for bad in [
            "",
            "Bearer ",
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "bearer 0123456789abcdef",
            "Bearer  0123456789abcdef",
            "Basic 0123456789abcdef",
            "0123456789abcdef",
        ] {
            assert!(!with(bad), "{bad}");
        }
        assert!(!carries(&HeaderMap::new(), &token));
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, "Bearer ".parse().unwrap());
        assert!(!carries(&headers, &SecretString::from("")), "no token lets nobody in");
    }
}
