//! Runs the example as a user does and checks what it shows, with frame_filter in each of its
//! four languages.

#![allow(clippy::unwrap_used, reason = "a test ends at its first surprise")]

use std::fs;
use std::path::Path;
use std::process::Command;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Runs all frames; gives the summary, and everything after the table of modules.
fn run(test: &str, language: &str) -> (String, String) {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{test}_{language}"));
    let _ = fs::remove_dir_all(&out);
    let output = Command::new(env!("CARGO_BIN_EXE_camera_filter_compress"))
        .args(["--filter", language, "--out"])
        .arg(&out)
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{language}: {shown}{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read(out.join("contact_sheet.png")).unwrap().starts_with(b"\x89PNG"));
    (fs::read_to_string(out.join("summary.tsv")).unwrap(), shown)
}

#[test]
fn every_language_gives_the_expected_verdicts_and_packets() {
    let expected = fs::read_to_string(Path::new(EXAMPLE).join("expected.tsv")).unwrap();
    for language in ["c", "cpp", "rust", "zig"] {
        let (summary, shown) = run("verdicts", language);
        assert_eq!(summary, expected, "{language}: {shown}");
        // module_deinit speaks at unload, and has counted every frame.
        assert!(shown.lines().any(|line| line == "frame_filter: kept 14 of 24"), "{language}: {shown}");
        assert!(!shown.contains("security log:"), "{language}: {shown}");
    }
}

#[test]
fn the_stages_run_only_for_their_events() {
    let (_, shown) = run("stages", "c");
    let steps = |name: &str| {
        let row = shown.lines().find(|line| line.starts_with(name) && line.contains("Running"));
        row.and_then(|row| row.split_whitespace().nth(2)).map(str::to_owned)
    };
    assert_eq!(steps("frame_filter").as_deref(), Some("24"), "{shown}");
    assert_eq!(steps("frame_compress").as_deref(), Some("14"), "{shown}");
}
