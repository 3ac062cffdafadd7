//! Errors with their types across the wire: what goes into `details`, and what comes out again.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Error, IllegalTransition, Limit, Problem, RecordKind,
    model::{EnvironmentState, HostState, Liveness, SnapshotState},
    provider::{ProviderError, ProviderErrorKind, Verb},
    scheduler::PlacementError,
};

/// The name of the detail that says which error it is.
const KIND: &str = "kind";

/// The operations that errors name.
const OPERATIONS: [&str; 8] =
    ["exec in", "upload to", "attach to", "rotate the token of", "snapshot", "fork", "fork from", "restore"];

const RECORDS: [RecordKind; 5] = [
    RecordKind::Environment,
    RecordKind::Host,
    RecordKind::Snapshot,
    RecordKind::ApiKey,
    RecordKind::DeadLetter,
];

const PROVIDER_KINDS: [(ProviderErrorKind, &str); 9] = [
    (ProviderErrorKind::NotFound, "not_found"),
    (ProviderErrorKind::AlreadyExists, "already_exists"),
    (ProviderErrorKind::Unsupported, "unsupported"),
    (ProviderErrorKind::Refused, "refused"),
    (ProviderErrorKind::Unauthorized, "unauthorized"),
    (ProviderErrorKind::Busy, "busy"),
    (ProviderErrorKind::Unreachable, "unreachable"),
    (ProviderErrorKind::TimedOut, "timed_out"),
    (ProviderErrorKind::Failed, "failed"),
];

/// Details under construction.
struct Details(BTreeMap<String, String>);

impl Details {
    fn of(kind: &str) -> Self {
        Self(BTreeMap::from([(KIND.to_owned(), kind.to_owned())]))
    }

    fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.insert(name.to_owned(), value.to_string());
        self
    }

    fn with_json(self, name: &str, value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(json) => self.with(name, json),
            Err(_) => self,
        }
    }
}

/// What the wire tells of an error beside its code and its message. Empty for errors that are the server's own affair.
pub(super) fn details(error: &Error) -> BTreeMap<String, String> {
    let details = match error {
        Error::NotFound { kind, id } => Details::of("not_found").with("record", kind).with("id", id),
        Error::TaskTaken { task_id, environment_id, state } => Details::of("task_taken")
            .with("task_id", task_id)
            .with("environment_id", environment_id)
            .with("state", state),
        Error::KeyReused { key, environment_id } => {
            Details::of("key_reused").with("key", key).with("environment_id", environment_id)
        }
        Error::EnvironmentTransition(illegal) => transition("environment_transition", illegal),
        Error::SnapshotTransition(illegal) => transition("snapshot_transition", illegal),
        Error::NotRunning { operation, id, state } => {
            Details::of("not_running").with("operation", operation).with("id", id).with("state", state)
        }
        Error::SnapshotNotReady { operation, id, state } => {
            Details::of("snapshot_not_ready").with("operation", operation).with("id", id).with("state", state)
        }
        Error::ForeignSnapshot { id, owner, asked } => {
            Details::of("foreign_snapshot").with("id", id).with("owner", owner).with("asked", asked)
        }
        Error::HasChildren { id, children } => {
            Details::of("has_children").with("id", id).with("children", children)
        }
        Error::SnapshotInUse { id, by } => Details::of("snapshot_in_use").with("id", id).with("by", by),
        Error::HostInUse { id, environments } => {
            Details::of("host_in_use").with("id", id).with("environments", environments)
        }
        Error::Invalid(problems) => invalid(problems),
        Error::TooLarge { what, bytes, limit } => Details::of("too_large")
            .with("what", if *what == Limit::Files { "files" } else { "upload" })
            .with("bytes", bytes)
            .with("limit", limit),
        Error::Placement(error) => placement(error),
        Error::Provider(error) => Details::of("provider")
            .with("provider_kind", name_of_provider_kind(error.kind))
            .with("verb", error.verb)
            .with("host", &error.host)
            .with("target", &error.target)
            .with("message", &error.message),
        Error::BootFailed { id, why, script_timeout } => {
            Details::of("boot_failed").with("id", id).with("why", why).with("script_timeout", script_timeout)
        }
        Error::Timeout { what, after } => {
            Details::of("timeout").with("what", what).with("after_ms", after.as_millis())
        }
        Error::Closed { why } => Details::of("closed").with("why", why),
        Error::Store(_)
        | Error::BadRecord { .. }
        | Error::Secrets(_)
        | Error::Secret { .. }
        | Error::NoProvider { .. }
        | Error::OtherProvider { .. }
        | Error::NoAnswer { .. }
        | Error::BadAnswer { .. }
        | Error::Remote(_) => Details(BTreeMap::new()),
    };
    details.0
}

fn transition<S: std::fmt::Display + std::fmt::Debug>(kind: &str, illegal: &IllegalTransition<S>) -> Details {
    Details::of(kind).with("id", &illegal.id).with("from", &illegal.from).with("to", &illegal.to)
}

/// One detail for each field; a field with several problems has them all in it.
fn invalid(problems: &[Problem]) -> Details {
    let mut details = Details::of("invalid");
    for problem in problems {
        let text = details.0.entry(problem.field.clone()).or_default();
        if !text.is_empty() {
            text.push_str("; ");
        }
        text.push_str(&problem.text);
    }
    details
}

