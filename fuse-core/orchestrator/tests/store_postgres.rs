//! What only the shared store has: several processes, a server that restarts, TLS, rights, foreign hands in its
//! tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]
mod backends;

use backends::server::{self, Server};
use fuse_orchestrator::store::*;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinSet;

fn put(id: &str) -> Batch {
    Batch::new().put(Kind::Environment, id, Expect::Absent, "{}").event(NewEvent {
        kind: Kind::Environment,
        id: id.into(),
        at_ms: 1,
        body: "{}".into(),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_orchestrators_share_one_order() {
    let Some(server) = server::shared() else { return };
    let url = server.database().1;
    // All open at once: migrations run once.
    let (one, two, three) =
        tokio::join!(PostgresStore::open(&url), PostgresStore::open(&url), PostgresStore::open(&url));
    let stores = [one.unwrap(), two.unwrap(), three.unwrap()].map(SharedStore::from_store);
    let mut tasks = JoinSet::new();
    for task in 0..12 {
        let store = stores[task % 3].clone();
        tasks.spawn(async move {
            let mut revisions = Vec::new();
            for n in 0..25 {
                revisions.push(store.commit(put(&format!("{task}-{n}"))).await.unwrap().revision);
            }
            revisions
        });
    }
    let mut revisions: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (1..=300).collect::<Vec<u64>>());
    // Each hears of the others' events.
    for store in &stores {
        let mut hint = store.event_hint();
        let heard = tokio::time::timeout(Duration::from_secs(60), hint.wait_for(|last| *last == 300)).await;
        heard.expect("the notification arrives").unwrap();
    }
    // The claim of a task id has one winner.
    let claims = stores.each_ref().map(|store| {
        let store = store.clone();
        tokio::spawn(async move { store.commit(Batch::new().put(Kind::Task, "t", Expect::Absent, "")).await })
    });
    let mut won = 0;
    for claim in claims {
        match claim.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert!(error.is_conflict(), "{error}"),
        }
    }
    assert_eq!(won, 1);
    let leader = stores[0].acquire_lease("leader", "a", Duration::from_secs(600)).await.unwrap();
    assert!(matches!(
        stores[1].acquire_lease("leader", "b", Duration::from_secs(600)).await,
        Err(StoreError::LeaseHeld { .. })
    ));
    stores[2].commit(Batch::new().put(Kind::Host, "h", Expect::Absent, "").fenced_by(&leader)).await.unwrap();
}

trait FromStore {
    fn from_store(store: PostgresStore) -> SharedStore;
}

impl FromStore for SharedStore {
    fn from_store(store: PostgresStore) -> SharedStore {
        std::sync::Arc::new(store)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_database_is_waited_for() {
    let Some(server) = Server::start(&[]) else { return };
    let url = server.database().1;
    let store = std::sync::Arc::new(PostgresStore::open(&url).await.unwrap());
    store.commit(put("before")).await.unwrap();
    tokio::task::block_in_place(|| server.crash());
    let unreachable = store.get(Kind::Environment, "before").await.unwrap_err();
    assert!(unreachable.is_retryable(), "{unreachable:?}");
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { store.commit(put("during")).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "a commit waits while the database is away");
    tokio::task::block_in_place(|| server.resume());
    waiting.await.unwrap().unwrap();
    for id in ["before", "during"] {
        assert!(store.get(Kind::Environment, id).await.unwrap().is_some(), "{id}");
    }
    // Notifications come again too.
    let other = PostgresStore::open(&url).await.unwrap();
    let last = other.commit(put("after")).await.unwrap().events.start;
    let mut hint = store.event_hint();
    tokio::time::timeout(Duration::from_secs(60), hint.wait_for(|seen| *seen >= last))
        .await
        .unwrap()
        .unwrap();
    verify(&*store).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_has_an_end() {
    let Some(server) = Server::start(&[]) else { return };
    let url = server.database().1;
    let options = PostgresOptions { retry_for: Duration::from_millis(500), ..PostgresOptions::default() };
    let store = PostgresStore::open_with(&url, options).await.unwrap();
    tokio::task::block_in_place(|| server.crash());
    let error = store.commit(put("a")).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { doing: "commit", .. }), "{error:?}");
    assert!(error.to_string().contains(store.describe()), "{error}");
}

/// A transaction that the server breaks off is run again, and its commits count once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_transactions_are_run_again() {
    let Some(server) = server::shared() else { return };
    let (database, url) = server.database();
    let store = std::sync::Arc::new(PostgresStore::open(&url).await.unwrap());
    // Every third group of commits ends in a serialization failure, as a busy server may decide.
    server.sql(
        &database,
        "CREATE SEQUENCE tries; \
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('tries') % 3 = 0 THEN RAISE EXCEPTION 'not today' USING ERRCODE = '40001'; END IF; \
             RETURN NEW; END $$; \
         CREATE TRIGGER fail BEFORE UPDATE ON fuse_head FOR EACH ROW EXECUTE FUNCTION fail();",
    );
    for n in 0..20 {
        assert_eq!(store.commit(put(&n.to_string())).await.unwrap().revision, n + 1);
    }
    // Sessions that an administrator ends are the other everyday case.
    let mut tasks = JoinSet::new();
    for n in 0..40 {
        let store = store.clone();
        tasks.spawn(async move { store.commit(put(&format!("k{n}"))).await });
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        if n % 10 == 5 {
            tokio::task::block_in_place(|| server.sql(&database, end));
        }
    }
    for result in tasks.join_all().await {
        result.unwrap();
    }
    let position = verify(&*store).await.unwrap();
    assert_eq!((position.records, position.last_event, position.revision), (60, 60, 60));
}

/// Whatever changes the tables behind Fuse's back is noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_changes_are_said() {
    let Some(server) = server::shared() else { return };
    for (change, seen_by_get) in [
        ("UPDATE fuse_records SET body = 'x' WHERE id = '3'", true),
        ("UPDATE fuse_records SET revision = revision + 1 WHERE id = '3'", true),
        ("DELETE FROM fuse_records WHERE id = '3'", false),
        ("UPDATE fuse_events SET body = 'x' WHERE seq = 3", false),
        ("DELETE FROM fuse_events WHERE seq = 3", false),
        ("UPDATE fuse_head SET records = records + 1", false),
    ] {
        let (database, url) = server.database();
        let store = PostgresStore::open(&url).await.unwrap();
        for n in 0..5 {
            store.commit(put(&n.to_string())).await.unwrap();
        }
        verify(&store).await.unwrap();
        tokio::task::block_in_place(|| server.sql(&database, change));
        let error = verify(&store).await.expect_err(change);
        assert!(matches!(error, StoreError::Corrupt { .. }), "{change}: {error:?}");
        assert_eq!(store.get(Kind::Environment, "3").await.is_err(), seen_by_get, "{change}");
        if change.contains("fuse_events") {
            let events = store.events(EventQuery::all(0, 10)).await;
            assert!(matches!(events, Err(StoreError::Corrupt { .. })), "{change}: {events:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_opened_says_why() {
    let Some(server) = server::shared() else { return };
    let open = async |url: &str| PostgresStore::open(url).await.map(drop).unwrap_err().to_string();
    let error = open(&server.url("nowhere")).await;
    assert!(error.contains("does not exist") && error.contains("createdb"), "{error}");
    let error = open("postgres://u:hunter22@127.0.0.1:1/d").await;
    assert!(error.contains("postgres at 127.0.0.1:1/d") && !error.contains("hunter22"), "{error}");
    let (database, url) = server.database();
    server.sql(&database, "CREATE ROLE guest LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC;");
    let error = open(&url.replace("fuse@", "guest@")).await;
    assert!(error.contains("right to create"), "{error}");
    // Tables of a newer version.
    let (database, url) = server.database();
    PostgresStore::open(&url).await.unwrap();
    server.sql(
        &database,
        "INSERT INTO fuse_migrations (version, name, applied_on, checksum) VALUES (999, 'later', '2026-01-01T00:00:00Z', '1')",
    );
    let error = open(&url).await;
    assert!(error.contains("another version"), "{error}");
    // A kind that this version does not know.
    let (database, url) = server.database();
    PostgresStore::open(&url).await.unwrap();
    server.sql(&database, "INSERT INTO fuse_records VALUES ('planet', 'x', 1, '', '')");
    let error = open(&url).await;
    assert!(error.contains("unknown kind \"planet\""), "{error}");
    let error =
        PostgresStore::open_with(&url, PostgresOptions { connections: 1, ..PostgresOptions::default() })
            .await;
    assert!(error.unwrap_err().to_string().contains("2 to 1000"));
}

/// A certificate authority and a certificate of it for `name`, in `dir`.
fn certificates(dir: &Path, name: &str) {
    let mut authority = CertificateParams::new(vec![]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
    fs::write(dir.join("server.pem"), certificate.pem()).unwrap();
    fs::write(dir.join("server.key"), key.serialize_pem()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sslmode_means_what_it_says() {
    let dir = tempfile::tempdir().unwrap();
    // The server runs as somebody else.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    certificates(dir.path(), "localhost");
    let other = tempfile::tempdir().unwrap();
    certificates(other.path(), "localhost");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let Some(server) = Server::start(&[]) else { return };
    let url = server.database().1;
    let with = |query: &str| format!("{url}?{query}");
    let ca = |dir: &Path| dir.join("ca.pem").display().to_string();
    let encrypted = async |query: &str| {
        let store = PostgresStore::open(&with(query)).await?;
        store.position().await?;
        let question = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                        WHERE application_name = 'fuse'";
        Ok::<_, StoreError>(tokio::task::block_in_place(|| server.sql("postgres", question)) == "t")
    };
    // Without TLS on the server: what does not insist goes on without, what insists fails.
    assert_eq!(encrypted("sslmode=disable").await, Ok(false));
    assert_eq!(encrypted("sslmode=prefer").await, Ok(false));
    assert!(encrypted("sslmode=require").await.is_err());
    // With TLS, for the name localhost.
    server.give_certificate(&path("server.pem"), &path("server.key"));
    assert_eq!(encrypted("sslmode=disable").await, Ok(false));
    assert_eq!(encrypted("sslmode=prefer").await, Ok(true));
    assert_eq!(encrypted("sslmode=require").await, Ok(true));
    let (good, bad) = (ca(dir.path()), ca(other.path()));
    assert_eq!(encrypted(&format!("sslmode=require&sslrootcert={good}")).await, Ok(true));
    assert!(encrypted(&format!("sslmode=require&sslrootcert={bad}")).await.is_err());
    // The address is 127.0.0.1 and the certificate is for localhost.
    let wrong_name = encrypted(&format!("sslmode=verify-full&sslrootcert={good}")).await.unwrap_err();
    assert!(wrong_name.to_string().contains("name"), "{wrong_name}");
    let by_name = url.replace("127.0.0.1", "localhost");
    let verified = async |ca: &str| {
        PostgresStore::open(&format!("{by_name}?sslmode=verify-full&sslrootcert={ca}")).await.map(drop)
    };
    assert_eq!(verified(&good).await, Ok(()));
    assert!(verified(&bad).await.is_err());
    let missing = verified("/nowhere.pem").await.unwrap_err();
    assert!(
        missing.to_string().contains("/nowhere.pem") && missing.to_string().contains("sslrootcert"),
        "{missing}"
    );
}
