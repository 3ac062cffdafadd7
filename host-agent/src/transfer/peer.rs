//! The other host.

use std::{collections::BTreeSet, path::Path, time::Duration};

use fuse_orchestrator::provider::{agent_api::Pull, remote::peer_tls};
use reqwest::{StatusCode, Url, header, redirect};
use tokio::io::AsyncWriteExt;

use super::GRANT_HEADER;
use crate::{
    Error, ErrorKind, Result,
    driver::firecracker::MEMORY,
    store::{Sha256Hex, SnapshotRecord},
};

/// The header that names the digest of the bytes of an answer.
pub const DIGEST_HEADER: &str = "x-fuse-artifact-digest";
/// The most bytes of a manifest.
const MANIFEST_MOST: usize = 1024 * 1024;
/// The most bytes of the manifests of a chain.
const CHAIN_MOST: usize = 4 * 1024 * 1024;
/// The most snapshots of a chain.
const LAYERS_MOST: usize = 256;
/// The most files of a snapshot.
const FILES_MOST: usize = 16;
/// The most bytes of one file of a snapshot: 64 GiB.
const FILE_MOST: u64 = 64 << 30;
/// How long a peer may send nothing.
const SILENCE: Duration = Duration::from_secs(60);

/// A host that has a snapshot.
pub(super) struct Peer {
    http: reqwest::Client,
    base: Url,
    grant: String,
    pub(super) digest: Sha256Hex,
    /// Its name of the snapshot, where that was told.
    snapshot: Option<String>,
    /// The snapshot builds on no other, so the peer may be one that knows of no chains.
    pub(super) is_single: bool,
}

impl Peer {
    pub(super) fn new(request: &Pull, digest: Sha256Hex) -> Result<Self> {
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
            is_single: true,
        })
    }

    pub(super) fn error(&self, kind: ErrorKind, why: String) -> Error {
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

    /// A short answer, whole.
    async fn text(&self, tail: &[&str], most: usize) -> Result<Vec<u8>> {
        let mut response = self.get(tail, 0).await?;
        let mut bytes = Vec::new();
        let lost = |error: reqwest::Error| self.error(ErrorKind::System, error.without_url().to_string());
        while let Some(piece) = response.chunk().await.map_err(lost)? {
            bytes.extend_from_slice(&piece);
            if bytes.len() > most {
                return Err(self.error(ErrorKind::TooLarge, format!("the {} is too long", tail.join("/"))));
            }
        }
        Ok(bytes)
    }

    /// The records of the snapshot and of those that it builds on, the one that builds on none first.
    pub(super) async fn chain(&mut self) -> Result<Vec<SnapshotRecord>> {
        let unreadable = |_| self.error(ErrorKind::Invalid, "the manifest is not one".to_owned());
        let bytes = self.text(&["manifest"], MANIFEST_MOST).await?;
        let last: SnapshotRecord = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let chain = if last.parent.is_none() {
            vec![last]
        } else {
            let bytes = self.text(&["chain"], CHAIN_MOST).await?;
            let chain: Vec<SnapshotRecord> = serde_json::from_slice(&bytes).map_err(unreadable)?;
            if chain.last() != Some(&last) {
                return Err(self.error(ErrorKind::Invalid, "the chain is of something else".to_owned()));
            }
            chain
        };
        self.is_single = chain.len() == 1;
        self.check(&chain)?;
        Ok(chain)
    }

    /// Refuses records that name files wrongly, that do not build on each other, or that are of something else.
    fn check(&self, chain: &[SnapshotRecord]) -> Result<()> {
        let refuse = |why: String| Err(self.error(ErrorKind::Invalid, why));
        if chain.len() > LAYERS_MOST || chain.last().and_then(SnapshotRecord::digest) != Some(self.digest) {
            return refuse("the manifest is of something else".to_owned());
        }
        let mut before = None;
        for record in chain {
            if record.parent.as_ref() != before || record.files.len() > FILES_MOST {
                return refuse(format!("the manifest of {} is not that of a part of the chain", record.id));
            }
            if record.parent.is_some() && record.ranges_of(MEMORY).is_none() {
                let why = "it holds a difference that does not say which ranges it has; take another snapshot to move";
                return Err(self.error(ErrorKind::Unsupported, why.to_owned()));
            }
            let mut names = BTreeSet::new();
            for file in &record.files {
                crate::store::check_component(&file.name)?;
                let reserved = file.name.ends_with(".json") || file.name.ends_with(".packed");
                if !names.insert(&file.name) || file.size > FILE_MOST || reserved {
                    return refuse(format!("the manifest names {:?} wrongly", file.name));
                }
            }
            before = Some(&record.id);
        }
        Ok(())
    }

    /// Downloads `size` bytes, from where what is there of them ends.
    pub(super) async fn download(&self, tail: &[&str], size: u64, path: &Path) -> Result<()> {
        let fail = |error: std::io::Error| Error::system("write", path.display(), error);
        let mut options = tokio::fs::OpenOptions::new();
        let mut target = options.create(true).append(true).open(path).await.map_err(fail)?;
        let mut have = target.metadata().await.map_err(fail)?.len();
        if have >= size {
            return Ok(());
        }
        let mut response = self.get(tail, have).await?;
        loop {
            let piece = response.chunk().await;
            let piece =
                piece.map_err(|error| self.error(ErrorKind::System, error.without_url().to_string()))?;
            let Some(piece) = piece else { break };
            have += piece.len() as u64;
            if have > size {
                let why = format!("{}: the peer sends more than its {size} bytes", tail.join("/"));
                return Err(self.error(ErrorKind::Corrupt, why));
            }
            target.write_all(&piece).await.map_err(fail)?;
        }
        target.sync_all().await.map_err(fail)
    }
}
