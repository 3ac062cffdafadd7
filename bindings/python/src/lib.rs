//! Fuse for Python: the extension module `fuse_runtime._fuse`.
//!
//! The package `fuse_runtime` (in `python/fuse_runtime`) is what programs import: it adds the exceptions, the
//! enumerations and the classes that need nothing native. Here is what needs the core.
//!
//! **Invariant:** guest code runs with the interpreter lock released; a callback takes it again for as long as it runs.
//!
//! **Invariant:** nothing waits for a runtime's lock while it holds the interpreter's.
#![deny(unsafe_code)]

use pyo3::prelude::*;

mod application;
mod artifact;
mod buffer;
mod clock;
mod event;
mod fault;
mod fork;
mod hal;
mod log;
mod module;
mod plane;
mod policy;
mod report;
mod runtime;

/// The native half of `fuse_runtime`; import that instead.
#[pymodule]
mod _fuse {
    use super::*;

    #[pymodule_export]
    use application::{AppConfig, Application, ModuleDecl};
    #[pymodule_export]
    use artifact::{Artifact, compile, inspect};
    #[pymodule_export]
    use clock::ManualClock;
    #[pymodule_export]
    use event::EventPoster;
    #[pymodule_export]
    use log::LogRecord;
    #[pymodule_export]
    use module::Module;
    #[pymodule_export]
    use plane::{Pending, Plane, Stream, Terminal};
    #[pymodule_export]
    use policy::Policy;
    #[pymodule_export]
    use report::{Histogram, ModuleStats, StepOutcome, TickReport};
    #[pymodule_export]
    use runtime::Runtime;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("__version__", env!("CARGO_PKG_VERSION"))?;
        module.add("ENGINE_VERSION", fuse_runtime::edge::ENGINE_VERSION)?;
        module.add("HAL_RESULT_MISMATCH", fuse_runtime::edge::hal::HAL_RESULT_MISMATCH)?;
        module.add("HAL_RAISED", hal::RAISED)?;
        fork::watch(module.py())
    }
}
