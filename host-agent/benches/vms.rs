//! How long VMs take, each figure beside the same thing done by hand with the VMM's own API in the same run.
//!
//! Firecracker with the guest of `tests/guest`, which has no operating system: what is measured is the VMM and this agent.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use common::{bare_guest, config, import_kernel, name, small};
use fuse_guest_protocol::{
    Token,
    client::{Client, Transport, connect_vsock},
    verb::Exec,
};
use fuse_host_agent::{
    DriverConfig,
    agent::{HostAgent, Memory, NewSnapshot, NewVm},
};

/// How often each thing is done; the median counts.
const TIMES: usize = 11;

/// A Firecracker driven by hand.
struct ByHand {
    child: Child,
    dir: PathBuf,
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl ByHand {
    fn start(program: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap().keep();
        let console = std::fs::File::create(dir.join("console")).unwrap();
        let child = Command::new(program)
            .args(["--api-sock", "api.sock"])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(console)
            .spawn()
            .unwrap();
        while UnixStream::connect(dir.join("api.sock")).is_err() {
            std::thread::sleep(Duration::from_millis(1));
        }
        Self { child, dir }
    }

    fn ask(&self, method: &str, path: &str, body: &str) {
        let mut stream = UnixStream::connect(self.dir.join("api.sock")).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}")
            .unwrap();
        let mut answer = [0; 512];
        let count = stream.read(&mut answer).unwrap();
        let text = String::from_utf8_lossy(&answer[..count]);
        assert!(text.starts_with("HTTP/1.1 204"), "{path}: {text}");
    }

