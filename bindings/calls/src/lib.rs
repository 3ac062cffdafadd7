//! The calls of an [`Orchestrator`](fuse_orchestrator::Orchestrator) by name, with JSON in and out: the bodies and queries of
//! the REST API. Python and Node have the same calls, since both have them from here.
//!
//! ```
//! use fuse_calls::Plane;
//! let plane = Plane::in_memory()?;
//! let made = plane.wait(plane.call("provision", r#"{"request": {"task_id": "t1"}}"#.into()))?;
//! assert!(made.contains("\"task_id\":\"t1\""));
//! plane.close()?;
//! # Ok::<(), fuse_orchestrator::Error>(())
//! ```
#![forbid(unsafe_code)]

mod calls;
mod plane;
mod stream;
mod terminal;

pub use calls::NAMES;
pub use plane::{CLOSE_LIMIT, Plane};
pub use stream::Stream;
pub use terminal::Terminal;

/// The error body of the REST API for an error: `{"error": {"code", "message", "details"}}`.
#[must_use]
pub fn body(error: &fuse_orchestrator::Error) -> String {
    fuse_orchestrator::wire::ErrorBody::from(error).to_json()
}
