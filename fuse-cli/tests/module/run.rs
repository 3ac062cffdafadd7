//! `fuse module run`.

use std::io::Read as _;
use std::process::Stdio;
use std::time::Duration;

use crate::workbench::{COMFORTABLE, Done, LOGS, RELAYS, SPINS, Workbench, application, keys, policy, relay};
use serde_json::{Value, json};

#[test]
fn steps_modules_shows_their_log_and_a_table() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    bench.config(&application(&[("logs", "logs.wat", policy(json!({"step_interval_us": 10_000})))]));
    let done = bench.fuse(&["run", "app_config.json", "--duration", "200ms"]).exits(0);
    assert!(done.out.contains("info   logs  hello"), "{}", done.out);
    assert!(done.out.contains("MODULE  STATE") && done.out.contains("its time was over"), "{}", done.out);
    assert_eq!(done.err, "", "no progress bar without a terminal");
}

#[test]
fn the_report_for_programs_has_stable_fields() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    let mut config = application(&[("logs", "logs.wat", policy(json!({"fuel_quota": 1000})))]);
    config["application"]["metering"] = json!("both");
    bench.config(&config);
    let report = bench.fuse(&["run", "app_config.json", "--duration", "100ms", "--json"]).exits(0).json();
    let fields = [
        "config",
        "application",
        "ended",
        "elapsed_us",
        "ticks",
        "frames_shown",
        "events_posted",
        "temperature_source",
        "modules",
        "sinks",
        "log",
        "log_lost",
    ];
    assert_eq!(keys(&report), fields);
    let module = &report["modules"][0];
    let fields = [
        "name",
        "state",
        "failure",
        "steps",
        "traps",
        "violations",
        "quota_hits",
        "step_time_ns",
        "event_latency_ns",
        "fuel",
        "memory_peak_bytes",
    ];
    assert_eq!(keys(module), fields);
    assert_eq!(keys(&module["step_time_ns"]), ["count", "p50", "p99", "max", "mean"]);
    assert_eq!(module["steps"], module["step_time_ns"]["count"], "every step is timed");
    assert!(module["fuel"]["peak"].as_u64().unwrap() > 0);
    let log = report["log"].as_array().unwrap();
    assert_eq!(log.len() as u64, module["steps"].as_u64().unwrap());
    assert_eq!(keys(&log[0]), ["sequence", "time_us", "module", "level", "source", "text"]);
    assert_eq!((&log[0]["module"], &log[0]["text"]), (&json!("logs"), &json!("hello")));
}

#[test]
fn frames_reach_the_module_and_its_output_reaches_the_sink() {
    let bench = Workbench::new();
    bench.write("relay.wat", RELAYS);
    bench.config(&relay());
    std::fs::create_dir(bench.path("frames")).unwrap();
    bench.write("frames/1.raw", b"first");
    bench.write("frames/2.gray", b"second");
    let image = image::GrayImage::from_fn(4, 3, |x, y| image::Luma([(x * 10 + y) as u8]));
    image.save(bench.path("frames/3.png")).unwrap();
    let arguments = [
        "run",
        "app_config.json",
        "--camera",
        "frames",
        "--frame-interval",
        "30ms",
        "--frame-event",
        "FRAME",
        "--sink",
        "downlink=out",
        "--json",
    ];
    let report = bench.fuse(&arguments).exits(0).json();
    assert_eq!((&report["ended"], &report["frames_shown"]), (&json!("frames"), &json!(3)));
    assert_eq!(report["modules"][0]["steps"], 3, "one step for each frame");
    assert_eq!(
        report["sinks"],
        json!([{"group": "downlink", "folder": "out", "calls": 3, "bytes": 5 + 6 + 12}])
    );
    let files = [
        "000001-relay-downlink_write.bin",
        "000002-relay-downlink_write.bin",
        "000003-relay-downlink_write.bin",
        "calls.jsonl",
    ];
    assert_eq!(bench.files("out"), files);
    let read = |name: &str| std::fs::read(bench.path("out").join(name)).unwrap();
    assert_eq!(read(files[0]), b"first");
    assert_eq!(read(files[1]), b"second");
    assert_eq!(read(files[2]), image.into_raw());
    let list = String::from_utf8(read("calls.jsonl")).unwrap();
    let lines: Vec<Value> = list.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(keys(&lines[0]), ["call", "time_us", "module", "function", "numbers", "file", "bytes"]);
    assert_eq!((&lines[1]["numbers"], &lines[1]["bytes"]), (&json!([77]), &json!(6)));
    assert_eq!(lines.len(), 3);
}

