//! The rules of the C interface, one file for a family of them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends at its first surprise")]

mod baseline;
mod header;
mod nulls;
mod panics;
mod programs;
mod requirements;
