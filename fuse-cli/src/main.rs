//! The program `fuse`.
#![forbid(unsafe_code)]
fn main() {}
