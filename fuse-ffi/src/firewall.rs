//! No panic leaves a function.

use alloc::string::String;

/// A panic was caught; what it said.
pub(crate) struct Panicked(pub(crate) String);

/// Runs `call`, and catches its panic.
#[cfg(feature = "std")]
#[inline]
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    // What the call had its hands on is not used again: the handle is poisoned.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(call)).map_err(|payload| {
        let said = payload.downcast_ref::<&str>().map(|s| (*s).into());
        Panicked(said.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default())
    })
}

/// Runs `call`. A panic calls the host's handler, which does not return.
#[cfg(not(feature = "std"))]
#[inline]
pub(crate) fn catch<T>(call: impl FnOnce() -> T) -> Result<T, Panicked> {
    Ok(call())
}
