//! `fuse connect`: a context for a control plane, after a look whether it is one.

use std::path::PathBuf;

use clap::Args;
use fuse_orchestrator::model::CertificatePin;
use secrecy::ExposeSecret as _;

use super::context::{Context, Contexts, Target, Token};
use super::{Reach, block_on, values};
use crate::outcome::{Failure, Outcome, Verdict};

/// Connect to a control plane, and make it the current context
#[derive(Debug, Args)]
#[command(after_help = "\
The token is taken from --token-file, else from FUSE_TOKEN. It is kept in
$XDG_CONFIG_HOME/fuse/contexts.toml, which only you can read.

Examples:
  fuse connect http://127.0.0.1:8080
  FUSE_TOKEN=… fuse connect https://fuse.example.org --name production
  fuse connect https://fuse.example.org --token-file - --ca ca.pem < token")]
pub(crate) struct Connect {
    /// Where it is, such as `https://fuse.example.org:8080`
    url: String,
    /// The name of the context; the host of the URL when nothing is said
    #[arg(long)]
    name: Option<String>,
    /// The file that holds the token; - reads it from standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Believe these authorities (PEM) instead of the system's
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Believe the certificate with this SHA-256 and no other
    #[arg(long, value_name = "SHA256", conflicts_with = "ca")]
    certificate: Option<CertificatePin>,
    /// Show this certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "client_key")]
    client_certificate: Option<PathBuf>,
    /// The key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "client_certificate")]
    client_key: Option<PathBuf>,
    /// Do not look whether it answers
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    reach: Reach,
}

impl Connect {
    pub(crate) const fn reach(&self) -> &Reach {
        &self.reach
    }

    pub(crate) fn run(self, json: bool) -> Outcome {
        let format = self.reach.format(json);
        let token = match &self.token_file {
            Some(path) => Some(values::secret_file(path)?),
            None => std::env::var("FUSE_TOKEN").ok().map(Into::into),
        };
        let token =
            token.filter(|token: &secrecy::SecretString| !token.expose_secret().is_empty()).map(Token);
        let name = self.name.clone().unwrap_or_else(|| name_of(&self.url));
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(Failure::Usage(format!("{name:?} is no name for a context; give one with --name")));
        }
        let absolute = |path: &Option<PathBuf>| {
            path.as_ref().map(|path| std::path::absolute(path).unwrap_or(path.clone()))
        };
        let context = Context {
            url: self.url.clone(),
            token,
            authorities: absolute(&self.ca),
            certificate: self.certificate,
            client_certificate: absolute(&self.client_certificate),
            client_key: absolute(&self.client_key),
        };
        let target = Target { context, origin: "the command line".to_owned() };
        let connection = target.connect()?;
        let version = if self.no_verify {
            None
        } else {
            Some(block_on(async {
                let version = connection.version().await?;
                // Whether the token is taken.
                fuse_orchestrator::Orchestrator::from(connection).hosts(Some(1), None).await?;
                Ok(version.version)
            })?)
        };
        let mut contexts = Contexts::load()?;
        contexts.contexts.insert(name.clone(), target.context);
        contexts.current = Some(name.clone());
        contexts.save()?;
        let what = version.map_or_else(String::new, |version| format!(", version {version}"));
        format.done(&format!("{name} ({}{what}) is the current context", self.url));
        Ok(Verdict::Fine)
    }
}

/// The host of a URL, as a name.
fn name_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default().to_owned()
}
