//! `fuse api-key …`: keys for callers of the API.

use std::collections::BTreeSet;

use clap::{Subcommand, ValueEnum};
use fuse_orchestrator::secrets::Scope;
use fuse_orchestrator::wire::{self, ApiKeyList};
use secrecy::ExposeSecret as _;

use super::{Session, rows};
use crate::outcome::{Outcome, Verdict};
use crate::output::Table;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum May {
    /// Look at environments, snapshots, hosts and events
    Read,
    /// Change environments and snapshots
    Write,
    /// Change hosts, run commands in guests, and what else the other two do not allow
    Admin,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key; it is shown once
    #[command(
        after_help = "Examples:\n  fuse api-key create --label ci\n  fuse api-key create --label dashboard --scope read"
    )]
    Create {
        /// What it is for
        #[arg(long, default_value = "")]
        label: String,
        /// What it may do; read and write when nothing is said
        #[arg(long, value_enum, value_name = "SCOPE")]
        scope: Vec<May>,
    },
    /// List the keys, revoked ones too
    #[command(after_help = "Examples:\n  fuse api-key list")]
    List,
    /// Revoke a key: it is refused from now on
    #[command(after_help = "Examples:\n  fuse api-key revoke ak_0123456789abcdef")]
    Revoke {
        /// The key's id
        id: String,
    },
}

impl Command {
    pub(crate) async fn run(self, session: Session) -> Outcome {
        let fuse = &session.fuse;
        match self {
            Self::Create { label, scope } => {
                let scopes: BTreeSet<_> = scope
                    .into_iter()
                    .map(|scope| match scope {
                        May::Read => Scope::Read,
                        May::Write => Scope::Write,
                        May::Admin => Scope::Admin,
                    })
                    .collect();
                let made = fuse.create_api_key(&label, scopes).await?;
                session.format.print(&wire::ApiKey::from(&made), || {
                    let id = &made.record.id;
                    format!("{}\nthis is {id}; it is shown only now\n", made.secret.expose_secret())
                });
            }
            Self::List => {
                let keys = fuse.api_keys().await?;
                let keys: Vec<_> = keys.iter().map(wire::ApiKey::from).collect();
                session.format.print(&ApiKeyList { api_keys: keys.clone() }, || list(&keys));
            }
            Self::Revoke { id } => {
                fuse.revoke_api_key(&id).await?;
                session.format.done(&format!("{id} is revoked"));
            }
        }
        Ok(Verdict::Fine)
    }
}

fn list(keys: &[wire::ApiKey]) -> String {
    let mut table = Table::new(&["ID", "LABEL", "SCOPES", "AGE>", "LAST USE>", "STATE"]);
    for key in keys {
        let scopes: Vec<_> = key.scopes.iter().map(|scope| format!("{scope:?}").to_lowercase()).collect();
        table.row([
            key.id.clone(),
            key.label.clone(),
            scopes.join(","),
            rows::age(key.created_at),
            key.last_used_at.map_or_else(|| "never".to_owned(), rows::age),
            if key.revoked_at.is_some() { "revoked" } else { "active" }.to_owned(),
        ]);
    }
    if table.is_empty() { "no keys; make one with `fuse api-key create`\n".to_owned() } else { table.text() }
}
