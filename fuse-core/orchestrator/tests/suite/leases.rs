use super::{put, refused};
use crate::backends::Backend;
use fuse_orchestrator::store::*;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(100);

pub async fn one_holder_at_a_time(backend: &impl Backend) {
    let store = backend.open().await;
    let mine = store.acquire_lease("leader", "one", HOUR).await.unwrap();
    assert_eq!((mine.name.as_str(), mine.holder.as_str()), ("leader", "one"));
    let refusal = store.acquire_lease("leader", "two", HOUR).await.unwrap_err();
    let StoreError::LeaseHeld { holder, remaining_ms, .. } = &refusal else { panic!("{refusal:?}") };
    assert_eq!(holder, "one");
    assert!((1..=3_600_000).contains(remaining_ms), "{remaining_ms}");
    assert!(refusal.is_retryable());
    // Another lease is another matter, and tokens rise over all leases and commits.
    let other = store.acquire_lease("other", "two", HOUR).await.unwrap();
    assert!(other.token > mine.token);
    assert!(put(&*store, "a", "").await.revision > other.token);
    let renewed = store.renew_lease(&mine, HOUR * 2).await.unwrap();
    assert_eq!(renewed.token, mine.token);
    assert!(renewed.expires_ms > mine.expires_ms);
    // A restarted holder does not wait for its former self, and its former self is fenced out.
    let again = store.acquire_lease("leader", "one", HOUR).await.unwrap();
    assert!(again.token > mine.token);
    assert!(matches!(store.renew_lease(&mine, HOUR).await, Err(StoreError::StaleFence { .. })));
}

pub async fn an_expired_lease_passes_on(backend: &impl Backend) {
    let store = backend.open().await;
    let first = store.acquire_lease("leader", "one", SHORT).await.unwrap();
    let second = loop {
        match store.acquire_lease("leader", "two", HOUR).await {
            Ok(lease) => break lease,
            Err(StoreError::LeaseHeld { remaining_ms, .. }) => {
                tokio::time::sleep(Duration::from_millis(remaining_ms)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    assert!(second.token > first.token);
    let stale = store.renew_lease(&first, HOUR).await.unwrap_err();
    assert!(stale.to_string().contains("given to `two`"), "{stale}");
}

pub async fn a_stale_token_is_refused(backend: &impl Backend) {
    let store = backend.open().await;
    let put = |lease: &Lease, body| Batch::new().put(Kind::Host, "h", Expect::Any, body).fenced_by(lease);
    let first = store.acquire_lease("leader", "one", SHORT).await.unwrap();
    store.commit(put(&first, "1")).await.unwrap();
    // Expired, but nobody took over: the holder may still write, and may renew.
    tokio::time::sleep(SHORT * 2).await;
    store.commit(put(&first, "2")).await.unwrap();
    store.renew_lease(&first, SHORT).await.unwrap();
    tokio::time::sleep(SHORT * 2).await;
    let second = store.acquire_lease("leader", "two", HOUR).await.unwrap();
    let stale = store.commit(put(&first, "3")).await.unwrap_err();
    assert!(matches!(stale, StoreError::StaleFence { doing: "commit", .. }), "{stale:?}");
    store.commit(put(&second, "4")).await.unwrap();
    assert_eq!(store.get(Kind::Host, "h").await.unwrap().unwrap().body, "4");
    let invented = Lease { token: second.token + 1, ..second.clone() };
    assert!(matches!(store.commit(put(&invented, "5")).await, Err(StoreError::StaleFence { .. })));
    let unknown = Lease { name: "nobody's".into(), ..second };
    assert!(matches!(store.commit(put(&unknown, "6")).await, Err(StoreError::StaleFence { .. })));
}

pub async fn a_released_lease_is_stale(backend: &impl Backend) {
    let store = backend.open().await;
    let lease = store.acquire_lease("leader", "one", HOUR).await.unwrap();
    store.release_lease(&lease).await.unwrap();
    let late = Batch::new().put(Kind::Host, "h", Expect::Any, "").fenced_by(&lease);
    assert!(store.commit(late).await.unwrap_err().to_string().contains("released"));
    assert!(store.release_lease(&lease).await.is_err());
    assert!(store.renew_lease(&lease, HOUR).await.is_err());
    let next = store.acquire_lease("leader", "two", HOUR).await.unwrap();
    assert!(next.token > lease.token);
    if backend.durable() {
        drop(store);
        let store = backend.open().await;
        assert!(matches!(
            store.acquire_lease("leader", "one", HOUR).await,
            Err(StoreError::LeaseHeld { .. })
        ));
        store.renew_lease(&next, HOUR).await.unwrap();
    }
}

pub async fn lease_limits_are_enforced(backend: &impl Backend) {
    let store = backend.open().await;
    refused(store.acquire_lease("", "one", HOUR).await, "0 bytes");
    refused(store.acquire_lease("l", "a\tb", HOUR).await, "control character");
    refused(store.acquire_lease("l", "one", Duration::from_millis(99)).await, "100 to 86400000 ms");
    refused(store.acquire_lease("l", "one", Duration::MAX).await, "100 to 86400000 ms");
    let lease = store.acquire_lease("l", "one", HOUR * 24).await.unwrap();
    refused(store.renew_lease(&lease, HOUR * 25).await, "100 to 86400000 ms");
}
