//! The one piece of memory that the host gives: an allocator in it, and a count of what is set aside.
//!
//! The allocator is TLSF: each allocation and each free takes constant time, and what it wastes is bounded. The count
//! keeps two promises. What is set aside is less than the arena by enough that the allocator always finds it (it looks
//! for blocks up to 1/32 larger than asked for). And setting aside fails where the memory is there but in pieces.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering};

use fuse_ffi::arena_capacity;
use rlsf::Tlsf;

/// Lists of free blocks: 24 powers of two from 32 bytes on (16 where addresses have 32 bits), each in 32 steps.
type Pool = Tlsf<'static, u32, u32, 24, 32>;

/// Bytes that a block takes beside its content.
const HEADER: usize = rlsf::GRANULARITY / 2;

/// What is known of the arena.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Length that the host gave.
    pub(crate) length: u64,
    /// What may be set aside in all.
    pub(crate) capacity: u64,
    /// What is set aside.
    pub(crate) reserved: u64,
    /// What is allocated, headers and padding included.
    pub(crate) used: u64,
    /// The most that was.
    pub(crate) peak: u64,
    /// Blocks that are allocated.
    pub(crate) blocks: u64,
    /// Allocations since the start.
    pub(crate) allocations: u64,
    /// Allocations that found no memory.
    pub(crate) failures: u64,
}

struct State {
    pool: Pool,
    figures: Figures,
    /// Allocations until one fails on purpose; 0 = none will.
    until_failure: u64,
}

/// The arena. Calls from two tasks at the same time are a mistake of the host, which is told.
pub(crate) struct Arena {
    busy: AtomicBool,
    state: UnsafeCell<State>,
}

// SAFETY: the state is touched only between `busy` going up and down.
unsafe impl Sync for Arena {}

const fn rounded(layout: Layout) -> u64 {
    let padding = layout.align().saturating_sub(HEADER);
    (layout.size() + HEADER + padding).next_multiple_of(rlsf::GRANULARITY) as u64
}

impl Arena {
    pub(crate) const fn new() -> Self {
        let figures = Figures {
            length: 0,
            capacity: 0,
            reserved: 0,
            used: 0,
            peak: 0,
            blocks: 0,
            allocations: 0,
            failures: 0,
        };
        let state = State { pool: Pool::new(), figures, until_failure: 0 };
        Self { busy: AtomicBool::new(false), state: UnsafeCell::new(state) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        if self.busy.swap(true, Ordering::Acquire) {
            crate::stop("libfuse was called from two tasks at the same time");
        }
        // SAFETY: `busy` was down, so nothing else has the state.
        let result = work(unsafe { &mut *self.state.get() });
        self.busy.store(false, Ordering::Release);
        result
    }

    /// Takes the memory. `false` when there is some already, or this is too little.
    ///
    /// # Safety
    /// The memory is the arena's from now on, for ever.
    pub(crate) unsafe fn give(&self, memory: NonNull<[u8]>) -> bool {
        self.with(|state| {
            let length = memory.len() as u64;
            let capacity = arena_capacity(length);
            if state.figures.length != 0 || capacity == 0 {
                return false;
            }
            state.figures.length = length;
            state.figures.capacity = capacity;
            // SAFETY: the caller's.
            unsafe { state.pool.insert_free_block_ptr(memory) };
            true
        })
    }

    pub(crate) fn figures(&self) -> Figures {
        self.with(|state| state.figures)
    }

    /// Lets the `n`-th allocation from now on fail; 0 takes that back.
    pub(crate) fn fail_allocation(&self, n: u64) {
        self.with(|state| state.until_failure = n);
    }

    pub(crate) fn reserve(&self, bytes: u64) -> Result<(), u64> {
        self.with(|state| {
            let left = state.figures.capacity.saturating_sub(state.figures.reserved);
            if bytes > left || !state.fits(bytes) {
                state.figures.failures += 1;
                return Err(left);
            }
            state.figures.reserved += bytes;
            Ok(())
        })
    }

    pub(crate) fn release(&self, bytes: u64) {
        self.with(|state| state.figures.reserved = state.figures.reserved.saturating_sub(bytes));
    }

    pub(crate) fn allocate(&self, layout: Layout) -> *mut u8 {
        self.with(|state| state.allocate(layout)).map_or(core::ptr::null_mut(), NonNull::as_ptr)
    }

    /// # Safety
    /// `start` came from [`allocate`](Self::allocate) with this layout, and is not used again.
    pub(crate) unsafe fn free(&self, start: *mut u8, layout: Layout) {
        let Some(start) = NonNull::new(start) else { return };
        self.with(|state| {
            // SAFETY: the caller's.
            unsafe { state.pool.deallocate(start, layout.align()) };
            state.figures.used -= rounded(layout);
            state.figures.blocks -= 1;
        });
    }
}

impl State {
    /// Whether there is a free block of this size.
    fn fits(&mut self, bytes: u64) -> bool {
        let layout = usize::try_from(bytes).ok().and_then(|size| Layout::from_size_align(size, HEADER).ok());
        match layout.and_then(|layout| self.pool.allocate(layout)) {
            Some(block) => {
                // SAFETY: just allocated with this alignment.
                unsafe { self.pool.deallocate(block, HEADER) };
                true
            }
            None => false,
        }
    }

    fn allocate(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        self.figures.allocations += 1;
        let on_purpose = self.until_failure == 1;
        self.until_failure = self.until_failure.saturating_sub(1);
        let found = if on_purpose { None } else { self.pool.allocate(layout) };
        match found {
            Some(_) => {
                self.figures.used += rounded(layout);
                self.figures.peak = self.figures.peak.max(self.figures.used);
                self.figures.blocks += 1;
            }
            None => self.figures.failures += 1,
        }
        found
    }
}
