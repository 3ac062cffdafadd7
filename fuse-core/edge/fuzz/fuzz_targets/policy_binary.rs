//! See `fuse_edge_fuzz::policy_binary`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuse_edge_fuzz::policy_binary(data));
