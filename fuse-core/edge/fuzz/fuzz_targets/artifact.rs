//! See `fuse_edge_fuzz::artifact`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuse_edge_fuzz::artifact(data));
