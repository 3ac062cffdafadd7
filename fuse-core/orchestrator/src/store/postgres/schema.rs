//! The tables: made and brought up to date by migrations when the store is opened.
use super::super::{Kind, StoreError, StoreResult};
use super::failure::{failure, pool_failure};
use super::rows;
use deadpool_postgres::{Object, Pool};

mod migrations {
    refinery::embed_migrations!("migrations/postgres");
}

/// Two processes that start at once migrate one after the other.
const LOCK: &str = "SELECT pg_advisory_lock(7310873542871)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(7310873542871)";

/// Checks the database, migrates its tables, and checks what is in them.
pub(super) async fn prepare(name: &str, pool: &Pool) -> StoreResult<()> {
    let mut client = pool.get().await.map_err(|error| pool_failure("open", name, error).into_error())?;
    let result = prepare_with(name, &mut client).await;
    if result.is_err() {
        // The lock goes with the session.
        drop(Object::take(client));
    }
    result
}

async fn prepare_with(name: &str, client: &mut Object) -> StoreResult<()> {
    let failed = |error: tokio_postgres::Error| failure("open", name, &error).into_error();
    check_server(name, client).await?;
    client.batch_execute(LOCK).await.map_err(failed)?;
    let mut runner = migrations::migrations::runner();
    runner.set_migration_table_name("fuse_migrations");
    if let Err(error) = runner.run_async(&mut ***client).await {
        return Err(migration_error(name, &error));
    }
    client.batch_execute(UNLOCK).await.map_err(failed)?;
    client.batch_execute(rows::FORGET_WRITERS).await.map_err(failed)?;
    let known: Vec<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    match client.query_opt(rows::UNKNOWN_KIND, &[&known]).await.map_err(failed)? {
        Some(row) => Err(StoreError::Incompatible {
            on: name.to_owned(),
            why: format!(
                "it holds records of the unknown kind {:?}",
                row.try_get::<_, &str>(0).unwrap_or("?")
            ),
            advice: "open it with the version of Fuse that wrote it",
        }),
        None => Ok(()),
    }
}

async fn check_server(name: &str, client: &Object) -> StoreResult<()> {
    let question = "SELECT current_setting('server_encoding'), current_setting('fsync'), current_setting('server_version_num')::int";
    let row =
        client.query_one(question, &[]).await.map_err(|error| failure("open", name, &error).into_error())?;
    let text = |at| row.try_get::<_, &str>(at).unwrap_or("?");
    let incompatible = |why: String, advice| StoreError::Incompatible { on: name.to_owned(), why, advice };
    if text(0) != "UTF8" {
        let why = format!("its encoding is {}", text(0));
        return Err(incompatible(why, "create the database with ENCODING 'UTF8'"));
    }
    let version: i32 = row.try_get(2).unwrap_or(0);
    if version < 130_000 {
        return Err(incompatible(format!("it is version {version}"), "use Postgres 13 or newer"));
    }
    if text(1) != "on" {
        tracing::warn!(
            store = name,
            "the database runs with fsync = off: a crash of its machine loses commits"
        );
    }
    Ok(())
}

fn migration_error(name: &str, error: &refinery::Error) -> StoreError {
    use refinery::error::Kind as Refinery;
    let on = name.to_owned();
    match error.kind() {
        Refinery::DivergentVersion(..) | Refinery::MissingVersion(..) => StoreError::Incompatible {
            on,
            why: format!("its tables are of another version of Fuse: {error}"),
            advice: "use the version of Fuse that wrote it, or a newer one",
        },
        _ => StoreError::Unavailable {
            doing: "open",
            on,
            why: format!("the tables cannot be made or brought up to date: {error}"),
            advice: "give the user the right to create tables, and see the database's log",
        },
    }
}
