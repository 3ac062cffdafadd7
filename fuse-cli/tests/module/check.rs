//! `fuse module check`.

use crate::workbench::{COMFORTABLE, LOGS, RELAYS, SPINS, Workbench, application, keys, policy, relay};
use serde_json::{Value, json};

/// The problems of a review: severity, path and what.
fn problems(review: &Value) -> Vec<(String, String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    let problems = review["problems"].as_array().unwrap();
    problems.iter().map(|p| (text(&p["severity"]), text(&p["path"]), text(&p["what"]))).collect()
}

#[track_caller]
fn has(review: &Value, severity: &str, path: &str, part: &str) {
    let all = problems(review);
    let found = all.iter().any(|(s, p, w)| s == severity && p == path && w.contains(part));
    assert!(found, "no {severity} at {path} about `{part}` in {all:#?}");
}

#[test]
fn a_sound_application_is_reviewed_in_full_and_has_no_problem() {
    let bench = Workbench::new();
    bench.write("relay.wat", RELAYS);
    bench.config(&relay());
    let review = bench.fuse(&["check", "app_config.json", "--strict", "--json"]).exits(0).json();
    assert_eq!(problems(&review), []);
    assert_eq!(
        keys(&review),
        ["config", "sha256", "errors", "warnings", "mended", "application", "modules", "problems"]
    );
    let fields = [
        "name",
        "description",
        "metering",
        "max_modules",
        "memory_pool_bytes",
        "log_pool_bytes",
        "hal_groups",
        "custom_groups",
        "events",
    ];
    assert_eq!(keys(&review["application"]), fields);
    let fields = [
        "path",
        "name",
        "capabilities",
        "capabilities_mask",
        "memory_pages_max",
        "heap_size",
        "stack_size",
        "cpu_quota_us",
        "fuel_quota",
        "step_interval_us",
        "activation",
        "event_subscribe",
        "event_subscribe_mask",
        "priority",
        "binary",
        "kind",
        "bytes",
        "sha256",
        "artifact",
        "capabilities_used",
        "memory_initial_pages",
        "memory_limit_bytes",
        "stack",
        "measured",
    ];
    let module = &review["modules"][0];
    assert_eq!(keys(module), fields);
    assert_eq!(module["capabilities_used"], json!(["CAMERA", "downlink"]));
    assert_eq!(
        (&module["event_subscribe"], &module["event_subscribe_mask"]),
        (&json!(["FRAME"]), &json!(16))
    );
    assert_eq!(module["memory_limit_bytes"], 65_536);
    let text = bench.fuse(&["check", "app_config.json"]).exits(0).out;
    assert!(
        text.contains("downlink_write(i32, in) -> i32") && text.ends_with("0 errors, 0 warnings\n"),
        "{text}"
    );
}

#[test]
fn problems_of_the_configuration_and_of_every_binary_come_together() {
    let bench = Workbench::new();
    bench.write("stepless.wat", r#"(module (memory 9) (func (export "module_init") (param i64)))"#);
    bench.write(
        "foreign.wat",
        r#"(module
        (import "env" "gpio_set" (func))
        (import "env" "temp_get_reading" (func (result f64)))
        (import "env" "timer_get_timestamp" (func (result i64)))
        (import "env" "module_log_event" (func (param i32 i32 i32)))
        (func (export "module_step")))"#,
    );
    bench.write("noise.wasm", b"\0asmnoise");
    let mut config = application(&[
        ("stepless", "stepless.wat", policy(json!({"stack": 1}))),
        ("foreign", "foreign.wat", policy(json!({"capabilities": ["LOG", "NOPE"]}))),
        ("noise", "noise.wasm", policy(json!({}))),
        ("absent", "absent.wasm", policy(json!({}))),
    ]);
    config["application"]["hal_groups"] = json!(["temp"]);
    bench.config(&config);
    let review = bench.fuse(&["check", "app_config.json", "--json"]).exits(1).json();
    assert_eq!(review["mended"], true);
    has(&review, "error", "$.modules[0].policy.stack", "unknown field");
    has(&review, "error", "$.modules[0].binary", "does not export `module_step`");
    has(&review, "error", "$.modules[0].binary", "`module_init` has type (i64) -> ()");
    has(&review, "error", "$.modules[0].policy.memory_pages_max", "starts with 9 pages, at most 1 may be");
    has(&review, "error", "$.modules[1].policy.capabilities[1]", "`NOPE` is no capability");
    has(&review, "error", "$.modules[1].binary", "imports `gpio_set`, which no HAL group");
    has(&review, "error", "$.modules[1].binary", "`temp_get_reading` as () -> f64; its type is () -> f32");
    has(&review, "error", "$.modules[1].binary", "HAL group `timer`, which the application does not enable");
    has(&review, "error", "$.modules[1].binary", "takes a pointer, and exports no `memory`");
    has(&review, "warning", "$.modules[1].policy.capabilities", "LOG is granted and never used");
    has(&review, "error", "$.modules[2].binary", "noise.wasm");
    has(&review, "error", "$.modules[3].binary", "cannot read absent.wasm");
    assert_eq!(
        review["errors"],
        review["problems"].as_array().unwrap().iter().filter(|p| p["severity"] == "error").count()
    );
}

