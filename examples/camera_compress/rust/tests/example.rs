//! Runs the example as a user does and checks what it shows.

#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// An empty folder for one test.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn run(arguments: &[&str], out: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_camera_compress"))
        .args(arguments)
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_frame_arrives_as_expected() {
    let out = scratch("golden");
    let output = run(&[], &out);
    assert!(output.status.success(), "{}", text(&output));
    let expected = fs::read_to_string(Path::new(EXAMPLE).join("expected.tsv")).unwrap();
    assert_eq!(fs::read_to_string(out.join("summary.tsv")).unwrap(), expected, "{}", text(&output));
    let sheet = fs::read(out.join("contact_sheet.png")).unwrap();
    assert!(sheet.starts_with(b"\x89PNG") && sheet.len() > 10_000);
}

#[test]
fn the_module_without_the_capability_is_stopped_and_the_other_goes_on() {
    let output = run(&["--frames", "3"], &scratch("refused"));
    assert!(output.status.success(), "{}", text(&output));
    let shown = text(&output);
    let row = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert!(row("thermal_probe").contains("Trapped"), "{shown}");
    assert!(row("camera_compress ").contains("Running"), "{shown}");
    let security = row("security log:");
    assert!(security.contains("TEMP_SENSOR") && security.contains("thermal_probe"), "{shown}");
}

/// The same application with another policy or module in one place.
fn changed(name: &str, from: &str, to: &str) -> PathBuf {
    let folder = scratch(name);
    fs::create_dir_all(folder.join("modules")).unwrap();
    for module in ["camera_compress.wasm", "thermal_probe.wasm"] {
        fs::copy(Path::new(EXAMPLE).join("modules").join(module), folder.join("modules").join(module))
            .unwrap();
    }
    let config = fs::read_to_string(Path::new(EXAMPLE).join("app_config.json")).unwrap();
    assert!(config.contains(from));
    fs::write(folder.join("app_config.json"), config.replacen(from, to, 1)).unwrap();
    folder
}

#[test]
fn with_the_capability_the_probe_runs_and_the_example_says_so_by_failing() {
    let folder = changed("granted", r#"["LOG"]"#, r#"["LOG", "TEMP_SENSOR"]"#);
    let config = folder.join("app_config.json");
    let output = run(&["--frames", "2", "--config", config.to_str().unwrap()], &folder.join("out"));
    assert!(!output.status.success(), "{}", text(&output));
    assert!(!text(&output).contains("security log:"), "{}", text(&output));
}

#[test]
fn without_the_downlink_no_frame_arrives_and_the_example_fails() {
    let folder = changed("no_downlink", r#""LOG", "downlink""#, r#""LOG""#);
    let config = folder.join("app_config.json");
    let output = run(&["--frames", "2", "--config", config.to_str().unwrap()], &folder.join("out"));
    assert!(!output.status.success(), "{}", text(&output));
}

#[test]
fn a_config_that_is_not_there_is_named() {
    let output = run(&["--config", "/nowhere/app_config.json"], &scratch("absent"));
    assert!(!output.status.success());
    assert!(text(&output).contains("/nowhere/app_config.json"), "{}", text(&output));
}
