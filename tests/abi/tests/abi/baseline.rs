//! Rules 8 and 10: what the first release had, every later one has, at the same place.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use fuse_abi::header::{self, functions};
use fuse_abi::program::{Build, library, run, text};

fn baseline(name: &str) -> PathBuf {
    fuse_abi::folder().join("baseline").join(name)
}

fn out(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("baseline").join(name)
}

/// What the library exports.
fn exported() -> BTreeSet<String> {
    let library = library().unwrap().join("libfuse.so");
    let output = Command::new("nm").args(["-D", "--defined-only"]).arg(library).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2))
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .collect()
}

#[test]
fn rule_10_the_library_exports_what_the_header_declares() {
    let header = fs::read_to_string(header::path()).unwrap();
    let declared: BTreeSet<String> = functions(&header).into_iter().map(|f| f.name).collect();
    assert_eq!(exported(), declared);
}

#[test]
fn rule_08_nothing_of_the_first_release_is_gone() {
    let kept = fs::read_to_string(baseline("symbols.txt")).unwrap();
    let exported = exported();
    let gone: Vec<&str> = kept.lines().filter(|name| !exported.contains(*name)).collect();
    assert!(gone.is_empty(), "{gone:?}");
    let output =
        Command::new("readelf").arg("-d").arg(library().unwrap().join("libfuse.so")).output().unwrap();
    assert!(text(&output).contains("Library soname: [libfuse-runtime.so.1]"), "{}", text(&output));
}

#[test]
fn rule_10_structs_lie_where_they_lay() {
    // Static asserts of sizes and offsets, of the first release: with its own header and with today's.
    for include in [baseline(""), header::path().parent().unwrap_or(Path::new(".")).to_owned()] {
        Build::c().include(include).flags(&["-c"]).source(baseline("layout.c")).to(&out("layout.o")).unwrap();
    }
}

#[test]
fn rule_10_a_program_of_the_first_release_runs_with_this_library() {
    let build = Build::c().include(baseline("")).source(baseline("program.c"));
    let program = build.to(&out("program")).unwrap();
    run(&mut Command::new(&program)).unwrap();
}
