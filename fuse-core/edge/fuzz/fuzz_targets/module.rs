//! See `fuse_edge_fuzz::module`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuse_edge_fuzz::module(data));
