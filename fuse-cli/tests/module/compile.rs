//! `fuse module compile`.

use crate::workbench::{LOGS, Workbench, keys};

#[test]
fn makes_an_artifact_that_inspect_reads() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    let done = bench.fuse(&["compile", "logs.wat", "-o", "logs.fuse", "--metering", "both"]).exits(0);
    assert!(done.out.contains("metering  both"), "{}", done.out);
    let seen = bench.fuse(&["inspect", "logs.fuse", "--json"]).exits(0).json();
    assert_eq!(seen["kind"], "artifact");
    assert_eq!(seen["artifact"]["metering"], "both");
    assert_eq!(seen["imports"][0]["name"], "module_log_event");
}

#[test]
fn the_same_input_gives_the_same_bytes_and_the_report_tells_their_hash() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    let one = bench.fuse(&["compile", "logs.wat", "-o", "one.fuse", "--json"]).exits(0).json();
    let two = bench.fuse(&["compile", "logs.wat", "-o", "two.fuse", "--json"]).exits(0).json();
    assert_eq!(one["sha256"], two["sha256"]);
    assert_eq!(keys(&one), ["output", "bytes", "sha256", "artifact"]);
    assert_eq!(
        keys(&one["artifact"]),
        [
            "format_version",
            "engine_identity",
            "target",
            "runs_here",
            "metering",
            "traps",
            "code",
            "portable",
            "code_matches_portable"
        ]
    );
    assert_eq!(one["bytes"], std::fs::metadata(bench.path("one.fuse")).unwrap().len());
}

#[test]
fn every_target_compiles_and_says_whether_it_runs_here() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    for target in ["x86_64", "aarch64", "riscv64", "s390x", "pulley32", "pulley64"] {
        let done = bench.fuse(&[
            "compile",
            "logs.wat",
            "-o",
            "t.fuse",
            "--target",
            target,
            "--no-portable",
            "--json",
        ]);
        let made = done.exits(0).json();
        assert_eq!(made["artifact"]["target"], target);
        assert!(made["artifact"]["portable"].is_null());
        let here = target == std::env::consts::ARCH || target == "pulley64";
        assert_eq!(made["artifact"]["runs_here"], here, "{target}");
    }
}

#[test]
fn what_no_runtime_loads_is_refused_and_nothing_is_written() {
    let bench = Workbench::new();
    bench.write("empty.wat", "(module)");
    bench.write("typed.wat", r#"(module (func (export "module_step") (param i32)))"#);
    bench.write("broken.wat", "(module");
    bench.write("noise.wasm", b"\0asm\x01\0\0\0\xff\xff");
    let cases = [
        ("empty.wat", "does not export `module_step`"),
        ("typed.wat", "`module_step` has type (i32) -> ()"),
        ("broken.wat", "cannot read the module"),
        ("noise.wasm", "not a valid WebAssembly module"),
    ];
    for (file, why) in cases {
        let done = bench.fuse(&["compile", file, "-o", "out.fuse"]).exits(4);
        assert!(done.err.contains(why), "{file}: {}", done.err);
        assert!(done.err.starts_with(&format!("error: {file}")), "{}", done.err);
    }
    assert!(!bench.path("out.fuse").exists());
}

#[test]
fn errors_of_the_command_line_and_of_files_have_their_own_codes() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    bench.fuse(&["compile", "logs.wat"]).exits(2);
    bench.fuse(&["compile", "logs.wat", "-o", "x", "--target", "z80"]).exits(2);
    bench.fuse(&["compile", "absent.wat", "-o", "x"]).exits(3);
    let done = bench.fuse(&["compile", "logs.wat", "--json"]).exits(2);
    assert_eq!(done.json()["error"]["kind"], "usage");
    let done = bench.fuse(&["compile", "logs.wat", "-o", "no/such/folder/x", "--json"]).exits(3);
    assert_eq!(done.json()["error"]["kind"], "io");
    assert!(done.err.contains("cannot write no/such/folder/x"), "{}", done.err);
    let done =
        bench.fuse(&["compile", "logs.wat", "-o", "x", "--target", "pulley64", "--cpu", "v3"]).exits(4);
    assert!(done.err.contains("processor level `v3`"), "{}", done.err);
}

#[test]
fn an_artifact_is_not_compiled_again() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    bench.fuse(&["compile", "logs.wat", "-o", "logs.fuse"]).exits(0);
    let done = bench.fuse(&["compile", "logs.fuse", "-o", "again.fuse"]).exits(4);
    assert!(done.err.contains("it is an artifact already"), "{}", done.err);
}
