//! `libfuse-flight.a`: the functions of `fuse.h` for the edge runtime and those of `fuse_flight.h`, without std, in memory
//! that the host gives once.
//!
//! What a program without an operating system must have is here: the allocator, the panic handler, and the engine's two
//! pointers that are the running task's.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};
use core::cell::UnsafeCell;
use core::ffi::{c_char, c_void};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicPtr, Ordering};

use fuse_edge::platform::MemoryLedger;

mod arena;
use arena::Arena;

// The exports of the crate that this archive is made of.
pub use fuse_ffi::*;

static ARENA: Arena = Arena::new();

struct ArenaAllocator;

// SAFETY: the arena gives blocks of the size and alignment asked for, which overlap no other, or null.
unsafe impl GlobalAlloc for ArenaAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ARENA.allocate(layout)
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { ARENA.free(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: ArenaAllocator = ArenaAllocator;

struct ArenaLedger;

impl MemoryLedger for ArenaLedger {
    fn reserve(&self, bytes: u64) -> Result<(), u64> {
        ARENA.reserve(bytes)
    }

    fn release(&self, bytes: u64) {
        ARENA.release(bytes);
    }
}

/// Where `fuse-ffi` counts memory in this build.
#[unsafe(no_mangle)]
fn fuse_ffi_memory_ledger() -> &'static dyn MemoryLedger {
    &ArenaLedger
}

/// The host's handler for what must not happen.
type PanicHandler = unsafe extern "C" fn(user: *mut c_void, text: *const c_char, length: usize);

/// The memory, and what to do when all is lost: the first call of a flight program.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_arena_t {
    struct_size: u32,
    flags: u32,
    memory: *mut c_void,
    length: usize,
    user: *mut c_void,
    panic: Option<PanicHandler>,
}

/// Figures of the arena.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct fuse_arena_stats_t {
    struct_size: u32,
    flags: u32,
    length: u64,
    capacity: u64,
    reserved: u64,
    used: u64,
    peak: u64,
    blocks: u64,
    allocations: u64,
    failures: u64,
}

// What the header says; tests/flight checks the same from C.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<fuse_arena_t>() == 40);
const _: () = assert!(size_of::<fuse_arena_stats_t>() == 72);

static PANIC_USER: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static PANIC: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// Gives the arena; see `fuse_flight.h`.
///
/// # Safety
/// The struct is as long as it says; the memory is the library's from now on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_arena_give(arena: *const fuse_arena_t) -> fuse_status_t {
    // SAFETY: the caller's.
    let given = match unsafe { read_sized::<fuse_arena_t>(arena) } {
        Some(given) => given,
        None => return FUSE_ERR_INVALID_ARG,
    };
    let (Some(memory), Some(panic), 0) = (NonNull::new(given.memory.cast::<u8>()), given.panic, given.flags)
    else {
        return FUSE_ERR_INVALID_ARG;
    };
    if ARENA.figures().length != 0 {
        return FUSE_ERR_WRONG_STATE;
    }
    // SAFETY: the caller's.
    if !unsafe { ARENA.give(NonNull::slice_from_raw_parts(memory, given.length)) } {
        return FUSE_ERR_OUT_OF_MEMORY;
    }
    PANIC_USER.store(given.user, Ordering::Relaxed);
    PANIC.store(panic as *mut (), Ordering::Release);
    FUSE_OK
}

/// Reads a struct that begins with its size, as the caller knows it.
///
/// # Safety
/// `from` is null, or points to as many bytes as its first field says.
unsafe fn read_sized<T: Copy>(from: *const T) -> Option<T> {
    if from.is_null() || !from.is_aligned() {
        return None;
    }
    // SAFETY: the first field is there.
    let size = unsafe { from.cast::<u32>().read() } as usize;
    // SAFETY: so are all that this build knows. A longer struct is of a later header.
    (size >= size_of::<T>()).then(|| unsafe { from.read() })
}

/// Writes the figures of the arena; see `fuse_flight.h`.
///
/// # Safety
/// The struct is as long as it says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn fuse_arena_stats(stats: *mut fuse_arena_stats_t) -> fuse_status_t {
    // SAFETY: the caller's.
    let Some(known) = (unsafe { read_sized::<fuse_arena_stats_t>(stats) }) else {
        return FUSE_ERR_INVALID_ARG;
    };
    let figures = ARENA.figures();
    let written = fuse_arena_stats_t {
        length: figures.length,
        capacity: figures.capacity,
        reserved: figures.reserved,
        used: figures.used,
        peak: figures.peak,
        blocks: figures.blocks,
        allocations: figures.allocations,
        failures: figures.failures,
        ..known
    };
    // SAFETY: it has just been read.
    unsafe { stats.write(written) };
    FUSE_OK
}

/// Lets an allocation fail on purpose; see `fuse_flight.h`.
#[unsafe(no_mangle)]
pub extern "C" fn fuse_arena_fail_allocation(n: u64) {
    ARENA.fail_allocation(n);
}

/// Text of fixed length; what does not fit is cut.
struct Line {
    bytes: [u8; 200],
    length: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.bytes.len() - 1 - self.length;
        let taken = &text.as_bytes()[..text.floor_char_boundary(room)];
        self.bytes[self.length..self.length + taken.len()].copy_from_slice(taken);
        self.length += taken.len();
        Ok(())
    }
}

/// Calls the host's handler. Where there is none yet, or it returns against its contract, nothing goes on: the watchdog
/// of the machine is what is left.
pub(crate) fn stop(text: impl fmt::Display) -> ! {
    static STOPPING: AtomicBool = AtomicBool::new(false);
    let handler = PANIC.load(Ordering::Acquire);
    if !handler.is_null() && !STOPPING.swap(true, Ordering::Relaxed) {
        let mut line = Line { bytes: [0; 200], length: 0 };
        let _ = write!(line, "{text}");
        // SAFETY: only `fuse_arena_give` stores here, a handler.
        let handler = unsafe { core::mem::transmute::<*mut (), PanicHandler>(handler) };
        // SAFETY: the host's function; the text is there for the time of the call, with a zero after it.
        unsafe { handler(PANIC_USER.load(Ordering::Relaxed), line.bytes.as_ptr().cast(), line.length) };
    }
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    stop(info)
}

/// Parts of `alloc` come compiled for unwinding and name these two; with `panic = "abort"` nothing calls them.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// See [`rust_eh_personality`].
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    stop("an unwind in a build that has none")
}

/// The pointers that the engine keeps for the running task. One task at a time is in the library, so one set is enough.
struct Slots(UnsafeCell<[*mut u8; 2]>);

// SAFETY: only the task that is in the library touches them.
unsafe impl Sync for Slots {}

static SLOTS: Slots = Slots(UnsafeCell::new([core::ptr::null_mut(); 2]));

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_get(slot: usize) -> *mut u8 {
    // SAFETY: as for `Slots`.
    unsafe { (*SLOTS.0.get()).get(slot).copied().unwrap_or(core::ptr::null_mut()) }
}

#[unsafe(no_mangle)]
extern "C" fn wasmtime_tls_set(slot: usize, value: *mut u8) {
    // SAFETY: as for `Slots`.
    if let Some(place) = unsafe { (*SLOTS.0.get()).get_mut(slot) } {
        *place = value;
    }
}
