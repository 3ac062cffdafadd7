//! The settings of the server as flags: one for each row of its table.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, value_parser};
use fuse_server::{Origin, SETTINGS, Setting, Settings, Sources, ValueKind};

use crate::outcome::{Failure, Outcome};

/// The variable that names the configuration file.
const FILE_VARIABLE: &str = "FUSE_CONFIG";

/// What the command line says about settings.
#[derive(Debug, Clone)]
pub(crate) struct SettingArgs {
    file: Option<PathBuf>,
    given: Vec<(&'static str, String)>,
}

fn flag(setting: &'static Setting) -> Arg {
    let default = match setting.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let help = format!("{}{default} [env: {}]", setting.help, setting.variable);
    let arg = Arg::new(setting.name).long(setting.name).help(help).help_heading("Settings");
    match setting.kind {
        ValueKind::Switch => {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true").value_name("BOOL")
        }
        ValueKind::Duration => arg.value_name("TIME"),
        ValueKind::Number => arg.value_name("NUMBER"),
        ValueKind::Text | ValueKind::Secret => arg.value_name("TEXT"),
    }
}

impl Args for SettingArgs {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help(format!(
                "TOML file with settings, named as the flags; flags and variables win [env: {FILE_VARIABLE}]"
            ));
        command.arg(file).args(SETTINGS.iter().map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = SETTINGS.iter().filter_map(|setting| {
            matches.get_one::<String>(setting.name).map(|value| (setting.name, value.clone()))
        });
        Ok(Self { file: matches.get_one::<PathBuf>("config").cloned(), given: given.collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl SettingArgs {
    /// What the command line, the environment and the file say.
    pub(crate) fn sources(&self) -> Outcome<Sources> {
        let mut sources = Sources::new();
        for (name, value) in &self.given {
            sources.set(name, value, Origin::Flag).map_err(Failure::Usage)?;
        }
        sources.add_variables(|name| std::env::var(name).ok());
        let named = std::env::var_os(FILE_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
        if let Some(file) = self.file.clone().or(named) {
            sources.add_file(&file).map_err(|why| super::refused("the settings", why))?;
        }
        Ok(sources)
    }

    /// The settings, and where they came from.
    pub(crate) fn resolve(&self) -> Outcome<(Settings, Sources)> {
        let sources = self.sources()?;
        let settings = Settings::resolve(&sources, data_dir());
        Ok((settings.map_err(|problems| super::refused("the settings", problems))?, sources))
    }
}

/// The words of a command line, with two dashes where the server of the original takes one: `-listen`, `-vm-prefix=x`.
pub(crate) fn spelled(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<_> = words.collect();
    let command = words.iter().skip(1).find(|word| !word.as_encoded_bytes().starts_with(b"-"));
    if !command.is_some_and(|command| command == "serve" || command == "doctor") {
        return words;
    }
    for word in &mut words {
        let Some(text) = word.to_str().and_then(|text| text.strip_prefix('-')) else { continue };
        let name = text.split('=').next().unwrap_or_default();
        if SETTINGS.iter().any(|setting| setting.name == name) {
            *word = format!("--{text}").into();
        }
    }
    words
}

/// Where data goes when nobody says: the XDG data directory.
fn data_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
    base.map(|base| base.join("fuse"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled_out(line: &str) -> String {
        let words = spelled(line.split(' ').map(OsString::from));
        words.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn one_dash_is_enough_for_settings() {
        let line = "fuse serve -listen :8080 -vm-prefix=x --memory -h -o json -x";
        assert_eq!(spelled_out(line), "fuse serve --listen :8080 --vm-prefix=x --memory -h -o json -x");
        let other = "fuse environment exec fuse-t1 -- serve -listen";
        assert_eq!(spelled_out(other), other);
    }
}
