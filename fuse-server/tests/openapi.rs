//! The committed description of the API is that of the code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

use std::{collections::BTreeSet, fs, path::Path};

/// `FUSE_BLESS=1 cargo test -p fuse-server --test openapi` writes the file anew.
#[test]
fn the_committed_description_is_that_of_the_code() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let text = serde_json::to_string_pretty(&fuse_server::openapi()).expect("JSON") + "\n";
    if std::env::var_os("FUSE_BLESS").is_some() {
        fs::write(&file, &text).expect("the file is written");
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == text, "docs/openapi.json is out of date: run it again with FUSE_BLESS=1");
}

#[test]
fn every_operation_has_a_name_and_every_reference_an_end() {
    let document = serde_json::to_value(fuse_server::openapi()).expect("JSON");
    assert_eq!(document["openapi"], "3.1.0");
    let mut names = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("operations") {
            let name = operation["operationId"].as_str().expect("a name").to_owned();
            assert!(names.insert(name), "{method} {path} shares its name");
        }
    }
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().expect("a name");
        assert!(document["components"]["schemas"].get(name).is_some(), "{name} is not there");
    }
}
