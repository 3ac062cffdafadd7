//! Where hosts come from.

mod port;
pub(crate) mod serial;
pub(crate) mod tcp;
mod tls;
pub(crate) mod vsock;
