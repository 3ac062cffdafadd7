//! The C ABI of Fuse. `include/fuse.h` is generated from these files, their comments included, so what is said here
//! is said to programmers of C.
//!
//! Three rules hold for every function, and no comment repeats them:
//!
//! * A pointer is null, or it points to what its type says for as long as the call runs. Null is refused with
//!   [`FUSE_ERR_INVALID_ARG`] unless the comment says what it means. A handle comes from the function that makes it.
//! * A struct begins with its size; what is shorter than the fields that this library must have, or longer with
//!   anything but zeros after the fields that it knows, is refused.
//! * No panic leaves a function: in builds with `std` it becomes [`FUSE_ERR_INTERNAL`] and the handle takes no
//!   further call but its close; in builds without, the host's handler is called and does not return.
//!
//! | feature | gives |
//! |---|---|
//! | `edge` | the runtime; builds without `std` |
//! | `full` | the compiler, JSON, files, the Linux platform, the orchestrator |
#![cfg_attr(not(feature = "std"), no_std)]
// The names are those of the C header.
#![allow(non_camel_case_types)]
// What callers owe is above, once for all functions.
#![allow(clippy::missing_safety_doc)]
// C has no other way to take several things.
#![allow(clippy::too_many_arguments)]
// The comments are those of the C header, where there is no Markdown.
#![allow(rustdoc::bare_urls)]

extern crate alloc;

mod app;
mod artifact;
mod crossing;
mod finalizer;
mod firewall;
#[cfg(feature = "flight")]
mod flight;
mod graveyard;
mod hal;
mod handle;
mod memory;
#[cfg(feature = "full")]
mod orchestrator;
mod platform;
mod policy;
mod poster;
mod runtime;
mod status;
mod text;
mod version;

pub use app::*;
pub use artifact::*;
pub use finalizer::fuse_finalizer_t;
#[cfg(feature = "flight")]
pub use flight::*;
pub use hal::*;
pub use handle::fuse_last_error;
#[cfg(feature = "full")]
pub use orchestrator::*;
pub use platform::*;
pub use policy::*;
pub use poster::*;
pub use runtime::*;
pub use status::*;
pub use version::*;
