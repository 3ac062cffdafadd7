//! A folder with modules and configurations to try commands on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

/// A module that logs one line in each step.
pub(crate) const LOGS: &str = r#"(module
    (import "env" "module_log_event" (func $log (param i32 i32 i32)))
    (memory (export "memory") 1)
    (data (i32.const 8) "hello")
    (func (export "module_step") (call $log (i32.const 8) (i32.const 5) (i32.const 1))))"#;

/// A module that hands the newest frame to the host group `downlink`.
pub(crate) const RELAYS: &str = r#"(module
    (import "env" "camera_last_frame" (func $frame (param i32 i32) (result i64)))
    (import "env" "downlink_write" (func $write (param i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (func (export "module_step") (local $len i32)
        (local.set $len (i32.wrap_i64 (call $frame (i32.const 0) (i32.const 65536))))
        (if (i32.ne (call $write (i32.const 77) (i32.const 0) (local.get $len)) (local.get $len))
            (then unreachable))))"#;

/// A module that reads the temperature and traps unless it is 20 to 22 degrees.
pub(crate) const COMFORTABLE: &str = r#"(module
    (import "env" "temp_get_reading" (func $temp (result f32)))
    (func (export "module_step") (local $t f32)
        (local.set $t (call $temp))
        (if (i32.or (f32.lt (local.get $t) (f32.const 20)) (f32.gt (local.get $t) (f32.const 22)))
            (then unreachable))))"#;

/// A module that never ends.
pub(crate) const SPINS: &str = r#"(module (func (export "module_step") (loop (br 0))))"#;

/// A folder of its own for one test.
pub(crate) struct Workbench {
    folder: tempfile::TempDir,
}

/// What a command did.
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    /// Standard output as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.out, self.err))
    }

    /// Checks the exit code.
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Workbench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of this name.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Writes `app_config.json`.
    pub(crate) fn config(&self, config: &Value) {
        self.write("app_config.json", config.to_string());
    }

    /// `fuse module ARGUMENTS` in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fuse"));
        command.arg("module").args(arguments).current_dir(self.folder.path());
        command
    }

    pub(crate) fn fuse(&self, arguments: &[&str]) -> Done {
        self.command(arguments).output().unwrap().into()
    }

    pub(crate) fn files(&self, folder: &str) -> Vec<String> {
        names(&self.path(folder))
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The policy of a module that logs, with changes.
pub(crate) fn policy(changes: Value) -> Value {
    let mut policy = json!({
        "capabilities": ["LOG"], "memory_pages_max": 1, "stack_size": 65536, "cpu_quota_us": 1_000_000,
        "step_interval_us": 1000, "activation": "INTERVAL"
    });
    for (key, value) in changes.as_object().unwrap() {
        policy[key] = value.clone();
    }
    policy
}

/// An application with these modules: name, binary, policy.
pub(crate) fn application(modules: &[(&str, &str, Value)]) -> Value {
    let modules: Vec<Value> = modules
        .iter()
        .map(|(name, binary, policy)| json!({"name": name, "binary": binary, "policy": policy}))
        .collect();
    json!({"application": {"name": "test"}, "modules": modules})
}

/// The application of [`RELAYS`].
pub(crate) fn relay() -> Value {
    let policy = policy(
        json!({"capabilities": ["CAMERA", "downlink"], "activation": "EVENT", "event_subscribe": ["FRAME"]}),
    );
    let mut config = application(&[("relay", "relay.wat", policy)]);
    config["application"]["events"] = json!({"FRAME": 4});
    config["application"]["custom_groups"] = json!([{"name": "downlink", "bit": 9, "functions": [
        {"name": "downlink_write", "params": ["i32", "in"], "results": ["i32"]}]}]);
    config
}

/// The keys of an object, in order.
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}
