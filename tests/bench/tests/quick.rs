//! The whole measurement with tiny counts: every row comes out, in the JSON and in the Markdown.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

#[test]
fn a_quick_run_has_every_row() {
    let out = tempfile::tempdir().unwrap();
    let run = Command::new(env!("CARGO_BIN_EXE_fuse-bench"))
        .args(["--quick", "--out"])
        .arg(out.path())
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));

    let json = std::fs::read(out.path().join("edge.json")).unwrap();
    let table: Value = serde_json::from_slice(&json).unwrap();
    let rows = table["rows"].as_array().unwrap();
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    let found: BTreeSet<String> = ids.iter().map(|id| (*id).to_owned()).collect();
    let expected: BTreeSet<String> = fuse_bench::rows::edge_ids().into_iter().collect();
    assert_eq!(found, expected);
    assert_eq!(ids.len(), found.len(), "an id appears twice: {ids:?}");
    assert_eq!(table["quick"], Value::Bool(true));

    for row in rows {
        let finite = |at: &Value| at["median"].as_f64().is_some_and(f64::is_finite) && at["samples"] != 0;
        assert!(finite(&row["measured"]), "{row}");
        assert!(row["rival_measured"].is_null() || finite(&row["rival_measured"]), "{row}");
        let has_bar = row["bar"]["kind"] != "none";
        assert_eq!(has_bar, row["verdict"] != "report", "{row}");
    }
    let markdown = std::fs::read_to_string(out.path().join("edge.md")).unwrap();
    for row in rows {
        assert!(markdown.contains(row["figure"].as_str().unwrap()), "{row}");
    }
}

#[test]
fn the_promised_bars_are_there() {
    let json = {
        let out = tempfile::tempdir().unwrap();
        let run = Command::new(env!("CARGO_BIN_EXE_fuse-bench"))
            .args(["--quick", "--only", "step", "--out"])
            .arg(out.path())
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        std::fs::read(out.path().join("edge.json")).unwrap()
    };
    let table: Value = serde_json::from_slice(&json).unwrap();
    let bar = |id: &str| {
        let row = table["rows"].as_array().unwrap().iter().find(|row| row["id"] == id).unwrap();
        (row["bar"]["kind"].as_str().unwrap().to_owned(), row["bar"]["limit"].as_f64())
    };
    assert_eq!(bar("step.empty"), ("times".into(), Some(1.5)));
    assert_eq!(bar("step.quota"), ("more".into(), Some(100.0)));
    assert_eq!(bar("step.host_call"), ("times".into(), Some(1.5)));
}
