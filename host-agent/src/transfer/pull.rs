//! Fetching a snapshot from another host.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fuse_orchestrator::{
    model::Timestamp,
    provider::agent_api::{Pull, Pulled},
};

use super::{partial::Partial, peer::Peer};
use crate::{
    Error, ErrorKind, Result,
    agent::HostAgent,
    store::{FileRecord, Sha256Hex, SnapshotName, SnapshotRecord, digest_file},
    system::{Extents, blocking, share_file},
};

/// How long a whole pull may take.
const LONGEST: Duration = Duration::from_secs(1800);

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
    pub async fn pull(&self, digest: Sha256Hex, request: Pull) -> Result<Pulled> {
        let fail = |kind: ErrorKind, why: String| Error::new(kind, "pull", format!("artifact {digest}"), why);
        let new = self.under_way.lock().unwrap_or_else(PoisonError::into_inner).insert(digest);
        if !new {
            return Err(fail(ErrorKind::Busy, "it is being pulled already".to_owned()));
        }
        let turn = Turn(self, digest);
        let record = match self.here(&digest, &request)? {
            Some(here) => here,
            None => {
                let mut peer = Peer::new(&request, digest)?;
                let work = self.fetch(&mut peer, request.snapshot_id.as_deref());
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
    fn here(&self, digest: &Sha256Hex, request: &Pull) -> Result<Option<Arc<SnapshotRecord>>> {
        let snapshots = self.agent.snapshots();
        let (Some(_), Some(name)) = (&request.peer_snapshot_id, &request.snapshot_id) else {
            return Ok(snapshots.by_digest(digest));
        };
        let named = snapshots.get(&SnapshotName::new(name)?).ok();
        Ok(named.filter(|record| record.digest() == Some(*digest)))
    }

    async fn fetch(&self, peer: &mut Peer, id: Option<&str>) -> Result<Arc<SnapshotRecord>> {
        let chain = peer.chain().await?;
        let runs = |record: &SnapshotRecord| record.runs_on(self.agent.backend());
        if let Some(why) = chain.iter().find_map(|record| runs(record).err()) {
            return Err(peer.error(ErrorKind::Invalid, why));
        }
        let name = match id {
            Some(id) => SnapshotName::new(id)?,
            None => art_name(&peer.digest)?,
        };
        let (pulls, digest, all) = (self.agent.pulls(), peer.digest, chain.clone());
        let partial = blocking("take up a pull", move || Partial::open(&pulls, &digest, &all)).await?;
        let here = self.known(&chain);
        for (index, record) in chain.iter().enumerate().skip(here.len()) {
            let partial = partial.clone();
            let dir = blocking("take up a pull", move || partial.layer(index)).await?;
            // What says which ranges there are comes before what has them.
            let mut files: Vec<&FileRecord> = record.files.iter().collect();
            files.sort_by_key(|file| record.ranges_of(&file.name).is_some());
            for file in files {
                self.fetch_file(peer, &Layer { dir: &dir, index, record }, file).await?;
            }
        }
        let agent = self.agent.clone();
        blocking("keep a snapshot", move || keep(&agent, partial, chain, here, name)).await
    }

    /// Of a chain, the ones that are here already, under the names that they have here.
    fn known(&self, chain: &[SnapshotRecord]) -> Vec<SnapshotName> {
        let mut here = Vec::new();
        // The last one is asked for by its own name.
        for record in chain.iter().take(chain.len().saturating_sub(1)) {
            match self.agent.snapshots().same(record, here.last()) {
                Some(same) => here.push(same.id.clone()),
                None => break,
            }
        }
        here
    }

    /// Gets one file whole and checked, from what is here or from the peer.
    async fn fetch_file(&self, peer: &Peer, layer: &Layer<'_>, file: &FileRecord) -> Result<()> {
        let path = layer.dir.join(&file.name);
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
            layer.download(peer, file).await?;
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

/// One snapshot of a chain that is being fetched.
struct Layer<'a> {
    dir: &'a Path,
    index: usize,
    record: &'a SnapshotRecord,
}

impl Layer<'_> {
    /// Downloads a file; of a difference only the ranges that it has.
    async fn download(&self, peer: &Peer, file: &FileRecord) -> Result<()> {
        let path = self.dir.join(&file.name);
        let index = self.index.to_string();
        let Some(map) = self.record.ranges_of(&file.name) else {
            let tail = ["chain", &index, "files", &file.name];
            let tail = if peer.is_single { &tail[2..] } else { &tail[..] };
            return peer.download(tail, file.size, &path).await;
        };
        if path.exists() {
            return Ok(());
        }
        let packed = self.dir.join(format!("{}.packed", file.name));
        let (map, size) = (self.dir.join(&map.name), file.size);
        let ranges = blocking("read ranges", move || Extents::read(&map, size)).await?;
        peer.download(&["chain", &index, "packed", &file.name], ranges.total(), &packed).await?;
        blocking("unpack", move || {
            ranges.unpack(&packed, &path, size)?;
            std::fs::remove_file(&packed).map_err(|error| Error::system("remove", packed.display(), error))
        })
        .await
    }
}

/// Keeps a chain whose files are all there and checked, the first one first. What the last one builds on is kept for it
/// alone: it goes when the last one does.
fn keep(
    agent: &HostAgent,
    partial: Partial,
    chain: Vec<SnapshotRecord>,
    here: Vec<SnapshotName>,
    name: SnapshotName,
) -> Result<Arc<SnapshotRecord>> {
    let (fetched, last) = (here.len(), chain.len().saturating_sub(1));
    let mut parent = here.last().cloned();
    let mut kept = None;
    for (index, record) in chain.into_iter().enumerate().skip(fetched) {
        let id = if index == last { name.clone() } else { layer_name(&record, parent.as_ref())? };
        let record = SnapshotRecord { id, parent: parent.take(), deleted: index != last, ..record };
        let staged = agent.snapshots().stage(&record.id)?;
        let dir = partial.layer(index)?;
        for file in &record.files {
            let (from, to) = (dir.join(&file.name), staged.path().join(&file.name));
            std::fs::rename(&from, &to).map_err(|error| Error::system("keep", from.display(), error))?;
        }
        let record = agent.snapshots().commit(staged, record)?;
        parent = Some(record.id.clone());
        kept = Some(record);
    }
    partial.done();
    kept.ok_or_else(|| Error::invalid("keep", format!("snapshot {name}"), "its chain is empty"))
}

/// What a snapshot is called that was asked for by its digest alone.
fn art_name(digest: &Sha256Hex) -> Result<SnapshotName> {
    SnapshotName::new(&format!("art-{}", digest.to_string().get(..32).unwrap_or_default()))
}

/// What a snapshot is called that another builds on: made of its files and of what it builds on itself.
fn layer_name(record: &SnapshotRecord, parent: Option<&SnapshotName>) -> Result<SnapshotName> {
    let digests: Vec<String> =
        record.files.iter().map(|file| format!("{}={}", file.name, file.sha256)).collect();
    let text = format!("{} on {}", digests.join(" "), parent.map(ToString::to_string).unwrap_or_default());
    art_name(&Sha256Hex::of(text.as_bytes()))
}
