//! After a module is loaded and started, steps, ticks and posts allocate nothing: a million of them under an
//! allocator that counts. Requirement FLIGHT-01.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use fuse_edge::artifact::{CompileOptions, Target, compile};
use fuse_edge::hal::{Param, Value, ValueType};
use fuse_edge::{
    Activation, Application, Capabilities, EventId, EventMask, HalGroup, LinuxPlatform, ManualClock,
    ManualPlatform, Metering, ModuleId, Policy, Runtime, RuntimeConfig, StepTiming,
};

/// Counts what a thread allocates, frees and resizes while it is armed.
struct Counting;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

fn note() {
    // A thread that ends has no such cells any more, and is not armed.
    let _ = ARMED.try_with(|armed| {
        if armed.get() {
            let _ = COUNT.try_with(|count| count.set(count.get() + 1));
        }
    });
}

// SAFETY: everything is passed on to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        note();
        // SAFETY: as the caller promises.
        unsafe { System.realloc(ptr, layout, new_size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often the allocator was called in `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    COUNT.set(0);
    ARMED.set(true);
    work();
    ARMED.set(false);
    COUNT.get()
}

/// Uses every built-in import and a host function with each kind of buffer, grows within its budget, and
/// posts.
const BUSY: &str = r#"(module
  (import "env" "temp_get_reading" (func $temp (result f32)))
  (import "env" "timer_get_timestamp" (func $now (result i64)))
  (import "env" "camera_last_frame" (func $frame (param i32 i32) (result i64)))
  (import "env" "module_log_event" (func $log (param i32 i32 i32)))
  (import "env" "fuse_event_post" (func $post (param i32)))
  (import "env" "transfer" (func $transfer (param i32 i32 i32 i32 f64) (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "text with a \01 byte")
  (func (export "module_step")
    (drop (call $temp))
    (i64.store (i32.const 64) (call $now))
    (drop (call $frame (i32.const 128) (i32.const 256)))
    (call $log (i32.const 0) (i32.const 18) (i32.const 1))
    (drop (call $transfer (i32.const 128) (i32.const 64) (i32.const 512) (i32.const 64) (f64.const 1)))
    (drop (memory.grow (i32.const 1)))
    (call $post (i32.const 4))))"#;

const IDLE: &str = r#"(module (func (export "module_step")))"#;

struct World {
    rt: Runtime,
    clock: ManualClock,
    modules: Vec<ModuleId>,
}

fn compiled(wat: &str, metering: Metering, target: Target) -> Vec<u8> {
    let options = CompileOptions { metering, target, portable: false, ..CompileOptions::default() };
    compile(wat.as_bytes(), &options).unwrap()
}

fn world(metering: Metering, target: Target) -> World {
    let platform = ManualPlatform::with_quota_timer(LinuxPlatform::new().unwrap());
    let clock = platform.clock();
    let mut config = RuntimeConfig::new(Application { metering, ..Application::default() });
    config.step_timing = StepTiming::Every;
    let mut rt = Runtime::new(config, platform).unwrap();
    rt.set_temp(|| Ok(1.5));
    let timer = clock.clone();
    rt.set_timer(move || Ok(timer.now_us() as i64));
    rt.set_camera(|buffer| {
        buffer.fill(7);
        Ok(buffer.len())
    });
    let group = HalGroup::new("bus", 8).function(
        "transfer",
        &[Param::In, Param::InOut, Param::Value(ValueType::F64)],
        Some(ValueType::I64),
        |call| {
            let sum = call.buffer(0).iter().map(|b| i64::from(*b)).sum();
            call.buffer_mut(1).fill(sum as u8);
            Ok(Some(Value::I64(sum)))
        },
    );
    rt.register_group(group).unwrap();
    rt.set_log_sink(Some(Box::new(|record| {
        std::hint::black_box(record.sequence);
    })));
    let base = Policy {
        capabilities: Capabilities::from_bits(31 | 1 << 8),
        memory_pages_max: 40,
        heap_size: 32 * 65_536,
        fuel_quota: if metering.has_fuel() { 1_000_000 } else { 0 },
        ..Policy::default()
    };
    let policies = [
        Policy { step_interval_us: 3, ..base.clone() },
        Policy {
            activation: Activation::EVENT,
            event_subscribe: EventMask::from_bits(1 << 4),
            priority: 200,
            ..base.clone()
        },
        Policy {
            activation: Activation::EVENT | Activation::INTERVAL,
            event_subscribe: EventMask::from_bits(2),
            step_interval_us: 7,
            priority: 10,
            ..base.clone()
        },
        Policy { activation: Activation::MANUAL, ..base.clone() },
        // Long enough that no machine is slow enough to fail here.
        Policy {
            activation: Activation::MANUAL,
            cpu_quota_us: if metering.has_wall() { 60_000_000 } else { 0 },
            ..base
        },
    ];
    let (busy, idle) = (compiled(BUSY, metering, target), compiled(IDLE, metering, target));
    let mut modules = Vec::new();
    for (i, policy) in policies.iter().enumerate() {
        let id = rt.load(&format!("m{i}"), if i == 2 { &idle } else { &busy }, policy).unwrap();
        rt.start(id).unwrap();
        modules.push(id);
    }
    World { rt, clock, modules }
}

/// About this many calls, of every kind that a host makes again and again.
fn work(world: &mut World, calls: u64) {
    let poster = world.rt.poster();
    let (one, three) = (EventId::new(1).unwrap(), EventId::new(3).unwrap());
    for turn in 0..calls / 10 {
        world.clock.advance_us(1);
        world.rt.run_step(world.modules[3]).unwrap();
        world.rt.run_step(world.modules[4]).unwrap();
        world.rt.tick().unwrap();
        world.rt.post_event(three);
        poster.post(one);
        poster.post_at(one, world.clock.now_us());
        world.rt.tick().unwrap();
        std::hint::black_box(world.rt.next_deadline_us());
        world.rt.clear_event(three);
        std::hint::black_box(world.rt.module(world.modules[0]).unwrap().stats.steps);
        std::hint::black_box(world.rt.log().read_from(turn).count());
    }
}

fn nothing_is_allocated(metering: Metering, target: Target, calls: u64) {
    let mut world = world(metering, target);
    // Once, for what is made on first use.
    work(&mut world, 10);
    let before = world.rt.module(world.modules[3]).unwrap().stats.steps;
    let count = allocations(|| work(&mut world, calls));
    let stats = world.rt.module(world.modules[3]).unwrap().stats;
    assert_eq!(stats.steps - before, calls / 10, "the work was done");
    assert_eq!(stats.memory_peak_bytes, 33 * 65_536, "memory grew within its budget, meanwhile");
    assert_eq!(count, 0, "{count} calls of the allocator in {calls} calls of the runtime");
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(1u64)))), 2);
    assert_eq!(allocations(|| ()), 0);
}

#[test]
fn a_million_steps_ticks_and_posts_allocate_nothing() {
    nothing_is_allocated(Metering::Wall, Target::default_here(), 1_000_000);
}

#[test]
fn nor_with_fuel() {
    nothing_is_allocated(Metering::Both, Target::default_here(), 100_000);
}

#[test]
fn nor_in_the_interpreter() {
    nothing_is_allocated(Metering::Wall, Target::pulley(), 100_000);
}
