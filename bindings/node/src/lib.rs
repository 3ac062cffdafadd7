//! Fuse for Node: the addon under the package `fuse-runtime`.
//!
//! The package (in `lib/`, TypeScript) is what programs import: it has the classes, the errors and the iterators. Here is
//! what needs the core, with the plainest types that carry it. A module is two 32-bit numbers: JavaScript's numbers hold no
//! 64-bit id, and calls with small numbers are the cheapest.
//!
//! **Invariant:** a callback never throws into native code: the package catches what it throws, and answers with the code
//! of the fault as text.
#![cfg_attr(test, allow(dead_code, reason = "a test build registers nothing with Node"))]
// `deny`, since the macros of napi-rs allow their own; no code here is unsafe.
#![deny(unsafe_code)]
#![allow(unreachable_pub, reason = "the macros of napi-rs take public items")]

mod artifact;
mod call;
mod clock;
mod config;
mod event;
mod fault;
mod hal;
mod log;
mod module;
mod plane;
mod runtime;
mod shelf;
mod terminal;
