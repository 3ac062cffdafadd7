//! The daemon `fuse-host-agent`.
#![forbid(unsafe_code)]
fn main() {}
