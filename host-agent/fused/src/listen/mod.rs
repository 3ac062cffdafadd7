//! Where hosts come from.

pub(crate) mod serial;
pub(crate) mod tcp;
mod tls;
pub(crate) mod vsock;
