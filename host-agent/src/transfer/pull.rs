//! Fetching a snapshot from another host.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fuse_orchestrator::{
    model::{CertificatePin, Timestamp},
    provider::remote::peer_tls,
};
use reqwest::{StatusCode, Url, header, redirect};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;

use super::GRANT_HEADER;
use crate::{
    Error, ErrorKind, Result,
    agent::HostAgent,
    store::{FileRecord, Sha256Hex, SnapshotName, SnapshotRecord, digest_file, new_dir},
    system::{blocking, share_file},
};

/// The header that names the digest of the bytes of an answer.
pub const DIGEST_HEADER: &str = "x-fuse-artifact-digest";
/// The most bytes of a manifest.
const MANIFEST_MOST: usize = 1024 * 1024;
/// The most files of a snapshot.
const FILES_MOST: usize = 16;
/// The most bytes of one file of a snapshot: 64 GiB.
const FILE_MOST: u64 = 64 << 30;
/// How long a peer may send nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// How long a whole pull may take.
const LONGEST: Duration = Duration::from_secs(1800);

/// What a pull is told.
#[derive(Clone, Deserialize)]
pub struct PullRequest {
    /// The host that has it, `http` or `https`.
    pub peer_url: String,
    /// The grant that the control plane signed with that host's token.
    pub grant: String,
    /// What it is to be called here. None: a name made of its digest.
    #[serde(default)]
    pub snapshot_id: Option<String>,
    /// What the peer calls it. Several snapshots can have one digest: that of a disk that nobody wrote to. None: the
    /// newest of this digest.
    #[serde(default)]
    pub peer_snapshot_id: Option<String>,
    /// The certificate that the peer must show; none: one that the system's authorities vouch for.
    #[serde(default)]
    pub peer_certificate_sha256: Option<CertificatePin>,
}

/// Grants are secrets while they are good.
impl std::fmt::Debug for PullRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullRequest").field("peer_url", &self.peer_url).finish_non_exhaustive()
    }
}

/// A snapshot that was fetched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pulled {
    /// What it is called here.
    pub snapshot_id: String,
    /// The digest that it is known by.
    pub digest: String,
    /// The bytes that it has; fewer may have been fetched.
    pub bytes: u64,
    /// When it was made.
    pub created_at: String,
    /// Where it came from.
    pub source_peer: String,
}

/// Fetches snapshots, each once at a time.
#[derive(Debug, Clone)]
pub struct Puller {
    agent: HostAgent,
    under_way: Arc<Mutex<BTreeSet<Sha256Hex>>>,
}

/// Takes a digest off the list of those that are under way.
struct Turn<'a>(&'a Puller, Sha256Hex);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// A host that has a snapshot.
struct Peer {
    http: reqwest::Client,
    base: Url,
    grant: String,
    digest: Sha256Hex,
    /// Its name of the snapshot, where that was told.
    snapshot: Option<String>,
}

impl Puller {
    /// Fetches into the store of `agent`.
    #[must_use]
    pub fn new(agent: HostAgent) -> Self {
        Self { agent, under_way: Arc::default() }
    }

    /// Fetches the snapshot that is known by `digest`, checks all of it, and keeps it. One that is here already is not
    /// fetched again.
    ///
    /// # Errors
    /// Invalid, busy (it is under way), not found or refused by the peer, corrupt, system. Nothing is kept as a snapshot
    /// then; what came of its files is used by the next attempt.
    pub async fn pull(&self, digest: Sha256Hex, request: PullRequest) -> Result<Pulled> {
        let fail = |kind: ErrorKind, why: String| Error::new(kind, "pull", format!("artifact {digest}"), why);
        let new = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
        if !new {
            return Err(fail(ErrorKind::Busy, "it is being pulled already".to_owned()));
        }
        let turn = Turn(self, digest);
        let record = match self.here(&digest, &request)? {
            Some(here) => here,
            None => {
                let peer = Peer::new(&request, digest)?;
                let work = self.fetch(&peer, request.snapshot_id.as_deref());
                let fetched = tokio::time::timeout(LONGEST, work).await;
                let late =
                    |_| fail(ErrorKind::System, format!("it took longer than {} s", LONGEST.as_secs()));
                fetched.map_err(late)??
            }
        };
        drop(turn);
        Ok(Pulled {
            snapshot_id: record.id.to_string(),
            digest: digest.to_string(),
            bytes: record.size(),
            created_at: Timestamp::to_string(&record.created_at),
            source_peer: request.peer_url,
        })
    }

