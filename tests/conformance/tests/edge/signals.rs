//! Events posted from a real signal handler that interrupts the stepping thread anywhere.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use fuse_edge::artifact::{CompileOptions, compile};
use fuse_edge::{
    ErrorKind, EventId, EventPoster, ManualPlatform, Metering, Policy, Runtime, RuntimeConfig, TrapMode,
};

use crate::events::{Counts, runtime_with_subscribers};
use crate::{Guard, IDLE, artifact};

/// What the handler needs; it only reads this and touches atomics.
static POSTER: OnceLock<(EventPoster, EventId, Counts)> = OnceLock::new();
static HANDLED: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_signal(_: libc::c_int) {
    if let Some((poster, event, counts)) = POSTER.get() {
        let number = HANDLED.fetch_add(1, Ordering::Relaxed) + 1;
        counts[0].posted.store(number, Ordering::Relaxed);
        poster.post(*event);
    }
}

const SIGNALS: u64 = 2000;

#[test]
fn a_signal_handler_posts_into_the_thread_that_steps() {
    let _guard = Guard::new("an event of a signal handler");
    let (mut rt, modules, counts) = runtime_with_subscribers(1);
    assert!(POSTER.set((rt.poster(), EventId::new(0).unwrap(), counts.clone())).is_ok());
    // SAFETY: the handler is async-signal-safe: it reads an initialised cell and does atomic operations. The
    // structure is zeroed and then filled as sigaction(2) says.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_signal as *const () as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()), 0);
    }
    // SAFETY: no arguments; the thread lives as long as the scope below.
    let stepping = unsafe { libc::pthread_self() };
    let idle = artifact(IDLE, Metering::Wall);
    std::thread::scope(|scope| {
        let counts = &counts;
        scope.spawn(move || {
            for round in 1..=SIGNALS {
                // SAFETY: the thread that this names runs until this scope has ended.
                assert_eq!(unsafe { libc::pthread_kill(stepping, libc::SIGUSR1) }, 0);
                while counts[0].steps.load(Ordering::Acquire) < round {
                    std::thread::yield_now();
                }
            }
        });
        let mut turns = 0u64;
        while counts[0].steps.load(Ordering::Acquire) < SIGNALS {
            turns += 1;
            if turns.is_multiple_of(20) {
                let id = rt.load("guest", &idle, &Policy::default()).unwrap();
                rt.start(id).unwrap();
                rt.tick().unwrap();
                rt.unload(id).unwrap();
            }
            rt.tick().unwrap();
        }
    });
    rt.tick().unwrap();
    assert_eq!(HANDLED.load(Ordering::Relaxed), SIGNALS);
    assert_eq!(counts[0].steps.load(Ordering::Relaxed), SIGNALS, "one step for each signal");
    assert_eq!(counts[0].seen.load(Ordering::Relaxed), SIGNALS);
    assert_eq!(rt.module(modules[0]).unwrap().stats.steps, SIGNALS);
}

/// The handlers of the signals that an engine could use for traps.
fn trap_handlers() -> Vec<libc::sighandler_t> {
    let signals = [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP];
    let handler = |signal| {
        // SAFETY: sigaction(2) without a new action only writes the old one to the structure.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            assert_eq!(libc::sigaction(signal, std::ptr::null(), &mut action), 0);
            action.sa_sigaction
        }
    };
    signals.into_iter().map(handler).collect()
}

/// A module that reads far outside its memory.
const OUTSIDE: &str = r#"(module (memory (export "memory") 1)
    (func (export "module_step") (drop (i32.load (i32.const 0x7fff0000)))))"#;

fn trap_under(traps: TrapMode) {
    let config = RuntimeConfig { traps, ..RuntimeConfig::default() };
    let mut rt = Runtime::new(config, ManualPlatform::new()).unwrap();
    let code = compile(OUTSIDE.as_bytes(), &CompileOptions { traps, ..CompileOptions::default() }).unwrap();
    let bad = rt.load("bad", &code, &Policy::default()).unwrap();
    rt.start(bad).unwrap();
    for _ in 0..10 {
        assert_eq!(rt.run_step(bad).unwrap_err().kind(), ErrorKind::Trap);
        rt.restart_module(bad).unwrap();
    }
}

/// The process's signal handlers are its own, unless the host asks for traps by signals; both end a module that reads
/// outside its memory.
#[test]
fn signal_handlers_only_where_the_host_asks_for_them() {
    let before = trap_handlers();
    trap_under(TrapMode::Explicit);
    assert_eq!(trap_handlers(), before);
    trap_under(TrapMode::Signals);
    assert_ne!(trap_handlers(), before);
}
