//! Fuse runs code that you do not trust, next to code that must not fail.
#![forbid(unsafe_code)]
#[cfg(feature = "edge")]
pub use fuse_edge as edge;
