//! Replays the kept corpus: what once broke stays mended, without a fuzzer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&std::fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{} is empty", folder.display());
}

#[test]
fn artifact() {
    replay("artifact", fuse_edge_fuzz::artifact);
}

#[test]
fn policy_json() {
    replay("policy_json", fuse_edge_fuzz::policy_json);
}

#[test]
fn policy_binary() {
    replay("policy_binary", fuse_edge_fuzz::policy_binary);
}

#[test]
fn app_binary() {
    replay("app_binary", fuse_edge_fuzz::app_binary);
}

#[test]
fn module() {
    replay("module", fuse_edge_fuzz::module);
}