/// The runtime has the last word: what no rule here knows, it finds by loading the module.
#[test]
fn what_only_the_engine_or_the_runtime_refuses_is_an_error_too() {
    let bench = Workbench::new();
    bench.write("shared.wat", r#"(module (memory 1 1 shared) (func (export "module_step")))"#);
    bench.write("table.wat", r#"(module (table 100000 funcref) (func (export "module_step")))"#);
    let policy = policy(json!({"capabilities": []}));
    bench.config(&application(&[("shared", "shared.wat", policy.clone()), ("table", "table.wat", policy)]));
    let review = bench.fuse(&["check", "app_config.json", "--json"]).exits(1).json();
    has(&review, "error", "$.modules[0].binary", "cannot compile");
    has(&review, "error", "$.modules[1].binary", "a table starts with 100000 elements");
    assert_eq!(review["errors"], 2);
    bench.fuse(&["inspect", "shared.wat"]).exits(1);
}

/// A start function is code of the module: a review alone does not run it.
#[test]
fn a_review_runs_no_code_unless_asked_to() {
    let bench = Workbench::new();
    bench.write("traps.wat", r#"(module (func $s unreachable) (start $s) (func (export "module_step")))"#);
    bench.config(&application(&[("traps", "traps.wat", policy(json!({"capabilities": []})))]));
    bench.fuse(&["check", "app_config.json", "--strict"]).exits(0);
    let review = bench.fuse(&["check", "app_config.json", "--run", "1", "--json"]).exits(1).json();
    has(&review, "error", "$.modules[0]", "start function");
}

#[test]
fn calls_without_a_capability_are_errors_and_grants_without_a_call_are_warnings() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    bench.config(&application(&[("logs", "logs.wat", policy(json!({"capabilities": ["TIMER"]})))]));
    let review = bench.fuse(&["check", "app_config.json", "--json"]).exits(1).json();
    has(&review, "error", "$.modules[0].policy.capabilities", "calls `module_log_event`, which needs LOG");
    has(&review, "warning", "$.modules[0].policy.capabilities", "TIMER is granted and never used");
}

#[test]
fn warnings_fail_only_a_strict_review() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    let policy =
        policy(json!({"cpu_quota_us": 0, "event_subscribe": 1, "step_interval_us": 0, "heap_size": 5}));
    bench.config(&application(&[("logs", "logs.wat", policy)]));
    let review = bench.fuse(&["check", "app_config.json", "--json"]).exits(0).json();
    has(&review, "warning", "$.modules[0].policy", "no quota");
    has(&review, "warning", "$.modules[0].policy.event_subscribe", "never wake it");
    has(&review, "warning", "$.modules[0].policy.step_interval_us", "every tick");
    has(&review, "warning", "$.modules[0].policy.heap_size", "round down");
    assert_eq!((&review["errors"], &review["warnings"]), (&json!(0), &json!(4)));
    bench.fuse(&["check", "app_config.json", "--strict"]).exits(1);
}

#[test]
fn recursion_has_no_bound_and_deep_chains_are_compared_with_the_limit() {
    let bench = Workbench::new();
    bench.write(
        "recursive.wat",
        r#"(module (func $a (call $b)) (func $b (call $a)) (func (export "module_step") (call $a)))"#,
    );
    let chain: String = (0..400)
        .map(|i| {
            format!(
                "(func $f{i} (param i64) (result i64) (i64.add (call $f{} (local.get 0)) (local.get 0)))",
                i + 1
            )
        })
        .collect();
    let last = "(func $f400 (param i64) (result i64) (local.get 0))";
    let step = r#"(func (export "module_step") (drop (call $f0 (i64.const 1))))"#;
    bench.write("deep.wat", format!("(module {chain} {last} {step})"));
    let mut with_little = policy(json!({"capabilities": [], "stack_size": 4096}));
    let mut with_much = with_little.clone();
    with_much["stack_size"] = json!(65536);
    with_little["priority"] = json!(1);
    bench.config(&application(&[
        ("recursive", "recursive.wat", with_much.clone()),
        ("little", "deep.wat", with_little),
        ("much", "deep.wat", with_much),
    ]));
    let review = bench.fuse(&["check", "app_config.json", "--json"]).exits(0).json();
    has(&review, "warning", "$.modules[0].policy.stack_size", "recursion through a -> b -> a");
    has(&review, "warning", "$.modules[1].policy.stack_size", "bytes of stack");
    assert_eq!(review["warnings"], 2, "{:#?}", problems(&review));
    assert_eq!(review["modules"][2]["stack"]["call_depth"], 402);
    assert!(review["modules"][0]["stack"]["native_bytes"].is_null());
}

/// The bound must hold: what was measured never needs more. And it must be of use: not much less either.
#[test]
fn the_computed_stack_bounds_the_measured_one() {
    let bench = Workbench::new();
    for (depth, metering) in [(1, "wall"), (20, "both"), (60, "wall"), (100, "fuel")] {
        let chain: String = (0..depth)
            .map(|i| {
                let call = format!("(call $f{} (i64.add (local.get 0) (i64.const {i})))", i + 1);
                format!("(func $f{i} (param i64) (result i64) (i64.mul {call} (local.get 0)))")
            })
            .collect();
        let step = r#"(func (export "module_step") (drop (call $f0 (i64.const 1))))"#;
        let last = format!("(func $f{depth} (param i64) (result i64) (local.get 0))");
        bench.write("deep.wat", format!("(module {chain} {last} {step})"));
        let quota =
            if metering == "fuel" { json!({"cpu_quota_us": 0, "fuel_quota": 100_000}) } else { json!({}) };
        let mut config = application(&[("deep", "deep.wat", policy(quota))]);
        config["application"]["metering"] = json!(metering);
        bench.config(&config);
        let review = bench.fuse(&["check", "app_config.json", "--run", "2", "--json"]).exits(0).json();
        let module = &review["modules"][0];
        if std::env::consts::ARCH == "x86_64" {
            let bound = module["stack"]["native_bytes"].as_u64().unwrap();
            let too_small = module["measured"]["stack_too_small_bytes"].as_u64().unwrap_or(0);
            let enough = module["measured"]["stack_enough_bytes"].as_u64().unwrap();
            assert!(
                bound > too_small,
                "{depth} calls, {metering}: bound {bound}, but {too_small} was too small"
            );
            assert!(
                bound < enough + 1024,
                "{depth} calls, {metering}: bound {bound}, but {enough} was enough"
            );
        }
    }
}

#[test]
fn a_trial_measures_fuel_stack_and_memory() {
    let bench = Workbench::new();
    bench.write(
        "grows.wat",
        r#"(module (memory (export "memory") 1)
        (func (export "module_step") (local $i i32)
            (drop (memory.grow (i32.const 1)))
            (local.set $i (i32.const 1000))
            (loop (br_if 0 (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))))"#,
    );
    let policy = policy(json!({"capabilities": [], "memory_pages_max": 3, "heap_size": 1_000_000}));
    bench.config(&application(&[("grows", "grows.wat", policy)]));
    let measure = || {
        bench.fuse(&["check", "app_config.json", "--run", "10", "--json"]).exits(0).json()["modules"][0]["measured"].clone()
    };
    let measured = measure();
    assert_eq!(
        keys(&measured),
        ["steps", "fuel_peak", "stack_enough_bytes", "stack_too_small_bytes", "memory_peak_bytes", "ended"]
    );
    assert_eq!((&measured["steps"], &measured["ended"]), (&json!(10), &json!("well")));
    assert_eq!(measured["memory_peak_bytes"], 3 * 65_536);
    assert!((3000..10_000).contains(&measured["fuel_peak"].as_u64().unwrap()), "{measured}");
    assert_eq!(measure()["fuel_peak"], measured["fuel_peak"], "fuel is the same in every run");
}

#[test]
fn a_trial_that_fails_is_an_error() {
    let bench = Workbench::new();
    bench.write("spins.wat", SPINS);
    bench.write("logs.wat", LOGS);
    bench.config(&application(&[
        ("spins", "spins.wat", policy(json!({"capabilities": [], "cpu_quota_us": 2000}))),
        ("logs", "logs.wat", policy(json!({}))),
    ]));
    bench.fuse(&["check", "app_config.json"]).exits(0);
    let review = bench.fuse(&["check", "app_config.json", "--run", "5", "--json"]).exits(1).json();
    has(&review, "error", "$.modules[0]", "quota");
    assert_eq!(review["modules"][1]["measured"]["steps"], 5, "the other module goes on");
}

#[test]
fn a_trial_gives_frames_and_stands_in_for_host_groups() {
    let bench = Workbench::new();
    bench.write("relay.wat", RELAYS);
    bench.write("frame.raw", [7; 100]);
    bench.config(&relay());
    let done =
        bench.fuse(&["check", "app_config.json", "--run", "3", "--camera", "frame.raw", "--json"]).exits(0);
    assert_eq!(done.json()["modules"][0]["measured"]["steps"], 3);
}

#[test]
fn the_memory_pool_is_shared() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    let mut config = application(&[
        ("one", "logs.wat", policy(json!({}))),
        ("two", "logs.wat", policy(json!({"memory_pages_max": 4, "heap_size": 65536}))),
    ]);
    config["application"]["memory_pool_bytes"] = json!(3 * 65536 - 1);
    bench.config(&config);
    let review = bench.fuse(&["check", "app_config.json", "--json"]).exits(1).json();
    has(&review, "error", "$.modules[1].policy", "may reach 128 KiB");
    config["application"]["memory_pool_bytes"] = json!(3 * 65536);
    bench.config(&config);
    bench.fuse(&["check", "app_config.json"]).exits(0);
}

