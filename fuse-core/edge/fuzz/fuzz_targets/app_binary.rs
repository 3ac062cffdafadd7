//! See `fuse_edge_fuzz::app_binary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuse_edge_fuzz::app_binary(data));