#[test]
fn images_go_round_until_the_number_of_frames_is_reached() {
    let bench = Workbench::new();
    bench.write("relay.wat", RELAYS);
    bench.config(&relay());
    bench.write("f.raw", b"x");
    let arguments = [
        "run",
        "app_config.json",
        "--camera",
        "f.raw",
        "--frames",
        "4",
        "--frame-interval",
        "20ms",
        "--frame-event",
        "4",
        "--json",
    ];
    let report = bench.fuse(&arguments).exits(0).json();
    assert_eq!((&report["frames_shown"], &report["events_posted"]), (&json!(4), &json!(4)));
    assert!(report["sinks"][0]["folder"].is_null());
}

#[test]
fn events_are_posted_at_their_times() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    let mut config = application(&[(
        "logs",
        "logs.wat",
        policy(json!({"activation": "EVENT", "event_subscribe": ["WAKE", "STIR"]})),
    )]);
    config["application"]["events"] = json!({"WAKE": 5, "STIR": 6});
    bench.config(&config);
    let arguments = [
        "run",
        "app_config.json",
        "--duration",
        "400ms",
        "--events",
        "WAKE@50,7@60",
        "--events",
        "6@200",
        "--json",
    ];
    let report = bench.fuse(&arguments).exits(0).json();
    assert_eq!(report["modules"][0]["steps"], 2, "event 7 is nobody's");
    assert_eq!(report["events_posted"], 3);
    let at = |i: usize| report["log"][i]["time_us"].as_u64().unwrap();
    assert!(at(0) >= 50_000 && at(1) >= 200_000, "{report}");
    assert_eq!(report["modules"][0]["event_latency_ns"]["count"], 2);
}

#[test]
fn the_temperature_comes_from_the_file() {
    let bench = Workbench::new();
    bench.write("c.wat", COMFORTABLE);
    bench.config(&application(&[("c", "c.wat", policy(json!({"capabilities": ["TEMP_SENSOR"]})))]));
    let run = |celsius: &str| -> Done {
        bench.write("temp", celsius);
        bench.fuse(&["run", "app_config.json", "--duration", "50ms", "--temperature", "temp", "--json"])
    };
    assert_eq!(run("21500\n").exits(0).json()["temperature_source"], "temp");
    run("21.5").exits(0);
    assert_eq!(run("35000").exits(1).json()["modules"][0]["state"], "Trapped");
    run("warm").exits(4);
    bench.fuse(&["run", "app_config.json", "--duration", "1s", "--temperature", "absent"]).exits(3);
}

#[test]
fn a_module_that_fails_is_shown_and_is_the_exit_code_and_others_go_on() {
    let bench = Workbench::new();
    bench.write("spins.wat", SPINS);
    bench.write("logs.wat", LOGS);
    bench.config(&application(&[
        ("spins", "spins.wat", policy(json!({"capabilities": [], "cpu_quota_us": 3000}))),
        ("mute", "logs.wat", policy(json!({"capabilities": []}))),
        ("logs", "logs.wat", policy(json!({"step_interval_us": 20_000}))),
    ]));
    let report = bench.fuse(&["run", "app_config.json", "--duration", "300ms", "--json"]).exits(1).json();
    let states: Vec<&Value> = report["modules"].as_array().unwrap().iter().map(|m| &m["state"]).collect();
    assert_eq!(states, ["QuotaExceeded", "Trapped", "Running"]);
    assert_eq!(
        (&report["modules"][0]["quota_hits"], &report["modules"][1]["violations"]),
        (&json!(1), &json!(1))
    );
    assert!(report["modules"][2]["steps"].as_u64().unwrap() >= 1);
    let security = report["log"].as_array().unwrap().iter().filter(|e| e["source"] == "security").count();
    assert_eq!(security, 2);
}