#[test]
fn artifacts_are_reviewed_by_their_header_and_their_portable_module() {
    let bench = Workbench::new();
    bench.write("c.wat", COMFORTABLE);
    bench.fuse(&["compile", "c.wat", "-o", "whole.fuse"]).exits(0);
    bench.fuse(&["compile", "c.wat", "-o", "bare.fuse", "--no-portable", "--metering", "fuel"]).exits(0);
    let policy = policy(json!({"capabilities": ["TEMP_SENSOR"]}));
    bench.config(&application(&[("whole", "whole.fuse", policy.clone()), ("bare", "bare.fuse", policy)]));
    let review = bench.fuse(&["check", "app_config.json", "--json"]).exits(1).json();
    assert_eq!(review["modules"][0]["capabilities_used"], json!(["TEMP_SENSOR"]));
    assert!(review["modules"][1]["capabilities_used"].is_null());
    has(&review, "error", "$.modules[1].binary", "compiled for metering `fuel`");
    has(&review, "warning", "$.modules[1].binary", "cannot be reviewed");
    assert_eq!(review["errors"], 1);
}

/// An artifact whose hashes are right, and whose code is that of another module.
#[test]
fn code_that_is_not_of_the_module_that_is_shown_is_an_error() {
    use fuse_edge::artifact::{Artifact, CompileOptions, compile};
    let bench = Workbench::new();
    let shown = compile(LOGS.as_bytes(), &CompileOptions::default()).unwrap();
    let runs = compile(SPINS.as_bytes(), &CompileOptions::default()).unwrap();
    let forged = Artifact { code: Artifact::parse(&runs).unwrap().code, ..Artifact::parse(&shown).unwrap() };
    bench.write("shown.fuse", &shown);
    bench.write("forged.fuse", forged.to_bytes());
    bench.config(&application(&[
        ("shown", "shown.fuse", policy(json!({}))),
        ("forged", "forged.fuse", policy(json!({}))),
    ]));
    let review = bench.fuse(&["check", "app_config.json", "--json"]).exits(1).json();
    has(&review, "error", "$.modules[1].binary", "not what its WebAssembly compiles to");
    assert_eq!(review["errors"], 1);
    assert_eq!(review["modules"][0]["artifact"]["code_matches_portable"], true);
}

#[test]
fn what_is_no_configuration_has_its_own_codes() {
    let bench = Workbench::new();
    bench.write("broken.json", "{\"application\": ");
    let review = bench.fuse(&["check", "broken.json", "--json"]).exits(1).json();
    has(&review, "error", "$", "not valid JSON");
    bench.write("binary", [0xff, 0xfe]);
    bench.fuse(&["check", "binary"]).exits(4);
    bench.fuse(&["check", "absent.json"]).exits(3);
    bench.fuse(&["check"]).exits(2);
    bench.fuse(&["check", "broken.json", "--run", "0"]).exits(2);
}
