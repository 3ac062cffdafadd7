//! Sandboxes: a control plane in this process or behind the REST API. Requests and answers are the JSON of that API.

mod attach;
mod call;
mod environments;
mod events;
mod guests;
mod hosts;
mod keys;
mod open;
mod snapshots;

pub use attach::*;
pub(crate) use call::{error_text, status_of};
pub use call::{fuse_completion_fn, fuse_orchestrator_t, fuse_string_free};
pub use environments::*;
pub use events::*;
pub use guests::*;
pub use hosts::*;
pub use keys::*;
pub use open::*;
pub use snapshots::*;
