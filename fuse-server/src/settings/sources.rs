//! Where values come from: flags before variables before the file.

use std::{collections::BTreeMap, fmt, path::Path};

use super::table::{self, SETTINGS, ValueKind};

/// The most bytes that a configuration file may have.
const MAX_FILE: u64 = 1024 * 1024;

/// Where a value was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// On the command line.
    Flag,
    /// In the environment.
    Variable,
    /// In the configuration file.
    File,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Variable => "variable",
            Self::File => "file",
        })
    }
}

/// A value and where it was found.
#[derive(Clone, PartialEq, Eq)]
struct Found {
    text: String,
    origin: Origin,
}

/// The values of all settings that somebody set, by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Sources {
    found: BTreeMap<&'static str, Found>,
}

impl fmt::Debug for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.found.iter().map(|(name, found)| (name, found.origin))).finish()
    }
}

impl Sources {
    /// Nothing set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `name`, unless it is set already: the first source counts.
    ///
    /// # Errors
    /// When there is no such setting.
    pub fn set(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), String> {
        let Some(setting) = table::named(name) else {
            return Err(format!("there is no setting {name:?}{}", nearest(name)));
        };
        let found = Found { text: value.to_owned(), origin };
        self.found.entry(setting.name).or_insert(found);
        Ok(())
    }

    /// Adds what the environment says. An empty variable is as good as none.
    pub fn add_variables(&mut self, variable: impl Fn(&str) -> Option<String>) {
        for setting in SETTINGS {
            if let Some(text) = variable(setting.variable).filter(|text| !text.trim().is_empty()) {
                self.found.entry(setting.name).or_insert(Found { text, origin: Origin::Variable });
            }
        }
    }

    /// Adds what the TOML file at `path` says.
    ///
    /// # Errors
    /// When it cannot be read, is not TOML, is larger than 1 MiB, or has a key that is no setting.
    pub fn add_file(&mut self, path: &Path) -> Result<(), String> {
        let failed = |why: String| format!("the configuration file {}: {why}", path.display());
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if size > MAX_FILE {
            return Err(failed(format!("it has {size} bytes, and {MAX_FILE} are allowed")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        self.add_toml(&text).map_err(failed)
    }

    fn add_toml(&mut self, text: &str) -> Result<(), String> {
        // A parse error quotes the line that it stumbled over, which may hold a secret: only its place is told.
        let table: toml::Table = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .map_or(1, |span| 1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
            format!("line {line} is not TOML")
        })?;
        for (key, value) in &table {
            let name = key.replace('_', "-");
            let text = match value {
                toml::Value::String(text) => text.clone(),
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(on) => on.to_string(),
                toml::Value::Array(items) if items.iter().all(toml::Value::is_str) => {
                    items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
                }
                _ => {
                    return Err(format!(
                        "{key} is neither a text, a number, true, false nor a list of texts"
                    ));
                }
            };
            self.set(&name, &text, Origin::File)?;
        }
        Ok(())
    }

    /// The value of a setting, if somebody set it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.found.get(name).map(|found| found.text.as_str()).filter(|text| !text.trim().is_empty())
    }

    /// Where the value of a setting was found.
    #[must_use]
    pub fn origin(&self, name: &str) -> Option<Origin> {
        self.found.get(name).map(|found| found.origin)
    }

    /// Every setting with its value as people may see it: secrets are only said to be there.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, String, Option<Origin>)> + '_ {
        SETTINGS.iter().map(|setting| {
            let value = match self.get(setting.name) {
                Some(_) if setting.kind == ValueKind::Secret => "(set)".to_owned(),
                Some(text) => text.to_owned(),
                None => setting.default.to_owned(),
            };
            (setting.name, value, self.origin(setting.name))
        })
    }

    /// Secrets that were given where other users of the machine can see them.
    pub fn exposed(&self) -> impl Iterator<Item = &'static str> + '_ {
        SETTINGS
            .iter()
            .filter(|setting| {
                setting.kind == ValueKind::Secret && self.origin(setting.name) == Some(Origin::Flag)
            })
            .map(|setting| setting.name)
    }
}

/// A hint at the setting that was probably meant.
fn nearest(name: &str) -> String {
    let shared =
        |other: &str| other.split('-').filter(|part| name.split('-').any(|mine| mine == *part)).count();
    let best =
        SETTINGS.iter().map(|setting| (shared(setting.name), setting.name)).max_by_key(|(count, _)| *count);
    best.filter(|(count, _)| *count > 0)
        .map_or_else(String::new, |(_, name)| format!("; did you mean {name:?}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_win_over_variables_and_those_over_the_file() {
        let mut sources = Sources::new();
        sources.set("listen", ":1", Origin::Flag).unwrap();
        sources.add_variables(|name| match name {
            "ORCH_LISTEN" => Some(":2".to_owned()),
            "ORCH_VM_PREFIX" => Some("v-".to_owned()),
            "DATABASE_URL" => Some(" ".to_owned()),
            _ => None,
        });
        sources.add_toml("listen = \":3\"\nvm_prefix = \"f-\"\nmemory = true\nallowed-cidrs = [\"::1\", \"10.0.0.0/8\"]").unwrap();
        assert_eq!(sources.get("listen"), Some(":1"));
        assert_eq!(sources.get("vm-prefix"), Some("v-"));
        assert_eq!(sources.get("memory"), Some("true"));
        assert_eq!(sources.get("allowed-cidrs"), Some("::1,10.0.0.0/8"));
        assert_eq!(sources.get("database-url"), None);
        assert_eq!(sources.origin("memory"), Some(Origin::File));
    }

    #[test]
    fn unknown_keys_are_named_with_a_hint() {
        let error = Sources::new().add_toml("startup_script_timout = \"3s\"").unwrap_err();
        assert!(error.contains("startup-script-timeout"), "{error}");
    }

    #[test]
    fn nothing_shows_a_secret() {
        let mut sources = Sources::new();
        sources.set("auth-token", "hush-hush", Origin::Flag).unwrap();
        let shown: Vec<_> = sources.shown().collect();
        assert!(!format!("{sources:?} {shown:?}").contains("hush"));
        assert_eq!(sources.exposed().collect::<Vec<_>>(), ["auth-token"]);
        let error = sources.add_toml("auth-token = \"hush\nx").unwrap_err();
        assert!(!error.contains("hush"), "{error}");
    }
}
