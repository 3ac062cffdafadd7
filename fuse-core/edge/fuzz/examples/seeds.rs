//! Writes the first inputs of each target into the corpus: `cargo run -p fuse-edge-fuzz --example seeds`.

use std::path::Path;

use fuse_edge::artifact::{CompileOptions, Target, compile};
use fuse_edge::{AppConfig, Error, Policy};

const POLICY: &str = r#"{"capabilities": ["TIMER", "CAMERA", "LOG"], "memory_pages_max": 62, "stack_size": 8192,
  "heap_size": 262144, "cpu_quota_us": 1000, "step_interval_us": 10000000, "activation_mask": ["INTERVAL"],
  "event_subscribe": 0, "fuel_quota": 5, "priority": 9}"#;
const APP: &str = r#"{"application": {"name": "orbit", "description": "d", "max_modules": 4, "memory_pool_bytes": 65536,
  "log_pool_bytes": 8192, "metering": "both", "hal_groups": ["temp", "camera"], "events": {"FRAME": 3},
  "custom_groups": [{"name": "gpio", "bit": 9, "functions": [{"name": "g", "params": ["i32", "in"], "results": ["f64"]}]}]},
 "modules": [{"name": "a", "binary": "a.fuse", "policy": {"capabilities": ["gpio", "LOG"], "memory_pages_max": 1,
  "stack_size": 8192, "activation": "EVENT", "event_subscribe": ["FRAME"], "fuel_quota": 100}}]}"#;
const MODULES: [&str; 3] = [
    r#"(module (func (export "module_step")))"#,
    r#"(module (func (export "module_step") (loop $l (br $l))))"#,
    r#"(module (import "env" "module_log_event" (func $log (param i32 i32 i32))) (memory (export "memory") 1)
        (data (i32.const 0) "text") (func (export "module_init") (drop (memory.grow (i32.const 1))))
        (func (export "module_step") (call $log (i32.const 0) (i32.const 4) (i32.const 1))))"#,
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = |target: &str, name: &str, bytes: &[u8]| {
        std::fs::create_dir_all(corpus.join(target))?;
        std::fs::write(corpus.join(target).join(name), bytes)
    };
    write("policy_json", "policy", POLICY.as_bytes())?;
    write("policy_json", "application", APP.as_bytes())?;
    write("policy_binary", "policy", &Policy::from_json(POLICY)?.to_bytes())?;
    write("policy_binary", "default", &Policy::default().to_bytes())?;
    let mut app = AppConfig::from_json(APP)?;
    write("app_binary", "plain", &app.to_binary()?)?;
    let artifact = |wat: &str, portable| -> Result<Vec<u8>, Error> {
        compile(
            wat.as_bytes(),
            &CompileOptions { target: Target::Pulley64, portable, ..CompileOptions::default() },
        )
    };
    app.modules[0].artifact = Some(artifact(MODULES[0], false)?[..200].to_vec());
    write("app_binary", "with_artifact", &app.to_binary()?)?;
    for (i, wat) in MODULES.iter().enumerate() {
        write("artifact", &format!("seed_{i}"), &artifact(wat, i > 0)?)?;
        let wasm = wat::parse_str(wat)?;
        write("module", &format!("seed_{i}"), &[&[1], wasm.as_slice()].concat())?;
    }
    for seed in 0..4u8 {
        let noise: Vec<u8> =
            (0..600u32).map(|i| (i.wrapping_mul(2_654_435_761) >> (8 + seed)) as u8).collect();
        write("module", &format!("generated_{seed}"), &[&[0], noise.as_slice()].concat())?;
    }
    Ok(())
}
