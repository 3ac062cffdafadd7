//! Tests of the edge runtime that do not fit into scenarios: many runs, random ones, and every damage there is.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod artifacts;
mod configuration;
mod coverage;
mod determinism;
mod events;
mod quota;
mod scheduler;
mod signals;

pub(crate) use fuse_conformance::Guard;
use fuse_edge::artifact::{CompileOptions, compile};
use fuse_edge::{Application, LinuxPlatform, ManualClock, ManualPlatform, Metering, Runtime, RuntimeConfig};

/// A module of this text, compiled for this machine without its portable form.
fn artifact(wat: &str, metering: Metering) -> Vec<u8> {
    let options = CompileOptions { metering, portable: false, ..CompileOptions::default() };
    compile(wat.as_bytes(), &options).unwrap()
}

/// A runtime with a manual clock and room for many modules.
fn manual_runtime(metering: Metering) -> (Runtime, ManualClock) {
    let platform = ManualPlatform::new();
    let clock = platform.clock();
    let application = Application { metering, max_modules: 1000, ..Application::default() };
    (Runtime::new(RuntimeConfig::new(application), platform).unwrap(), clock)
}

/// A runtime with the quota timer of this machine.
fn timed_runtime() -> Runtime {
    let application = Application { max_modules: 1000, ..Application::default() };
    let platform = ManualPlatform::with_quota_timer(LinuxPlatform::new().unwrap());
    Runtime::new(RuntimeConfig::new(application), platform).unwrap()
}

/// A module that does nothing.
const IDLE: &str = r#"(module (func (export "module_step")))"#;
