//! Errors keep their types over the wire.

use std::time::Duration;

use fuse_orchestrator::{
    Error, ErrorCode, IllegalTransition, Limit, Problem, RecordKind,
    model::{
        Capacity, EnvironmentId, EnvironmentState, HostId, HostState, Liveness, SnapshotId, SnapshotState,
        TaskId,
    },
    provider::{ProviderError, ProviderErrorKind, Verb},
    scheduler::{Demand, PlacementError, Rejections},
    store::StoreError,
    wire::ErrorBody,
};

use crate::{golden, sent};

fn environment() -> EnvironmentId {
    EnvironmentId::new("fuse-t1").unwrap()
}

fn snapshot() -> SnapshotId {
    SnapshotId::new("snap-1").unwrap()
}

fn host() -> HostId {
    HostId::new("h1").unwrap()
}

fn provider(kind: ProviderErrorKind, verb: Verb) -> Error {
    ProviderError::new(kind, verb, "h1", "fuse-t1-abc", "no").into()
}

/// Each error that callers meet, with the status that tells of it.
fn typed() -> Vec<(u16, Error)> {
    let state = EnvironmentState::Draining;
    let mut errors = vec![
        (404, Error::NotFound { kind: RecordKind::Environment, id: "fuse-t1".into() }),
        (404, Error::NotFound { kind: RecordKind::ApiKey, id: "ak_1".into() }),
        (404, Error::NotFound { kind: RecordKind::DeadLetter, id: "destroy:fuse-t1".into() }),
        (409, Error::TaskTaken { task_id: TaskId::new("t1").unwrap(), environment_id: environment(), state }),
        (409, Error::KeyReused { key: "k".into(), environment_id: environment() }),
        (
            409,
            Error::EnvironmentTransition(IllegalTransition {
                id: "fuse-t1".into(),
                from: EnvironmentState::Destroying,
                to: state,
            }),
        ),
        (
            409,
            Error::SnapshotTransition(IllegalTransition {
                id: "snap-1".into(),
                from: SnapshotState::Creating,
                to: SnapshotState::Deleting,
            }),
        ),
        (409, Error::ForeignSnapshot { id: snapshot(), owner: environment(), asked: environment() }),
        (409, Error::HasChildren { id: snapshot(), children: 3 }),
        (409, Error::SnapshotInUse { id: snapshot(), by: environment() }),
        (409, Error::HostInUse { id: host(), environments: 2 }),
        (
            400,
            Error::Invalid(vec![
                Problem::new("spec.cpus", "-1 is wrong"),
                Problem::new("task_id", "is empty"),
            ]),
        ),
        (413, Error::TooLarge { what: Limit::Files, bytes: 9, limit: 8 }),
        (413, Error::TooLarge { what: Limit::Upload, bytes: 9, limit: 8 }),
        (503, PlacementError::NoHosts.into()),
        (404, PlacementError::UnknownHost { host_id: host() }.into()),
        (
            503,
            PlacementError::HostGated {
                host_id: host(),
                state: HostState::Cordoned,
                liveness: Liveness::Lost,
            }
            .into(),
        ),
        (
            503,
            PlacementError::NoRoom {
                demand: Box::new(Demand { region: "eu".into(), host_id: Some(host()), ..Demand::default() }),
                rejections: Rejections {
                    hosts: 3,
                    full: 2,
                    silent: 1,
                    most_free: Capacity { cpus: 1, ..Capacity::default() },
                    unmatched: vec!["a=b".into()],
                    ..Rejections::default()
                },
            }
            .into(),
        ),
        (500, Error::BootFailed { id: environment(), why: "no kernel".into(), script_timeout: false }),
        (400, Error::BootFailed { id: environment(), why: "slow".into(), script_timeout: true }),
        (500, Error::Timeout { what: "the boot".into(), after: Duration::from_millis(1_500) }),
        (503, Error::Closed { why: "it was closed".into() }),
        (501, provider(ProviderErrorKind::Unsupported, Verb::Exec)),
        (404, provider(ProviderErrorKind::NotFound, Verb::Get)),
        (503, provider(ProviderErrorKind::Unreachable, Verb::Exec)),
        (502, provider(ProviderErrorKind::Unreachable, Verb::Probe)),
        (502, provider(ProviderErrorKind::Unauthorized, Verb::Probe)),
        (409, provider(ProviderErrorKind::AlreadyExists, Verb::Create)),
        (500, provider(ProviderErrorKind::Failed, Verb::Exec)),
    ];
    for operation in ["exec in", "upload to", "attach to", "rotate the token of", "snapshot", "fork"] {
        errors.push((409, Error::NotRunning { operation, id: environment(), state }));
    }
    for operation in ["restore", "fork from"] {
        errors
            .push((409, Error::SnapshotNotReady { operation, id: snapshot(), state: SnapshotState::Error }));
    }
    errors
}

