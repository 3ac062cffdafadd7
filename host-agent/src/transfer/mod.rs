//! Snapshots that move between hosts.
//!
//! The control plane signs a *grant* with the token of the host that has the snapshot, and asks the other host to pull.
//! That one fetches the manifest (the snapshot's record) and then each file, checks every digest, and only then makes the
//! snapshot its own. A difference comes with those that it builds on, the first one first. A pull that broke off goes on
//! where it stopped, also when the agent was started anew meanwhile; files that are here already, such as a kernel or a
//! base image, and snapshots that a difference builds on, are not fetched again.

mod grant;
mod partial;
mod peer;
mod pull;

pub use grant::{GRANT_HEADER, is_granted, new_grant};
pub(crate) use partial::sweep;
pub use peer::DIGEST_HEADER;
pub use pull::Puller;
