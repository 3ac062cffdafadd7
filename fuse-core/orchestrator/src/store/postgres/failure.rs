//! What the database's errors mean here.
use super::super::StoreError;
use deadpool_postgres::PoolError;
use std::error::Error as _;
use tokio_postgres::error::SqlState;

/// An error and its causes in one line.
pub(super) fn words(error: &tokio_postgres::Error) -> String {
    if let Some(said) = error.as_db_error() {
        return format!("{} ({})", said.message(), said.code().code());
    }
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !words.contains(&next) {
            words = format!("{words}: {next}");
        }
        cause = error.source();
    }
    words
}

/// Why an attempt failed, sorted by what can be done about it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The same attempt may succeed: a serialization failure, a deadlock, a restart, a broken connection.
    Again(StoreError),
    /// It will not.
    Final(StoreError),
}

impl Failure {
    pub(super) fn into_error(self) -> StoreError {
        match self {
            Self::Again(error) | Self::Final(error) => error,
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Final(error)
    }
}

pub(super) fn pool_failure(doing: &'static str, on: &str, error: PoolError) -> Failure {
    let unavailable = |why: String, advice| StoreError::Unavailable { doing, on: on.to_owned(), why, advice };
    match error {
        PoolError::Backend(error) => failure(doing, on, &error),
        PoolError::Closed => Failure::Final(super::super::queue::closed(doing, on)),
        PoolError::Timeout(_) => Failure::Again(unavailable(
            "no connection became free in time".to_owned(),
            "the database is slow or unreachable; raise `connections` if it is neither",
        )),
        PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => {
            Failure::Again(unavailable(error.to_string(), "see the database's log"))
        }
    }
}

pub(super) fn failure(doing: &'static str, on: &str, error: &tokio_postgres::Error) -> Failure {
    let (on, why) = (on.to_owned(), words(error));
    let unavailable = |advice| StoreError::Unavailable { doing, on: on.clone(), why: why.clone(), advice };
    let Some(state) = error.code() else {
        // No answer from the server: the connection broke or never came about.
        return Failure::Again(unavailable("check that the database runs and can be reached"));
    };
    if *state == SqlState::DISK_FULL {
        return Failure::Final(StoreError::Full { on, why });
    }
    if *state == SqlState::DATA_CORRUPTED || *state == SqlState::INDEX_CORRUPTED {
        let advice = "see the database's log; restore a backup or import an export";
        return Failure::Final(StoreError::Corrupt { on, what: why, advice });
    }
    match &state.code()[..2] {
        // Connection exception, transaction rollback, insufficient resources, operator intervention, lock not
        // available.
        "08" | "40" | "53" | "57" | "55" => Failure::Again(unavailable("the database will be asked again")),
        "28" => Failure::Final(unavailable("check the user and the password in the connection string")),
        "3D" => Failure::Final(unavailable("create the database first (`createdb`)")),
        "42" => {
            Failure::Final(unavailable("give the user the right to create and use tables in this database"))
        }
        _ => Failure::Final(unavailable("see the database's log")),
    }
}
