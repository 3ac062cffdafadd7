//! Deterministic runtime for untrusted WebAssembly modules.
#![no_std]
