//! The main paths of the runtime, end to end.
#![cfg(all(feature = "compiler", feature = "std"))]
#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use fuse_edge::hal::{HalGroup, Param, Value, ValueType};
use fuse_edge::log::LogSource;
use fuse_edge::*;

fn runtime(metering: Metering) -> (Runtime, ManualClock) {
    let platform = ManualPlatform::with_quota_timer(LinuxPlatform::new().unwrap());
    let clock = platform.clock();
    let config = RuntimeConfig::new(Application { metering, ..Application::default() });
    (Runtime::new(config, platform).unwrap(), clock)
}

#[test]
fn an_infinite_loop_ends_and_others_go_on() {
    let (mut rt, _) = runtime(Metering::Wall);
    let spin = r#"(module (func (export "module_step") (loop (br 0))))"#;
    let policy = Policy { cpu_quota_us: 1000, ..Policy::default() };
    let bad = rt.load("spin", spin.as_bytes(), &policy).unwrap();
    let good = rt.load("good", br#"(module (func (export "module_step")))"#, &policy).unwrap();
    rt.start(bad).unwrap();
    rt.start(good).unwrap();
    let report = rt.tick().unwrap();
    assert_eq!(report.outcomes()[0].result, Err(ErrorKind::QuotaExceeded));
    assert_eq!(report.outcomes()[1].result, Ok(()));
    assert_eq!(rt.module(bad).unwrap().state, ModuleState::QuotaExceeded);
    assert_eq!(rt.log().read_from(0).next().unwrap().source, LogSource::Security);
}

#[test]
fn fuel_is_exact() {
    let (mut rt, _) = runtime(Metering::Fuel);
    let spin = r#"(module (func (export "module_step") (loop (br 0))))"#;
    let policy = Policy { fuel_quota: 10_000, ..Policy::default() };
    let id = rt.load("spin", spin.as_bytes(), &policy).unwrap();
    rt.start(id).unwrap();
    assert_eq!(rt.run_step(id).unwrap_err().kind(), ErrorKind::QuotaExceeded);
    assert_eq!(rt.module(id).unwrap().stats.fuel_last, 10_000);
}

#[test]
fn straight_code_cannot_run_past_its_fuel_unseen() {
    let (mut rt, _) = runtime(Metering::Fuel);
    let straight = format!("(module (func (export \"module_step\") {}))", "(drop (i32.const 1))".repeat(500));
    let used = {
        let id = rt.load("free", straight.as_bytes(), &Policy::default()).unwrap();
        rt.start(id).unwrap();
        rt.run_step(id).unwrap();
        rt.module(id).unwrap().stats.fuel_last
    };
    assert!(used >= 500, "{used}");
    for (quota, fits) in [(used, true), (used - 1, false), (10, false)] {
        let policy = Policy { fuel_quota: quota, ..Policy::default() };
        let id = rt.load(&format!("q{quota}"), straight.as_bytes(), &policy).unwrap();
        rt.start(id).unwrap();
        let result = rt.run_step(id).map_err(|e| e.kind());
        assert_eq!(
            result,
            if fits { Ok(()) } else { Err(ErrorKind::QuotaExceeded) },
            "quota {quota} of {used}"
        );
        assert_eq!(rt.module(id).unwrap().stats.fuel_last, quota);
    }
}

#[test]
fn custom_groups_see_checked_buffers() {
    let (mut rt, _) = runtime(Metering::Wall);
    let (sender, receiver) = std::sync::mpsc::channel();
    rt.register_group(HalGroup::new("downlink", 8).function(
        "downlink_write",
        &[Param::In, Param::Value(ValueType::F32)],
        Some(ValueType::I32),
        move |call| {
            sender.send((call.buffer(0).to_vec(), call.value(1))).ok();
            Ok(Some(Value::I32(call.buffer(0).len() as i32)))
        },
    ))
    .unwrap();
    let module = r#"(module (import "env" "downlink_write" (func $w (param i32 i32 f32) (result i32)))
        (memory (export "memory") 1) (data (i32.const 16) "hello")
        (func (export "module_step") (drop (call $w (i32.const 16) (i32.const 5) (f32.const 2.5)))))"#;
    let policy = Policy { capabilities: Capabilities::from_bits(1 << 8), ..Policy::default() };
    let id = rt.load("m", module.as_bytes(), &policy).unwrap();
    rt.start(id).unwrap();
    rt.run_step(id).unwrap();
    assert_eq!(receiver.try_recv().unwrap(), (b"hello".to_vec(), Some(Value::F32(2.5))));
}

#[test]
fn recursion_is_bounded_by_the_modules_own_stack() {
    let (mut rt, _) = runtime(Metering::Wall);
    let deep = r#"(module (global $n (export "n") (mut i32) (i32.const 0))
        (func $f (param i32) (result i32)
            (if (result i32) (i32.eqz (local.get 0)) (then (i32.const 0))
            (else (i32.add (i32.const 1) (call $f (i32.sub (local.get 0) (i32.const 1)))))))
        (func (export "module_step") (drop (call $f (i32.const 10000)))))"#;
    for (stack, fits) in [(8192, false), (512 * 1024, true)] {
        let policy = Policy { stack_size: stack, ..Policy::default() };
        let id = rt.load(&format!("deep{stack}"), deep.as_bytes(), &policy).unwrap();
        rt.start(id).unwrap();
        let result = rt.run_step(id);
        assert_eq!(result.is_ok(), fits, "{stack}: {result:?}");
        if let Err(e) = result {
            assert!(e.to_string().contains("stack"), "{e}");
        }
    }
}

#[test]
fn pulley_artifacts_run_beside_native_ones() {
    let (mut rt, _) = runtime(Metering::Wall);
    let options = artifact::CompileOptions { target: artifact::Target::Pulley64, ..Default::default() };
    let spin = br#"(module (func (export "module_step") (loop (br 0))))"#;
    let bytes = artifact::compile(spin, &options).unwrap();
    let policy = Policy { cpu_quota_us: 1000, ..Policy::default() };
    let id = rt.load("spin", &bytes, &policy).unwrap();
    rt.start(id).unwrap();
    assert_eq!(rt.run_step(id).unwrap_err().kind(), ErrorKind::QuotaExceeded);
}

#[test]
fn every_target_compiles_and_foreign_ones_are_refused_by_name() {
    let (mut rt, _) = runtime(Metering::Wall);
    let source = br#"(module (func (export "module_step")))"#;
    for target in artifact::Target::ALL {
        let options = artifact::CompileOptions { target, portable: false, ..Default::default() };
        let bytes = artifact::compile(source, &options).unwrap();
        let result = rt.load(target.name(), &bytes, &Policy::default());
        assert_eq!(result.is_ok(), target.runs_here(), "{}: {result:?}", target.name());
        if let Err(e) = result {
            assert!(e.to_string().contains(target.name()), "{e}");
        }
    }
}
