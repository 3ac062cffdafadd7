//! `fuse context …`: the control planes that this user knows.
//!
//! They are in `$XDG_CONFIG_HOME/fuse/contexts.toml`, which only the user can read, since it holds their tokens.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use fuse_orchestrator::{Connect, Connection, model::CertificatePin};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};

use super::Reach;
use crate::outcome::{self, Failure, Outcome, Verdict};
use crate::output::{Page, Table};

/// Where a control plane is asked for when nothing says where it is.
const STANDARD_URL: &str = "http://127.0.0.1:8080";

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the contexts
    #[command(after_help = "Examples:\n  fuse context list")]
    List,
    /// Make a context the current one
    #[command(after_help = "Examples:\n  fuse context use staging")]
    Use {
        /// The context
        name: String,
    },
    /// Show which control plane is asked, and why
    #[command(after_help = "Examples:\n  fuse context current -o json")]
    Current,
    /// Forget a context and its token
    #[command(after_help = "Examples:\n  fuse context remove staging")]
    Remove {
        /// The context
        name: String,
    },
}

/// A control plane that the user knows.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Context {
    /// Where it is.
    pub(crate) url: String,
    /// What is shown to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) token: Option<Token>,
    /// The file of the authorities that are believed instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) authorities: Option<PathBuf>,
    /// The SHA-256 of the certificate that is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) certificate: Option<CertificatePin>,
    /// The files of the certificate that is shown, and of its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_certificate: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_key: Option<PathBuf>,
}

/// A token in the file of contexts: the one place where it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Token(pub(crate) SecretString);

impl Serialize for Token {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose_secret())
    }
}

/// The file.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Contexts {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    pub(crate) contexts: BTreeMap<String, Context>,
}

impl Contexts {
    /// The file of this user.
    pub(crate) fn path() -> Outcome<PathBuf> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let folder = set("XDG_CONFIG_HOME").or_else(|| set("HOME").map(|home| home.join(".config")));
        let folder = folder.ok_or_else(|| {
            Failure::Usage("there is no place for contexts: set HOME or XDG_CONFIG_HOME".to_owned())
        })?;
        Ok(folder.join("fuse/contexts.toml"))
    }

    pub(crate) fn load() -> Outcome<Self> {
        let path = Self::path()?;
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Failure::io("read", &path)(error)),
        };
        // The parser's words quote the line, which may hold a token.
        toml::from_str(&text).map_err(|error| {
            let line =
                error.span().map_or(0, |span| text.get(..span.start).unwrap_or_default().lines().count());
            Failure::refused(
                &path,
                format!("line {line} is not as it should be; mend it, or remove the file"),
            )
        })
    }

    /// Writes the file, readable by the user alone, whole or not at all.
    pub(crate) fn save(&self) -> Outcome<()> {
        let path = Self::path()?;
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(Failure::io("make", folder))?;
        let text = toml::to_string(self).map_err(|error| Failure::refused(&path, error))?;
        let part = path.with_extension(format!("{}.part", std::process::id()));
        let write = || {
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.set_permissions(fs::Permissions::from_mode(0o600))?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&part, &path)
        };
        write().map_err(|error| {
            // The error to report is the first one.
            let _ = fs::remove_file(&part);
            Failure::io("write", &path)(error)
        })
    }

    fn get(&self, name: &str) -> Outcome<&Context> {
        self.contexts.get(name).ok_or_else(|| {
            let known: Vec<_> = self.contexts.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "there are none".to_owned() } else { known.join(", ") };
            Failure::Refused { what: format!("context {name}"), why: format!("is not known; known: {known}") }
        })
    }
}

/// The control plane that is asked.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) context: Context,
    /// Where that comes from.
    pub(crate) origin: String,
}