#[test]
fn a_run_ends_when_no_module_runs_any_more() {
    let bench = Workbench::new();
    bench.write("mute.wat", LOGS);
    bench.config(&application(&[("mute", "mute.wat", policy(json!({"capabilities": []})))]));
    let report = bench.fuse(&["run", "app_config.json", "--duration", "1h", "--json"]).exits(1).json();
    assert_eq!(report["ended"], "no_module_runs");
}

#[test]
fn init_and_deinit_run() {
    let bench = Workbench::new();
    bench.write(
        "life.wat",
        r#"(module
        (import "env" "module_log_event" (func $log (param i32 i32 i32)))
        (memory (export "memory") 1) (data (i32.const 0) "initstepdone")
        (func (export "module_init") (call $log (i32.const 0) (i32.const 4) (i32.const 1)))
        (func (export "module_step") (call $log (i32.const 4) (i32.const 4) (i32.const 1)))
        (func (export "module_deinit") (call $log (i32.const 8) (i32.const 4) (i32.const 1))))"#,
    );
    bench.config(&application(&[("life", "life.wat", policy(json!({"step_interval_us": 10_000_000})))]));
    let report = bench.fuse(&["run", "app_config.json", "--duration", "50ms", "--json"]).exits(0).json();
    let texts: Vec<&Value> = report["log"].as_array().unwrap().iter().map(|e| &e["text"]).collect();
    assert_eq!(texts, ["init", "step", "done"]);
}

#[test]
fn groups_that_answer_are_refused_and_so_are_sinks_of_no_group() {
    let bench = Workbench::new();
    bench.write("relay.wat", RELAYS);
    let mut config = relay();
    let functions = config["application"]["custom_groups"][0]["functions"].as_array_mut().unwrap();
    functions.push(json!({"name": "downlink_read", "params": ["out"]}));
    bench.config(&config);
    let done = bench.fuse(&["run", "app_config.json", "--duration", "1s"]).exits(4);
    assert!(done.err.contains("downlink_read(out)") && done.err.contains("stand in"), "{}", done.err);
    bench.config(&relay());
    let done = bench.fuse(&["run", "app_config.json", "--duration", "1s", "--sink", "uplink=x"]).exits(2);
    assert!(done.err.contains("no such host group (downlink)"), "{}", done.err);
}

#[test]
fn a_sink_keeps_what_an_earlier_run_left() {
    let bench = Workbench::new();
    bench.write("relay.wat", RELAYS);
    bench.config(&relay());
    let arguments = ["run", "app_config.json", "--duration", "20ms", "--sink", "downlink=out"];
    bench.fuse(&arguments).exits(0);
    let done = bench.fuse(&arguments).exits(3);
    assert!(done.err.contains("calls.jsonl"), "{}", done.err);
}

#[test]
fn what_does_not_load_is_refused_before_anything_runs() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    bench.write("foreign.wat", r#"(module (import "env" "gpio_set" (func)) (func (export "module_step")))"#);
    bench.config(&application(&[
        ("logs", "logs.wat", policy(json!({}))),
        ("foreign", "foreign.wat", policy(json!({}))),
    ]));
    let done = bench.fuse(&["run", "app_config.json", "--duration", "1s", "--json"]).exits(4);
    assert!(done.json()["error"]["message"].as_str().unwrap().contains("gpio_set"));
    for wrong in [
        ["--duration", "0s"],
        ["--duration", "soon"],
        ["--frames", "3"],
        ["--events", "3"],
        ["--events", "NAMELESS@3"],
        ["--sink", "x"],
    ] {
        bench.fuse(&["run", "app_config.json", wrong[0], wrong[1]]).exits(2);
    }
}

/// The first Ctrl-C ends the run in order: the table is there, and the exit code is that of the modules.
#[test]
#[cfg(unix)]
fn an_interrupt_ends_the_run_in_order() {
    let bench = Workbench::new();
    bench.write("logs.wat", LOGS);
    bench.config(&application(&[("logs", "logs.wat", policy(json!({"step_interval_us": 20_000})))]));
    let mut command = bench.command(&["run", "app_config.json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = child.stdout.take().unwrap();
    // Its first log entry says that it runs.
    let mut first = [0; 20];
    out.read_exact(&mut first).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(rest.contains("(interrupted)") && rest.contains("MODULE  STATE"), "{rest}");
}
