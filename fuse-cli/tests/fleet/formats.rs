//! JSON and YAML say the same, for every command that shows something.

use serde_json::Value;

use crate::site::Site;

/// The text without what is different at each look: figures of the process, and the time.
fn comparable(mut value: Value) -> Value {
    match &mut value {
        Value::Object(members) => {
            members.retain(|name, _| !["samples", "last_seen"].contains(&name.as_str()));
            for member in members.values_mut() {
                *member = comparable(member.take());
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = comparable(item.take())),
        _ => {}
    }
    value
}

#[test]
fn yaml_says_what_json_says() {
    let site = Site::start();
    site.run(&["environment", "create", "--task-id", "t1", "--expose", "80:web"]).exits(0);
    let snapshot = site.fuse("snapshot create fuse-t1 --comment no -o json").exits(0).json();
    site.fuse("api-key create --label on").exits(0);
    let get_snapshot = format!("snapshot get {}", snapshot["id"].as_str().unwrap());
    for words in [
        "environment list",
        "environment get fuse-t1",
        "host list",
        "host get default",
        "snapshot list",
        get_snapshot.as_str(),
        "api-key list",
        "dead-letter list",
        "status",
        "metrics",
        "context list",
        "context current",
    ] {
        let json = site.fuse(&format!("{words} -o json")).exits(0).json();
        let text = site.fuse(&format!("{words} -o yaml")).exits(0).out;
        let yaml: Value =
            serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{words}: {error}: {text}"));
        assert_eq!(comparable(yaml), comparable(json), "{words}: {text}");
        assert!(!text.trim_start().starts_with('{'), "{words}: {text}");
    }
}

#[test]
fn what_follows_one_another_is_a_document_each() {
    let site = Site::start();
    site.create("t1");
    let json = site.fuse("event tail --since 0 --no-follow -o json").exits(0).out;
    let lines: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let yaml = site.fuse("event tail --since 0 --no-follow -o yaml").exits(0).out;
    let documents: Vec<Value> = yaml
        .split("---\n")
        .skip(1)
        .map(|text| serde_yaml_ng::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}")))
        .collect();
    assert!(lines.len() >= 3, "{json}");
    assert_eq!(documents, lines);
}

#[test]
fn an_error_is_yaml_too() {
    let site = Site::start();
    let text = site.fuse("environment get fuse-none -o yaml").exits(5).out;
    let error: Value = serde_yaml_ng::from_str(&text).unwrap();
    assert_eq!(error["error"]["kind"], "not_found", "{text}");
}
