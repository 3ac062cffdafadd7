//! Control plane for microVM sandboxes.
#![forbid(unsafe_code)]

pub mod secrets;
pub mod store;
