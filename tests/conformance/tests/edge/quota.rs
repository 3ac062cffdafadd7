//! Every kind of endless guest code ends at its quota, each time, and the other modules go on.

use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fuse_edge::artifact::{CompileOptions, Target, compile};
use fuse_edge::hal::{Param, ValueType};
use fuse_edge::platform::{PlatformError, QuotaExpiry, QuotaToken};
use fuse_edge::{Capabilities, ErrorKind, HalGroup, ModuleState, Platform, Policy, Runtime, RuntimeConfig};

use crate::{Guard, IDLE, timed_runtime};

const RUNS: u64 = 200;

fn policy() -> Policy {
    Policy {
        capabilities: Capabilities::from_bits(1 << 8),
        cpu_quota_us: 500,
        stack_size: 512 * 1024,
        ..Policy::default()
    }
}

const LOOP: &str = "(loop $l (br $l))";
/// A tree of calls that is never finished and never deep.
const TREE: &str = r#"(func $tree (param i32) (result i32)
    (if (result i32) (i32.lt_u (local.get 0) (i32.const 2))
      (then (i32.const 1))
      (else (i32.add (call $tree (i32.sub (local.get 0) (i32.const 1)))
                     (call $tree (i32.sub (local.get 0) (i32.const 2)))))))"#;

fn step(body: &str, more: &str) -> String {
    format!(
        r#"(module (import "env" "host" (func $host (param i32) (result i32)))
             (memory (export "memory") 1) {more} (func (export "module_step") {body}))"#
    )
}

fn runtime_with_neighbour(target: Target) -> (Runtime, fuse_edge::ModuleId) {
    let mut rt = timed_runtime();
    let group = HalGroup::new("host", 8).function(
        "host",
        &[Param::Value(ValueType::I32)],
        Some(ValueType::I32),
        |call| Ok(Some(fuse_edge::hal::Value::I32(call.i32(0) + 1))),
    );
    rt.register_group(group).unwrap();
    let neighbour = rt.load("neighbour", &compiled(IDLE, target), &Policy::default()).unwrap();
    rt.start(neighbour).unwrap();
    (rt, neighbour)
}

fn compiled(wat: &str, target: Target) -> Vec<u8> {
    compile(wat.as_bytes(), &CompileOptions { target, portable: false, ..CompileOptions::default() }).unwrap()
}

/// Runs a module whose step never ends, again and again.
fn every_step_ends(wat: &str, target: Target, runs: u64) {
    let _guard = Guard::new("an endless step");
    let (mut rt, neighbour) = runtime_with_neighbour(target);
    let id = rt.load("endless", &compiled(wat, target), &policy()).unwrap();
    rt.start(id).unwrap();
    for run in 1..=runs {
        let results: Vec<_> = rt.tick().unwrap().outcomes().iter().map(|o| (o.module, o.result)).collect();
        assert_eq!(results, [(neighbour, Ok(())), (id, Err(ErrorKind::QuotaExceeded))], "run {run}");
        let info = rt.module(id).unwrap();
        assert_eq!(
            (info.state, info.stats.quota_hits, info.stats.traps),
            (ModuleState::QuotaExceeded, run, 0)
        );
        assert_eq!(rt.module(neighbour).unwrap().stats.steps, run);
        rt.restart_module(id).unwrap();
    }
}

fn on_both(wat: &str) {
    every_step_ends(wat, Target::default_here(), RUNS);
    every_step_ends(wat, Target::pulley(), RUNS / 10);
}

#[test]
fn loop_without_calls() {
    on_both(&step(LOOP, ""));
}

#[test]
fn loop_with_calls() {
    on_both(&step("(loop $l (call $f) (br $l))", "(func $f)"));
}

#[test]
fn loop_with_indirect_calls() {
    on_both(&step(
        "(loop $l (call_indirect (type $t) (i32.const 0)) (br $l))",
        "(type $t (func)) (func $f) (table 1 funcref) (elem (i32.const 0) $f)",
    ));
}

#[test]
fn loop_with_memory_access() {
    on_both(&step(
        "(loop $l (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1))) (br $l))",
        "",
    ));
}

#[test]
fn loop_with_growing_memory() {
    on_both(&step("(loop $l (drop (memory.grow (i32.const 1))) (br $l))", ""));
}

