//! The example does what it says.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

#[test]
fn it_lives_its_whole_life() {
    let output = Command::new(env!("CARGO_BIN_EXE_sandbox")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let said: Vec<_> = text.lines().filter(|line| !line.starts_with("  event")).map(str::trim).collect();
    let notes: Vec<_> =
        said.iter().filter(|line| ["made at boot", "changed later", "of the fork"].contains(line)).collect();
    assert_eq!(
        notes,
        [
            &"made at boot",
            &"changed later",
            &"made at boot",
            &"made at boot",
            &"of the fork",
            &"made at boot"
        ],
        "{text}"
    );
    assert_eq!(said.iter().filter(|line| line.contains("is destroyed")).count(), 2, "{text}");
    for event in
        ["vm.running", "snapshot.created", "snapshot.restored", "vm.forked", "vm.drained", "vm.removed"]
    {
        assert!(text.contains(event), "{event} is missing in\n{text}");
    }
}
