//! `fuse state`: backup, restore, verify, new keys.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use fuse_orchestrator::ControlPlane;
use fuse_orchestrator::secrets::{Resealed, reseal_all};
use fuse_orchestrator::store::{self, Position, SharedStore, Store};
use fuse_server::{Keys, Settings};
use serde_json::json;
use tokio::fs::File;
use tokio::io::{AsyncWriteExt as _, BufReader, BufWriter};

use super::settings::SettingArgs;
use crate::outcome::{EXIT_CODES, Failure, Outcome, Verdict};
use crate::output;

/// How long the lease is asked for. More than any store takes for its secrets.
const LEASE: Duration = Duration::from_secs(600);

/// What is done with the state.
#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Write the whole state, as of one moment, into a file of JSON lines
    #[command(after_help = format!("{EXIT_CODES}\n\nExamples:\n  fuse state export --data-dir /var/lib/fuse backup.jsonl\n\nSecrets stay sealed: keep the key (TOKEN_ENCRYPTION_KEY, or the file `key`) with the backup, apart from it."))]
    Export(WithFile),
    /// Read such a file into a store that was never used
    #[command(after_help = format!("{EXIT_CODES}\n\nExamples:\n  fuse state import --database-url postgres://fuse@db/fuse backup.jsonl"))]
    Import(WithFile),
    /// Seal every secret with the newest key, so that older ones can go
    ///
    /// The server must be stopped. Keys that are given (TOKEN_ENCRYPTION_KEY, its file) are changed by you: put the new
    /// one first, run this, then take the old ones away.
    #[command(after_help = format!("{EXIT_CODES}\n\nExamples:\n  fuse state reencrypt --new-key --data-dir /var/lib/fuse"))]
    Reencrypt {
        /// Make a new key first, and leave it alone in the key file of the data directory afterwards
        #[arg(long)]
        new_key: bool,
        #[command(flatten)]
        settings: SettingArgs,
    },
    /// Read everything and compare it with its checksums
    #[command(after_help = format!("{EXIT_CODES}\n\nExamples:\n  fuse state verify --data-dir /var/lib/fuse"))]
    Verify {
        #[command(flatten)]
        settings: SettingArgs,
    },
}

/// A store and a file.
#[derive(Debug, Args)]
pub(crate) struct WithFile {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    settings: SettingArgs,
}

impl State {
    pub(crate) fn run(self, json: bool) -> Outcome {
        let (done, at) = match self {
            Self::Export(args) => ("exported", args.with_store(export)?),
            Self::Import(args) => ("imported", args.with_store(import)?),
            Self::Verify { settings } => ("verified", verify(&settings)?),
            Self::Reencrypt { new_key, settings } => return reencrypt(&settings, new_key, json),
        };
        let answer = json!({
            "done": done,
            "records": at.records,
            "events": at.last_event - at.floor,
            "revision": at.revision,
            "digest": format!("{:032x}", at.digest),
        });
        if json {
            print!("{}", output::to_json(&answer));
        } else {
            println!(
                "{done}: {} records, {} events, revision {}",
                at.records,
                at.last_event - at.floor,
                at.revision
            );
        }
        Ok(Verdict::Fine)
    }
}

impl WithFile {
    fn with_store<F>(self, work: impl FnOnce(SharedStore, PathBuf) -> F) -> Outcome<Position>
    where
        F: Future<Output = Outcome<Position>>,
    {
        let (settings, _) = self.settings.resolve()?;
        super::block_on(async move {
            let store = fuse_server::open_store(&settings)
                .await
                .map_err(|error| super::refused("the store", error))?;
            let position = work(SharedStore::clone(&store), self.file).await;
            let closed = store.close().await.map_err(|error| super::refused("the store", error));
            position.and_then(|position| closed.map(|()| position))
        })
    }
}

fn failed(tried: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
    Failure::io(tried, path)
}

/// Under another name first, so that a backup that breaks off is none.
async fn export(store: SharedStore, file: PathBuf) -> Outcome<Position> {
    let mut part = file.clone().into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    let mut options = tokio::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut out = BufWriter::new(options.open(&part).await.map_err(failed("write", &part))?);
    let position =
        store::export(&*store, &mut out).await.map_err(|error| super::refused("the export", error))?;
    out.flush().await.map_err(failed("write", &part))?;
    out.get_ref().sync_all().await.map_err(failed("write", &part))?;
    tokio::fs::rename(&part, &file).await.map_err(failed("write", &file))?;
    Ok(position)
}

async fn import(store: SharedStore, file: PathBuf) -> Outcome<Position> {
    let mut input = BufReader::new(File::open(&file).await.map_err(failed("read", &file))?);
    store::import(&*store, &mut input).await.map_err(|error| super::refused("the import", error))
}

fn reencrypt(settings: &SettingArgs, new_key: bool, json: bool) -> Outcome {
    let (settings, _) = settings.resolve()?;
    let file = match (&settings.keys, new_key) {
        (_, false) => None,
        (Keys::Directory(path), true) => Some(path.clone()),
        (_, true) => {
            let why = "only the key file of a data directory is changed by this program";
            let advice = "put the new key first where your keys are, and run this without --new-key";
            return Err(super::refused("--new-key", format!("{why}; {advice}")));
        }
    };
    let done = super::block_on(async {
        let store =
            fuse_server::open_store(&settings).await.map_err(|error| super::refused("the store", error))?;
        let done = seal_anew(&settings, file.as_deref(), &*store).await;
        let closed = store.close().await.map_err(|error| super::refused("the store", error));
        done.and_then(|done| closed.map(|()| done))
    })?;
    if json {
        print!("{}", output::to_json(&json!({ "resealed": done.resealed, "current": done.current })));
    } else {
        println!("sealed anew: {}; under the newest key already: {}", done.resealed, done.current);
    }
    Ok(Verdict::Fine)
}

async fn seal_anew(settings: &Settings, file: Option<&Path>, store: &dyn Store) -> Outcome<Resealed> {
    let refused = |error| super::refused("the keys", error);
    // Nobody else may seal with an old key meanwhile.
    let lease = store.acquire_lease(ControlPlane::LEASE, "fuse state reencrypt", LEASE);
    let lease = lease.await.map_err(|error| super::refused("the store", error))?;
    let mut ring = fuse_server::open_keys(settings).map_err(|error| super::refused("the keys", error))?;
    if let Some(file) = file {
        ring = ring.with_new_key().map_err(refused)?;
        // On the disk before anything is sealed with it.
        ring.replace_file(file).map_err(refused)?;
    }
    let done = reseal_all(store, &ring, Some(&lease)).await.map_err(refused)?;
    if let Some(file) = file {
        ring.newest_alone().replace_file(file).map_err(refused)?;
    }
    store.release_lease(&lease).await.map_err(|error| super::refused("the store", error))?;
    Ok(done)
}

fn verify(settings: &SettingArgs) -> Outcome<Position> {
    let (settings, _) = settings.resolve()?;
    super::block_on(async move {
        let store =
            fuse_server::open_store(&settings).await.map_err(|error| super::refused("the store", error))?;
        let position = store::verify(&*store).await.map_err(|error| super::refused("the store", error));
        let closed = store.close().await.map_err(|error| super::refused("the store", error));
        position.and_then(|position| closed.map(|()| position))
    })
}
