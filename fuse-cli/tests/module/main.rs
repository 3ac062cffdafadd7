//! `fuse module …` as a user meets it: the program itself, its output and its exit codes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod check;
mod compile;
mod inspect;
mod new;
mod pack;
mod run;
mod workbench;
