//! The table of this checkout holds.
use std::process::Command;

#[test]
fn the_table_holds_and_the_page_is_made_from_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_fuse-parity")).output().map_err(|e| e.to_string());
    let output = output.unwrap_or_else(|why| unreachable!("{why}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
