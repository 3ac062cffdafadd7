//! The URLs of host agents.

use reqwest::Url;

/// Takes a URL that an agent can have: http or https, a host, no user, no query, no fragment. A path is a prefix.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("{:?} is not a URL: {error}", short(text)))?;
    let rule = if !matches!(url.scheme(), "http" | "https") {
        "must begin with http:// or https://"
    } else if url.host_str().is_none_or(str::is_empty) {
        "must name a host"
    } else if !url.username().is_empty() || url.password().is_some() {
        "must not have a user or a password; give the token on its own"
    } else if url.query().is_some() || url.fragment().is_some() {
        "must not have a query or a fragment"
    } else if url.port() == Some(0) {
        "must have a port from 1 to 65535"
    } else {
        return Ok(url);
    };
    // A refused URL may hold a password, so it is not repeated.
    Err(format!("the URL of a host agent {rule}"))
}

fn short(text: &str) -> String {
    if text.contains('@') { "…".to_owned() } else { text.chars().take(140).collect() }
}

/// What the operator should know about driving an agent under this URL.
pub(crate) fn warnings(url: &str, has_token: bool, is_pinned: bool) -> Vec<String> {
    let Ok(url) = parse(url) else { return Vec::new() };
    let mut warnings = Vec::new();
    if url.scheme() == "http" && !is_loopback(&url) {
        warnings.push(
            "the agent is reached over plain HTTP: its token and the secrets of environments cross the network in the \
             clear; give it TLS and register it with https and its certificate pinned"
                .to_owned(),
        );
    }
    if url.scheme() == "http" && is_pinned {
        warnings.push("a certificate is pinned, and plain HTTP shows none".to_owned());
    }
    if !has_token {
        warnings.push("the host has no token: whoever reaches its agent can use it".to_owned());
    }
    warnings
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_agents_are_checked_before_anything_is_dialled() {
        for good in ["http://h", "https://h:8443/prefix", "http://[::1]:8090/", "http://10.0.0.1:8090"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "h:8090",
            "ftp://h",
            "http://",
            "http://u@h",
            "http://u:secret@h",
            "http://h?x",
            "http://h#x",
            "http://h:0",
            "http://h:99999",
        ] {
            let why = parse(bad).unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
    }

    #[test]
    fn tokens_in_the_clear_are_warned_of() {
        assert_eq!(warnings("http://10.0.0.1:8090", true, false).len(), 1);
        assert_eq!(warnings("http://10.0.0.1:8090", false, false).len(), 2);
        for fine in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "https://10.0.0.1"] {
            assert_eq!(warnings(fine, true, false), Vec::<String>::new(), "{fine}");
        }
        assert_eq!(warnings("http://127.0.0.1:1", true, true).len(), 1);
    }
}
