//! Snapshots that move between hosts.
//!
//! The control plane signs a *grant* with the token of the host that has the snapshot, and asks the other host to pull.
//! That one fetches the manifest (the snapshot's record) and then each file, checks every digest, and only then makes the
//! snapshot its own. A pull that broke off goes on where it stopped; files that are here already, such as a kernel or a
//! base image, are not fetched again.

mod grant;
mod pull;

pub use grant::{GRANT_HEADER, is_granted, new_grant};
pub use pull::{DIGEST_HEADER, PullRequest, Pulled, Puller};
