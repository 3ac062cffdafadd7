//! The variables of programs: the agent's own, those of `/fuse/env`, those of the request.

use std::collections::BTreeMap;

use fuse_guest_protocol::{ErrorCode, GuestError};
use tokio::process::Command;

use crate::agent::Agent;

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Gives `command` its variables.
pub(crate) fn apply(
    command: &mut Command,
    agent: &Agent,
    given: &BTreeMap<String, String>,
) -> Result<(), GuestError> {
    let inherited = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    command.env_clear();
    command.env("PATH", inherited("PATH").unwrap_or_else(|| PATH.to_owned()));
    command.env("HOME", inherited("HOME").unwrap_or_else(|| "/root".to_owned()));
    command.env("LANG", inherited("LANG").unwrap_or_else(|| "C.UTF-8".to_owned()));
    let file = std::fs::read_to_string(agent.options.fuse_dir.join("env")).unwrap_or_default();
    for (name, value) in parse(&file) {
        command.env(name, value);
    }
    for (name, value) in given {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let text = format!("{name:?} cannot be a variable");
            return Err(GuestError::new(ErrorCode::Invalid, text));
        }
        command.env(name, value);
    }
    Ok(())
}

/// Reads lines `NAME='value'` as a shell would, where a quote inside is `'\''`; values may go over lines. What is no such
/// line is left out.
fn parse(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.rsplit('\n').next().unwrap_or_default().trim_start_matches("export ").trim();
        let (value, after) = value(after);
        let good = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.chars().next().is_some_and(|c| !c.is_ascii_digit());
        if good {
            found.push((name.to_owned(), value));
        }
        rest = after;
    }
    found
}

fn value(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut quoted = false;
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\'' => quoted = !quoted,
            '\n' if !quoted => return (value, &text[at..]),
            '\\' if !quoted => value.extend(characters.next().map(|(_, character)| character)),
            _ => value.push(character),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_read_as_a_shell_reads_them() {
        let text = "A='1'\nB='it'\\''s\ntwo lines'\n# C='no'\nexport D=plain\n9='x'\nE=''\n";
        let expected = [("A", "1"), ("B", "it's\ntwo lines"), ("D", "plain"), ("E", "")];
        let expected: Vec<_> =
            expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(parse(text), expected);
        assert_eq!(parse("A='open"), [("A".to_owned(), "open".to_owned())]);
        assert_eq!(parse("nothing"), []);
    }
}
