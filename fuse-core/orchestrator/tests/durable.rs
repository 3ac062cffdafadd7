//! A control plane on the stores that last: its whole life, a restart, and two that want the same store.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod backends;
mod common;

use std::{os::unix::fs::PermissionsExt, sync::Arc, time::Duration};

use backends::{Backend, Postgres, Sled};
use common::{SOON, host, request};
use fuse_orchestrator::{
    Config, ControlPlane, Delivery, Error, HostRegistration,
    model::{EnvironmentId, EnvironmentState, EventKind, Observed, SnapshotRequest},
    provider::stub::StubConnector,
    secrets::{ExposeSecret, KeyRing},
    store::{SharedStore, StoreError, verify},
};

fn config() -> Config {
    let mut config = Config { reconcile_period: None, lease: Duration::from_secs(1), ..Config::default() };
    config.limits.sighting_gap = Duration::ZERO;
    config
}

struct World {
    keys: Arc<KeyRing>,
    stub: Arc<StubConnector>,
}

impl World {
    fn new() -> Self {
        Self { keys: Arc::new(KeyRing::generate().unwrap()), stub: Arc::default() }
    }

    async fn try_open(&self, store: SharedStore, instance: &str) -> Result<ControlPlane, Error> {
        let config = Config { instance: instance.to_owned(), ..config() };
        let stub = HostRegistration { url: "stub://h1".into(), ..HostRegistration::default() };
        ControlPlane::builder()
            .config(config)
            .store(store)
            .secrets(self.keys.clone())
            .connector("stub", self.stub.clone())
            .default_host(stub)
            .open()
            .await
    }

    async fn open(&self, store: SharedStore) -> ControlPlane {
        self.try_open(store, "local").await.unwrap()
    }
}

async fn running(fuse: &ControlPlane, task: &str) -> EnvironmentId {
    let id = fuse.provision(request(task)).await.unwrap().id.clone();
    fuse.wait_running(&id, SOON).await.unwrap();
    id
}

async fn whole_life(backend: &impl Backend) {
    let world = World::new();
    let fuse = world.open(backend.open().await).await;
    let mut wanted = request("t1");
    wanted.secrets.insert("password".into(), "correct horse battery".into());
    wanted.startup_script = "cat /fuse/secrets.json".into();
    let id = fuse.provision(wanted).await.unwrap().id.clone();
    fuse.wait_running(&id, SOON).await.unwrap();
    let snapshot = fuse.create_snapshot(&id, SnapshotRequest::default()).await.unwrap();
    let token = fuse.credentials(&id).await.unwrap().token().expose_secret().to_owned();
    let ended = running(&fuse, "t2").await;
    fuse.destroy(&ended).await.unwrap();
    fuse.cordon(&host("default")).await.unwrap();
    let (events, url) = (fuse.newest_event(), fuse.get(&id).unwrap().url.clone());
    fuse.close().await.unwrap();
    // The store is let go with its last user.
    drop(fuse);

    let store = backend.open().await;
    verify(&*store).await.unwrap();
    let fuse = world.open(store).await;
    let back = fuse.get(&id).unwrap();
    assert_eq!((back.state, back.observed, &back.url), (EnvironmentState::Running, Observed::Unknown, &url));
    assert_eq!(fuse.credentials(&id).await.unwrap().token().expose_secret(), token);
    assert_eq!(fuse.get(&ended).unwrap().state, EnvironmentState::Destroyed);
    assert_eq!(fuse.snapshot(&snapshot.id).unwrap().artifact, snapshot.artifact);
    fuse.reconcile().await.unwrap();
    assert_eq!(fuse.get(&id).unwrap().observed, Observed::Present);
    // The log of events goes on where it was, and is replayed whole.
    let (mut all, mut seen) = (fuse.events(0), Vec::new());
    while let Some(Delivery::Event(event)) = all.try_next().await.unwrap() {
        seen.push(event.event);
    }
    assert_eq!(seen.len() as u64, events);
    assert_eq!(seen.last(), Some(&EventKind::HostCordoned));
    let log = fuse.logs(&id, fuse_orchestrator::provider::LogSource::Startup).await.unwrap();
    assert!(log.contains("[REDACTED]") && !log.contains("horse"), "{log}");
    fuse.restore_snapshot(&snapshot.id).await.unwrap();
    fuse.destroy(&id).await.unwrap();
    fuse.delete_snapshot(&snapshot.id).await.unwrap();
    assert_eq!((world.stub.host("h1").vms().len(), world.stub.host("h1").snapshot_count()), (0, 0));
    fuse.close().await.unwrap();
}

#[tokio::test]
async fn a_whole_life_on_sled() {
    whole_life(&Sled::new()).await;
}

#[tokio::test]
async fn a_whole_life_on_postgres() {
    let Some(backend) = Postgres::new() else { return };
    whole_life(&backend).await;
}

#[tokio::test]
async fn a_directory_is_all_that_the_embedded_default_needs() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("fuse");
    std::fs::create_dir(&place).unwrap();
    let fuse = ControlPlane::open(&place).await.unwrap();
    let id = running(&fuse, "t1").await;
    let token = fuse.credentials(&id).await.unwrap().token().expose_secret().to_owned();
    let owner = fuse.owner().clone();
    let mode = std::fs::metadata(place.join("key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = ControlPlane::open(&place).await.unwrap_err();
    assert!(matches!(error, Error::Store(_)), "one process at a time: {error}");
    fuse.close().await.unwrap();
    drop(fuse);
    let fuse = ControlPlane::open(&place).await.unwrap();
    assert_eq!(fuse.owner(), &owner);
    assert_eq!(fuse.get(&id).unwrap().state, EnvironmentState::Running);
    assert_eq!(fuse.credentials(&id).await.unwrap().token().expose_secret(), token);
    fuse.close().await.unwrap();
    drop(fuse);
    // Without its key the state is not opened under another one.
    std::fs::remove_file(place.join("key")).unwrap();
    let fuse = ControlPlane::open(&place).await.unwrap();
    assert!(fuse.credentials(&id).await.is_err());
    fuse.close().await.unwrap();
}

/// Two control planes want the same database: one acts; when it hangs the other takes over, and the late writes of the
/// one that hung are refused.
#[test]
fn one_control_plane_at_a_time_acts_on_a_database() {
    let Some(backend) = Postgres::new() else { return };
    let world = World::new();
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Nothing of the first one runs while nobody waits for its runtime: that is how it hangs.
    let (hangs, acts) = (runtime(), runtime());
    let (first, id) = hangs.block_on(async {
        let first = world.try_open(backend.open().await, "one").await.unwrap();
        let error = world.try_open(backend.open().await, "two").await.unwrap_err();
        assert!(matches!(&error, Error::Store(StoreError::LeaseHeld { .. })), "{error}");
        let id = running(&first, "t1").await;
        (first, id)
    });
    let second = acts.block_on(async {
        let second = world.try_open(backend.open().await, "two").await.unwrap();
        assert_eq!(second.get(&id).unwrap().state, EnvironmentState::Running);
        second
    });
    hangs.block_on(async {
        let error = first.provision(request("late")).await.unwrap_err();
        assert!(matches!(error, Error::Closed { .. }), "{error}");
        assert!(matches!(first.destroy(&id).await, Err(Error::Closed { .. })));
    });
    acts.block_on(async {
        second.destroy(&id).await.unwrap();
        second.close().await.unwrap();
    });
}
