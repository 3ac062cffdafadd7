//! Runs microVMs on one host.
#![forbid(unsafe_code)]