fn placement(error: &PlacementError) -> Details {
    match error {
        PlacementError::NoHosts => Details::of("no_hosts"),
        PlacementError::UnknownHost { host_id } => Details::of("unknown_host").with("host_id", host_id),
        PlacementError::HostGated { host_id, state, liveness } => {
            Details::of("host_gated").with("host_id", host_id).with("state", state).with("liveness", liveness)
        }
        PlacementError::NoRoom { demand, rejections } => {
            Details::of("no_room").with_json("demand", demand).with_json("rejections", rejections)
        }
    }
}

fn name_of_provider_kind(kind: ProviderErrorKind) -> &'static str {
    PROVIDER_KINDS.iter().find(|(known, _)| *known == kind).map_or("failed", |(_, name)| name)
}

/// The error that the details tell; none when they tell none, or not wholly.
pub(super) fn restore(details: &BTreeMap<String, String>) -> Option<Error> {
    let read = Reader(details);
    Some(match details.get(KIND)?.as_str() {
        "not_found" => Error::NotFound { kind: read.record()?, id: read.text("id")? },
        "task_taken" => Error::TaskTaken {
            task_id: read.parsed("task_id")?,
            environment_id: read.parsed("environment_id")?,
            state: read.environment_state("state")?,
        },
        "key_reused" => {
            Error::KeyReused { key: read.text("key")?, environment_id: read.parsed("environment_id")? }
        }
        "environment_transition" => Error::EnvironmentTransition(IllegalTransition {
            id: read.text("id")?,
            from: read.environment_state("from")?,
            to: read.environment_state("to")?,
        }),
        "snapshot_transition" => Error::SnapshotTransition(IllegalTransition {
            id: read.text("id")?,
            from: read.snapshot_state("from")?,
            to: read.snapshot_state("to")?,
        }),
        "not_running" => Error::NotRunning {
            operation: read.operation(),
            id: read.parsed("id")?,
            state: read.environment_state("state")?,
        },
        "snapshot_not_ready" => Error::SnapshotNotReady {
            operation: read.operation(),
            id: read.parsed("id")?,
            state: read.snapshot_state("state")?,
        },
        "foreign_snapshot" => Error::ForeignSnapshot {
            id: read.parsed("id")?,
            owner: read.parsed("owner")?,
            asked: read.parsed("asked")?,
        },
        "has_children" => Error::HasChildren { id: read.parsed("id")?, children: read.parsed("children")? },
        "snapshot_in_use" => Error::SnapshotInUse { id: read.parsed("id")?, by: read.parsed("by")? },
        "host_in_use" => {
            Error::HostInUse { id: read.parsed("id")?, environments: read.parsed("environments")? }
        }
        "invalid" => {
            let problems = details.iter().filter(|(field, _)| *field != KIND);
            Error::Invalid(problems.map(|(field, text)| Problem::new(field, text)).collect())
        }
        "too_large" => Error::TooLarge {
            what: if read.text("what")? == "files" { Limit::Files } else { Limit::Upload },
            bytes: read.parsed("bytes")?,
            limit: read.parsed("limit")?,
        },
        "no_hosts" => PlacementError::NoHosts.into(),
        "unknown_host" => PlacementError::UnknownHost { host_id: read.parsed("host_id")? }.into(),
        "host_gated" => PlacementError::HostGated {
            host_id: read.parsed("host_id")?,
            state: read.one_of("state", &[HostState::Active, HostState::Cordoned])?,
            liveness: read.one_of("liveness", &[Liveness::Ready, Liveness::Unreachable, Liveness::Lost])?,
        }
        .into(),
        "no_room" => {
            PlacementError::NoRoom { demand: read.json("demand")?, rejections: read.json("rejections")? }
                .into()
        }
        "provider" => read.provider()?.into(),
        "boot_failed" => Error::BootFailed {
            id: read.parsed("id")?,
            why: read.text("why")?,
            script_timeout: read.parsed("script_timeout")?,
        },
        "timeout" => Error::Timeout {
            what: read.text("what")?,
            after: Duration::from_millis(read.parsed("after_ms")?),
        },
        "closed" => Error::Closed { why: read.text("why")? },
        _ => return None,
    })
}

struct Reader<'a>(&'a BTreeMap<String, String>);

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }

    fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        self.0.get(name)?.parse().ok()
    }

    fn json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(self.0.get(name)?).ok()
    }

    fn one_of<T: Copy + ToString>(&self, name: &str, all: &[T]) -> Option<T> {
        let text = self.0.get(name)?;
        all.iter().copied().find(|value| value.to_string() == *text)
    }

    fn environment_state(&self, name: &str) -> Option<EnvironmentState> {
        self.one_of(name, &EnvironmentState::ALL)
    }

    fn snapshot_state(&self, name: &str) -> Option<SnapshotState> {
        self.one_of(name, &SnapshotState::ALL)
    }

    fn record(&self) -> Option<RecordKind> {
        self.one_of("record", &RECORDS)
    }

    /// The operation in this program's own words; a newer server may have others.
    fn operation(&self) -> &'static str {
        let text = self.0.get("operation").map_or("", String::as_str);
        OPERATIONS.into_iter().find(|known| *known == text).unwrap_or("use")
    }

    fn provider(&self) -> Option<ProviderError> {
        let kind = self.0.get("provider_kind")?;
        let kind = PROVIDER_KINDS.iter().find(|(_, name)| name == kind)?.0;
        let verb = Verb::parse(self.0.get("verb")?)?;
        Some(ProviderError {
            kind,
            verb,
            host: self.text("host")?,
            target: self.text("target")?,
            message: self.text("message")?,
        })
    }
}
