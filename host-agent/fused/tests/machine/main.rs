//! The guest agent as the init of a real machine: QEMU, with the kernel and the initramfs that `FUSE_TEST_GUEST` names
//! (`host-agent/scripts/build-initramfs.sh` makes them). Without either, the tests say so and pass.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

mod machine;

use std::time::{Instant, SystemTime};

use fuse_guest_protocol::{
    ErrorCode,
    client::Output,
    verb::{
        Attach, Exec, LogSource, Logs, Network, PowerOff, Renew, SetTime, StartWorkload, Sync, Upload,
        WorkloadState, WorkloadStatus,
    },
};
use machine::{LONG, Machine, TOKEN, token};

fn now_ns() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

/// One boot for everything that a guest does, since a boot is what takes long without KVM.
#[tokio::test]
async fn a_guest_boots_works_is_snapshotted_and_its_clones_differ() {
    let Some(mut machine) = Machine::boot().await else { return };
    let client = machine.connect().await;
    let info = client.hello(Some(token(TOKEN))).await.unwrap();
    println!("{}", machine.figures());
    assert_eq!(info.vm_id, "test-vm");

    let line = "hostname; id -u; cat /proc/1/comm; test -c /dev/null && mount | grep -c devpts";
    let output = client.exec_collect(&Exec::shell(line), 1000).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "test-vm\n0\ninit\n1\n", "{output:?}");

    orphans_are_reaped(&client).await;
    memory_is_small(&client).await;
    terminal(&client).await;
    machine_verbs(&client).await;

    round_trips(&client).await;
    let upload = Upload { path: "/root/mark".into(), mode: 0o644, size: None };
    let began = Instant::now();
    client.upload_bytes(&upload, &vec![b'x'; 3_000_000]).await.unwrap();
    println!("upload of 3 MB over virtio-serial, TCG: {:?}", began.elapsed());
    let command = "n=0; while :; do n=$((n+1)); echo $n > /run/count; sleep 0.02; done";
    let start = StartWorkload { command: Some(command.into()), ..StartWorkload::default() };
    client.call(&start).await.unwrap();
    let counted = client.exec_collect(&Exec::shell("sleep 0.2; cat /run/count"), 100).await.unwrap();
    let before: u64 = String::from_utf8(counted.stdout).unwrap().trim().parse().unwrap();
    assert!(before > 0);

    // A request that is under way when the snapshot is made; the clone's host knows nothing of it.
    let lost = client.exec(&Exec::shell("yes")).await.unwrap();
    machine.snapshot().await;
    drop((lost, client));

    let mut identities = Vec::new();
    for name in ["clone-a", "clone-b"] {
        let mut clone = machine.clone_from_snapshot(name).await;
        let client = clone.connect().await;
        let restored = client.hello(Some(token(TOKEN))).await.unwrap();
        println!("{}", clone.figures());
        assert_eq!(restored.boot_id, info.boot_id, "memory goes on");
        let renewed = client
            .call(&Renew {
                entropy: (0..64).map(|i| i ^ name.len() as u8).collect(),
                unix_ns: Some(now_ns()),
                vm_id: Some(name.into()),
                machine_id: true,
                token: Some(token("a-token-of-the-clones-own")),
                ..Renew::default()
            })
            .await
            .unwrap();
        assert!(renewed.reseeded && renewed.warnings.is_empty(), "{renewed:?}");
        drop(client);

        let client = clone.connect().await;
        assert_eq!(client.hello(Some(token(TOKEN))).await.unwrap_err().code(), Some(ErrorCode::Unauthorized));
        let info = client.hello(Some(token("a-token-of-the-clones-own"))).await.unwrap();
        assert_eq!((info.vm_id.as_str(), info.generation), (name, 1));
        let line = "hostname; cat /etc/machine-id; head -c 16 /dev/urandom | od -An -tx1; date +%s; \
                    wc -c < /root/mark; cat /run/count; ps | grep -c '[y]es'";
        let output = client.exec_collect(&Exec::shell(line), 1000).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        assert_eq!(lines[0], name);
        let guest: i64 = lines[3].parse().unwrap();
        assert!((now_ns() / 1_000_000_000 - guest).abs() < 60, "the clock is right: {guest}");
        assert_eq!(lines[4], "3000000");
        assert!(lines[5].parse::<u64>().unwrap() >= before, "the workload goes on: {}", lines[5]);
        assert_eq!(lines[6], "0", "what the parent's host had asked for has ended");
        assert_eq!(client.call(&WorkloadStatus {}).await.unwrap().state, WorkloadState::Running);
        identities.push((lines[1].to_owned(), lines[2].to_owned()));
        standard_drain(&client).await;
        clone.ends_by(client, PowerOff::Reboot).await;
    }
    assert_ne!(identities[0].0, identities[1].0, "machine ids");
    assert_ne!(identities[0].1, identities[1].1, "random numbers");
}

/// A root file system that has nothing of Fuse in it, and keeps what is written.
#[tokio::test]
async fn a_guest_goes_to_its_root_file_system_and_ends_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let Some(disk) = disk(directory.path()) else { return };
    for boot in 0..2 {
        let Some(mut machine) = Machine::boot_from(&disk).await else { return };
        let client = machine.connect().await;
        client.hello(Some(token(TOKEN))).await.unwrap();
        println!("{}", machine.figures());
        let line = "grep ' / ' /proc/mounts; ls /; cat /mark; echo $((1 + $(cat /mark))) > /mark; mount | grep -c ' on /dev '";
        let output = client.exec_collect(&Exec::shell(line), 1000).await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("/dev/vda / ext4 rw") && text.ends_with(&format!("\n{boot}\n1\n")), "{text}");
        machine.ends_by(client, PowerOff::Off).await;
    }
}

