//! Environments and snapshots.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::site::{Site, TOKEN};
use crate::steady;

#[test]
fn a_whole_life() {
    let site = Site::start();
    let made = site.fuse("environment create --task-id t1 --cpus 1 --ram-mb 256").exits(0);
    assert!(made.out.contains("fuse-t1") && made.out.contains("running"), "{}", made.out);
    assert!(made.err.contains("fuse-t1 runs after") && made.err.contains("create "), "{}", made.err);

    let list = steady(&site.fuse("environment list").exits(0).out, &site);
    assert_eq!(
        list,
        "ID STATE HOST URL AGE REASON\nfuse-t1 running default fc://VM AGE booted"
            .replace("fc://VM", list.split_whitespace().find(|word| word.contains("://")).unwrap())
    );

    let exec = site.run(&["environment", "exec", "fuse-t1", "--", "echo", "a  b"]).exits(0);
    assert_eq!(exec.out, "a  b\n");
    site.run(&["env", "exec", "fuse-t1", "--", "false"]).exits(1);
    let json = site.run(&["env", "exec", "fuse-t1", "--shell", "echo x", "-o", "json"]).exits(0).json();
    assert_eq!((json["exit_code"].as_i64(), json["stdout"].as_str()), (Some(0), Some("x\n")));

    let snapshot = site.fuse("snapshot create fuse-t1 --comment first --name base -o json").exits(0).json();
    let id = snapshot["id"].as_str().unwrap();
    assert_eq!(snapshot["name"], "base");
    site.run(&["snapshot", "restore", id]).exits(0);
    let listed = site.fuse("snapshot list --name base -o json").exits(0).json();
    assert_eq!(listed["snapshots"].as_array().unwrap().len(), 1);
    assert!(site.run(&["snapshot", "get", id]).exits(0).out.contains("first"));

    let fork =
        site.run(&["environment", "fork", "fuse-t1", "--reuse-snapshot", id, "-o", "json"]).exits(0).json();
    assert_eq!(fork["state"], "running");
    site.run(&["environment", "destroy", fork["id"].as_str().unwrap(), "--yes"]).exits(0);
    site.fuse("environment rotate-token fuse-t1").exits(0);
    let drained = site.fuse("environment drain fuse-t1 -o json").exits(0).json();
    assert_eq!(drained["state"], "draining");
    site.fuse("environment destroy fuse-t1 --yes").exits(0);
    let ended = site.fuse("environment get fuse-t1 -o json").exits(0).json();
    assert_eq!(ended["state"], "destroyed");
    site.run(&["snapshot", "delete", id, "--yes"]).exits(0);
    assert!(site.fuse("environment list").exits(0).out.contains("no environments"));
    let ended = site.fuse("environment list --state destroyed").exits(0).out;
    assert_eq!(ended.lines().filter(|line| line.contains(" destroyed ")).count(), 2, "{ended}");
}

#[test]
fn programs_read_the_bodies_of_the_api() {
    let site = Site::start();
    site.create("t1");
    let json = site.fuse("environment list -o json").exits(0).json();
    assert_eq!(json["environments"][0]["id"], "fuse-t1");
    assert_eq!(site.fuse("--json environment list").exits(0).json()["environments"][0]["id"], "fuse-t1");
    let yaml = site.fuse("environment list -o yaml").exits(0).out;
    assert!(yaml.starts_with("environments:\n- id: fuse-t1\n"), "{yaml}");
    assert_eq!(site.fuse("host list -o json").exits(0).json()["hosts"][0]["id"], "default");
    assert_eq!(site.fuse("snapshot list -o json").exits(0).json(), serde_json::json!({"snapshots": []}));
}

