//! Sealing everything anew after a key was added, so that the old one can go.
use super::{KeyRing, SecretError};
use crate::store::{Batch, Expect, Kind, Lease, MAX_PAGE, Store, StoreError};

/// What [`reseal_all`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resealed {
    /// Secrets that were sealed anew.
    pub resealed: u64,
    /// Secrets that were under the newest key already.
    pub current: u64,
}

/// Seals every [`Kind::Secret`] record (whose body is what [`KeyRing::seal`] made for it) with the newest key.
///
/// Safe beside a running control plane, and after an interruption: each record changes only if it is still as it was
/// read, and a record that somebody else changed meanwhile is read again. With a `lease`, the changes count only
/// while it holds. When this returns, and no process seals with the old key any more, the old key can be removed.
///
/// # Errors
/// [`SecretError::UnknownKey`] and [`SecretError::Damaged`] name the first secret that cannot be opened; the ones
/// before it are sealed anew. [`SecretError::Store`] when the store fails.
pub async fn reseal_all(
    store: &dyn Store,
    ring: &KeyRing,
    lease: Option<&Lease>,
) -> Result<Resealed, SecretError> {
    let (mut done, mut after) = (Resealed::default(), None::<String>);
    loop {
        let page = store.list(Kind::Secret, after.as_deref(), MAX_PAGE).await?;
        for record in page.records {
            if ring.is_stale(&record.body) {
                reseal(store, ring, lease, &record.id).await?;
                done.resealed += 1;
            } else {
                done.current += 1;
            }
        }
        let Some(next) = page.next else { return Ok(done) };
        after = Some(next);
    }
}

async fn reseal(
    store: &dyn Store,
    ring: &KeyRing,
    lease: Option<&Lease>,
    id: &str,
) -> Result<(), SecretError> {
    while let Some(record) = store.get(Kind::Secret, id).await? {
        if !ring.is_stale(&record.body) {
            break;
        }
        let plain = ring.open(Kind::Secret, id, &record.body)?;
        let sealed = ring.seal(Kind::Secret, id, &plain)?;
        let batch = Batch::new().put(Kind::Secret, id, Expect::Revision(record.revision), sealed);
        let batch = if let Some(lease) = lease { batch.fenced_by(lease) } else { batch };
        match store.commit(batch).await {
            Err(StoreError::Conflict { .. }) => {}
            result => return result.map(drop).map_err(SecretError::Store),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[tokio::test]
    async fn the_old_key_can_go_afterwards() -> Result<(), SecretError> {
        let store = MemoryStore::new();
        let old = KeyRing::generate()?;
        for n in 0..5 {
            let id = format!("s{n}");
            let sealed = old.seal(Kind::Secret, &id, id.as_bytes())?;
            store.commit(Batch::new().put(Kind::Secret, &id, Expect::Absent, sealed)).await?;
        }
        let both = old.with_new_key()?;
        assert_eq!(reseal_all(&store, &both, None).await, Ok(Resealed { resealed: 5, current: 0 }));
        assert_eq!(reseal_all(&store, &both, None).await, Ok(Resealed { resealed: 0, current: 5 }));
        let text = both.to_text();
        let newest = super::super::ExposeSecret::expose_secret(&text).lines().next().unwrap_or_default();
        let only_new = KeyRing::parse("test", &newest.into())?;
        for n in 0..5 {
            let id = format!("s{n}");
            let record = store.get(Kind::Secret, &id).await?;
            let body = record.map(|record| record.body).unwrap_or_default();
            assert_eq!(**only_new.open(Kind::Secret, &id, &body)?, *id.as_bytes());
            assert!(old.open(Kind::Secret, &id, &body).is_err());
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_opened_is_named() -> Result<(), SecretError> {
        let store = MemoryStore::new();
        store.commit(Batch::new().put(Kind::Secret, "bad", Expect::Absent, "plain")).await?;
        let error = reseal_all(&store, &KeyRing::generate()?, None).await;
        assert!(matches!(&error, Err(SecretError::Damaged { id, .. }) if id == "bad"), "{error:?}");
        Ok(())
    }
}