    fn boot(&self) {
        self.ask("PUT", "/machine-config", r#"{"vcpu_count":1,"mem_size_mib":64,"track_dirty_pages":true}"#);
        let kernel = bare_guest().display();
        self.ask(
            "PUT",
            "/boot-source",
            &format!(r#"{{"kernel_image_path":"{kernel}","boot_args":"console=ttyS0"}}"#),
        );
        self.ask("PUT", "/vsock", r#"{"guest_cid":3,"uds_path":"agent.sock"}"#);
        self.ask("PUT", "/entropy", "{}");
        self.ask("PUT", "/actions", r#"{"action_type":"InstanceStart"}"#);
    }

    fn save(&self, kind: &str, name: &str) {
        self.ask("PATCH", "/vm", r#"{"state":"Paused"}"#);
        let body = format!(
            r#"{{"snapshot_type":"{kind}","snapshot_path":"{name}.state","mem_file_path":"{name}.memory"}}"#
        );
        self.ask("PUT", "/snapshot/create", &body);
        self.ask("PATCH", "/vm", r#"{"state":"Resumed"}"#);
    }

    fn load(&self, from: &Path) {
        let (state, memory) = (from.join("full.state"), from.join("full.memory"));
        let body = format!(
            r#"{{"snapshot_path":{state:?},"mem_backend":{{"backend_type":"File","backend_path":{memory:?}}},"enable_diff_snapshots":true,"resume_vm":true}}"#
        );
        self.ask("PUT", "/snapshot/load", &body);
    }

    async fn answer(&self, token: &Token) -> Client {
        loop {
            let Ok(mut stream) = tokio::net::UnixStream::connect(self.dir.join("agent.sock")).await else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            if connect_vsock(&mut stream, fuse_guest_protocol::VSOCK_PORT).await.is_ok() {
                let client = Client::connect(stream, Transport::Socket).await.unwrap();
                client.hello(Some(token.clone())).await.unwrap();
                return client;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn show(what: &str, ours: Vec<Duration>, by_hand: Vec<Duration>) {
    let (ours, by_hand) = (median(ours), median(by_hand));
    let ratio = ours.as_secs_f64() / by_hand.as_secs_f64().max(1e-9);
    println!("{what:<34} {ours:>12.2?} {by_hand:>12.2?} {ratio:>7.2}");
}

#[tokio::main]
async fn main() {
    let (program, _) = match common::firecracker() {
        Ok(found) => found,
        Err(why) => return println!("VM benchmarks skipped: {why}"),
    };
    let data = tempfile::tempdir().unwrap();
    let driver = DriverConfig::Firecracker { program: program.clone(), jailer: None, unjailed_root: true };
    let agent = HostAgent::open(config(data.path(), driver)).await.unwrap();
    import_kernel(&agent, bare_guest());
    let token = Token::new("the-token-of-a-benchmark").unwrap();
    println!("Firecracker {}, KVM, bare guest of 64 MiB; medians of {TIMES}", agent.vmm_version());
    println!("{:<34} {:>12} {:>12} {:>7}", "", "ours", "by hand", "ratio");

    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let began = Instant::now();
        agent.create(small("vm-1")).await.unwrap();
        ours.push(began.elapsed());
        agent.destroy(&name("vm-1")).await.unwrap();
        let began = Instant::now();
        let hand = ByHand::start(&program);
        hand.boot();
        hand.answer(&token).await;
        by_hand.push(began.elapsed());
    }
    show("create to the agent's answer", ours, by_hand);

    agent.create(small("vm-1")).await.unwrap();
    let hand = ByHand::start(&program);
    hand.boot();
    hand.answer(&token).await;
    for (what, memory, kind) in
        [("full snapshot", Memory::Full, "Full"), ("difference", Memory::Diff, "Diff")]
    {
        let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
        for _ in 0..TIMES {
            let began = Instant::now();
            agent.snapshot(&name("vm-1"), NewSnapshot { comment: String::new(), memory }).await.unwrap();
            ours.push(began.elapsed());
            let began = Instant::now();
            hand.save(kind, if kind == "Full" { "full" } else { "diff" });
            by_hand.push(began.elapsed());
        }
        show(what, ours, by_hand);
    }
    println!("  (ours also computes SHA-256 of every file and makes them durable)");

    let seed = agent
        .snapshot(&name("vm-1"), NewSnapshot { comment: String::new(), memory: Memory::Full })
        .await
        .unwrap();
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let clone = NewVm { seed: Some(seed.id.clone()), ..small("vm-2") };
        let began = Instant::now();
        agent.create(clone).await.unwrap();
        ours.push(began.elapsed());
        agent.destroy(&name("vm-2")).await.unwrap();
        let began = Instant::now();
        let clone = ByHand::start(&program);
        clone.load(&hand.dir);
        clone.answer(&token).await;
        by_hand.push(began.elapsed());
    }
    show("restore to the first answer", ours, by_hand);

    let exec = Exec::argv(["true"]);
    let client = hand.answer(&token).await;
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..TIMES * 10 {
        let began = Instant::now();
        agent.exec(&name("vm-1"), &exec).await.unwrap();
        ours.push(began.elapsed());
        let began = Instant::now();
        client.exec_collect(&exec, 1024).await.unwrap();
        by_hand.push(began.elapsed());
    }
    show("exec round trip", ours, by_hand);

    for count in [10, 50] {
        let began = Instant::now();
        let forks = (0..count).map(|index| {
            let (agent, seed) = (agent.clone(), seed.id.clone());
            tokio::spawn(async move {
                agent.create(NewVm { seed: Some(seed), ..small(&format!("fork-{index}")) }).await
            })
        });
        for fork in forks.collect::<Vec<_>>() {
            fork.await.unwrap().unwrap();
        }
        let took = began.elapsed();
        let memory = agent.memory();
        let own = memory.iter().map(|(_, _, own)| own).sum::<u64>() / memory.len() as u64;
        println!(
            "fork ×{count} at once: {took:.2?} in all; {:.1} MiB of its own for each VM",
            own as f64 / 1_048_576.0
        );
        for index in 0..count {
            agent.destroy(&name(&format!("fork-{index}"))).await.unwrap();
        }
    }
    agent.destroy(&name("vm-1")).await.unwrap();
    let us = fuse_host_agent::system::Process::of(std::process::id().cast_signed()).unwrap();
    println!("memory of the agent's own process: {:.1} MiB", us.memory().0 as f64 / 1_048_576.0);
}
