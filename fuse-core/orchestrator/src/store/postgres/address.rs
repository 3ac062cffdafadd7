//! Where the database is and how it is spoken to, from a connection string.
use super::super::{StoreError, StoreResult};
use std::path::PathBuf;
use std::str::FromStr;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// How a connection is protected, in the words of `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protection {
    /// No TLS.
    Disable,
    /// TLS where the server offers it, nothing verified.
    Prefer,
    /// TLS, nothing verified; with `sslrootcert` the certificate must come from it.
    Require,
    /// TLS, the certificate must come from `sslrootcert` or the system, for this host name.
    VerifyFull,
}

/// A parsed connection string.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) protection: Protection,
    /// A file of certificates in PEM; `None` for the system's.
    pub(super) root_certificates: Option<PathBuf>,
    /// Without the password.
    pub(super) name: String,
}

impl Address {
    /// Reads `postgres://user:password@host:port/database?sslmode=…&sslrootcert=…`, or the form of words
    /// (`host=… user=… sslmode=…`).
    pub(super) fn parse(text: &str) -> StoreResult<Self> {
        let url = text.starts_with("postgres://") || text.starts_with("postgresql://");
        let (rest, taken) = if url { split_url(text)? } else { split_words(text)? };
        // The parser's error does not quote the text, which holds the password.
        let mut config = Config::from_str(&rest).map_err(|error| invalid(super::failure::words(&error)))?;
        let mut protection = Protection::Prefer;
        let mut root_certificates = None;
        for (key, value) in taken {
            match (key.as_str(), value.as_str()) {
                ("sslrootcert", "system") => root_certificates = None,
                ("sslrootcert", path) => root_certificates = Some(PathBuf::from(path)),
                (_, "disable") => protection = Protection::Disable,
                (_, "prefer") => protection = Protection::Prefer,
                (_, "require") => protection = Protection::Require,
                (_, "verify-full") => protection = Protection::VerifyFull,
                (_, other) => {
                    return Err(invalid(format!(
                        "sslmode is {other:?}, and disable, prefer, require and verify-full are known"
                    )));
                }
            }
        }
        config.ssl_mode(match protection {
            Protection::Disable => SslMode::Disable,
            Protection::Prefer => SslMode::Prefer,
            Protection::Require | Protection::VerifyFull => SslMode::Require,
        });
        if config.get_application_name().is_none() {
            config.application_name("fuse");
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(std::time::Duration::from_secs(5));
        }
        let name = name(&config);
        Ok(Self { config, protection, root_certificates, name })
    }
}

type Taken = Vec<(String, String)>;

/// Whether this module reads the parameter, rather than the client library.
fn ours(key: &str) -> bool {
    key == "sslmode" || key == "sslrootcert"
}

fn split_url(text: &str) -> StoreResult<(String, Taken)> {
    let Some((base, query)) = text.split_once('?') else { return Ok((text.to_owned(), Taken::new())) };
    let (mut kept, mut taken) = (Vec::new(), Taken::new());
    for pair in query.split('&') {
        match pair.split_once('=') {
            Some((key, value)) if ours(key) => taken.push((key.to_owned(), percent_decoded(value)?)),
            _ => kept.push(pair),
        }
    }
    let separator = if kept.is_empty() { "" } else { "?" };
    Ok((format!("{base}{separator}{}", kept.join("&")), taken))
}

fn percent_decoded(text: &str) -> StoreResult<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let decoded = after.get(..2).filter(|_| *first == b'%').and_then(|pair| hex::decode(pair).ok());
        match decoded.as_deref() {
            Some([byte]) => {
                bytes.push(*byte);
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| invalid("a parameter of the URL is not text".to_owned()))
}

fn split_words(text: &str) -> StoreResult<(String, Taken)> {
    let (mut kept, mut taken) = (String::new(), Taken::new());
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest
            .split_once('=')
            .ok_or_else(|| invalid("it is neither a URL nor words like `host=…`".to_owned()))?;
        let after = after.trim_start();
        let (value, len) = word(after)?;
        if ours(key.trim()) {
            taken.push((key.trim().to_owned(), value));
        } else {
            kept.push_str(&format!("{}={} ", key.trim(), &after[..len]));
        }
        rest = after[len..].trim_start();
    }
    Ok((kept, taken))
}

/// The value at the start of `text`, which may stand in single quotes, and how many bytes it takes.
fn word(text: &str) -> StoreResult<(String, usize)> {
    let quoted = text.starts_with('\'');
    let mut value = String::new();
    let mut chars = text.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, at + 1)),
            c if !quoted && c.is_whitespace() => return Ok((value, at)),
            c => value.push(c),
        }
    }
    if quoted { Err(invalid("a quote is not closed".to_owned())) } else { Ok((value, text.len())) }
}

fn name(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        Some(Host::Unix(path)) => path.display().to_string(),
        None => config.get_hostaddrs().first().map_or_else(|| "localhost".to_owned(), ToString::to_string),
    };
    let port = config.get_ports().first().copied().unwrap_or(5_432);
    let database = config.get_dbname().or(config.get_user()).unwrap_or("postgres");
    format!("postgres at {host}:{port}/{database}")
}

fn invalid(why: String) -> StoreError {
    StoreError::invalid("open", format!("the connection string of the database cannot be used: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() -> StoreResult<()> {
        let url = "postgres://me:p%40ss@db.example:5433/fuse?sslmode=verify-full&sslrootcert=%2Fetc%2Fmy%20ca.pem&connect_timeout=3";
        let words = r"host=db.example port=5433 user=me password='p@ss' dbname = fuse sslmode=verify-full sslrootcert='/etc/my ca.pem' connect_timeout=3";
        for text in [url, words] {
            let address = Address::parse(text)?;
            assert_eq!(address.name, "postgres at db.example:5433/fuse");
            assert_eq!(address.protection, Protection::VerifyFull);
            assert_eq!(address.root_certificates, Some(PathBuf::from("/etc/my ca.pem")));
            assert_eq!(address.config.get_password(), Some(&b"p@ss"[..]));
            assert_eq!(address.config.get_ssl_mode(), SslMode::Require);
            assert_eq!(address.config.get_connect_timeout().map(|t| t.as_secs()), Some(3));
        }
        Ok(())
    }

    #[test]
    fn modes_and_defaults() -> StoreResult<()> {
        let mode = |query: &str| Address::parse(&format!("postgresql://u@h/d{query}")).map(|a| a.protection);
        assert_eq!(mode("")?, Protection::Prefer);
        assert_eq!(mode("?sslmode=disable")?, Protection::Disable);
        assert_eq!(mode("?application_name=x&sslmode=require")?, Protection::Require);
        assert_eq!(Address::parse("postgres://u@h/d?sslrootcert=system")?.root_certificates, None);
        assert_eq!(Address::parse("host=/run/postgresql user=u")?.name, "postgres at /run/postgresql:5432/u");
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for (text, says) in [
            ("postgres://u:hunter22@h/d?sslmode=allow", "sslmode is \"allow\""),
            ("postgres://u:hunter22@h:port/d", "cannot be used"),
            ("password=hunter22 host='x", "a quote is not closed"),
            ("hunter22", "neither a URL nor words"),
            ("password=hunter22 colour=red", "cannot be used"),
        ] {
            let error = Address::parse(text).map_or_else(|error| error.to_string(), |_| String::new());
            assert!(error.contains(says), "{text}: {error}");
            assert!(!error.contains("hunter22"), "{error}");
        }
    }
}