/// Which control plane is asked: that of `--context`, else that of FUSE_URL, else that of FUSE_CONTEXT, else the current
/// context, else one on this machine. FUSE_TOKEN is shown where no context says what to show.
pub(crate) fn target(named: Option<&str>) -> Outcome<Target> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let of = |name: &str, origin: String| {
        let contexts = Contexts::load()?;
        Ok(Target { context: contexts.get(name)?.clone(), origin })
    };
    if let Some(name) = named {
        return of(name, format!("--context {name}"));
    }
    let bare = |url: String, origin: &str| Target {
        context: Context {
            url,
            token: variable("FUSE_TOKEN").map(|t| Token(t.into())),
            ..Context::default()
        },
        origin: origin.to_owned(),
    };
    if let Some(url) = variable("FUSE_URL") {
        let mut target = bare(url, "FUSE_URL");
        target.context.authorities = variable("FUSE_CA_FILE").map(PathBuf::from);
        return Ok(target);
    }
    if let Some(name) = variable("FUSE_CONTEXT") {
        return of(&name, format!("FUSE_CONTEXT={name}"));
    }
    let contexts = Contexts::load()?;
    match &contexts.current {
        Some(name) => {
            Ok(Target { context: contexts.get(name)?.clone(), origin: format!("current context {name}") })
        }
        None => Ok(bare(STANDARD_URL.to_owned(), "nothing else was said")),
    }
}

impl Target {
    /// The way there.
    pub(crate) fn connect(&self) -> Outcome<Connection> {
        let context = &self.context;
        let mut connect = Connect::new(&context.url);
        if let Some(token) = &context.token {
            connect = connect.token(token.0.clone());
        }
        if let Some(path) = &context.authorities {
            connect = connect.authorities(&outcome::read(path)?);
        }
        if let Some(pin) = context.certificate {
            connect = connect.certificate(pin);
        }
        if let (Some(chain), Some(key)) = (&context.client_certificate, &context.client_key) {
            connect = connect.client_certificate(&outcome::read(chain)?, &outcome::read(key)?);
        }
        Ok(connect.connection()?)
    }
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a str,
    url: &'a str,
    current: bool,
    has_token: bool,
}

impl Command {
    pub(crate) fn run(self, reach: &Reach, json: bool) -> Outcome {
        let format = reach.format(json);
        match self {
            Self::List => {
                let contexts = Contexts::load()?;
                let lines = contexts.contexts.iter().map(|(name, context)| Line {
                    name,
                    url: &context.url,
                    current: contexts.current.as_ref() == Some(name),
                    has_token: context.token.is_some(),
                });
                let lines: Vec<_> = lines.into_iter().collect();
                format.print(&serde_json::json!({ "contexts": lines }), || list(&lines));
            }
            Self::Use { name } => {
                let mut contexts = Contexts::load()?;
                contexts.get(&name)?;
                contexts.current = Some(name.clone());
                contexts.save()?;
                format.done(&format!("{name} is the current context"));
            }
            Self::Current => {
                let target = target(reach.context.as_deref())?;
                let (url, origin) = (&target.context.url, &target.origin);
                let has_token = target.context.token.is_some();
                let value = serde_json::json!({ "url": url, "origin": origin, "has_token": has_token });
                format.print(&value, || {
                    let mut page = Page::new();
                    let token = if has_token { "yes" } else { "no" }.to_owned();
                    page.facts(&[("url", url.clone()), ("because of", origin.clone()), ("token", token)]);
                    page.into_text()
                });
            }
            Self::Remove { name } => {
                let mut contexts = Contexts::load()?;
                contexts.get(&name)?;
                contexts.contexts.remove(&name);
                contexts.current = contexts.current.filter(|current| *current != name);
                contexts.save()?;
                format.done(&format!("{name} is forgotten"));
            }
        }
        Ok(Verdict::Fine)
    }
}

fn list(lines: &[Line<'_>]) -> String {
    if lines.is_empty() {
        return "no contexts; make one with `fuse connect URL`\n".to_owned();
    }
    let mut table = Table::new(&["", "NAME", "URL", "TOKEN"]);
    for line in lines {
        let token = if line.has_token { "yes" } else { "no" };
        table.row([if line.current { "*" } else { "" }, line.name, line.url, token]);
    }
    table.text()
}