#[test]
fn tree_of_calls() {
    on_both(&step("(drop (call $tree (i32.const 90)))", TREE));
}

#[test]
fn endless_tail_calls() {
    on_both(&step("(return_call $a)", "(func $a (return_call $b)) (func $b (return_call $a))"));
}

#[test]
fn loop_with_host_calls() {
    on_both(&step("(local $n i32) (loop $l (local.set $n (call $host (local.get $n))) (br $l))", ""));
}

/// Recursion that only ever goes down ends at the stack or at the quota, whichever is first.
#[test]
fn endless_recursion() {
    let _guard = Guard::new("endless recursion");
    let (mut rt, neighbour) = runtime_with_neighbour(Target::default_here());
    let wat = compiled(&step("(call $f)", "(func $f (call $f))"), Target::default_here());
    let id = rt.load("endless", &wat, &policy()).unwrap();
    rt.start(id).unwrap();
    for _ in 0..RUNS {
        let kind = rt.run_step(id).unwrap_err().kind();
        assert!(matches!(kind, ErrorKind::Trap | ErrorKind::QuotaExceeded), "{kind}");
        rt.run_step(neighbour).unwrap();
        rt.restart_module(id).unwrap();
    }
}

#[test]
fn endless_init() {
    let _guard = Guard::new("an endless module_init");
    let (mut rt, neighbour) = runtime_with_neighbour(Target::default_here());
    let wat = format!(r#"(module (func (export "module_init") {LOOP}) (func (export "module_step")))"#);
    let id = rt.load("endless", &compiled(&wat, Target::default_here()), &policy()).unwrap();
    assert_eq!(rt.start(id).unwrap_err().kind(), ErrorKind::QuotaExceeded);
    for run in 1..RUNS {
        assert_eq!(rt.restart_module(id).unwrap_err().kind(), ErrorKind::QuotaExceeded, "run {run}");
        assert_eq!(rt.module(id).unwrap().state, ModuleState::QuotaExceeded);
        rt.run_step(neighbour).unwrap();
    }
}

#[test]
fn endless_deinit() {
    let _guard = Guard::new("an endless module_deinit");
    let (mut rt, neighbour) = runtime_with_neighbour(Target::default_here());
    let wat = format!(r#"(module (func (export "module_deinit") {LOOP}) (func (export "module_step")))"#);
    let artifact = compiled(&wat, Target::default_here());
    for _ in 0..RUNS {
        let id = rt.load("endless", &artifact, &policy()).unwrap();
        rt.start(id).unwrap();
        rt.unload(id).unwrap();
        rt.run_step(neighbour).unwrap();
    }
}

#[test]
fn endless_start_function() {
    let _guard = Guard::new("an endless start function");
    let (mut rt, neighbour) = runtime_with_neighbour(Target::default_here());
    let wat = format!(r#"(module (func $main {LOOP}) (start $main) (func (export "module_step")))"#);
    let artifact = compiled(&wat, Target::default_here());
    for run in 0..RUNS {
        assert_eq!(
            rt.load("endless", &artifact, &policy()).unwrap_err().kind(),
            ErrorKind::LoadFailed,
            "run {run}"
        );
        rt.run_step(neighbour).unwrap();
    }
}

/// Expiries that come late, at a moment when another module runs or none does, change nobody's state: a step
/// that ends just before its quota is followed by steps of others that must all succeed.
#[test]
fn a_late_expiry_hits_nobody_else() {
    let _guard = Guard::new("a late expiry");
    let (mut rt, neighbour) = runtime_with_neighbour(Target::default_here());
    // About as long as the quota: some of these steps end in time and some do not.
    let body = "(local $i i32) (loop $l (br_if $l (i32.lt_u
        (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 400000))))";
    let racer = rt
        .load(
            "racer",
            &compiled(&step(body, ""), Target::default_here()),
            &Policy { cpu_quota_us: 150, ..policy() },
        )
        .unwrap();
    let long = rt
        .load(
            "long",
            &compiled(&step(body, ""), Target::default_here()),
            &Policy { cpu_quota_us: 0, ..policy() },
        )
        .unwrap();
    // It asks the host, where an expiry is looked for as well.
    let caller = step("(drop (call $host (i32.const 1)))", "");
    let caller = compiled(&caller, Target::default_here());
    let caller = rt.load("caller", &caller, &Policy { cpu_quota_us: 60_000_000, ..policy() }).unwrap();
    rt.start(caller).unwrap();
    rt.start(racer).unwrap();
    rt.start(long).unwrap();
    for _ in 0..RUNS {
        match rt.run_step(racer) {
            Ok(()) => assert_eq!(rt.module(racer).unwrap().state, ModuleState::Running),
            Err(e) => {
                assert_eq!(e.kind(), ErrorKind::QuotaExceeded);
                assert_eq!(rt.module(racer).unwrap().state, ModuleState::QuotaExceeded);
                rt.restart_module(racer).unwrap();
            }
        }
        rt.run_step(caller).unwrap();
        rt.run_step(long).unwrap();
        rt.run_step(neighbour).unwrap();
        assert_eq!(rt.module(racer).unwrap().state, ModuleState::Running);
    }
}