    /// The snapshot, when this host has it already. Where it was said which one of this digest is meant, only under the
    /// name that it is to have.
    fn here(&self, digest: &Sha256Hex, request: &PullRequest) -> Result<Option<Arc<SnapshotRecord>>> {
        let snapshots = self.agent.snapshots();
        let (Some(_), Some(name)) = (&request.peer_snapshot_id, &request.snapshot_id) else {
            return Ok(snapshots.by_digest(digest));
        };
        let named = snapshots.get(&SnapshotName::new(name)?).ok();
        Ok(named.filter(|record| record.digest() == Some(*digest)))
    }

    async fn fetch(&self, peer: &Peer, id: Option<&str>) -> Result<Arc<SnapshotRecord>> {
        let record = peer.manifest().await?;
        let ours = self.agent.backend();
        if record.backend != ours {
            return Err(peer.error(
                ErrorKind::Invalid,
                format!("it is of {}, and this host runs {ours}", record.backend),
            ));
        }
        if record.parent.is_some() {
            let why = "it holds a difference to another snapshot alone; take a full one to move";
            return Err(peer.error(ErrorKind::Unsupported, why.to_owned()));
        }
        let digest = peer.digest.to_string();
        let name = match id {
            Some(id) => SnapshotName::new(id)?,
            None => SnapshotName::new(&format!("art-{}", digest.get(..32).unwrap_or_default()))?,
        };
        // Kept between attempts: a pull that broke off goes on.
        let dir = self.agent.staging().join(format!("pull-{digest}"));
        new_dir(&dir)?;
        for file in &record.files {
            self.fetch_file(peer, &dir, file).await?;
        }
        let (agent, record) = (self.agent.clone(), SnapshotRecord { id: name, deleted: false, ..record });
        blocking("keep a snapshot", move || {
            let staged = agent.snapshots().stage(&record.id)?;
            for file in &record.files {
                let (from, to) = (dir.join(&file.name), staged.path().join(&file.name));
                std::fs::rename(&from, &to).map_err(|error| Error::system("keep", from.display(), error))?;
            }
            let kept = agent.snapshots().commit(staged, record)?;
            let _ = std::fs::remove_dir_all(dir);
            Ok(kept)
        })
        .await
    }

    /// Gets one file whole and checked, from what is here or from the peer.
    async fn fetch_file(&self, peer: &Peer, dir: &Path, file: &FileRecord) -> Result<()> {
        let path = dir.join(&file.name);
        if let Some(same) = self.same_file(file) {
            let target = path.clone();
            return blocking("share a file", move || {
                let _ = std::fs::remove_file(&target);
                share_file(&same, &target)
            })
            .await;
        }
        // The second time from the beginning: what an attempt before left may be what is wrong.
        for attempt in 0..2 {
            peer.download(file, &path).await?;
            let check = path.clone();
            let (size, found) = blocking("check a file", move || digest_file(&check)).await?;
            if size == file.size && found == file.sha256 {
                return Ok(());
            }
            std::fs::remove_file(&path).map_err(|error| Error::system("remove", path.display(), error))?;
            if attempt == 1 {
                let why =
                    format!("{}: its {size} bytes have the SHA-256 {found}, not {}", file.name, file.sha256);
                return Err(peer.error(ErrorKind::Corrupt, why));
            }
        }
        Ok(())
    }

    /// A file with these bytes that this host has already.
    fn same_file(&self, file: &FileRecord) -> Option<PathBuf> {
        let images = self.agent.images();
        for image in images.list().unwrap_or_default() {
            let parts = [Some(&image.kernel), image.initrd.as_ref(), image.rootfs.as_ref()];
            if let Some(same) = parts.into_iter().flatten().find(|part| part.sha256 == file.sha256) {
                // Checked on the way: `open` refuses damaged images.
                images.open(&image.name).ok()?;
                return Some(images.dir(&image.name).join(&same.name));
            }
        }
        None
    }
}

