//! Memory that is set aside before it is taken, in builds where it is counted.

use crate::handle::Failed;

/// Bytes that are set aside until this is dropped. Nothing where memory is not counted.
pub(crate) struct Held {
    #[cfg(feature = "flight")]
    bytes: u64,
}

impl Held {
    /// Sets aside `bytes` for `what`.
    #[cfg(feature = "flight")]
    pub(crate) fn take(what: &'static str, bytes: u64) -> Result<Self, Failed> {
        match crate::flight::memory_ledger().reserve(bytes) {
            Ok(()) => Ok(Self { bytes }),
            Err(available) => {
                Err(Failed::Edge(fuse_edge::Error::OutOfMemory { what, needed: bytes, available }))
            }
        }
    }

    /// Nothing is counted in this build.
    #[cfg(not(feature = "flight"))]
    pub(crate) fn take(_: &'static str, _: u64) -> Result<Self, Failed> {
        Ok(Self {})
    }

    /// Holds another's bytes too.
    pub(crate) fn absorb(&mut self, other: Self) {
        #[cfg(feature = "flight")]
        {
            self.bytes += core::mem::take(&mut { other }.bytes);
        }
        #[cfg(not(feature = "flight"))]
        let _ = other;
    }
}

#[cfg(feature = "flight")]
impl Drop for Held {
    fn drop(&mut self) {
        crate::flight::memory_ledger().release(self.bytes);
    }
}
