//! Runs orchestration scenarios over whatever reaches a control plane.

mod steps;
pub mod world;

use std::{fs, path::PathBuf};

use fuse_orchestrator::{ControlPlane, Orchestrator};
use serde_json::Value;

/// How a scenario reaches the control plane that it runs on.
pub type Reach = fn(&ControlPlane) -> Orchestrator;

fn folder() -> PathBuf {
    // The program that includes this is a crate two or three folders deep.
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let folder =
        manifest.ancestors().map(|at| at.join("tests/scenarios/orchestration")).find(|at| at.is_dir());
    folder.expect("the scenarios are beside the crates")
}

/// Runs one scenario; the error names the step.
pub async fn run(scenario: &Value, reach: Reach) -> Result<(), String> {
    for key in scenario.as_object().ok_or("is not an object")?.keys() {
        if !["about", "covers", "config", "hosts", "steps"].contains(&key.as_str()) {
            return Err(format!("the member {key:?} is not known"));
        }
    }
    let mut world = world::World::open(&scenario["config"], &scenario["hosts"], reach).await?;
    let steps = scenario["steps"].as_array().ok_or("has no steps")?;
    for (number, step) in steps.iter().enumerate() {
        world.step(step).await.map_err(|why| format!("step {} {step}: {why}", number + 1))?;
    }
    Ok(())
}

/// Runs every scenario, or those whose file name contains `FUSE_SCENARIO`, in virtual time.
pub fn run_all(reach: Reach) {
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
        if let Err(why) = runtime.block_on(run(&scenario, reach)) {
            failures.push(format!("{name}: {why}"));
        }
    }
    println!("{} scenarios", files.len());
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), files.len(), failures.join("\n"));
    assert!(files.len() >= 40 || !only.is_empty(), "only {} scenarios were found", files.len());
}