impl Peer {
    fn new(request: &PullRequest, digest: Sha256Hex) -> Result<Self> {
        let bad = |why: String| Error::invalid("pull from", format!("{:?}", request.peer_url), why);
        let base = Url::parse(&request.peer_url).map_err(|error| bad(error.to_string()))?;
        if !matches!(base.scheme(), "http" | "https") || base.host_str().is_none() {
            return Err(bad("it is no http or https URL".to_owned()));
        }
        let tls = peer_tls(&base, request.peer_certificate_sha256).map_err(bad)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .read_timeout(SILENCE)
            .no_proxy()
            .build()
            .map_err(|error| bad(error.to_string()))?;
        Ok(Self {
            http,
            base,
            grant: request.grant.clone(),
            digest,
            snapshot: request.peer_snapshot_id.clone(),
        })
    }

    fn error(&self, kind: ErrorKind, why: String) -> Error {
        Error::new(kind, "pull", format!("artifact {} from {}", self.digest, self.base), why)
    }

    async fn get(&self, tail: &[&str], from: u64) -> Result<reqwest::Response> {
        let lost = |error: reqwest::Error| self.error(ErrorKind::System, error.without_url().to_string());
        let mut url = self.base.clone();
        let digest = self.digest.to_string();
        url.path_segments_mut()
            .map_err(|()| self.error(ErrorKind::Invalid, "it is no http or https URL".to_owned()))?
            .pop_if_empty()
            .extend(["v1", "artifacts", &digest])
            .extend(tail);
        if let Some(snapshot) = &self.snapshot {
            url.query_pairs_mut().append_pair("snapshot", snapshot);
        }
        let mut request = self.http.get(url).header(GRANT_HEADER, &self.grant);
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status();
        let wanted = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
        if status == wanted {
            return Ok(response);
        }
        let kind = if status == StatusCode::NOT_FOUND { ErrorKind::NotFound } else { ErrorKind::System };
        Err(self.error(kind, format!("{}: the peer answers {status}", tail.join("/"))))
    }

    async fn manifest(&self) -> Result<SnapshotRecord> {
        let mut response = self.get(&["manifest"], 0).await?;
        let mut bytes = Vec::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| self.error(ErrorKind::System, error.without_url().to_string()))?
        {
            bytes.extend_from_slice(&piece);
            if bytes.len() > MANIFEST_MOST {
                return Err(self.error(ErrorKind::TooLarge, "the manifest is too long".to_owned()));
            }
        }
        let record: SnapshotRecord = serde_json::from_slice(&bytes)
            .map_err(|_| self.error(ErrorKind::Invalid, "the manifest is not one".to_owned()))?;
        let mut names = BTreeSet::new();
        for file in &record.files {
            crate::store::check_component(&file.name)?;
            if !names.insert(&file.name) || file.size > FILE_MOST || file.name.ends_with(".json") {
                return Err(
                    self.error(ErrorKind::Invalid, format!("the manifest names {:?} wrongly", file.name))
                );
            }
        }
        if record.files.len() > FILES_MOST || record.digest() != Some(self.digest) {
            return Err(self.error(ErrorKind::Invalid, "the manifest is of something else".to_owned()));
        }
        Ok(record)
    }

    /// Downloads a file, from where what is there of it ends.
    async fn download(&self, file: &FileRecord, path: &Path) -> Result<()> {
        let fail = |error: std::io::Error| Error::system("write", path.display(), error);
        let mut options = tokio::fs::OpenOptions::new();
        let mut target = options.create(true).append(true).open(path).await.map_err(fail)?;
        let mut have = target.metadata().await.map_err(fail)?.len();
        if have >= file.size {
            return Ok(());
        }
        let mut response = self.get(&["files", &file.name], have).await?;
        loop {
            let piece = response.chunk().await;
            let piece =
                piece.map_err(|error| self.error(ErrorKind::System, error.without_url().to_string()))?;
            let Some(piece) = piece else { break };
            have += piece.len() as u64;
            if have > file.size {
                let why = format!("{}: the peer sends more than its {} bytes", file.name, file.size);
                return Err(self.error(ErrorKind::Corrupt, why));
            }
            target.write_all(&piece).await.map_err(fail)?;
        }
        target.sync_all().await.map_err(fail)
    }
}
