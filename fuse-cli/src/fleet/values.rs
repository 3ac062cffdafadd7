//! Values that people write on the command line.

use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::time::Duration;

use secrecy::SecretString;

use crate::outcome::{Failure, Outcome};

/// The longest file with a secret, in bytes.
const SECRET_MOST: u64 = 64 * 1024;

/// `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not KEY=VALUE".to_owned()),
    }
}

/// A time such as `90s`, `15m` or `2h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it as 90s, 15m or 2h"))
}

/// `PORT` or `PORT:NAME`.
pub(crate) fn port(text: &str) -> Result<(u16, Option<String>), String> {
    let (port, name) = match text.split_once(':') {
        Some((port, name)) => (port, Some(name.to_owned())),
        None => (text, None),
    };
    match port.parse() {
        Ok(port) if port > 0 => Ok((port, name)),
        _ => Err("is not PORT or PORT:NAME with a port from 1 to 65535".to_owned()),
    }
}

/// The secret in a file (`-` for standard input), without the line end after it.
pub(crate) fn secret_file(path: &Path) -> Outcome<SecretString> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin().take(SECRET_MOST).read_to_string(&mut text).map_err(Failure::io("read", path))?;
    } else {
        let file = fs::File::open(path).map_err(Failure::io("open", path))?;
        file.take(SECRET_MOST).read_to_string(&mut text).map_err(Failure::io("read", path))?;
    }
    Ok(text.trim_end_matches(['\n', '\r']).into())
}

/// A secret that is named `NAME` (its value is in the variable of that name) or `NAME=@FILE`. A value itself is not
/// taken: everybody on the machine can read command lines.
pub(crate) fn secret(text: &str) -> Outcome<(String, SecretString)> {
    match text.split_once('=') {
        None => match std::env::var(text) {
            Ok(value) => Ok((text.to_owned(), value.into())),
            Err(_) => Err(Failure::Usage(format!(
                "the secret {text} has no value: set the variable {text}, or write --secret {text}=@FILE"
            ))),
        },
        Some((name, file)) => match file.strip_prefix('@') {
            Some(path) if !name.is_empty() => Ok((name.to_owned(), secret_file(Path::new(path))?)),
            _ => Err(Failure::Usage(format!(
                "--secret {name} has its value on the command line, where everybody on this machine can read it; \
                 write --secret {name}=@FILE, or set the variable {name} and write --secret {name}"
            ))),
        },
    }
}

/// Asks on the terminal whether to go on; without a terminal, `--yes` is needed.
pub(crate) fn confirm(yes: bool, what: &str) -> Outcome<()> {
    use std::io::{IsTerminal as _, Write as _};
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Usage(format!("to {what}, say --yes: there is no terminal to ask on")));
    }
    // When the question cannot be shown, the answer is no.
    let _ = write!(std::io::stderr(), "{what}? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(Failure::io("read", Path::new("standard input")))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::Usage("nothing was done".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read() {
        assert_eq!(pair("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(pair("=b").is_err() && pair("a").is_err());
        assert_eq!(port("8080:web"), Ok((8080, Some("web".into()))));
        assert_eq!(port("53"), Ok((53, None)));
        assert!(port("0").is_err() && port("x").is_err());
        assert_eq!(duration("2h 30m"), Ok(Duration::from_secs(9_000)));
        assert!(duration("soon").is_err());
    }

    #[test]
    fn secrets_are_not_taken_from_the_command_line() {
        let refused = secret("DB=hunter2").unwrap_err().to_string();
        assert!(refused.contains("DB") && !refused.contains("hunter2"), "{refused}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("s");
        fs::write(&file, "hunter2\n").unwrap();
        let (name, value) = secret(&format!("DB=@{}", file.display())).unwrap();
        assert_eq!((name.as_str(), secrecy::ExposeSecret::expose_secret(&value)), ("DB", "hunter2"));
    }
}
