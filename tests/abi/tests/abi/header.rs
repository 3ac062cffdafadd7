//! Rules 8 to 10: the header is what the source says, and compiles everywhere.

use std::fs;
use std::path::Path;

use fuse_abi::header::{self, functions};
use fuse_abi::repository;

/// Compares a generated file with the committed one; with FUSE_BLESS it is written.
fn is_current(path: &Path, made: &str) {
    if std::env::var_os("FUSE_BLESS").is_some() {
        fs::write(path, made).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default();
    let line = made.lines().zip(committed.lines()).position(|(a, b)| a != b);
    assert!(
        committed == made,
        "{} differs from what the source says (first at line {line:?}); write it with \
         `FUSE_BLESS=1 cargo test --workspace --test abi`",
        path.display()
    );
}

#[test]
fn rule_09_the_header_is_what_the_source_says() {
    is_current(&header::path(), &header::generate().unwrap());
}

#[test]
fn rule_09_the_table_of_functions_is_what_the_header_says() {
    let header = fs::read_to_string(header::path()).unwrap();
    let functions = functions(&header);
    assert!(functions.len() > 100, "only {} functions were found", functions.len());
    for function in &functions {
        assert!(function.context().is_some(), "{} does not say where it may be called", function.name);
    }
    is_current(&repository().join("docs/c-functions.md"), &header::table(&functions));
}
