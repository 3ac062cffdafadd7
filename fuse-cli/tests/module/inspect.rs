//! `fuse module inspect`.

use crate::workbench::{LOGS, RELAYS, Workbench, application, keys, policy, relay};
use serde_json::json;

#[test]
fn a_module_shows_exports_imports_capabilities_memory_and_stack() {
    let bench = Workbench::new();
    bench.write("relay.wat", RELAYS);
    let seen = bench.fuse(&["inspect", "relay.wat", "--json"]).exits(0).json();
    let fields = [
        "file",
        "kind",
        "bytes",
        "sha256",
        "artifact",
        "violations",
        "exports",
        "imports",
        "memory",
        "start_function",
        "stack",
        "custom_sections",
    ];
    assert_eq!(keys(&seen), fields);
    assert_eq!(seen["kind"], "wat");
    assert_eq!(seen["memory"], json!({"initial_pages": 1, "maximum_pages": null}));
    let camera = &seen["imports"][0];
    assert_eq!((&camera["name"], &camera["capability"]), (&json!("camera_last_frame"), &json!("CAMERA")));
    assert_eq!((&camera["type"], &camera["reachable"]), (&json!("(i32, i32) -> i64"), &json!(true)));
    assert_eq!(
        seen["imports"][1]["status"], "unknown",
        "a host group's function is not known without its application"
    );
    assert_eq!(seen["exports"][1], json!({"name": "module_step", "kind": "function", "type": "() -> ()"}));
    assert_eq!(seen["stack"]["call_depth"], 1);
    assert!(seen["stack"]["native_bytes"].as_u64().unwrap() > 0);
    let text = bench.fuse(&["inspect", "relay.wat"]).exits(0).out;
    assert!(text.contains("env.camera_last_frame  (i32, i32) -> i64"), "{text}");
}

#[test]
fn a_breach_of_the_contract_is_shown_and_is_the_exit_code() {
    let bench = Workbench::new();
    bench.write(
        "x.wat",
        r#"(module (import "wasi_snapshot_preview1" "fd_write" (func)) (func (export "module_init")))"#,
    );
    let done = bench.fuse(&["inspect", "x.wat"]).exits(1);
    assert!(done.out.contains("BROKEN") && done.out.contains("module_step") && done.out.contains("fd_write"));
}

#[test]
fn an_artifact_is_checked_before_it_is_shown() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    bench.fuse(&["compile", "logs.wat", "-o", "a.fuse", "--no-portable"]).exits(0);
    let done = bench.fuse(&["inspect", "a.fuse"]).exits(0);
    assert!(done.out.contains("not visible: it carries no WebAssembly"), "{}", done.out);
    let mut bytes = std::fs::read(bench.path("a.fuse")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    bench.write("a.fuse", &bytes);
    let done = bench.fuse(&["inspect", "a.fuse"]).exits(4);
    assert!(done.err.contains("SHA-256"), "{}", done.err);
}

#[test]
fn a_packed_application_shows_policies_and_artifacts() {
    let bench = Workbench::new();
    bench.write("relay.wat", RELAYS);
    bench.config(&relay());
    bench.fuse(&["pack", "app_config.json", "-o", "app.bin", "--with-artifacts"]).exits(0);
    let seen = bench.fuse(&["inspect", "app.bin", "--json"]).exits(0).json();
    assert_eq!(keys(&seen), ["file", "kind", "bytes", "sha256", "application", "modules"]);
    assert_eq!(seen["kind"], "packed_application");
    assert_eq!(seen["modules"][0]["capabilities"], json!(["CAMERA", "downlink"]));
    assert_eq!(seen["modules"][0]["event_subscribe"], json!(["FRAME"]));
    assert_eq!(seen["modules"][0]["artifact"]["metering"], "wall");
    let text = bench.fuse(&["inspect", "app.bin"]).exits(0).out;
    assert!(text.contains("downlink_write(i32, in) -> i32"), "{text}");
}

#[test]
fn other_files_are_refused_with_a_hint() {
    let bench = Workbench::new();
    bench.config(&application(&[("a", "a.wat", policy(json!({})))]));
    bench.write("noise", b"\x7fELF\xfe\xff");
    let done = bench.fuse(&["inspect", "app_config.json"]).exits(4);
    assert!(done.err.contains("fuse module check app_config.json"), "{}", done.err);
    bench.fuse(&["inspect", "noise"]).exits(4);
    bench.fuse(&["inspect", "absent"]).exits(3);
}

#[test]
fn names_in_a_module_cannot_steer_the_terminal() {
    let bench = Workbench::new();
    bench.write("x.wat", r#"(module (func (export "module_step")) (func (export "\1b]0;owned\07")))"#);
    let done = bench.fuse(&["inspect", "x.wat"]).exits(0);
    assert!(!done.out.contains('\u{1b}') && done.out.contains("\\u{1b}]0;owned\\u{7}"), "{}", done.out);
}
