//! The Firecracker driver on the real Firecracker, with a guest that has no operating system.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

mod common;

use std::{path::Path, time::Duration};

use common::{bare_guest, config, import_kernel, name, run, sh, skip, small, until};
use fuse_guest_protocol::verb::{Exec, Upload};
use fuse_host_agent::{
    DriverConfig, ErrorKind,
    agent::{HostAgent, Memory, NewSnapshot, NewVm},
    driver::firecracker::Jailer,
    store::{SnapshotKind, SnapshotName},
    system::cgroup::Cgroups,
};
use tokio::io::AsyncWriteExt;

fn driver() -> Result<DriverConfig, String> {
    let (program, _) = common::firecracker()?;
    Ok(DriverConfig::Firecracker { program, jailer: None, unjailed_root: true })
}

async fn agent(data: &Path) -> Option<HostAgent> {
    match driver() {
        Ok(driver) => {
            let agent = HostAgent::open(config(data, driver)).await.unwrap();
            if agent.images().list().unwrap().is_empty() {
                import_kernel(&agent, bare_guest());
            }
            Some(agent)
        }
        Err(why) => {
            skip("a test of Firecracker", &why);
            None
        }
    }
}

fn live(memory: Memory) -> NewSnapshot {
    NewSnapshot { comment: "test".to_owned(), memory }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vm_boots_runs_commands_and_goes() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    let vm = agent.create(small("vm-1")).await.unwrap();
    assert_eq!(vm.resources.ram_mb, 64);
    assert_eq!(sh(&agent, "vm-1", "echo hello").await, "hello");
    assert_eq!(run(&agent, "vm-1", "false").await.result.exit_code, 1);
    assert_eq!(run(&agent, "vm-1", "nonsense").await.result.exit_code, 127);
    let upload = Upload { path: "/notes".to_owned(), mode: 0o600, size: None };
    agent.upload(&name("vm-1"), &upload, &mut &b"kept in memory"[..]).await.unwrap();
    assert_eq!(sh(&agent, "vm-1", "cat /notes").await, "kept in memory");
    let console = agent.console(&name("vm-1"), 4096).await.unwrap();
    assert!(String::from_utf8_lossy(&console).contains("guest: listening"));
    let again = agent.create(small("vm-1")).await.unwrap_err();
    assert_eq!(again.kind, ErrorKind::Exists);
    agent.destroy(&name("vm-1")).await.unwrap();
    agent.destroy(&name("vm-1")).await.unwrap();
    assert!(agent.list(None, None).is_empty());
    assert_eq!(std::fs::read_dir(data.path().join("vms")).unwrap().count(), 0);
}

/// What a call needs is not on the stack of its caller: threads of embedders have small ones.
#[tokio::test]
async fn calls_need_little_of_the_stack() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    let (vm, snapshot) = (name("vm-1"), SnapshotName::new("s-1").unwrap());
    let sizes = [
        size_of_val(&agent.create(small("vm-1"))),
        size_of_val(&agent.snapshot(&vm, live(Memory::Full))),
        size_of_val(&agent.restore(&vm, &snapshot)),
        size_of_val(&agent.fork_running(&vm, small("vm-2"))),
        size_of_val(&agent.destroy(&vm)),
    ];
    println!("bytes of create, snapshot, restore, fork, destroy: {sizes:?}");
    assert!(sizes.iter().all(|size| *size < 4096), "{sizes:?}");
}

/// All are begun before any of them ends: their frames are mixed on the one connection.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_written_at_once() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    agent.create(small("vm-1")).await.unwrap();
    let (mut ends, mut uploads) = (Vec::new(), tokio::task::JoinSet::new());
    for number in 0..8 {
        let (end, mut content) = tokio::io::duplex(64);
        let agent = agent.clone();
        uploads.spawn(async move {
            let upload = Upload { path: format!("/file-{number}"), mode: 0o600, size: None };
            agent.upload(&name("vm-1"), &upload, &mut content).await.unwrap();
        });
        ends.push(end);
    }
    for word in ["first", "second"] {
        for (number, end) in ends.iter_mut().enumerate() {
            end.write_all(format!("{word} {number} ").as_bytes()).await.unwrap();
        }
    }
    drop(ends);
    let all = tokio::time::timeout(Duration::from_secs(60), uploads.join_all());
    all.await.expect("every one of them is answered");
    for number in 0..8 {
        assert_eq!(
            sh(&agent, "vm-1", &format!("cat /file-{number}")).await,
            format!("first {number} second {number}")
        );
    }
    agent.destroy(&name("vm-1")).await.unwrap();
}

