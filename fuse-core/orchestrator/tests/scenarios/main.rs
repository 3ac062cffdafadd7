//! Runs the orchestration scenarios: data in `tests/scenarios/orchestration`, the same for every language.
//!
//! The format is described in `tests/scenarios/orchestration/README.md`. Each file is run over a store in memory and
//! stub hosts, in virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod steps;
mod world;

use std::{fs, path::PathBuf};

use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/scenarios/orchestration")
}

/// Runs one scenario; the error names the step.
async fn run(scenario: &Value) -> Result<(), String> {
    for key in scenario.as_object().ok_or("is not an object")?.keys() {
        if !["about", "covers", "config", "hosts", "steps"].contains(&key.as_str()) {
            return Err(format!("the member {key:?} is not known"));
        }
    }
    let mut world = world::World::open(&scenario["config"], &scenario["hosts"]).await?;
    let steps = scenario["steps"].as_array().ok_or("has no steps")?;
    for (number, step) in steps.iter().enumerate() {
        world.step(step).await.map_err(|why| format!("step {} {step}: {why}", number + 1))?;
    }
    Ok(())
}

#[test]
fn every_scenario_holds() {
    let only = std::env::var("FUSE_SCENARIO").unwrap_or_default();
    let mut files: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter(|path| path.to_string_lossy().contains(&only))
        .collect();
    files.sort();
    let mut failures = Vec::new();
    for path in &files {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let scenario: Value = match serde_json::from_slice(&fs::read(path).unwrap()) {
            Ok(scenario) => scenario,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        if let Err(why) = runtime.block_on(run(&scenario)) {
            failures.push(format!("{name}: {why}"));
        }
    }
    println!("{} scenarios", files.len());
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), files.len(), failures.join("\n"));
    assert!(files.len() >= 40 || !only.is_empty(), "only {} scenarios were found", files.len());
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
        let error = run(&scenario).await.unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}
