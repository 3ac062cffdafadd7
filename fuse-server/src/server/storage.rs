//! The store and the keys that the settings name.

use std::{os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc};

use fuse_orchestrator::{
    Error, Result,
    secrets::KeyRing,
    store::{MemoryStore, PostgresStore, SharedStore, SledStore, StoreError},
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::settings::{Keys, Settings, State};

/// Opens the store that the settings name; makes its directory when it is not there.
///
/// # Errors
/// [`Error::Store`] when it is locked, damaged, away, or cannot be made.
pub async fn open_store(settings: &Settings) -> Result<SharedStore> {
    Ok(match &settings.state {
        State::Memory => Arc::new(MemoryStore::new()),
        State::Postgres(url) => Arc::new(PostgresStore::open(url.expose_secret()).await?),
        State::Directory { dir, .. } => {
            make_directory(dir)?;
            Arc::new(SledStore::open(dir.join("state")).await?)
        }
    })
}

fn make_directory(dir: &Path) -> Result<()> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    made.map_err(|error| {
        Error::Store(StoreError::Unavailable {
            doing: "make the data directory",
            on: dir.display().to_string(),
            why: error.to_string(),
            advice: "choose another one with --data-dir, or make it yourself",
        })
    })
}

/// The keys of the secrets in the store, made in the data directory when that is where they belong and there are none.
///
/// # Errors
/// [`Error::Secret`] when they cannot be read or made.
pub fn open_keys(settings: &Settings) -> Result<KeyRing> {
    Ok(match &settings.keys {
        Keys::Given(text) => KeyRing::parse("TOKEN_ENCRYPTION_KEY", text)?,
        Keys::Ephemeral => KeyRing::generate()?,
        Keys::Directory(path) => {
            if let Some(dir) = path.parent() {
                make_directory(dir)?;
            }
            KeyRing::load_or_create(path)?
        }
        Keys::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Error::Secret {
                doing: "read the key file",
                why: format!("{}: {error}", path.display()),
            })?;
            KeyRing::parse(&path.display().to_string(), &SecretString::from(text))?
        }
    })
}
