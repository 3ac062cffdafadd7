//! Fuse runs code that you do not trust, next to code that must not fail.
//!
//! | feature | gives |
//! |---|---|
//! | `edge` (default) | [`edge`]: WebAssembly modules under policy, stepped by the host |
//! | `orchestrator` (default) | [`orchestrator`]: microVM sandboxes on your own hosts, through their whole life |
//!
//! ```
//! use fuse_runtime::edge::{LinuxPlatform, Policy, Runtime, RuntimeConfig};
//! let mut runtime = Runtime::new(RuntimeConfig::default(), LinuxPlatform::new()?)?;
//! let id = runtime.load("hello", br#"(module (func (export "module_step")))"#, &Policy::default())?;
//! runtime.start(id)?;
//! assert_eq!(runtime.tick()?.outcomes().len(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

#[cfg(feature = "edge")]
pub use fuse_edge as edge;
#[cfg(feature = "orchestrator")]
pub use fuse_orchestrator as orchestrator;

/// The program in the README compiles and runs.
#[cfg(all(doctest, feature = "edge"))]
#[doc = include_str!("../../README.md")]
struct Readme;
