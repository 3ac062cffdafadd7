//! What goes wrong: exit codes, words, and what to do next.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::site::{Done, Site, bare};

#[test]
fn exit_codes_tell_what_went_wrong() {
    let site = Site::start();
    site.create("t1");
    let cases: [(&str, i32, &str); 9] = [
        ("environment get fuse-nope", 5, "see what there is with `fuse environment list`"),
        ("snapshot get nope", 5, "see what there is with `fuse snapshot list`"),
        ("environment create --task-id t1", 6, "end it with `fuse environment destroy fuse-t1`"),
        ("environment create --task-id t2 --idle-timeout 5s", 4, ""),
        ("environment create --task-id t2 --cpus 100000", 8, "see the hosts with `fuse host list`"),
        ("environment list --state asleep", 2, ""),
        ("environment destroy fuse-t1", 2, ""),
        ("environment exec fuse-nope -- true", 125, "see what there is with `fuse environment list`"),
        ("environment frobnicate", 2, ""),
    ];
    for (words, code, next) in cases {
        let done = site.fuse(words).exits(code);
        assert!(done.err.contains(next), "{words}: {}", done.err);
        assert_eq!(done.out, "", "{words}");
    }
}

#[test]
fn programs_get_errors_as_json() {
    let site = Site::start();
    for words in ["--json environment get fuse-nope", "environment get fuse-nope -o json"] {
        let error = site.fuse(words).exits(5).json();
        assert_eq!(error["error"]["kind"], "not_found", "{words}");
        assert!(error["error"]["message"].as_str().unwrap().contains("fuse-nope"), "{words}");
    }
}

#[test]
fn nobody_there() {
    let home = tempfile::tempdir().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut status = bare(home.path());
    status.env("FUSE_URL", format!("http://{free}")).arg("status");
    let done = Done::from(status.output().unwrap()).exits(8);
    assert!(done.err.contains(&free.to_string()) && done.err.contains("fuse serve"), "{}", done.err);
}

#[test]
fn answers_cannot_steer_the_terminal() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let body = r#"{"environments":[{"id":"fuse-\u001b[2J\u202eevil","state":"running","task_id":"t","url":"",
        "created_at":"2026-01-02T03:04:05Z","updated_at":"2026-01-02T03:04:05Z",
        "reason":{"code":"booted","text":"\u001b]0;owned\u0007"}}]}"#;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    let home = tempfile::tempdir().unwrap();
    let mut list = bare(home.path());
    list.env("FUSE_URL", &url).args(["environment", "list"]);
    let done = Done::from(list.output().unwrap());
    assert!(!done.out.contains('\u{1b}') && !done.err.contains('\u{1b}'), "{:?} {:?}", done.out, done.err);
    assert!(!done.out.contains('\u{202e}'));
}
