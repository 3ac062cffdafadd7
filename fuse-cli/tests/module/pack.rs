//! `fuse module pack`.

use crate::workbench::{LOGS, SPINS, Workbench, application, keys, policy};
use fuse_edge::AppConfig;
use serde_json::json;

fn bench() -> Workbench {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    let config = application(&[("logs", "logs.wat", policy(json!({"fuel_quota": 5000, "priority": 3})))]);
    bench.config(&config);
    let mut metered = config;
    metered["application"]["metering"] = json!("both");
    bench.config(&metered);
    bench
}

#[test]
fn what_was_packed_is_what_the_configuration_says() {
    let bench = bench();
    let made = bench.fuse(&["pack", "app_config.json", "-o", "app.bin", "--json"]).exits(0).json();
    assert_eq!(keys(&made), ["output", "bytes", "sha256", "application", "modules"]);
    assert!(made["modules"][0]["artifact"].is_null());
    let packed = AppConfig::from_binary(&std::fs::read(bench.path("app.bin")).unwrap()).unwrap();
    let text = std::fs::read_to_string(bench.path("app_config.json")).unwrap();
    assert_eq!(packed, AppConfig::from_json(&text).unwrap());
    assert_eq!((packed.modules[0].policy.fuel_quota, packed.modules[0].policy.priority), (5000, 3));
}

#[test]
fn with_artifacts_it_needs_no_other_file() {
    let bench = bench();
    bench.write("logs.wat", SPINS);
    bench.fuse(&["pack", "app_config.json", "-o", "app.bin", "--with-artifacts"]).exits(0);
    std::fs::remove_file(bench.path("logs.wat")).unwrap();
    std::fs::remove_file(bench.path("app_config.json")).unwrap();
    bench.fuse(&["check", "app.bin"]).exits(0);
    // The fuel quota is not in the 32-byte policy: it was packed beside it, and is enforced.
    let report = bench.fuse(&["run", "app.bin", "--duration", "50ms", "--json"]).exits(1).json();
    assert_eq!(report["modules"][0]["state"], "QuotaExceeded");
    assert!(report["modules"][0]["failure"].as_str().unwrap().contains("5000 instructions"), "{report}");
}

#[test]
fn the_modules_are_compiled_as_asked_for() {
    let bench = bench();
    let artifact = |more: &[&str]| {
        let arguments = [&["pack", "app_config.json", "-o", "app.bin", "--with-artifacts"], more].concat();
        bench.fuse(&arguments).exits(0);
        bench.fuse(&["inspect", "app.bin", "--json"]).exits(0).json()["modules"][0]["artifact"].clone()
    };
    let whole = artifact(&[]);
    assert_eq!((&whole["metering"], whole["portable"].is_null()), (&json!("both"), false));
    let bare = artifact(&["--no-portable", "--target", "pulley32"]);
    assert_eq!((&bare["target"], bare["portable"].is_null()), (&json!("pulley32"), true));
}

#[test]
fn an_artifact_for_another_metering_is_refused() {
    let bench = bench();
    bench.fuse(&["compile", "logs.wat", "-o", "logs.wasm", "--metering", "wall"]).exits(0);
    let mut config = application(&[("logs", "logs.wasm", policy(json!({"cpu_quota_us": 0})))]);
    config["application"]["metering"] = json!("fuel");
    bench.config(&config);
    let done = bench.fuse(&["pack", "app_config.json", "-o", "app.bin", "--with-artifacts"]).exits(4);
    assert!(done.err.contains("compiled for metering `wall`, the application uses `fuel`"), "{}", done.err);
    assert!(!bench.path("app.bin").exists());
}

#[test]
fn a_configuration_with_problems_is_refused_with_all_of_them() {
    let bench = Workbench::new();
    bench.write("app_config.json", r#"{"application": {"name": "a", "x": 1}, "modules": [], "y": 2}"#);
    let done = bench.fuse(&["pack", "app_config.json", "-o", "app.bin"]).exits(4);
    assert!(done.err.contains("$.application.x") && done.err.contains("$.y"), "{}", done.err);
    bench.fuse(&["pack", "absent.json", "-o", "app.bin"]).exits(3);
    bench.fuse(&["pack", "app_config.json", "-o", "app.bin", "--no-portable"]).exits(2);
}
