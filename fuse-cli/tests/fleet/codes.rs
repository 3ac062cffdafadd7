//! Every exit code that is documented, and how one comes by it.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use fuse_orchestrator::provider::Verb;
use fuse_orchestrator::provider::stub::{Effect, Fault};

use crate::site::{Done, Site, TOKEN, bare};

/// The codes in a text, each at the beginning of a line after `before`.
fn codes(text: &str, before: &str) -> BTreeSet<i32> {
    let rest = text.lines().filter_map(|line| line.trim_start().strip_prefix(before));
    rest.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect()
}

/// Answers everything with a page that is no answer of a control plane.
fn nonsense() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello");
        }
    });
    url
}

#[test]
fn each_documented_code_is_what_a_command_ends_with() {
    let site = Site::start();
    let home = site.home.path();
    site.create("t1");
    let at = |url: &str, token: &str, words: &str| {
        let mut command = bare(home);
        command.env("FUSE_URL", url).env("FUSE_TOKEN", token).args(words.split(' '));
        Done::from(command.output().unwrap())
    };
    std::fs::write(home.join("bad.sh"), "false").unwrap();
    let failing =
        format!("environment create --task-id t2 --startup-script {}", home.join("bad.sh").display());
    let nothing = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let nonsense = nonsense();
    let here = site.url.as_str();
    let cases = [
        (0, here, TOKEN, "environment get fuse-t1"),
        (1, here, TOKEN, failing.as_str()),
        (2, here, TOKEN, "environment create --task-id"),
        (3, here, TOKEN, "environment create --from /nowhere/request.json"),
        (4, here, TOKEN, "environment create --task-id t3 --idle-timeout 5s"),
        (5, here, TOKEN, "host get nobody"),
        (6, here, TOKEN, "environment create --task-id t1"),
        (7, here, "wrong", "environment list"),
        (8, nothing.as_str(), TOKEN, "environment list"),
        (9, nonsense.as_str(), TOKEN, "environment list"),
        (125, here, TOKEN, "environment exec fuse-none -- true"),
    ];
    for (code, url, token, words) in cases {
        at(url, token, words).exits(code);
    }
    let shown: BTreeSet<_> = cases.iter().map(|case| case.0).collect();
    let page = include_str!("../../../docs/cli.md").split_once("## Exit codes").unwrap().1;
    assert_eq!(codes(page, "| "), shown, "the page tells of these");
    let help = at(here, TOKEN, "--help").exits(0).out;
    let help = help.split_once("Exit codes:").unwrap().1;
    assert_eq!(codes(help, ""), shown, "the help tells of these");
}

#[test]
fn a_command_in_a_guest_ends_with_its_own_code() {
    let site = Site::start();
    site.create("t1");
    site.fuse("environment exec fuse-t1 -- false").exits(1);
    let late = site.fuse("environment exec fuse-t1 --timeout 300ms -- sleep 600");
    late.exits(124);
}

#[test]
fn a_control_plane_that_is_not_ready_is_a_problem() {
    let site = Site::start();
    site.fuse("status").exits(0);
    site.stub.host("default").set_down(true);
    for _ in 0..2 {
        site.plane(site.plane.reconcile()).unwrap();
    }
    let away = site.fuse("status -o json").exits(1).json();
    assert_eq!(away["ready"], false);
    assert!(away["fleet"].as_str().unwrap().contains("default"), "{away}");
}

#[test]
fn what_a_host_cannot_do_and_what_takes_too_long() {
    let site = Site::start();
    let host = site.stub.host("default");
    host.inject(Fault::once(Verb::Create, Effect::Delay(std::time::Duration::from_secs(60))));
    let late = site.fuse("environment create --task-id slow --wait 300ms").exits(8);
    assert!(late.err.contains("fuse-slow"), "{}", late.err);
}