#[test]
fn every_error_comes_out_as_it_went_in() {
    for (status, error) in typed() {
        assert_eq!(error.status(), status, "{error}");
        let body = sent(&ErrorBody::from(&error));
        assert_eq!(body.error.message, error.to_string());
        assert_eq!(body.into_error(status, "req_1"), error);
    }
}

#[test]
fn errors_of_the_server_itself_keep_their_words() {
    let error = Error::Store(StoreError::Unavailable {
        doing: "commit",
        on: "postgres".into(),
        why: "connection refused".into(),
        advice: "look at the database",
    });
    let body = sent(&ErrorBody::from(&error));
    assert!(body.error.details.is_empty());
    let back = body.into_error(error.status(), "req_9");
    assert_eq!(back.code(), ErrorCode::Unavailable);
    assert_eq!(back.status(), 503);
    assert_eq!(back.to_string(), format!("{error} (503 unavailable, request req_9)"));
}

#[test]
fn the_body_is_as_clients_know_it() {
    let error = Error::NotFound { kind: RecordKind::Environment, id: "fuse-<x>&".into() };
    golden("error", &ErrorBody::from(&error));
    golden("error_invalid", &ErrorBody::from(&typed().remove(11).1));
    let text = ErrorBody::new(ErrorCode::RouteNotFound, "no such route: GET /<x>&").to_json();
    assert_eq!(
        text,
        "{\"error\":{\"code\":\"route_not_found\",\"message\":\"no such route: GET /\\u003cx\\u003e\\u0026\"}}\n"
    );
    serde_json::from_str::<ErrorBody>(&text).unwrap();
}

#[test]
fn details_that_lie_do_no_harm() {
    for details in [
        r#"{"kind":"not_found"}"#,
        r#"{"kind":"task_taken","task_id":"","environment_id":"x","state":"running"}"#,
        r#"{"kind":"not_running","id":"x","state":"asleep"}"#,
        r#"{"kind":"no_room","demand":"{","rejections":"7"}"#,
        r#"{"kind":"has_children","id":"s","children":"-1"}"#,
        r#"{"kind":"from_the_future","x":"y"}"#,
        r#"{"host":"h1"}"#,
    ] {
        let json = format!(r#"{{"error":{{"code":"conflict","message":"m","details":{details}}}}}"#);
        let body: ErrorBody = serde_json::from_str(&json).unwrap();
        let error = body.into_error(409, "");
        assert!(matches!(&error, Error::Remote(remote) if remote.message == "m"), "{details}: {error:?}");
        assert_eq!(error.code(), ErrorCode::Conflict, "{details}");
    }
}

#[test]
fn codes_have_names_and_statuses() {
    for code in ErrorCode::ALL {
        assert_eq!(ErrorCode::of(code.as_str(), 418), code);
    }
    assert_eq!(ErrorCode::of("weird", 502), ErrorCode::Unavailable);
    assert_eq!(ErrorCode::of("", 405), ErrorCode::RouteNotFound);
    assert_eq!(ErrorCode::of("", 200), ErrorCode::Internal);
}
