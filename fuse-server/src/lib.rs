//! The REST control plane of Fuse.
#![forbid(unsafe_code)]
