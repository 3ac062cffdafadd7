//! In fuel mode the same inputs give the same logs, fuel counts and memories, whatever else the machine does.

use std::sync::atomic::{AtomicBool, Ordering};

use fuse_edge::{
    Activation, Application, Capabilities, EventId, EventMask, ManualPlatform, Metering, Policy, Runtime,
    RuntimeConfig,
};
use sha2::{Digest, Sha256};

use crate::artifact;

/// Mixes what the host gives into its memory, grows, logs, posts, and now and then never ends.
const WORKER: &str = r#"(module
  (import "env" "timer_get_timestamp" (func $now (result i64)))
  (import "env" "temp_get_reading" (func $temp (result f32)))
  (import "env" "camera_last_frame" (func $frame (param i32 i32) (result i64)))
  (import "env" "module_log_event" (func $log (param i32 i32 i32)))
  (import "env" "fuse_event_post" (func $post (param i32)))
  (memory (export "memory") 1 4)
  (global $n (mut i32) (i32.const 0))
  (func $mix (param $rounds i32) (local $i i32) (local $at i32)
    (loop $l
      (local.set $at (i32.and (i32.mul (local.get $i) (i32.const 52)) (i32.const 0xfff8)))
      (i64.store (local.get $at)
        (i64.xor (i64.rotl (i64.load (local.get $at)) (i64.const 13))
          (i64.mul (i64.add (call $now) (i64.extend_i32_u (local.get $i))) (i64.const 0x9E3779B97F4A7C15))))
      (f64.store (i32.const 4096) (f64.sqrt (f64.add (f64.promote_f32 (call $temp)) (f64.load (i32.const 4096)))))
      (br_if $l (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $rounds)))))
  (func (export "module_step")
    (global.set $n (i32.add (global.get $n) (i32.const 1)))
    (call $mix (i32.add (i32.const 50) (i32.mul (global.get $n) (i32.const 3))))
    (drop (call $frame (i32.const 8192) (i32.const 512)))
    (call $log (i32.const 128) (i32.const 40) (i32.const 1))
    (if (i32.eqz (i32.rem_u (global.get $n) (i32.const 3))) (then (call $post (i32.const 7))))
    (if (i32.eq (global.get $n) (i32.const 5)) (then (drop (memory.grow (i32.const 1)))))
    (if (i32.eq (global.get $n) (i32.const 11)) (then (loop $ever (br $ever))))))"#;

/// Everything that a run leaves behind.
#[derive(Debug, PartialEq, Eq)]
struct Trace {
    log: Vec<String>,
    ran: Vec<String>,
    fuel: Vec<[u64; 3]>,
    memory: Vec<String>,
}

fn play(code: &[u8]) -> Trace {
    let platform = ManualPlatform::new();
    let clock = platform.clock();
    let application = Application { metering: Metering::Fuel, ..Application::default() };
    let mut rt = Runtime::new(RuntimeConfig::new(application), platform).unwrap();
    let timer = clock.clone();
    rt.set_timer(move || Ok(timer.now_us() as i64));
    let mut reading = 0.0;
    rt.set_temp(move || {
        reading += 0.25;
        Ok(reading)
    });
    let mut frame = 0u8;
    rt.set_camera(move |buffer| {
        frame = frame.wrapping_mul(31).wrapping_add(7);
        buffer.fill(frame);
        Ok(buffer.len())
    });
    let mut trace = Trace { log: Vec::new(), ran: Vec::new(), fuel: Vec::new(), memory: Vec::new() };
    let policy = |i: u32| Policy {
        capabilities: Capabilities::from_bits(31),
        memory_pages_max: 4,
        heap_size: 1 << 17,
        step_interval_us: 100 * i,
        activation: Activation::from_bits(1 + i % 3).unwrap(),
        event_subscribe: EventMask::from_bits(1 << 7 | 1),
        fuel_quota: 200_000,
        priority: 200 - i as u8,
        ..Policy::default()
    };
    let ids: Vec<_> = (0..4).map(|i| rt.load(&format!("m{i}"), code, &policy(i)).unwrap()).collect();
    ids.iter().for_each(|id| rt.start(*id).unwrap());
    for round in 0..40 {
        clock.advance_us(37);
        if round % 5 == 0 {
            rt.post_event(EventId::new(0).unwrap());
        }
        let outcomes = rt.tick().unwrap().outcomes().to_vec();
        trace.ran.extend(outcomes.iter().map(|o| format!("{} {:?}", o.module, o.result)));
        for failed in outcomes.iter().filter(|o| o.result.is_err()) {
            rt.restart_module(failed.module).unwrap();
        }
    }
    let line = |r: &fuse_edge::log::LogRecord| {
        format!("{} {} {:?} {:?} {}", r.sequence, r.timestamp_us, r.module, r.level, r.text.as_str())
    };
    trace.log = rt.log().read_from(0).map(line).collect();
    for id in ids {
        let info = rt.module(id).unwrap();
        trace.fuel.push([info.stats.fuel_last, info.stats.fuel_peak, info.stats.fuel_total]);
        trace.memory.push(Sha256::digest(info.memory).iter().map(|b| format!("{b:02x}")).collect());
    }
    trace
}

#[test]
fn a_hundred_runs_are_one() {
    let code = artifact(WORKER, Metering::Fuel);
    let first = play(&code);
    assert!(
        first.log.iter().any(|l| l.contains("fuel quota")),
        "one of them must run out of fuel: {first:?}"
    );
    assert!(first.ran.len() > 60 && first.fuel.iter().all(|f| f[2] > 0));
    assert_ne!(first.memory[0], first.memory[1], "different modules have different memories");
    for run in 1..50 {
        assert_eq!(play(&code), first, "run {run}");
    }
    let busy = AtomicBool::new(true);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut waste: Vec<u64> = (0..100_000).collect();
                while busy.load(Ordering::Relaxed) {
                    waste
                        .iter_mut()
                        .for_each(|n| *n = n.wrapping_mul(6_364_136_223_846_793_005).rotate_left(7));
                    std::hint::black_box(&waste);
                }
            });
        }
        let runs: Vec<Trace> = (50..100).map(|_| play(&code)).collect();
        busy.store(false, Ordering::Relaxed);
        for (run, trace) in runs.iter().enumerate() {
            assert_eq!(*trace, first, "run {} on a busy machine", run + 50);
        }
    });
}

/// The interpreter counts the same fuel and computes the same memory as native code.
#[test]
fn native_and_pulley_agree() {
    use fuse_edge::artifact::{CompileOptions, Target, compile};
    let native = artifact(WORKER, Metering::Fuel);
    let options =
        CompileOptions { target: Target::pulley(), metering: Metering::Fuel, ..CompileOptions::default() };
    let pulley = compile(WORKER.as_bytes(), &options).unwrap();
    assert_ne!(native, pulley);
    assert_eq!(play(&native), play(&pulley));
}
