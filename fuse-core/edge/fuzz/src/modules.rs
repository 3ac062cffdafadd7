//! Modules of every shape: compiled, loaded, stepped under fuel, in native code and in the interpreter, which must agree.

use std::sync::OnceLock;

use arbitrary::Unstructured;
use fuse_edge::artifact::{CompileOptions, Target, compile};
use fuse_edge::{
    Application, Capabilities, ErrorKind, EventMask, Failure, ManualPlatform, Metering, ModuleState, Policy,
    Runtime, RuntimeConfig, TrapCause,
};
use sha2::{Digest, Sha256};
use wasm_smith::{Config, Module};

const STEPS: usize = 3;

/// What generated modules must export.
const EXPORTS: &str = r#"(module (memory (export "memory") 1)
    (func (export "module_step")) (func (export "module_init")) (func (export "module_deinit")))"#;
/// What they may import.
const IMPORTS: &str = r#"(module
    (import "env" "temp_get_reading" (func (result f32)))
    (import "env" "timer_get_timestamp" (func (result i64)))
    (import "env" "camera_last_frame" (func (param i32 i32) (result i64)))
    (import "env" "module_log_event" (func (param i32 i32 i32)))
    (import "env" "fuse_event_post" (func (param i32))))"#;

fn config() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| Config {
        available_imports: wat::parse_str(IMPORTS).ok(),
        exports: wat::parse_str(EXPORTS).ok(),
        // Not-a-numbers may differ in their bits from one processor to the next.
        allow_floats: false,
        bulk_memory_enabled: true,
        multi_value_enabled: true,
        reference_types_enabled: true,
        simd_enabled: false,
        relaxed_simd_enabled: false,
        threads_enabled: false,
        memory64_enabled: false,
        exceptions_enabled: false,
        gc_enabled: false,
        tail_call_enabled: true,
        extended_const_enabled: false,
        wide_arithmetic_enabled: false,
        custom_page_sizes_enabled: false,
        max_memories: 1,
        max_memory32_bytes: 4 << 16,
        max_tables: 2,
        max_table_elements: 1000,
        max_imports: 5,
        max_funcs: 12,
        max_instructions: 200,
        ..Config::default()
    })
}

/// A module from the bytes: even first byte, a valid one made from the rest; odd, the rest as it is.
pub fn module(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let wasm = if first % 2 == 0 {
        match Module::new(config().clone(), &mut Unstructured::new(rest)) {
            Ok(module) => module.to_bytes(),
            Err(_) => return,
        }
    } else {
        rest.to_vec()
    };
    let native = run(&wasm, Target::default_here());
    let pulley = run(&wasm, Target::pulley());
    // How much stack a frame takes is each compiler's own affair.
    if native.deep || pulley.deep {
        return;
    }
    assert_eq!(native, pulley);
}

/// What a run leaves behind.
#[derive(Debug, PartialEq)]
struct Trace {
    /// Whether a stack was full.
    deep: bool,
    results: Vec<Result<(), ErrorKind>>,
    log: Vec<String>,
    fuel: u64,
    memory: Vec<u8>,
}

fn run(wasm: &[u8], target: Target) -> Trace {
    let mut trace = Trace { deep: false, results: Vec::new(), log: Vec::new(), fuel: 0, memory: Vec::new() };
    let options =
        CompileOptions { metering: Metering::Fuel, target, portable: false, ..CompileOptions::default() };
    let artifact = match compile(wasm, &options) {
        Ok(artifact) => artifact,
        Err(e) => {
            trace.results.push(Err(e.kind()));
            return trace;
        }
    };
    let application = Application { metering: Metering::Fuel, ..Application::default() };
    let mut rt = Runtime::new(RuntimeConfig::new(application), ManualPlatform::new()).unwrap();
    rt.set_camera(|frame| {
        frame.fill(0x5a);
        Ok(frame.len())
    });
    let policy = Policy {
        // All but the timer, so that violations happen too.
        capabilities: Capabilities::from_bits(31 & !2),
        memory_pages_max: 4,
        heap_size: 2 << 16,
        event_subscribe: EventMask::from_bits(u32::MAX),
        fuel_quota: 20_000,
        ..Policy::default()
    };
    let text = |rt: &Runtime| rt.log().read_from(0).map(|r| r.text.as_str().to_string()).collect::<Vec<_>>();
    let id = match rt.load("fuzzed", &artifact, &policy) {
        Ok(id) => id,
        Err(e) => {
            assert_eq!(e.kind(), ErrorKind::LoadFailed, "{e}");
            trace.deep = e.to_string().contains("stack");
            trace.results.push(Err(ErrorKind::LoadFailed));
            return trace;
        }
    };
    trace.results.push(rt.start(id).map_err(|e| e.kind()));
    for _ in 0..STEPS {
        trace.results.push(rt.run_step(id).map_err(|e| e.kind()));
    }
    let info = rt.module(id).unwrap();
    assert!(info.memory.len() <= 3 << 16, "{} bytes", info.memory.len());
    assert!(matches!(info.state, ModuleState::Running | ModuleState::Trapped | ModuleState::QuotaExceeded));
    trace.deep = info.failure == Some(Failure::Trap(TrapCause::StackOverflow));
    // After a trap the count is a lower bound.
    trace.fuel = if info.failure.is_none() { info.stats.fuel_total } else { 0 };
    trace.memory = Sha256::digest(info.memory).to_vec();
    trace.log = text(&rt);
    if matches!(info.state, ModuleState::Trapped | ModuleState::QuotaExceeded) {
        trace.results.push(rt.restart_module(id).map_err(|e| e.kind()));
    }
    rt.unload(id).unwrap();
    assert_eq!(rt.modules().count(), 0);
    trace
}
