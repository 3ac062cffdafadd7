//! The requirements of the guides: each names what checks it, and what checks it names the requirement.

use std::fs;
use std::path::{Path, PathBuf};

use fuse_abi::repository;

/// Rows `| ID | text | where |` of a guide: the id, and the files that are named in the last cell.
fn rows(guide: &str, family: &str) -> Vec<(String, Vec<String>)> {
    let text = fs::read_to_string(repository().join(guide)).unwrap();
    let begin = format!("| {family}-");
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [id, _, place] = cells.as_slice() else {
            panic!("{guide}: a row of {} cells: {line}", cells.len())
        };
        let files = place.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect();
        ((*id).to_owned(), files)
    };
    let rows: Vec<_> = text.lines().filter(|line| line.starts_with(&begin)).map(row).collect();
    assert!(rows.len() >= 9, "{guide} has only {} requirements", rows.len());
    rows
}

/// The file is there, and names the requirement where it can.
fn names(file: &Path, id: &str) {
    assert!(file.exists(), "{id} names {}, which does not exist", file.display());
    // Data has no place for it, and a folder is named as a whole.
    let is_text = file.extension().is_some_and(|e| e == "c" || e == "rs" || e == "sh" || e == "txt");
    if is_text {
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains(id), "{} does not name {id}, which it checks", file.display());
    }
}

fn place(name: &str) -> PathBuf {
    // Those of the flight library are in one folder.
    let in_flight = repository().join("tests/flight").join(name);
    if in_flight.exists() { in_flight } else { repository().join(name) }
}

#[test]
fn every_requirement_of_flight_hosts_is_checked_where_it_says() {
    for (guide, family) in [("docs/embedding-flight.md", "FLIGHT"), ("docs/flight.md", "ARENA")] {
        for (id, files) in rows(guide, family) {
            assert!(!files.is_empty(), "{id} names nothing that checks it");
            for file in files {
                names(&place(&file), &id);
            }
        }
    }
}

#[test]
fn every_rule_of_the_interface_has_a_test() {
    let guide = fs::read_to_string(repository().join("docs/c-abi.md")).unwrap();
    let mut tests = String::new();
    for entry in fs::read_dir(fuse_abi::folder().join("tests/abi")).unwrap() {
        tests.push_str(&fs::read_to_string(entry.unwrap().path()).unwrap());
    }
    let rules: Vec<&str> =
        guide.lines().filter_map(|line| line.strip_prefix("| ABI-")?.split(' ').next()).collect();
    assert!(rules.len() >= 14, "{rules:?}");
    for rule in rules {
        // What holds for the flight library alone is checked with it.
        let is_tested = tests.contains(&format!("rule_{rule}_")) || rule == "13";
        assert!(is_tested, "no test is named for ABI-{rule}");
    }
}
