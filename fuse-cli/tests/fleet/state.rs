//! The state of a control plane that is stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fuse_orchestrator::model::{Capacity, ProvisionRequest, TaskId};
use fuse_orchestrator::provider::stub::{StubConnector, StubHost};
use fuse_orchestrator::secrets::KeyRing;
use fuse_orchestrator::store::{Kind, SledStore, Store};
use fuse_orchestrator::{ControlPlane, HostRegistration};

use crate::site::{Done, bare};

async fn open(dir: &Path) -> ControlPlane {
    let store = Arc::new(SledStore::open(dir.join("state")).await.unwrap());
    let keys = Arc::new(KeyRing::load_or_create(&dir.join("key")).unwrap());
    let stub = Arc::new(StubConnector::new());
    stub.add(StubHost::new("h1", Capacity { cpus: 4, ram_mb: 4096, storage_gb: 40, vm_count: 4 }));
    let host = HostRegistration { url: "stub://h1".to_owned(), ..HostRegistration::default() };
    let builder = ControlPlane::builder().store(store).secrets(keys).connector("stub", stub);
    builder.default_host(host).open().await.unwrap()
}

fn fuse(home: &Path, words: &[&str]) -> Done {
    bare(home).args(words).output().unwrap().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_move_to_a_new_key_and_the_old_one_opens_nothing() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("data");
    std::fs::create_dir(&dir).unwrap();
    let plane = open(&dir).await;
    let made = plane.provision(ProvisionRequest::new(TaskId::new("t1").unwrap())).await.unwrap();
    plane.wait_running(&made.id, Duration::from_secs(60)).await.unwrap();

    let words = ["state", "reencrypt", "--new-key", "--data-dir", dir.to_str().unwrap()];
    let old = std::fs::read(dir.join("key")).unwrap();
    // Not under the feet of a control plane that runs.
    assert_ne!(fuse(home.path(), &words).code, Some(0));
    assert_eq!(std::fs::read(dir.join("key")).unwrap(), old);
    plane.close().await.unwrap();
    drop(plane);

    let done = fuse(home.path(), &words).exits(0);
    assert!(done.out.starts_with("sealed anew: 1; "), "{}", done.out);
    let new = std::fs::read(dir.join("key")).unwrap();
    assert_eq!(new.len(), old.len(), "one key");
    assert_ne!(new, old);

    let ring = |text: Vec<u8>| KeyRing::parse("test", &String::from_utf8(text).unwrap().into()).unwrap();
    let store = SledStore::open(dir.join("state")).await.unwrap();
    let sealed = store.get(Kind::Secret, made.vm.as_str()).await.unwrap().unwrap().body;
    assert!(ring(old).open(Kind::Secret, made.vm.as_str(), &sealed).is_err());
    assert!(ring(new).open(Kind::Secret, made.vm.as_str(), &sealed).is_ok());
    store.close().await.unwrap();
    drop(store);

    // The lease was given back, and there is nothing left to do.
    let again =
        fuse(home.path(), &["state", "reencrypt", "--data-dir", dir.to_str().unwrap(), "--json"]).exits(0);
    assert_eq!((again.json()["resealed"].as_u64(), again.json()["current"].as_u64()), (Some(0), Some(1)));
    let plane = open(&dir).await;
    assert_eq!(plane.get(&made.id).unwrap().vm, made.vm);
    plane.close().await.unwrap();
}
