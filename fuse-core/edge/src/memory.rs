//! Linear memory that takes its whole budget when it is made, so that `memory.grow` in a step allocates
//! nothing and cannot fail for lack of memory.

use alloc::alloc::{Layout, alloc_zeroed, dealloc};
use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};

use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Makes memories with room for the budget that was last set. A runtime makes one memory at a time.
#[derive(Debug, Default)]
pub(crate) struct MemoryReserve {
    budget: AtomicUsize,
}

impl MemoryReserve {
    /// Sets how many bytes the next memory may reach.
    pub(crate) fn set(&self, bytes: usize) {
        self.budget.store(bytes, Ordering::Relaxed);
    }
}

const ALIGN: usize = 16;

struct ReservedMemory {
    start: NonNull<u8>,
    /// What is accessible now.
    size: usize,
    /// What was allocated, zeroed; never 0.
    layout: Layout,
}

// SAFETY: the memory is owned by this value alone; nothing in it is tied to a thread.
unsafe impl Send for ReservedMemory {}
// SAFETY: `&ReservedMemory` gives only numbers and the address.
unsafe impl Sync for ReservedMemory {}

impl ReservedMemory {
    fn new(size: usize, capacity: usize) -> Result<Self, String> {
        let no_room = || format!("out of memory: {capacity} bytes for the module's linear memory");
        let layout = Layout::from_size_align(capacity.max(ALIGN), ALIGN).map_err(|_| no_room())?;
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(no_room)?;
        Ok(Self { start, size, layout })
    }
}

impl Drop for ReservedMemory {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed only here.
        unsafe { dealloc(self.start.as_ptr(), self.layout) }
    }
}

// SAFETY: `as_ptr` is the start of `byte_capacity` bytes that stay where they are until drop, the first
// `byte_size` of them accessible; bytes that become accessible are zero, since nothing could write them.
unsafe impl LinearMemory for ReservedMemory {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.layout.size()
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size > self.layout.size() {
            return Err(wasmtime::Error::msg("memory budget exceeded"));
        }
        self.size = new_size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

// SAFETY: memories are as `LinearMemory` asks; engines that use this creator have reservations and guards of 0,
// so no byte beyond `byte_size` is ever relied on.
unsafe impl MemoryCreator for MemoryReserve {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved_size_in_bytes: Option<usize>,
        guard_size_in_bytes: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if reserved_size_in_bytes.unwrap_or(0) != 0 || guard_size_in_bytes != 0 {
            return Err("engine settings ask for reservations or guards".into());
        }
        let capacity = self.budget.load(Ordering::Relaxed).max(minimum);
        Ok(Box::new(ReservedMemory::new(minimum, capacity)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_within_its_budget_and_is_zero() {
        let mut memory = ReservedMemory::new(64, 256).unwrap();
        assert_eq!((memory.byte_size(), memory.byte_capacity()), (64, 256));
        let start = memory.as_ptr();
        assert!(memory.grow_to(256).is_ok());
        assert_eq!(memory.as_ptr(), start, "it does not move");
        // SAFETY: 256 bytes from `start` belong to `memory`.
        assert!(unsafe { core::slice::from_raw_parts(start, 256) }.iter().all(|b| *b == 0));
        assert!(memory.grow_to(257).is_err());
    }

    #[test]
    fn too_much_is_an_error() {
        assert!(ReservedMemory::new(0, usize::MAX - 64).is_err());
        assert!(ReservedMemory::new(0, 0).is_ok());
    }
}
