//! libfuse_world.so: libfuse, and a control plane in virtual time whose hosts, faults and clock scenarios command. What C
//! calls on it are the functions of `fuse.h`, those that `libfuse.so` has; `world.h` declares the rest.
//!
//! Virtual time is a feature of the async runtime that no program should have but tests. So this crate is empty unless the
//! tests ask for it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, unreachable_pub, reason = "tests")]

#[cfg(feature = "virtual-time")]
mod inside;
#[cfg(feature = "virtual-time")]
pub use inside::*;