/// A platform that only records what it is asked for; where it is told to, it expires a quota at once.
struct Recorder {
    asked: Arc<Mutex<Vec<Option<u32>>>>,
    expire_at_once: bool,
    expiry: Option<QuotaExpiry>,
}

impl Platform for Recorder {
    fn init(&mut self, expiry: QuotaExpiry) -> Result<(), PlatformError> {
        self.expiry = Some(expiry);
        Ok(())
    }

    fn timestamp_us(&self) -> u64 {
        0
    }

    fn quota_arm(&mut self, quota_us: u32, token: QuotaToken) {
        self.asked.lock().unwrap().push(Some(quota_us));
        if self.expire_at_once {
            self.expiry.as_ref().unwrap().expire(token);
        }
    }

    fn quota_cancel(&mut self) {
        self.asked.lock().unwrap().push(None);
    }
}

/// A platform of the host's own: it gets each quota as the policy has it, and a cancel after each call; a call
/// without a quota does not touch it. What it expires ends, in whatever the module does.
#[test]
fn quotas_reach_the_platform_as_they_are() {
    let _guard = Guard::new("an expiry of a host's platform");
    for expire_at_once in [false, true] {
        let asked = Arc::<Mutex<Vec<Option<u32>>>>::default();
        let platform = Recorder { asked: asked.clone(), expire_at_once, expiry: None };
        let mut rt = Runtime::new(RuntimeConfig::default(), platform).unwrap();
        let body = if expire_at_once { LOOP } else { "" };
        let code =
            compiled(&format!(r#"(module (func (export "module_step") {body}))"#), Target::default_here());
        for quota in [1, 999, 1000, u32::MAX] {
            let id = rt.load("module", &code, &Policy { cpu_quota_us: quota, ..Policy::default() }).unwrap();
            rt.start(id).unwrap();
            asked.lock().unwrap().clear();
            let expected = if expire_at_once { Err(ErrorKind::QuotaExceeded) } else { Ok(()) };
            assert_eq!(rt.run_step(id).map_err(|e| e.kind()), expected);
            assert_eq!(*asked.lock().unwrap(), [Some(quota), None]);
            rt.unload(id).unwrap();
        }
        let idle = rt.load("idle", &compiled(IDLE, Target::default_here()), &Policy::default()).unwrap();
        rt.start(idle).unwrap();
        asked.lock().unwrap().clear();
        rt.run_step(idle).unwrap();
        rt.tick().unwrap();
        assert_eq!(*asked.lock().unwrap(), []);
    }
}

/// Steps well inside their quota are not killed although others keep the processors busy, so that each takes far
/// longer by the clock on the wall than by its own.
#[test]
fn competitors_do_not_use_up_a_quota() {
    let _guard = Guard::new("a step among competitors");
    let (mut rt, _) = runtime_with_neighbour(Target::default_here());
    let rounds = Arc::new(AtomicI32::new(100_000));
    let group = {
        let rounds = rounds.clone();
        HalGroup::new("work", 9).function("rounds", &[], Some(ValueType::I32), move |_| {
            Ok(Some(fuse_edge::hal::Value::I32(rounds.load(Ordering::Relaxed))))
        })
    };
    rt.register_group(group).unwrap();
    let code = r#"(module (import "env" "rounds" (func $rounds (result i32)))
        (func (export "module_step") (local $i i32) (local.set $i (call $rounds))
          (loop $l (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))"#;
    let quota = 20_000;
    let policy =
        Policy { capabilities: Capabilities::from_bits(1 << 9), cpu_quota_us: quota, ..Policy::default() };
    let id = rt.load("worker", &compiled(code, Target::default_here()), &policy).unwrap();
    rt.start(id).unwrap();
    // Longer and longer steps, up to between a quarter and three eighths of the quota.
    loop {
        let begun = Instant::now();
        rt.run_step(id).unwrap();
        if begun.elapsed() >= Duration::from_micros(u64::from(quota) / 4) {
            break;
        }
        rounds.fetch_add(rounds.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
    }
    let wall_limit = Duration::from_micros(u64::from(quota) * 10);
    let busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..3 * std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while busy.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let mut innocents = Vec::new();
        for _ in 0..60 {
            let begun = Instant::now();
            if rt.run_step(id).is_err() {
                // Ten times the quota by the wall ends a step however little it computed.
                let took = begun.elapsed();
                if took < wall_limit {
                    innocents.push(took);
                }
                rt.restart_module(id).unwrap();
            }
        }
        busy.store(false, Ordering::Relaxed);
        assert!(innocents.is_empty(), "killed after {innocents:?} of wall time, quota {quota} µs");
    });
    let slowest = rt.module(id).unwrap().stats.step_time.max_ns() / 1000;
    println!("slowest step by the wall {slowest} µs, quota {quota} µs");
}

/// How often the watched thread asked the system for something.
static SYSTEM_CALLS: AtomicU64 = AtomicU64::new(0);

extern "C" fn on_system_call(_: libc::c_int) {
    SYSTEM_CALLS.fetch_add(1, Ordering::Relaxed);
}

/// From now on counts, and refuses, what this thread asks of the system, but for waking another thread and what the
/// end of a thread needs. `false` where the system does not let us.
#[cfg(target_arch = "x86_64")]
fn watch_this_thread() -> bool {
    const ALLOWED: [libc::c_long; 9] = [
        libc::SYS_futex,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_munmap,
        libc::SYS_madvise,
        libc::SYS_sigaltstack,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_write,
    ];
    let statement = |code: u32, jt: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf: 0, k };
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (i, call) in ALLOWED.iter().enumerate() {
        let jump = (ALLOWED.len() - i) as u8;
        program.push(statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, jump, *call as u32));
    }
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_TRAP));
    program.push(statement(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog { len: program.len() as u16, filter: program.as_mut_ptr() };
    // SAFETY: the handler is async-signal-safe; `filter` and the program that it points to live through the calls;
    // the structure is zeroed and then filled as sigaction(2) says.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_system_call as *const () as libc::sighandler_t;
        libc::sigaction(libc::SIGSYS, &action, std::ptr::null_mut()) == 0
            && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &filter) == 0
    }
}