/// Whenever it is destroyed while it is made: its name is free, and no file and no control group stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_is_given_up_leaves_nothing() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    agent.create(small("origin")).await.unwrap();
    let seed = agent.snapshot(&name("origin"), live(Memory::Full)).await.unwrap().id.clone();
    agent.destroy(&name("origin")).await.unwrap();
    let cgroups = Cgroups::of_host();
    let groups = || {
        let ours = |group: &String| group.ends_with("-given-up");
        cgroups.groups().into_iter().filter(ours).collect::<std::collections::BTreeSet<_>>()
    };
    // Of a test that failed.
    let before = groups();
    for round in 0..120 {
        let new = NewVm { seed: Some(seed.clone()), ..small("given-up") };
        let (maker, began) = (agent.clone(), std::time::Instant::now());
        let made = tokio::spawn(async move { maker.create(new).await });
        // From before it begins until it nearly runs.
        while began.elapsed() < Duration::from_micros(round * 25) {
            tokio::task::yield_now().await;
        }
        agent.destroy(&name("given-up")).await.unwrap();
        // One that had not begun yet goes on.
        if made.await.unwrap().is_ok() {
            agent.destroy(&name("given-up")).await.unwrap();
        }
        assert!(!data.path().join("vms/given-up").exists(), "its directory stays in round {round}");
        assert_eq!(groups(), before, "in round {round}");
    }
    agent.create(small("given-up")).await.unwrap();
    agent.destroy(&name("given-up")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_goes_on_in_clones_that_are_their_own() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    agent.create(small("vm-1")).await.unwrap();
    for _ in 0..3 {
        sh(&agent, "vm-1", "count").await;
    }
    let snapshot = agent.snapshot(&name("vm-1"), live(Memory::Full)).await.unwrap();
    assert_eq!(snapshot.kind, SnapshotKind::Live);
    assert_eq!(snapshot.held_ms, 0, "this guest cannot hold programs, and the record says so");
    assert_eq!(sh(&agent, "vm-1", "count").await, "4", "the origin goes on");
    let clone = |text: &str| NewVm { seed: Some(snapshot.id.clone()), ..small(text) };
    agent.create(clone("vm-2")).await.unwrap();
    agent.create(clone("vm-3")).await.unwrap();
    assert_eq!(sh(&agent, "vm-2", "count").await, "4");
    assert_eq!(sh(&agent, "vm-2", "count").await, "5");
    assert_eq!(sh(&agent, "vm-3", "count").await, "4");
    let (second, third) = (sh(&agent, "vm-2", "whoami").await, sh(&agent, "vm-3", "whoami").await);
    assert!(second.starts_with("vm-2 1 ") && third.starts_with("vm-3 1 "), "{second}, {third}");
    assert_ne!(second.rsplit_once(' ').unwrap().1, third.rsplit_once(' ').unwrap().1, "entropy differs");
    // In place.
    agent.restore(&name("vm-1"), &snapshot.id).await.unwrap();
    assert_eq!(sh(&agent, "vm-1", "count").await, "4");
    // In one call.
    sh(&agent, "vm-2", "count").await;
    agent.fork_running(&name("vm-2"), small("vm-4")).await.unwrap();
    assert_eq!(sh(&agent, "vm-4", "count").await, "7");
    assert_eq!(agent.snapshots().of_vm(&name("vm-2")).len(), 0);
    for vm in agent.list(None, None) {
        agent.destroy(&vm.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn differences_build_on_each_other() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    agent.create(small("vm-1")).await.unwrap();
    sh(&agent, "vm-1", "count").await;
    let full = agent.snapshot(&name("vm-1"), live(Memory::Diff)).await.unwrap();
    assert_eq!(full.parent, None, "the first builds on nothing");
    sh(&agent, "vm-1", "fill 4096").await;
    sh(&agent, "vm-1", "count").await;
    let one = agent.snapshot(&name("vm-1"), live(Memory::Diff)).await.unwrap();
    assert_eq!(one.parent.as_ref(), Some(&full.id));
    sh(&agent, "vm-1", "count").await;
    let two = agent.snapshot(&name("vm-1"), live(Memory::Diff)).await.unwrap();
    assert_eq!(two.parent.as_ref(), Some(&one.id));
    let blocks = |id| {
        use std::os::unix::fs::MetadataExt;
        agent.snapshots().dir(id).join("memory").metadata().unwrap().blocks()
    };
    assert!(blocks(&two.id) < blocks(&full.id) / 4, "{} of {}", blocks(&two.id), blocks(&full.id));
    // What they build on was deleted, and is there for them.
    agent.delete_snapshot(&full.id).await.unwrap();
    agent.destroy(&name("vm-1")).await.unwrap();
    agent.create(NewVm { seed: Some(two.id.clone()), ..small("vm-2") }).await.unwrap();
    assert_eq!(sh(&agent, "vm-2", "count").await, "4");
    agent.create(NewVm { seed: Some(one.id.clone()), ..small("vm-3") }).await.unwrap();
    assert_eq!(sh(&agent, "vm-3", "count").await, "3");
    // A clone's first difference builds on what it was loaded from.
    let of_clone = agent.snapshot(&name("vm-3"), live(Memory::Diff)).await.unwrap();
    assert_eq!(of_clone.parent.as_ref(), Some(&one.id));
    agent.create(NewVm { seed: Some(of_clone.id.clone()), ..small("vm-4") }).await.unwrap();
    assert_eq!(sh(&agent, "vm-4", "count").await, "4");
    for vm in agent.list(None, None) {
        agent.destroy(&vm.name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_snapshot_is_never_loaded() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    agent.create(small("vm-1")).await.unwrap();
    let snapshot = agent.snapshot(&name("vm-1"), live(Memory::Full)).await.unwrap();
    let path = agent.snapshots().dir(&snapshot.id).join("vmstate");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, bytes).unwrap();
    let refused = agent.create(NewVm { seed: Some(snapshot.id.clone()), ..small("vm-2") }).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Corrupt);
    assert_eq!(agent.restore(&name("vm-1"), &snapshot.id).await.unwrap_err().kind, ErrorKind::Corrupt);
    assert_eq!(sh(&agent, "vm-1", "echo untouched").await, "untouched");
    agent.destroy(&name("vm-1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_fails_leaves_nothing_and_says_why() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    agent.create(small("vm-1")).await.unwrap();
    let snapshot = agent.snapshot(&name("vm-1"), live(Memory::Full)).await.unwrap();
    // Bytes that are what they were when they were written, and that no Firecracker takes.
    let dir = agent.snapshots().dir(&snapshot.id);
    std::fs::remove_file(dir.join("vmstate")).unwrap();
    std::fs::write(dir.join("vmstate"), "not a state").unwrap();
    let mut record: serde_json::Value =
        serde_json::from_slice(&std::fs::read(dir.join("snapshot.json")).unwrap()).unwrap();
    let file = fuse_host_agent::store::FileRecord::of(&dir, "vmstate").unwrap();
    for entry in record["files"].as_array_mut().unwrap() {
        if entry["name"] == "vmstate" {
            *entry = serde_json::to_value(&file).unwrap();
        }
    }
    std::fs::write(dir.join("snapshot.json"), record.to_string()).unwrap();
    agent.destroy(&name("vm-1")).await.unwrap();
    drop(agent);
    let driver = driver().unwrap();
    let agent = HostAgent::open(config(data.path(), driver)).await.unwrap();
    let failed = agent.create(NewVm { seed: Some(snapshot.id.clone()), ..small("vm-2") }).await.unwrap_err();
    assert_eq!(failed.kind, ErrorKind::Vmm, "{failed}");
    assert!(agent.list(None, None).is_empty());
    assert_eq!(std::fs::read_dir(data.path().join("vms")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn guests_and_vmms_that_die_are_seen_reported_and_cleaned() {
    let data = tempfile::tempdir().unwrap();
    let Some(agent) = agent(data.path()).await else { return };
    agent.create(small("vm-1")).await.unwrap();
    agent.create(small("vm-2")).await.unwrap();
    agent.create(small("vm-3")).await.unwrap();
    // The guest takes its processor down.
    let crash = Exec::argv(["crash"]);
    assert!(agent.exec(&name("vm-1"), &crash).await.is_err());
    // The guest turns itself off.
    assert!(agent.exec(&name("vm-2"), &Exec::argv(["off"])).await.is_err());
    // Somebody kills the VMM.
    let pid = agent.get(&name("vm-3")).unwrap().pid.unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("all three are gone", || agent.list(None, None).is_empty()).await;
    for vm in ["vm-1", "vm-2", "vm-3"] {
        let gone = agent.get(&name(vm)).unwrap_err();
        assert_eq!(gone.kind, ErrorKind::NotFound);
        assert!(gone.to_string().contains("its VMM ended"), "{gone}");
    }
    assert_eq!(agent.figures().deaths, 3);
    assert_eq!(std::fs::read_dir(data.path().join("vms")).unwrap().count(), 0);
    agent.create(small("vm-4")).await.unwrap();
    agent.destroy(&name("vm-4")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_comes_back_takes_over_what_runs() {
    let data = tempfile::tempdir().unwrap();
    let Some(first) = agent(data.path()).await else { return };
    first.create(small("vm-1")).await.unwrap();
    first.create(small("vm-2")).await.unwrap();
    sh(&first, "vm-1", "count").await;
    let pid = first.get(&name("vm-1")).unwrap().pid;
    let second_pid = first.get(&name("vm-2")).unwrap().pid.unwrap();
    drop(first);
    let killed = rustix::process::Pid::from_raw(second_pid).unwrap();
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).unwrap();
    std::fs::create_dir(data.path().join("vms/no-record")).unwrap();
    let agent = agent(data.path()).await.unwrap();
    assert_eq!(agent.get(&name("vm-1")).unwrap().pid, pid, "it was not touched");
    assert_eq!(sh(&agent, "vm-1", "count").await, "2");
    assert!(agent.get(&name("vm-2")).is_err());
    assert!(!data.path().join("vms/no-record").exists());
    let figures = agent.figures();
    assert_eq!((figures.adopted, figures.deaths, figures.swept), (1, 1, 1));
    agent.destroy(&name("vm-1")).await.unwrap();
}

/// Tells a Firecracker something, as an agent does.
fn tell(data: &Path, vm: &str, method: &str, path: &str, body: &str) {
    use std::io::{Read, Write};
    let mut stream =
        std::os::unix::net::UnixStream::connect(data.join("vms").join(vm).join("api.sock")).unwrap();
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: vm\r\ncontent-length: {length}\r\n\r\n{body}").unwrap();
    let mut answer = [0; 512];
    let count = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]);
    assert!(answer.starts_with("HTTP/1.1 204"), "{path}: {answer}");
}

/// Firecracker notes what is written since it last saved memory. What an agent had it save that then died is in no snapshot.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_builds_on_a_difference_that_nobody_kept() {
    let data = tempfile::tempdir().unwrap();
    let Some(first) = agent(data.path()).await else { return };
    first.create(small("vm-1")).await.unwrap();
    first.snapshot(&name("vm-1"), live(Memory::Diff)).await.unwrap();
    let upload = Upload { path: "/notes".to_owned(), mode: 0o600, size: None };
    // Some pages of it have nothing else on them, which the guest writes again and again.
    let content = "written before; ".repeat(2000);
    first.upload(&name("vm-1"), &upload, &mut content.as_bytes()).await.unwrap();
    drop(first);
    // It dies after this.
    tell(data.path(), "vm-1", "PATCH", "/vm", r#"{"state":"Paused"}"#);
    let lost = r#"{"snapshot_type":"Diff","snapshot_path":"save.vmstate","mem_file_path":"save.memory"}"#;
    tell(data.path(), "vm-1", "PUT", "/snapshot/create", lost);
    let agent = agent(data.path()).await.unwrap();
    assert!(sh(&agent, "vm-1", "cat /notes").await == content.trim(), "it was let go on");
    assert!(!data.path().join("vms/vm-1/save.memory").exists(), "what was saved takes no room");
    let next = agent.snapshot(&name("vm-1"), live(Memory::Diff)).await.unwrap();
    agent.create(NewVm { seed: Some(next.id.clone()), ..small("vm-2") }).await.unwrap();
    assert!(sh(&agent, "vm-2", "cat /notes").await == content.trim(), "its clone has it");
    for vm in agent.list(None, None) {
        agent.destroy(&vm.name).await.unwrap();
    }
}

/// A VMM does not answer while it saves a large memory, and may have begun to for an agent that is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_vmm_that_is_busy_is_taken_over_when_it_answers() {
    use rustix::process::{Pid, Signal, kill_process};
    let data = tempfile::tempdir().unwrap();
    let Some(first) = agent(data.path()).await else { return };
    let mut pids = Vec::new();
    for vm in ["vm-1", "vm-2"] {
        let pid = first.create(small(vm)).await.unwrap().pid.unwrap();
        pids.push(Pid::from_raw(pid).unwrap());
    }
    sh(&first, "vm-1", "count").await;
    drop(first);
    for pid in &pids {
        kill_process(*pid, Signal::STOP).unwrap();
    }
    let agent = agent(data.path()).await.unwrap();
    assert_eq!(agent.figures().adopted, 0);
    agent.destroy(&name("vm-2")).await.unwrap();
    assert!(agent.get(&name("vm-2")).is_err(), "it does not have to answer for that");
    kill_process(pids[0], Signal::CONT).unwrap();
    until("it is taken over", || agent.figures().adopted == 1).await;
    assert_eq!(sh(&agent, "vm-1", "count").await, "2");
    agent.destroy(&name("vm-1")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn jailed_vms_live_the_same_life() {
    if !rustix::process::geteuid().is_root() {
        return skip("the jailer", "it needs root");
    }
    let (program, jailer) = match common::firecracker() {
        Ok(found) => found,
        Err(why) => return skip("the jailer", &why),
    };
    for pid_namespace in [true, false] {
        let data = tempfile::tempdir().unwrap();
        let jailer = Jailer { program: jailer.clone(), uid: 64_000, gid: 64_000, pid_namespace };
        let driver = DriverConfig::Firecracker {
            program: program.clone(),
            jailer: Some(jailer),
            unjailed_root: false,
        };
        let agent = HostAgent::open(config(data.path(), driver)).await.unwrap();
        import_kernel(&agent, bare_guest());
        agent.create(small("vm-1")).await.unwrap();
        let pid = agent.get(&name("vm-1")).unwrap().pid.unwrap();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Uid:\t64000\t64000"), "{status}");
        assert!(status.contains("Seccomp:\t2"), "{status}");
        assert_eq!(sh(&agent, "vm-1", "count").await, "1");
        let snapshot = agent.snapshot(&name("vm-1"), live(Memory::Full)).await.unwrap();
        sh(&agent, "vm-1", "count").await;
        let diff = agent.snapshot(&name("vm-1"), live(Memory::Diff)).await.unwrap();
        assert_eq!(diff.parent.as_ref(), Some(&snapshot.id));
        agent.create(NewVm { seed: Some(diff.id.clone()), ..small("vm-2") }).await.unwrap();
        assert_eq!(sh(&agent, "vm-2", "count").await, "3");
        agent.restore(&name("vm-1"), &snapshot.id).await.unwrap();
        assert_eq!(sh(&agent, "vm-1", "count").await, "2");
        for vm in ["vm-1", "vm-2"] {
            agent.destroy(&name(vm)).await.unwrap();
        }
        assert_eq!(std::fs::read_dir(data.path().join("vms")).unwrap().count(), 0);
    }
}
