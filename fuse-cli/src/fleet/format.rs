//! How answers are printed: tables for people, JSON and YAML for programs.

use std::io::{self, Write as _};

use clap::ValueEnum;
use serde::Serialize;

use crate::output;

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text for people
    Table,
    /// JSON, as the REST API has it
    Json,
    /// The same as YAML
    Yaml,
}

impl Format {
    pub(crate) fn is_table(self) -> bool {
        self == Self::Table
    }

    /// Prints `value` for programs, or `text` for people.
    pub(crate) fn print(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        write(&self.render(value, text));
    }

    pub(crate) fn render(self, value: &impl Serialize, text: impl FnOnce() -> String) -> String {
        match self {
            Self::Table => text(),
            Self::Json => output::to_json(value),
            Self::Yaml => yaml(value),
        }
    }

    /// Prints one of many values that follow one another: a line of text, a line of JSON, or a YAML document.
    pub(crate) fn print_one(self, value: &impl Serialize, text: impl FnOnce() -> String) {
        let text = match self {
            Self::Table => text() + "\n",
            // Only a map with keys that are not strings could fail; ours have none.
            Self::Json => serde_json::to_string(value).unwrap_or_default() + "\n",
            Self::Yaml => format!("---\n{}", yaml(value)),
        };
        write(&text);
    }

    /// Says what was done: to people on standard output, to programs as `{"done": …}`.
    pub(crate) fn done(self, what: &str) {
        self.print(&serde_json::json!({ "done": what }), || format!("{}\n", output::printable(what)));
    }
}

fn yaml(value: &impl Serialize) -> String {
    // As for JSON.
    serde_yaml_ng::to_string(value).unwrap_or_default()
}

/// Writes to standard output. A reader that went away is no error.
pub(crate) fn write(text: &str) {
    let mut out = io::stdout().lock();
    // Nothing is left to tell anybody when standard output is closed.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yaml_says_what_json_says() {
        let value = serde_json::json!({"a": [1, "two: three", null], "b": {"c": "yes"}, "d": ""});
        let text = Format::Yaml.render(&value, String::new);
        assert_eq!(text, "a:\n- 1\n- 'two: three'\n- null\nb:\n  c: yes\nd: ''\n");
        assert_eq!(serde_yaml_ng::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
