//! Warm starts: VMs of an image that begin with the memory of one that has booted already.

use std::collections::BTreeMap;

use fuse_orchestrator::model::{Resources, VmName};

use super::{
    HostAgent, Inner,
    create::{NewVm, finish},
    snapshot::{Memory, NewSnapshot},
};
use crate::{
    Error, Result,
    store::{ImageName, Sha256Hex, SnapshotName},
    system::{blocking, read_record, write_record},
};

/// The file of the warm starts in the data directory.
const FILE: &str = "warm.json";

impl HostAgent {
    /// Boots an image once and keeps what comes of it, so that from now on VMs of this image and size go on from there
    /// instead of booting. They get their own identity, entropy, clock and address, as every clone does.
    ///
    /// # Errors
    /// As [`HostAgent::create`] and [`HostAgent::snapshot`].
    pub async fn warm_up(&self, image: Option<ImageName>, resources: Resources) -> Result<SnapshotName> {
        let agent = self.clone();
        finish("warm up", async move {
            let mut random = [0; 6];
            getrandom::fill(&mut random).map_err(|error| Error::system("name", "a VM", error))?;
            let name = VmName::new(format!("warm-{}", hex::encode(random)));
            let name = name.map_err(|error| Error::invalid("warm up", "a VM", error))?;
            let new = NewVm { image, resources, ..NewVm::new(name.clone()) };
            let Some(key) = agent.inner.warm_key(&new).await? else {
                return Err(Error::invalid("warm up", "an image", "its VMs begin with a snapshot"));
            };
            agent.create(new).await?;
            let comment = "warm start".to_owned();
            let kept = agent.snapshot(&name, NewSnapshot { comment, memory: Memory::Full }).await;
            agent.destroy(&name).await?;
            let kept = kept?;
            let path = agent.inner.data.part(FILE);
            let id = kept.id.clone();
            blocking("keep a warm start", move || {
                let mut warm: BTreeMap<String, SnapshotName> = read_record(&path)?.unwrap_or_default();
                warm.insert(key, id);
                write_record(&path, &warm)
            })
            .await?;
            Ok(kept.id.clone())
        })
        .await
    }
}

impl Inner {
    /// The snapshot that a VM can go on from instead of booting.
    pub(super) async fn warm_start(&self, new: &NewVm) -> Result<Option<SnapshotName>> {
        let path = self.data.part(FILE);
        let warm = blocking("read the warm starts", move || {
            Ok(read_record::<BTreeMap<String, SnapshotName>>(&path)?.unwrap_or_default())
        });
        let warm = warm.await?;
        if warm.is_empty() {
            return Ok(None);
        }
        let Some(key) = self.warm_key(new).await? else { return Ok(None) };
        Ok(warm.get(&key).filter(|id| self.snapshots.get(id).is_ok()).cloned())
    }

    /// What two VMs must share so that one can go on from the other: the bytes of the image, the size, the VMM.
    async fn warm_key(&self, new: &NewVm) -> Result<Option<String>> {
        if new.seed.is_some() {
            return Ok(None);
        }
        let name = match &new.image {
            Some(name) => name.clone(),
            None => ImageName::new(&self.config.default_image)?,
        };
        let Some(image) = self.images.list()?.into_iter().find(|image| image.name == name) else {
            return Ok(None);
        };
        let or = |asked: u32, standard: u32| if asked == 0 { standard } else { asked };
        let text = serde_json::to_string(&image).unwrap_or_default();
        let Resources { cpus, ram_mb, storage_gb } = new.resources;
        let (cpus, ram_mb) =
            (or(cpus, self.config.default_vcpus), or(ram_mb, self.config.default_memory_mib));
        let (backend, version) = (self.driver.backend(), &self.version);
        let key =
            format!("{text} {cpus} {ram_mb} {storage_gb} {backend} {version} {:?}", self.config.network);
        Ok(Some(Sha256Hex::of(key.as_bytes()).to_string()))
    }
}
