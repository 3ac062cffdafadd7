//! A deterministic runtime for functions that the host does not trust.
//!
//! Modules are WebAssembly, compiled ahead of time into [artifacts](artifact). Each runs under a [`Policy`] that
//! a person can review: what it may call, how much memory and stack it has, how long a step may take, and what
//! makes it due. The host steps them, one by one with [`run_step`](Runtime::run_step) or all that are due with
//! [`tick`](Runtime::tick), and gives them hardware only through [HAL](hal) callbacks that it registers. What a
//! module does wrong ends its step, is logged, and reaches neither the host nor another module.
//!
//! The crate reads no clock, starts no thread and opens no file by itself: a [`Platform`] gives time and the quota
//! timer. It builds without `std`.
//!
//! # Example
//! ```
//! use fuse_edge::{Activation, Capabilities, ManualPlatform, Policy, Runtime, RuntimeConfig};
//! # #[cfg(feature = "compiler")] {
//! let platform = ManualPlatform::new();
//! let clock = platform.clock();
//! let mut runtime = Runtime::new(RuntimeConfig::default(), platform)?;
//! runtime.set_temp(|| Ok(21.5));
//!
//! let source = br#"(module
//!   (import "env" "temp_get_reading" (func $read (result f32)))
//!   (func (export "module_step") (drop (call $read))))"#;
//! let policy = Policy {
//!     capabilities: Capabilities::TEMP_SENSOR,
//!     activation: Activation::INTERVAL,
//!     step_interval_us: 1_000_000,
//!     ..Policy::default()
//! };
//! let module = runtime.load("thermometer", source, &policy)?;
//! runtime.start(module)?;
//! assert_eq!(runtime.tick()?.outcomes().len(), 1);
//! assert_eq!(runtime.tick()?.outcomes().len(), 0, "not due again");
//! clock.advance_us(1_000_000);
//! assert_eq!(runtime.tick()?.outcomes().len(), 1);
//! # }
//! # Ok::<(), fuse_edge::Error>(())
//! ```
//!
//! # Features
//! | feature | gives |
//! |---|---|
//! | `std` | [`LinuxPlatform`], [`Runtime::load_file`] |
//! | `compiler` | [`artifact::compile`], compiling on load |
//! | `pulley` | runs artifacts for the Pulley interpreter beside native ones |
//! | `json` | [`AppConfig::from_json`], [`Policy::from_json`] |
//! | `hal-temp`, `hal-timer`, `hal-camera` | the built-in HAL groups of these names |
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

pub mod app;
pub mod artifact;
mod budget;
#[cfg(all(not(feature = "std"), target_arch = "x86_64"))]
mod cpu;
mod engine;
mod error;
mod event;
pub mod hal;
mod host;
mod instance;
pub mod log;
mod memory;
mod module;
pub mod platform;
mod policy;
mod queue;
mod quota;
mod runtime;
mod schedule;
pub mod stats;

pub use app::{AppConfig, Application, Metering, ModuleDecl};
pub use budget::MemoryPlan;
pub use engine::{ENGINE_VERSION, STACK_BYTES_LIMIT, TrapMode, built_in_import};
pub use error::{Entry, Error, ErrorKind, Failure, Quota, Result, TrapCause, Violation};
pub use event::{EVENT_COUNT, EventId, EventMask, EventPoster};
pub use hal::{Capabilities, HalFault, HalGroup};
pub use module::{ModuleId, ModuleState};
#[cfg(all(feature = "std", target_os = "linux"))]
pub use platform::LinuxPlatform;
pub use platform::{ManualClock, ManualPlatform, Platform};
pub use policy::{
    Activation, DEFAULT_PRIORITY, MEMORY_PAGES_LIMIT, PAGE_BYTES, POLICY_BYTES, Policy, STACK_BYTES_MIN,
};
pub use runtime::{ModuleInfo, Runtime, RuntimeConfig, StepOutcome, StepTiming, TickReport};
pub use stats::ModuleStats;
