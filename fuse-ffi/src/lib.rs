//! libfuse: the C ABI of Fuse.
#![forbid(unsafe_code)]
