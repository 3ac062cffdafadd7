//! The test programs, as they are and under the tools that see what a plain run does not.

use std::path::{Path, PathBuf};
use std::process::Command;

use fuse_abi::program::{Build, run};

fn source(name: &str) -> PathBuf {
    fuse_abi::folder().join("c").join(name)
}

fn out(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs").join(name)
}

/// An empty folder for a program to run in.
fn place(name: &str) -> PathBuf {
    let folder = out(&format!("{name}.d"));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

const ADDRESS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// As it is, linked both ways, and with every access checked.
fn check(name: &str) {
    let plain = Build::c().source(source(&format!("{name}.c"))).to(&out(name)).unwrap();
    run(Command::new(&plain).current_dir(place(name))).unwrap();
    let checked = format!("{name}_asan");
    let program = Build::c().flags(&ADDRESS).source(source(&format!("{name}.c"))).to(&out(&checked)).unwrap();
    run(Command::new(&program).current_dir(place(&checked))).unwrap();
}

fn valgrind(name: &str) {
    let program =
        Build::c().source(source(&format!("{name}.c"))).to(&out(&format!("{name}_valgrind"))).unwrap();
    let mut command = Command::new("valgrind");
    command.args([
        "--quiet",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite,possible",
    ]);
    command.arg(format!("--suppressions={}", fuse_abi::folder().join("valgrind.supp").display()));
    run(command.arg(&program).current_dir(place(&format!("{name}_valgrind")))).unwrap();
}

#[test]
fn rule_02_structs_of_older_and_newer_programs() {
    check("sizes");
}

#[test]
fn rule_03_rule_06_handles_that_are_closed_or_of_another_kind() {
    check("handles");
}

#[test]
fn rule_05_callbacks_that_fail_and_re_enter() {
    check("callbacks");
}

#[test]
fn rule_07_the_control_plane_in_json() {
    check("orchestrator");
}

#[test]
fn rule_14_posts_from_threads_and_signals() {
    check("poster");
}

#[test]
fn rule_14_posts_under_the_thread_sanitizer() {
    let program =
        Build::c().flags(&["-fsanitize=thread"]).source(source("poster.c")).to(&out("poster_tsan")).unwrap();
    // Without a fixed layout, the sanitizer may find its own memory taken.
    let mut command = Command::new("setarch");
    run(command.arg("-R").arg(&program)).unwrap();
}

#[test]
fn the_platform_of_the_host() {
    check("platform");
}

#[test]
fn rule_04_no_leak_and_no_invalid_access_under_valgrind() {
    for name in ["sizes", "handles", "callbacks", "poster", "platform"] {
        valgrind(name);
    }
}

#[test]
fn rule_07_no_leak_and_no_invalid_access_of_the_control_plane_under_valgrind() {
    valgrind("orchestrator");
}

#[test]
fn rule_11_fuse_hpp_with_and_without_exceptions() {
    for (name, flags) in [("throws", &[][..]), ("throws_without", &["-fno-exceptions", "-fno-rtti"])] {
        let build = Build::cpp().flags(flags).flags(&ADDRESS).source(source("throws.cpp"));
        let program = build.to(&out(name)).unwrap();
        run(Command::new(&program).current_dir(place(name))).unwrap();
    }
}

#[test]
fn rule_12_the_static_library() {
    let program =
        Build::c().source(source("handles.c")).linked_statically().to(&out("handles_static")).unwrap();
    run(&mut Command::new(&program)).unwrap();
}
