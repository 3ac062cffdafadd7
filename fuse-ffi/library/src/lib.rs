//! libfuse: the functions are those of `fuse-ffi`; this crate makes the shared and the static library of them.
#![forbid(unsafe_code)]

pub use fuse_ffi::*;
