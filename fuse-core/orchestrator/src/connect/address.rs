//! The address of a control plane.

use reqwest::Url;

use crate::{Error, Result};

/// The base of every URL of a control plane: with no `/` at its end.
pub(super) fn parse(text: &str) -> Result<Url> {
    let refuse = |why: String| Error::invalid("url", why);
    let url = Url::parse(text.trim()).map_err(|error| {
        refuse(format!("{} is not a URL such as http://127.0.0.1:8080: {error}", shown(text)))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse(format!("{} is neither http:// nor https://", shown(text))));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(refuse(format!("{} names no host", shown(text))));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("must not carry a user or a password; give the token apart".to_owned()));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refuse(format!("{} has a query or a fragment", shown(text))));
    }
    Ok(url)
}

/// The text without what could be a password.
fn shown(text: &str) -> String {
    let text: String = text.chars().take(200).collect();
    match text.rfind('@') {
        None => format!("{text:?}"),
        Some(at) => format!("\"…{}\"", text.get(at..).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_plain() {
        for good in ["http://127.0.0.1:8080", "https://fuse.example.org/prefix/", "http://[::1]:8080"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1:8080",
            "ftp://h",
            "http://u:p4ss@h",
            "http://h?x=1",
            "http://h#x",
            "http://",
            "u:p4ss@h",
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(!error.contains("p4ss"), "{error}");
        }
    }
}