/// A step under a quota sets no timer, and reads the CPU clock (the one thing that it asks of the system) only when
/// the last reading is older than 50 µs: steps in a row share one.
#[cfg(target_arch = "x86_64")]
#[test]
fn a_quota_needs_no_system_call_per_step() {
    const STEPS: u64 = 10_000;
    let _guard = Guard::new("a step under a system call filter");
    let (mut rt, _) = runtime_with_neighbour(Target::default_here());
    let code = compiled(IDLE, Target::default_here());
    let id = rt.load("quick", &code, &Policy { cpu_quota_us: 1_000_000, ..Policy::default() }).unwrap();
    rt.start(id).unwrap();
    let watched = std::thread::spawn(move || {
        // Once, for what is done on a thread's first step.
        rt.run_step(id).unwrap();
        if !watch_this_thread() {
            println!("skipped: the system does not allow a system call filter here");
            return rt;
        }
        let begun = Instant::now();
        for _ in 0..STEPS {
            rt.run_step(id).unwrap();
        }
        let took_us = begun.elapsed().as_micros() as u64;
        let counted = SYSTEM_CALLS.load(Ordering::Relaxed);
        // SAFETY: no arguments. The filter must see what it should count.
        unsafe { libc::getppid() };
        assert_eq!(SYSTEM_CALLS.load(Ordering::Relaxed), counted + 1, "the filter counts nothing");
        assert!(counted <= took_us / 50 + 1, "{counted} system calls in {STEPS} steps and {took_us} µs");
        rt
    });
    // Where the filter does not reach.
    drop(watched.join().unwrap());
}
