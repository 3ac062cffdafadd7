//! Runs the orchestration scenarios: data in `tests/scenarios/orchestration`, the same for every language.
//!
//! The format is described in `tests/scenarios/orchestration/README.md`. Each file is run over a store in memory and
//! stub hosts, in virtual time. The server runs the same over REST.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod runner;

use serde_json::Value;

#[test]
fn every_scenario_holds() {
    runner::run_all(|plane| plane.clone().into());
}

/// A runner that accepts anything proves nothing.
#[tokio::test(start_paused = true)]
async fn a_wrong_expectation_fails() {
    for (steps, why) in [
        (r#"[{"do": "provision", "task": "a", "fails": "conflict"}]"#, "did not fail"),
        (r#"[{"do": "exec", "id": "fuse-a", "line": "true"}]"#, "not_found"),
        (
            r#"[{"do": "provision", "task": "a"}, {"do": "check", "id": "fuse-a", "state": "failed"}]"#,
            "state",
        ),
        (r#"[{"do": "nonsense"}]"#, "not known"),
        (r#"[{"do": "provision", "task": "a", "typo": 1}]"#, "typo"),
        (r#"[{"do": "provision", "task": "a"}, {"do": "events", "about": "fuse-a", "are": []}]"#, "events"),
    ] {
        let scenario = serde_json::json!({
            "hosts": {"h1": {}},
            "steps": serde_json::from_str::<Value>(steps).unwrap(),
        });
        let error = runner::run(&scenario, |plane| plane.clone().into()).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}
