//! The committed description of the API is that of the code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

mod page;

use std::{collections::BTreeSet, fs, path::Path};

/// Compares a committed file with what it is made of. `FUSE_BLESS=1 cargo test -p fuse-server --test openapi` writes it anew.
fn compare(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    if std::env::var_os("FUSE_BLESS").is_some() {
        fs::write(&file, text).expect("the file is written");
    }
    let committed = fs::read_to_string(&file).unwrap_or_default();
    assert!(committed == text, "docs/{name} is out of date: run it again with FUSE_BLESS=1");
}

#[test]
fn the_committed_description_is_that_of_the_code() {
    compare("openapi.json", &(serde_json::to_string_pretty(&fuse_server::openapi()).expect("JSON") + "\n"));
}

#[test]
fn the_committed_page_is_that_of_the_description() {
    compare("api.md", &page::render(&serde_json::to_value(fuse_server::openapi()).expect("JSON")));
}

/// Logins leave nothing behind that a repetition could do twice.
#[test]
fn every_post_takes_an_idempotency_key() {
    let document = serde_json::to_value(fuse_server::openapi()).expect("JSON");
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().expect("paths") {
        let Some(post) = item.get("post").filter(|_| !["/login", "/logout"].contains(&path.as_str())) else {
            continue;
        };
        let parameters = post["parameters"].as_array().expect("parameters");
        assert!(parameters.iter().any(|one| one["name"] == "Idempotency-Key"), "{path}");
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
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