/// A small ext4 file system, made without a loop device out of the busybox of the initramfs.
fn disk(directory: &std::path::Path) -> Option<std::path::PathBuf> {
    let guest = std::path::PathBuf::from(std::env::var_os("FUSE_TEST_GUEST")?);
    let (root, disk) = (directory.join("root"), directory.join("disk"));
    std::fs::create_dir(&root).unwrap();
    let script = "cd \"$1\" && cpio -i --quiet --no-absolute-filenames bin 'bin/*' <\"$2\" && mkdir proc sys dev run tmp etc root \
                  && echo 0 >mark && mke2fs -q -t ext4 -d . \"$3\" 64M";
    let made = std::process::Command::new("sh")
        .args(["-euc", script, "sh"])
        .args([&root, &guest.join("initramfs.cpio"), &disk])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return machine::skipped("cpio and mke2fs made no disk");
    }
    Some(disk)
}

/// The drain command of an environment that names none, as the orchestrator sends it: it ends the workload, and the agent
/// that carries it stays.
async fn standard_drain(client: &fuse_guest_protocol::client::Client) {
    let line = "systemctl stop fused 2>/dev/null || pkill -TERM fused";
    let output = client.exec_collect(&Exec::shell(line), 1000).await.unwrap();
    assert_eq!(output.result.exit_code, 0, "{output:?}");
    let began = Instant::now();
    while client.call(&WorkloadStatus {}).await.unwrap().state != WorkloadState::Exited {
        assert!(began.elapsed() < LONG, "the workload goes on");
    }
}

/// Shows what a request costs; nothing is asserted, since the machine is emulated and shared.
async fn round_trips(client: &fuse_guest_protocol::client::Client) {
    let mut pings = Vec::new();
    let mut execs = Vec::new();
    for _ in 0..21 {
        let began = Instant::now();
        client.ping().await.unwrap();
        pings.push(began.elapsed());
        let began = Instant::now();
        client.exec_collect(&Exec::argv(["true"]), 10).await.unwrap();
        execs.push(began.elapsed());
    }
    pings.sort();
    execs.sort();
    println!("virtio-serial, TCG, medians of 21: ping {:?}, exec of `true` {:?}", pings[10], execs[10]);
}

async fn orphans_are_reaped(client: &fuse_guest_protocol::client::Client) {
    let line =
        "(sh -c 'sleep 0.1' &) ; (sh -c 'sleep 0.1' &); sleep 0.5; ps -o stat,args | grep -c '^Z' || true";
    let output = client.exec_collect(&Exec::shell(line), 100).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "0");
}

/// The agent is small: it shares the machine with what the machine is for.
async fn memory_is_small(client: &fuse_guest_protocol::client::Client) {
    let line = "for p in $(pidof fused); do awk -v p=$p '/VmRSS/ {print p, $2}' /proc/$p/status; done; \
                awk '/VmRSS/ {print 1, $2}' /proc/1/status";
    let output = client.exec_collect(&Exec::shell(line), 1000).await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("memory of the agent and of init (process, KiB): {}", text.replace('\n', "; "));
    for line in text.lines() {
        let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        assert!(kib < 4096, "{text}");
    }
}

async fn terminal(client: &fuse_guest_protocol::client::Client) {
    let argv = ["sh", "-c", "tty; stty size; exit 6"].map(Into::into).into();
    let mut terminal = client.attach(&Attach { argv, ..Attach::default() }).await.unwrap();
    let mut text = String::new();
    let result = loop {
        match tokio::time::timeout(LONG, terminal.next()).await.unwrap().unwrap() {
            Output::Stdout(bytes) => text.push_str(&String::from_utf8_lossy(&bytes)),
            Output::Stderr(_) => {}
            Output::Exit(result) => break result,
        }
    };
    assert_eq!(result.exit_code, 6);
    assert!(text.contains("/dev/pts/") && text.contains("24 80"), "{text}");
}

async fn machine_verbs(client: &fuse_guest_protocol::client::Client) {
    let facts = client.call(&SetTime { unix_ns: 1_700_000_000_000_000_000 }).await.unwrap();
    assert_ne!(facts.moved_ns, 0);
    let network = Network {
        interface: "lo".into(),
        address: "10.1.2.3/24".into(),
        nameservers: vec!["10.1.2.1".into()],
        ..Network::default()
    };
    client.call(&network).await.unwrap();
    let none = Network { interface: "eth9".into(), ..network };
    assert_eq!(client.call(&none).await.unwrap_err().code(), Some(ErrorCode::NotFound));
    let line = "date +%s; ip -4 -o addr show dev lo; cat /etc/resolv.conf";
    let text = client.exec_collect(&Exec::shell(line), 1000).await.unwrap();
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("17000000"), "{text}");
    assert!(
        text.contains("10.1.2.3/24") && text.contains("nameserver 10.1.2.1") && !text.contains("127.0.0.1"),
        "{text}"
    );
    assert!(client.call(&Sync {}).await.unwrap().free_bytes > 0);

    let mut log = client.logs(&Logs::of(LogSource::Kernel)).await.unwrap();
    let mut kernel = Vec::new();
    while let Some(bytes) = log.next().await.unwrap() {
        kernel.extend(bytes);
    }
    assert!(String::from_utf8_lossy(&kernel).contains("Linux version"));
}
