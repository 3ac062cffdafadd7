//! Answers that are shown again, and boots that are shown while they go on.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use fuse_orchestrator::provider::Verb;
use fuse_orchestrator::provider::stub::{Effect, Fault};
use serde_json::Value;

use crate::site::Site;

/// A command that goes on.
struct Going {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Going {
    fn start(site: &Site, words: &str) -> Self {
        let mut child = site.command().args(words.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    /// The next JSON object, over as many lines as it has.
    fn object(&mut self) -> Value {
        let mut text = String::new();
        while !text.ends_with("\n}\n") {
            assert_ne!(self.out.read_line(&mut text).unwrap(), 0, "it ended: {text}");
        }
        serde_json::from_str(&text).unwrap()
    }

    /// As Ctrl-C does.
    fn interrupt(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

#[test]
fn a_list_is_shown_again_when_it_changes() {
    let site = Site::start();
    let mut list = Going::start(&site, "environment list --watch -o json");
    assert_eq!(list.object()["environments"], Value::Array(Vec::new()));
    site.create("t1");
    // It may have looked while the environment came up.
    let running = loop {
        let shown = list.object()["environments"][0].clone();
        if shown["state"] == "running" {
            break shown;
        }
    };
    assert_eq!(running["id"], "fuse-t1");
    site.fuse("environment destroy fuse-t1 --yes").exits(0);
    while list.object()["environments"][0].is_object() {}
    assert_eq!(list.interrupt(), Some(0));
}

#[test]
fn one_environment_is_shown_again_when_it_changes() {
    let site = Site::start();
    site.create("t1");
    let mut one = Going::start(&site, "environment get fuse-t1 -w -o json");
    assert_eq!(one.object()["state"], "running");
    site.fuse("environment drain fuse-t1").exits(0);
    assert_eq!(one.object()["state"], "draining");
    assert_eq!(one.interrupt(), Some(0));
}

#[test]
fn hosts_are_shown_again_when_they_change() {
    let site = Site::start();
    let mut hosts = Going::start(&site, "host get default --watch -o json");
    assert_eq!(hosts.object()["state"], "active");
    site.fuse("host cordon default").exits(0);
    while hosts.object()["state"] != "cordoned" {}
    assert_eq!(hosts.interrupt(), Some(0));
}

/// On a terminal a boot is shown while it goes on: its state, its time, and the phases that are over.
#[test]
fn a_boot_is_shown_with_its_phases() {
    let site = Site::start();
    site.stub.host("default").inject(Fault::once(Verb::StartAgent, Effect::Delay(Duration::from_secs(3))));
    let Some(shown) = site.on_a_terminal("environment create --task-id t1", "") else { return };
    let (before, after) =
        shown.out.split_once("fuse-t1 runs after").unwrap_or_else(|| panic!("{}", shown.out));
    assert!(before.contains("fuse-t1 provisioning, "), "{before:?}");
    for phase in ["schedule ", "create ", "upload "] {
        assert!(before.contains(phase), "{phase}: {before:?}");
    }
    assert!(after.contains("agent 3.0"), "{after:?}");
    shown.exits(0);
}

#[test]
fn a_boot_that_nobody_looks_at_is_quiet_and_tells_its_phases_at_the_end() {
    let site = Site::start();
    let made = site.fuse("environment create --task-id t1").exits(0);
    assert!(!made.err.contains('\u{1b}') && !made.err.contains("provisioning"), "{:?}", made.err);
    assert!(made.err.starts_with("fuse-t1 runs after ") && made.err.contains("agent "), "{}", made.err);
    let json = site.fuse("environment get fuse-t1 -o json").exits(0).json();
    for phase in ["schedule_us", "create_us", "upload_us", "agent_us"] {
        assert!(json["timings"][phase].is_u64(), "{phase}: {json}");
    }
}