#[test]
fn a_create_takes_files_secrets_and_scripts() {
    let site = Site::start();
    let dir = site.home.path();
    std::fs::write(dir.join("data"), "from a file").unwrap();
    std::fs::write(dir.join("setup.sh"), "echo made at boot > /notes").unwrap();
    std::fs::write(dir.join("secret"), "hunter2-from-a-file\n").unwrap();
    let path = |name: &str| dir.join(name).display().to_string();
    let made = site
        .command()
        .env("API_TOKEN", "hunter2-from-a-variable")
        .args(["environment", "create", "--task-id", "t1", "--startup-script", &path("setup.sh")])
        .args(["--file", &format!("{}:/data", path("data")), "--secret", "API_TOKEN"])
        .args(["--secret", &format!("DB=@{}", path("secret")), "--label", "a=b", "-o", "json"])
        .output()
        .unwrap();
    // No host carries the label.
    assert_eq!(made.status.code(), Some(8), "{}", String::from_utf8_lossy(&made.stderr));
    let made = site
        .command()
        .env("API_TOKEN", "hunter2-from-a-variable")
        .args(["environment", "create", "--task-id", "t1", "--startup-script", &path("setup.sh")])
        .args(["--file", &format!("{}:/data", path("data")), "--secret", "API_TOKEN"])
        .args(["--secret", &format!("DB=@{}", path("secret"))])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    assert_eq!(site.fuse("env exec fuse-t1 -- cat /data").exits(0).out, "from a file");
    assert_eq!(site.fuse("env exec fuse-t1 -- cat /notes").exits(0).out, "made at boot\n");
    let secrets = site.fuse("env exec fuse-t1 -- cat /fuse/secrets.json").exits(0).out;
    assert!(
        secrets.contains("hunter2-from-a-file") && secrets.contains("hunter2-from-a-variable"),
        "{secrets}"
    );

    let refused = site.run(&["environment", "create", "--secret", "DB=hunter2-on-the-line"]).exits(2);
    assert!(refused.err.contains("--secret DB=@FILE"), "{}", refused.err);
    assert!(!refused.err.contains("hunter2"), "{}", refused.err);
}

#[test]
fn a_request_in_a_file() {
    let site = Site::start();
    let file = site.home.path().join("request.json");
    std::fs::write(&file, r#"{"task_id":"from-file","spec":{"cpus":1},"startup_script":"echo hi"}"#).unwrap();
    let file = file.to_str().unwrap();
    let made = site.run(&["environment", "create", "--from", file, "-o", "json"]).exits(0).json();
    assert_eq!((made["id"].as_str(), made["spec"]["cpus"].as_i64()), (Some("fuse-from-file"), Some(1)));
    std::fs::write(file, r#"{"task_id":"x","spec":{"cpus":-1}}"#).unwrap();
    let refused = site.run(&["environment", "create", "--from", file]).exits(4);
    assert!(refused.err.contains("spec.cpus"), "{}", refused.err);
}

#[test]
fn a_boot_that_fails_is_a_failure() {
    let site = Site::start();
    std::fs::write(site.home.path().join("bad.sh"), "false").unwrap();
    let script = site.home.path().join("bad.sh").display().to_string();
    let failed =
        site.run(&["environment", "create", "--task-id", "t1", "--startup-script", &script]).exits(1);
    assert!(
        failed.err.contains("next: see what it wrote with `fuse environment logs fuse-t1`"),
        "{}",
        failed.err
    );
    site.fuse("environment watch fuse-t1").exits(1);
}

#[test]
fn logs_events_and_watching() {
    let site = Site::start();
    std::fs::write(site.home.path().join("s.sh"), "echo from the script").unwrap();
    let script = site.home.path().join("s.sh").display().to_string();
    site.run(&["environment", "create", "--task-id", "t1", "--startup-script", &script]).exits(0);
    let logs = site.fuse("environment logs fuse-t1 --source startup").exits(0);
    assert_eq!(logs.out, "from the script\n");
    let watched = site.fuse("environment watch fuse-t1 --until running").exits(0).out;
    assert!(watched.contains("vm.provisioning") && watched.contains("vm.running"), "{watched}");

    let mut follow = site.command();
    follow.args(["environment", "logs", "-f", "fuse-t1", "--source", "startup"]).stdout(Stdio::piped());
    let mut follow = follow.spawn().unwrap();
    let mut out = BufReader::new(follow.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "from the script\n");
    site.fuse("environment destroy fuse-t1 --yes").exits(0);
    assert!(follow.wait().unwrap().success());

    let told = site.fuse("event tail --since 0 --no-follow -o json").exits(0).out;
    let events: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = events.iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    assert!(events.iter().any(|event| event["event"] == "vm.removed"), "{told}");
    assert!(!told.contains(TOKEN));
    let about = site.fuse("event tail --since 0 --no-follow --host default").exits(0).out;
    assert!(about.contains("host.registered") && !about.contains("vm."), "{about}");
}

#[test]
fn a_shell_needs_a_terminal() {
    let site = Site::start();
    site.create("t1");
    let refused = site.fuse("environment shell fuse-t1").exits(2);
    assert!(refused.err.contains("fuse environment exec fuse-t1"), "{}", refused.err);
}

#[test]
fn a_shell_on_a_terminal() {
    let site = Site::start();
    site.create("t1");
    let Some(shown) = site.on_a_terminal("environment shell fuse-t1 -- echo in the guest", "") else {
        return;
    };
    assert!(shown.out.contains("in the guest"), "{} {}", shown.out, shown.err);
    shown.exits(0);
    site.on_a_terminal("environment shell fuse-t1 -- false", "").unwrap().exits(1);
    site.on_a_terminal("environment shell fuse-none -- true", "").unwrap().exits(125);
}
