//! The system calls that the platform makes.

use std::cell::Cell;
use std::sync::atomic::AtomicU32;

/// Time of a clock in nanoseconds; `None` when the clock does not exist (any more).
pub(super) fn clock_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer.
    let failed = unsafe { libc::clock_gettime(clock, &raw mut time) } != 0;
    // Monotonic and CPU clocks are never negative.
    (!failed).then(|| time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64)
}

/// `CLOCK_MONOTONIC`, which every Linux has.
#[inline]
pub(super) fn monotonic_ns() -> u64 {
    clock_ns(libc::CLOCK_MONOTONIC).unwrap_or(0)
}

/// The clock of the CPU time that the calling thread uses. A system call only on the first call of a thread.
#[inline]
pub(super) fn thread_clock() -> libc::clockid_t {
    thread_local! {
        static CLOCK: Cell<libc::clockid_t> = const { Cell::new(0) };
    }
    CLOCK.with(|clock| {
        if clock.get() == 0 {
            clock.set(own_thread_clock());
        }
        clock.get()
    })
}

#[cold]
fn own_thread_clock() -> libc::clockid_t {
    let mut clock = 0;
    // SAFETY: the calling thread exists, and `clock` is a valid place for the answer.
    let failed = unsafe { libc::pthread_getcpuclockid(libc::pthread_self(), &raw mut clock) } != 0;
    if failed { libc::CLOCK_MONOTONIC } else { clock }
}

/// Waits until `word` differs from `seen`, or for `timeout_ns`, or for some other reason.
pub(super) fn futex_wait(word: &AtomicU32, seen: u32, timeout_ns: Option<u64>) {
    let timeout = timeout_ns.map(|ns| libc::timespec {
        tv_sec: (ns / 1_000_000_000) as libc::time_t,
        tv_nsec: (ns % 1_000_000_000) as libc::c_long,
    });
    let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: the word and the time live through the call; a null time means no limit.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, seen, timeout) };
}

/// Wakes the thread that waits on `word`.
pub(super) fn futex_wake(word: &AtomicU32) {
    // SAFETY: only the address is used.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
}

fn membarrier(command: libc::c_int) -> bool {
    // SAFETY: takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_membarrier, command, 0) == 0 }
}

/// Asks for the right to make all threads of the process pass a memory barrier.
pub(super) fn register_membarrier() -> bool {
    membarrier(libc::MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)
}

/// Makes all running threads of the process pass a memory barrier.
pub(super) fn barrier_everywhere() {
    membarrier(libc::MEMBARRIER_CMD_PRIVATE_EXPEDITED);
}

/// Makes this thread's sleeps end on time: no timer slack and, where allowed, ahead of ordinary threads.
pub(super) fn become_punctual() {
    let priority = libc::sched_param { sched_priority: 1 };
    // SAFETY: both calls concern the calling thread and take plain values; refusal is fine.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong);
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const priority);
    }
}
