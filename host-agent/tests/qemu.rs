//! The QEMU driver with a real Linux guest. One VM boots; each test works on a clone of its snapshot.
//!
//! Where there is no hardware virtualisation QEMU interprets (TCG), so nothing here depends on how long things take.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

mod common;

use std::{
    future::Future,
    path::Path,
    sync::{Arc, LazyLock, OnceLock},
    time::Duration,
};

use common::{config, import_linux, name, run, sh, skip, until};
use fuse_guest_protocol::verb::{Download, Exec, Upload};
use fuse_host_agent::{
    Config, DriverConfig, ErrorKind, NetworkConfig,
    agent::{HostAgent, Memory, NewSnapshot, NewVm},
    driver::qemu::Accelerator,
    store::{SnapshotName, SnapshotRecord},
};
use fuse_orchestrator::model::Resources;
use tokio::{runtime::Runtime, sync::OnceCell};

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());

/// The VM that all tests are clones of.
struct Origin {
    agent: HostAgent,
    snapshot: Arc<SnapshotRecord>,
}

fn settings(data: &Path) -> Config {
    let driver = DriverConfig::Qemu { program: "qemu-system-x86_64".into(), accelerator: Accelerator::Auto };
    let common = config(data, driver);
    Config { network: NetworkConfig::User, default_memory_mib: 128, boot_seconds: 300, ..common }
}

fn linux(text: &str) -> NewVm {
    NewVm { resources: Resources { cpus: 1, ram_mb: 128, storage_gb: 0 }, ..NewVm::new(name(text)) }
}

async fn begin() -> Option<Origin> {
    let guest = match common::qemu() {
        Ok(guest) => guest,
        Err(why) => {
            skip("the tests of QEMU", &why);
            return None;
        }
    };
    let data = Path::new(env!("CARGO_TARGET_TMPDIR")).join("host-agent-qemu");
    // What an earlier run left behind.
    if data.exists() {
        let agent = HostAgent::open(settings(&data)).await.unwrap();
        for vm in agent.list(None, None) {
            agent.destroy(&vm.name).await.unwrap();
        }
        drop(agent);
        std::fs::remove_dir_all(&data).unwrap();
    }
    let agent = HostAgent::open(settings(&data)).await.unwrap();
    import_linux(&agent, with_an_awkward_initramfs(&guest).path());
    let began = std::time::Instant::now();
    agent.create(linux("origin")).await.unwrap();
    let accelerator = agent.accelerator();
    println!(
        "QEMU {}, {accelerator}, 128 MiB: {:?} from create to the agent's answer",
        agent.vmm_version(),
        began.elapsed()
    );
    sh(&agent, "origin", "echo 1 > /tmp/counter; echo of the origin > /root/notes; sync").await;
    let new = NewSnapshot { comment: "the origin".to_owned(), memory: Memory::Full };
    let snapshot = agent.snapshot(&name("origin"), new).await.unwrap();
    agent.destroy(&name("origin")).await.unwrap();
    Some(Origin { agent, snapshot })
}

/// The kernel and an initramfs of a length with which QEMU's `microvm` puts it over the tables that say what devices there
/// are, up to 512 bytes before the end of the memory.
fn with_an_awkward_initramfs(guest: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(guest.join("vmlinux"), dir.path().join("vmlinux")).unwrap();
    let mut bytes = std::fs::read(guest.join("initramfs.cpio")).unwrap();
    bytes.resize(bytes.len().next_multiple_of(4096) + 4096 - 512, 0);
    std::fs::write(dir.path().join("initramfs.cpio"), bytes).unwrap();
    dir
}

/// Runs a test on a clone called `vm`, which is destroyed at its end.
fn on_clone<F: Future<Output = ()>>(vm: &'static str, test: impl FnOnce(&'static Origin) -> F) {
    static ORIGIN: OnceLock<OnceCell<Option<Origin>>> = OnceLock::new();
    RUNTIME.block_on(async {
        let origin = ORIGIN.get_or_init(OnceCell::new).get_or_init(begin).await;
        let Some(origin) = origin else { return };
        origin.agent.create(clone_of(origin, vm)).await.unwrap();
        test(origin).await;
        origin.agent.destroy(&name(vm)).await.unwrap();
    });
}

fn clone_of(origin: &Origin, vm: &str) -> NewVm {
    NewVm { seed: Some(origin.snapshot.id.clone()), ..linux(vm) }
}

fn memory(memory: Memory) -> NewSnapshot {
    NewSnapshot { comment: String::new(), memory }
}

#[test]
fn commands_files_and_terminals_work() {
    on_clone("works", |origin| async move {
        let agent = &origin.agent;
        assert_eq!(sh(agent, "works", "cat /root/notes; echo $((6 * 7))").await, "of the origin\n42");
        let late = Exec { timeout_ms: 300, ..Exec::argv(["sleep", "600"]) };
        assert_eq!(agent.exec(&name("works"), &late).await.unwrap().result.exit_code, 124);
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
        let upload = Upload { path: "/root/data/file".to_owned(), mode: 0o640, size: None };
        agent.upload(&name("works"), &upload, &mut bytes.as_slice()).await.unwrap();
        assert_eq!(sh(agent, "works", "stat -c '%s %a' /root/data/file").await, "3000000 640");
        let mut back = Vec::new();
        let download = Download { path: "/root/data/file".to_owned(), offset: 0, length: None };
        agent.download(&name("works"), &download, &mut back).await.unwrap();
        assert!(back == bytes);
        let attach = fuse_guest_protocol::verb::Attach { argv: vec!["sh".to_owned()], ..Default::default() };
        let mut terminal = agent.attach(&name("works"), &attach).await.unwrap();
        terminal.input().write(b"tty; exit 7\n").await.unwrap();
        let mut shown = Vec::new();
        loop {
            match terminal.next().await.unwrap() {
                fuse_guest_protocol::client::Output::Exit(result) => {
                    assert_eq!(result.exit_code, 7);
                    break;
                }
                fuse_guest_protocol::client::Output::Stdout(bytes) => shown.extend(bytes),
                fuse_guest_protocol::client::Output::Stderr(_) => {}
            }
        }
        assert!(String::from_utf8_lossy(&shown).contains("/dev/pts/"));
    });
}

#[test]
fn clones_diverge_in_memory_and_disk_and_are_their_own() {
    on_clone("one", |origin| async move {
        let agent = &origin.agent;
        sh(agent, "one", "echo 2 > /tmp/counter; echo one > /root/notes; sync").await;
        agent.fork_running(&name("one"), linux("two")).await.unwrap();
        assert_eq!(
            sh(agent, "two", "cat /tmp/counter /root/notes").await,
            "2\none",
            "it goes on where one stood"
        );
        sh(agent, "one", "echo 3 > /tmp/counter; echo ONE > /root/notes; sync").await;
        sh(agent, "two", "echo 4 > /tmp/counter; echo TWO > /root/notes; sync").await;
        assert_eq!(sh(agent, "one", "cat /tmp/counter /root/notes").await, "3\nONE");
        assert_eq!(sh(agent, "two", "cat /tmp/counter /root/notes").await, "4\nTWO");
        let identity = "cat /etc/machine-id; hostname; head -c 16 /dev/urandom | md5sum";
        let (one, two) = (sh(agent, "one", identity).await, sh(agent, "two", identity).await);
        for (a, b) in one.lines().zip(two.lines()) {
            assert_ne!(a, b, "{one} and {two}");
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let seen: u64 = sh(agent, "two", "date +%s").await.parse().unwrap();
        assert!(now.abs_diff(seen) < 120, "its clock says {seen}, ours {now}");
        // Its agent starts again as whom it is, and not as whom the machine booted.
        let fused = "for p in $(pidof fused); do tr '\\0' ' ' < /proc/$p/cmdline; done";
        let killed = Exec { timeout_ms: 5000, ..Exec::argv(["sh", "-c", "kill -9 $(pidof fused)"]) };
        let _ = agent.exec(&name("two"), &killed).await;
        let back = Exec { timeout_ms: 60_000, ..Exec::argv(["sh", "-c", fused]) };
        let mut said = Err(());
        for _ in 0..100 {
            said = agent.exec(&name("two"), &back).await.map_err(drop);
            if said.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let said = String::from_utf8(said.unwrap().stdout).unwrap();
        assert!(said.contains("--vm-id two "), "{said}");
        agent.destroy(&name("two")).await.unwrap();
    });
}

/// Writes who the machine is, as fast as a shell can. The random number comes first: a line whose number only the clone has
/// was begun there.
const LOGGER: &str = "while :; do read -r u < /proc/sys/kernel/random/uuid; read -r h < /proc/sys/kernel/hostname; \
    read -r m < /etc/machine-id; echo \"$u $h $m $EPOCHREALTIME\"; done >> /run/identity";

async fn identities(agent: &HostAgent, vm: &str) -> Vec<Vec<String>> {
    let mut log = Vec::new();
    let download = Download { path: "/run/identity".to_owned(), offset: 0, length: None };
    agent.download(&name(vm), &download, &mut log).await.unwrap();
    let text = String::from_utf8(log).unwrap();
    // The last line may be half there.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.split(' ').map(str::to_owned).collect()).collect()
}

#[test]
fn no_program_of_a_clone_sees_whom_it_was_cloned_from() {
    on_clone("parent", |origin| async move {
        let agent = &origin.agent;
        let groups = "cut -d: -f3 /proc/self/cgroup /proc/$(pidof fused)/cgroup";
        assert_eq!(
            sh(agent, "parent", groups).await,
            "/fuse-programs\n/",
            "the agent is not among the programs"
        );
        sh(agent, "parent", "date -s @1600000000; : > /run/identity").await;
        let logger = format!("setsid sh -c '{LOGGER}' > /dev/null 2>&1 &");
        sh(agent, "parent", &logger).await;
        while identities(agent, "parent").await.len() < 100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let began = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        let snapshot = agent.snapshot(&name("parent"), memory(Memory::Full)).await.unwrap();
        assert!(snapshot.held_ms > 0, "fused holds programs, and the record says so");
        agent.create(NewVm { seed: Some(snapshot.id.clone()), ..linux("child") }).await.unwrap();
        let of_child = identities(agent, "child").await;
        let before = of_child.len();
        let mut of_child = of_child;
        while of_child.len() < before + 100 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            of_child = identities(agent, "child").await;
        }
        let of_parent = identities(agent, "parent").await;
        let known: std::collections::HashMap<&str, &Vec<String>> =
            of_parent.iter().map(|line| (line[0].as_str(), line)).collect();
        let parent_id = &of_parent[0][2];
        let (mut under_way, mut own) = (0, 0);
        for line in &of_child {
            match known.get(line[0].as_str()) {
                Some(same) if *same == line => {}
                // Its number was read before the snapshot, the rest of it after: the program stood still between.
                Some(_) => under_way += 1,
                None => {
                    own += 1;
                    assert_eq!(line[1], "child", "{line:?}");
                    assert_ne!(&line[2], parent_id, "{line:?}");
                    let clock: f64 = line[3].parse().unwrap();
                    assert!(clock > began - 60.0, "{line:?}, and it is {began}");
                }
            }
        }
        assert!(under_way <= 1, "{under_way} random numbers were drawn by both");
        assert!(own >= 50, "{own} lines of its own of {}", of_child.len());
        assert!(of_parent.len() > before, "the parent goes on");
        assert!(of_parent.iter().all(|line| line[1] == "parent"));
        agent.destroy(&name("child")).await.unwrap();

        // A VM that is paused has its programs held, too.
        agent.pause(&name("parent")).await.unwrap();
        let paused = agent.snapshot(&name("parent"), memory(Memory::Full)).await.unwrap();
        assert!(paused.held_ms > 0);
        agent.resume(&name("parent")).await.unwrap();
        assert_eq!(sh(agent, "parent", "echo on").await, "on");
    });
}

#[test]
fn programs_go_on_by_themselves_when_the_host_does_not_come_back() {
    on_clone("alone", |origin| async move {
        use fuse_guest_protocol::verb::{Freeze, Thaw};
        let agent = &origin.agent;
        let beat = "while :; do echo; sleep 0.02; done > /run/beat 2> /dev/null";
        sh(agent, "alone", &format!(": > /run/beat; ({beat}) & echo $! > /run/beating")).await;
        let client = agent.guest(&name("alone")).await.unwrap();
        let beats = async || {
            let mut beats = Vec::new();
            let download = Download { path: "/run/beat".to_owned(), offset: 0, length: None };
            agent.download(&name("alone"), &download, &mut beats).await.unwrap();
            beats.len()
        };
        let frozen = client.call(&Freeze { limit_ms: 600_000 }).await.unwrap();
        assert!(frozen.processes >= 1);
        let before = beats().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(beats().await, before, "nothing runs");
        // What is started meanwhile waits.
        let waits = agent.clone();
        let started = tokio::spawn(async move { sh(&waits, "alone", "echo started").await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(!started.is_finished());
        assert!(client.call(&Thaw {}).await.unwrap().was_frozen);
        assert_eq!(started.await.unwrap(), "started");
        assert!(!client.call(&Thaw {}).await.unwrap().was_frozen, "once is enough");
        client.call(&Freeze { limit_ms: 1000 }).await.unwrap();
        let before = beats().await;
        let began = std::time::Instant::now();
        while beats().await == before {
            assert!(began.elapsed() < Duration::from_secs(60), "they stand still for ever");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        // One that is in a group of its own making, and the only one.
        let below = "/sys/fs/cgroup/fuse-programs/below";
        let another = format!("mkdir {below}; (echo 0 > {below}/cgroup.procs; {beat}) & sleep 0.5");
        sh(agent, "alone", &format!("kill $(cat /run/beating); {another}")).await;
        let frozen = client.call(&Freeze { limit_ms: 600_000 }).await.unwrap();
        assert_eq!(frozen.processes, 0, "beside it");
        let before = beats().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(beats().await, before, "it runs");
        assert!(client.call(&Thaw {}).await.unwrap().was_frozen);
    });
}

#[test]
fn a_vm_is_set_back_to_a_live_snapshot_and_goes_on() {
    on_clone("back", |origin| async move {
        let agent = &origin.agent;
        let pid = sh(agent, "back", "sleep 1000 > /dev/null 2>&1 & echo $!").await;
        let snapshot = agent.snapshot(&name("back"), memory(Memory::Full)).await.unwrap();
        sh(agent, "back", &format!("kill {pid}; echo lost > /root/notes; sync")).await;
        agent.restore(&name("back"), &snapshot.id).await.unwrap();
        assert_eq!(sh(agent, "back", "cat /root/notes").await, "of the origin");
        assert_eq!(
            run(agent, "back", &format!("kill -0 {pid}")).await.result.exit_code,
            0,
            "the process is there again"
        );
        // Another VM's snapshot is not one to go back to.
        let foreign = agent.restore(&name("back"), &origin.snapshot.id).await.unwrap_err();
        assert_eq!(foreign.kind, ErrorKind::Invalid);
        let none = SnapshotName::new("snap-none").unwrap();
        assert_eq!(agent.restore(&name("back"), &none).await.unwrap_err().kind, ErrorKind::NotFound);
        agent.delete_snapshot(&snapshot.id).await.unwrap();
        assert_eq!(sh(agent, "back", "echo on").await, "on", "the VM outlives its snapshot");
    });
}

#[test]
fn a_disk_snapshot_boots() {
    on_clone("disk", |origin| async move {
        let agent = &origin.agent;
        sh(agent, "disk", "echo on the disk > /root/notes; echo 9 > /run/memory").await;
        let identity = "hostname; cat /etc/machine-id";
        let before = sh(agent, "disk", identity).await;
        let snapshot = agent.snapshot(&name("disk"), memory(Memory::None)).await.unwrap();
        sh(agent, "disk", "echo later > /root/notes; sync").await;
        agent.restore(&name("disk"), &snapshot.id).await.unwrap();
        assert_eq!(sh(agent, "disk", "cat /root/notes").await, "on the disk");
        assert_ne!(run(agent, "disk", "cat /run/memory").await.result.exit_code, 0, "memory begins anew");
        assert_eq!(sh(agent, "disk", identity).await, before, "it is the same machine");
        assert!(before.starts_with("disk\n"), "{before}");
        let other = NewVm { seed: Some(snapshot.id.clone()), ..linux("disk-two") };
        agent.create(other).await.unwrap();
        let after = sh(agent, "disk-two", identity).await;
        assert!(after.starts_with("disk-two\n"), "{after}");
        assert_ne!(after.lines().last(), before.lines().last(), "each machine has an id of its own");
        assert_eq!(after.lines().last().unwrap().len(), 32);
        agent.destroy(&name("disk-two")).await.unwrap();
    });
}

/// QEMU is not root although the agent is: a guest that breaks out of it has the files of its own VM, and cannot enter the
/// directory that they are in.
#[test]
fn qemu_is_another_user_than_the_agent() {
    if !rustix::process::geteuid().is_root() {
        return skip("the user of QEMU", "it needs root");
    }
    on_clone("other-user", |origin| async move {
        use std::os::unix::fs::MetadataExt;
        let agent = &origin.agent;
        let dir = agent.config().data.join("vms/other-user");
        let check = || {
            let pid = agent.get(&name("other-user")).unwrap().pid.unwrap();
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            for part in [
                "Uid:\t64000\t64000\t64000\t64000",
                "Gid:\t64000\t64000",
                "Groups:\t \n",
                "CapEff:\t0000000000000000",
                "CapBnd:\t0000000000000000",
                "NoNewPrivs:\t1",
                "Seccomp:\t2",
            ] {
                assert!(status.contains(part), "{part:?} in {status}");
            }
            let owner = |file: &str| std::fs::metadata(dir.join(file)).unwrap().uid();
            assert_eq!((owner("disk"), owner("qemu"), owner("console.log")), (64_000, 64_000, 64_000));
            assert_eq!((owner(""), owner("token"), owner("vm.json"), owner("kernel")), (0, 0, 0, 0));
            // As that user, from where it stands: what it can read and write beyond its own.
            let try_as = |line: &str| {
                let mut shell = std::process::Command::new("setpriv");
                shell.args(["--reuid=64000", "--regid=64000", "--clear-groups", "sh", "-c", line]);
                shell.current_dir(dir.join("qemu")).stderr(std::process::Stdio::null());
                shell.status().unwrap().success()
            };
            assert!(try_as("cat disk kernel > /dev/null && : > mine"));
            for denied in ["cat ../token", "cat ../vm.json", "ls ..", ": > ../new", ": > kernel", ": > base"]
            {
                assert!(!try_as(&format!("{denied} > /dev/null 2>&1")), "{denied}");
            }
        };
        check();
        // It saves, is set back, and boots as that user.
        let live = agent.snapshot(&name("other-user"), memory(Memory::Full)).await.unwrap();
        agent.restore(&name("other-user"), &live.id).await.unwrap();
        check();
        let files = agent.snapshots().dir(&live.id);
        assert_eq!(std::fs::metadata(files.join("state")).unwrap().uid(), 0, "a snapshot is the agent's");
        sh(agent, "other-user", "echo written > /root/notes; sync").await;
        let disk = agent.snapshot(&name("other-user"), memory(Memory::None)).await.unwrap();
        agent.restore(&name("other-user"), &disk.id).await.unwrap();
        check();
        assert_eq!(sh(agent, "other-user", "cat /root/notes").await, "written");
        let console = agent.console(&name("other-user"), 4096).await.unwrap();
        assert!(String::from_utf8_lossy(&console).contains("fused"), "its console is read");
    });
}

#[test]
fn a_full_disk_is_the_guests_affair() {
    on_clone("full", |origin| async move {
        let agent = &origin.agent;
        let filled = run(agent, "full", "dd if=/dev/zero of=/root/fill bs=1M count=200").await;
        assert_ne!(filled.result.exit_code, 0);
        let upload = Upload { path: "/root/more".to_owned(), mode: 0o600, size: None };
        let refused =
            agent.upload(&name("full"), &upload, &mut vec![7; 1 << 20].as_slice()).await.unwrap_err();
        assert!(refused.to_string().contains("/root/more"), "{refused}");
        assert_eq!(
            run(agent, "full", "test -e /root/more").await.result.exit_code,
            1,
            "nothing half written"
        );
        sh(agent, "full", "rm /root/fill").await;
        agent.upload(&name("full"), &upload, &mut vec![7; 1 << 20].as_slice()).await.unwrap();
    });
}

/// QEMU gives a guest no vsock that survives a snapshot, so the guest speaks to itself, over the loopback of vsock.
#[test]
fn the_agent_answers_over_vsock_and_only_to_the_host() {
    on_clone("vsock", |origin| async move {
        let agent = &origin.agent;
        let program = std::fs::read(common::vsock_cat()).unwrap();
        let upload = Upload { path: "/root/vsock-cat".to_owned(), mode: 0o755, size: None };
        agent.upload(&name("vsock"), &upload, &mut program.as_slice()).await.unwrap();
        // A program of the guest is not the host: the agent hangs up.
        assert_eq!(sh(agent, "vsock", "/root/vsock-cat 1 9550 < /dev/null").await, "");
        let mut said = Vec::new();
        let logs = fuse_guest_protocol::verb::Logs::of(fuse_guest_protocol::verb::LogSource::Agent);
        let mut log = agent.guest_log(&name("vsock"), &logs).await.unwrap();
        while let Some(part) = log.next().await.unwrap() {
            said.extend(part);
        }
        let said = String::from_utf8(said).unwrap();
        assert!(said.contains("listening on vsock port 9550"), "{said}");
        assert!(said.contains("refused a connection from Some(1)"), "{said}");
        // Another agent, whose host is this machine.
        let second = "cp /proc/1/exe /run/fused; setsid /run/fused --listen off --serial off --vsock-port 9551 --vsock-peer 1 \
                      --fuse-dir /run/second --vm-id second > /dev/null 2>&1 &";
        sh(agent, "vsock", second).await;
        let token = fuse_guest_protocol::Token::new("the-token-of-the-second-agent").unwrap();
        let client = over_vsock(agent).await;
        let info = client.hello(Some(token.clone())).await.unwrap();
        assert_eq!((info.agent.as_str(), info.vm_id.as_str()), ("fused", "second"));
        let output = client.exec_collect(&Exec::shell("echo over vsock; exit 3"), 100).await.unwrap();
        assert_eq!((output.stdout.as_slice(), output.result.exit_code), (&b"over vsock\n"[..], 3));
        // Both ways at once, more than the windows of the protocol and of the socket hold.
        let bytes: Vec<u8> = (0..1_500_000_u32).map(|at| (at % 253) as u8).collect();
        let upload = Upload { path: "/run/second-file".to_owned(), mode: 0o600, size: None };
        client.upload_bytes(&upload, &bytes).await.unwrap();
        let echo = Exec::argv(["echo", "meanwhile"]);
        let mut back = Vec::new();
        let download = Download { path: "/run/second-file".to_owned(), offset: 0, length: None };
        let (read, echoed) =
            tokio::join!(client.download(&download, &mut back), client.exec_collect(&echo, 100));
        read.unwrap();
        assert!(back == bytes);
        assert_eq!(echoed.unwrap().stdout, b"meanwhile\n");
        // It is not the machine's agent: it holds no programs, and says so.
        let held = client.call(&fuse_guest_protocol::verb::Freeze::default()).await.unwrap_err();
        assert_eq!(held.code(), Some(fuse_guest_protocol::ErrorCode::Unsupported), "{held}");
        // Several at once, each with the token.
        let other = over_vsock(agent).await;
        let wrong = fuse_guest_protocol::Token::new("another-token-altogether").unwrap();
        let refused = other.hello(Some(wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Some(fuse_guest_protocol::ErrorCode::Unauthorized), "{refused}");
        other.hello(Some(token)).await.unwrap();
        client.ping().await.unwrap();
    });
}

/// A connection to the second agent of the guest `vsock`, through a program in it.
async fn over_vsock(agent: &HostAgent) -> fuse_guest_protocol::client::Client {
    use fuse_guest_protocol::client::{Client, Output, Transport};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let began = std::time::Instant::now();
    loop {
        let exec = Exec { stdin: true, timeout_ms: 300_000, ..Exec::argv(["/root/vsock-cat", "1", "9551"]) };
        let mut stream = agent.exec_stream(&name("vsock"), &exec).await.unwrap();
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (mut typed, mut shown) = tokio::io::split(far);
        let input = stream.input();
        tokio::spawn(async move {
            let mut buffer = vec![0; 32 * 1024];
            while let Ok(count @ 1..) = typed.read(&mut buffer).await
                && input.send(&buffer[..count]).await.is_ok()
            {}
        });
        tokio::spawn(async move {
            while let Ok(Output::Stdout(bytes)) = stream.next().await
                && shown.write_all(&bytes).await.is_ok()
            {}
            let _ = shown.shutdown().await;
        });
        match tokio::time::timeout(Duration::from_secs(30), Client::connect(near, Transport::Socket)).await {
            Ok(Ok(client)) => return client,
            // It may not listen yet.
            _ if began.elapsed() < Duration::from_secs(120) => {
                tokio::time::sleep(Duration::from_millis(200)).await
            }
            other => panic!("nobody answers over vsock: {other:?}"),
        }
    }
}

#[test]
fn a_guest_out_of_memory_keeps_its_agent() {
    on_clone("oom", |origin| async move {
        let agent = &origin.agent;
        let eater = "x=a; while :; do x=\"$x$x$x$x\"; done";
        let exec = Exec { timeout_ms: 120_000, ..Exec::argv(["sh", "-c", eater]) };
        let output = agent.exec(&name("oom"), &exec).await.unwrap();
        assert_ne!(output.result.exit_code, 0, "{output:?}");
        assert_eq!(sh(agent, "oom", "echo alive").await, "alive");
    });
}

#[test]
fn a_vmm_that_is_killed_is_seen_reported_and_cleaned() {
    on_clone("killed", |origin| async move {
        let agent = &origin.agent;
        let view = agent.get(&name("killed")).unwrap();
        let (agent_too, sleeper) = (agent.clone(), Exec::argv(["sleep", "600"]));
        let running = tokio::spawn(async move { agent_too.exec(&name("killed"), &sleeper).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        let pid = rustix::process::Pid::from_raw(view.pid.unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        until("the VM is gone", || agent.get(&name("killed")).is_err()).await;
        let gone = agent.get(&name("killed")).unwrap_err();
        assert!(gone.to_string().contains("its VMM ended"), "{gone}");
        assert!(running.await.unwrap().is_err(), "what ran in it failed");
        assert!(!agent.config().data.join("vms/killed").exists());
    });
}

#[test]
fn a_guest_that_ignores_shutdown_is_ended() {
    on_clone("stubborn", |origin| async move {
        let agent = &origin.agent;
        // The agent stands still, so nobody hears the request.
        agent.pause(&name("stubborn")).await.unwrap();
        assert_eq!(
            agent.exec(&name("stubborn"), &Exec::argv(["true"])).await.unwrap_err().kind,
            ErrorKind::Busy
        );
        agent.shut_down(&name("stubborn"), Duration::from_secs(2)).await.unwrap();
        assert!(agent.get(&name("stubborn")).is_err());
    });
}

#[test]
fn a_guest_that_obeys_turns_itself_off() {
    on_clone("obedient", |origin| async move {
        let agent = &origin.agent;
        agent.pause(&name("obedient")).await.unwrap();
        agent.resume(&name("obedient")).await.unwrap();
        agent.shut_down(&name("obedient"), Duration::from_secs(120)).await.unwrap();
        assert!(agent.get(&name("obedient")).is_err());
    });
}

#[test]
fn a_long_command_does_not_delay_destroy() {
    on_clone("busy", |origin| async move {
        let agent = origin.agent.clone();
        let long =
            tokio::spawn(async move { agent.exec(&name("busy"), &Exec::argv(["sleep", "500"])).await });
        tokio::time::sleep(Duration::from_millis(300)).await;
        origin.agent.destroy(&name("busy")).await.unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(60), long).await.unwrap().unwrap().is_err());
    });
}

#[test]
fn published_ports_lead_into_the_guest() {
    on_clone("ports", |origin| async move {
        let agent = &origin.agent;
        let view = agent.get(&name("ports")).unwrap();
        let answer = http_get(&view.url, "/health").await;
        assert!(answer.contains("200") && answer.contains("ports"), "{answer}");
        sh(agent, "ports", "mkdir -p /www; echo from inside > /www/index.html; httpd -p 8000 -h /www").await;
        let start = fuse_host_agent::agent::WorkloadStart {
            expose: vec![(8000, Some("web".to_owned()))],
            ..Default::default()
        };
        let published = agent.start_workload(&name("ports"), &start).await.unwrap();
        assert_eq!(published.len(), 1);
        let answer = http_get(&agent.public_url(&published[0]), "/").await;
        assert!(answer.contains("from inside"), "{answer}");
    });
}

async fn http_get(authority: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(authority).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.0\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// What ran in a guest as this very program, and must have ended well there.
async fn run_this_program_in(agent: &HostAgent, vm: &str, test: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let program = std::env::current_exe().unwrap();
    let gather = "strip -o program \"$1\"; ldd \"$1\" | grep -o '/[^ ]*' | while read -r file; do cp \"$file\" .; done; ls";
    let gather = std::process::Command::new("sh")
        .args(["-ec", gather, "gather"])
        .arg(&program)
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(gather.status.success(), "{}", String::from_utf8_lossy(&gather.stderr));
    for file in String::from_utf8(gather.stdout).unwrap().lines() {
        let upload = Upload { path: format!("/run/host/{file}"), mode: 0o755, size: None };
        let mut bytes = tokio::fs::File::open(dir.path().join(file)).await.unwrap();
        agent.upload(&name(vm), &upload, &mut bytes).await.unwrap();
    }
    let line = format!(
        "cd /run/host; ./ld-linux-x86-64.so.2 --library-path . ./program --exact {test} --ignored --nocapture 2>&1"
    );
    sh(agent, vm, &line).await
}

/// This host may have version 1, and guests have version 2: the limits of hosts are tried on the kernel of a guest.
#[test]
fn limits_by_control_groups_of_version_2_hold() {
    on_clone("limits", |origin| async move {
        let said = run_this_program_in(&origin.agent, "limits", "in_guest_limits_hold").await;
        assert!(said.contains("1 passed"), "{said}");
    });
}

/// Runs in a guest alone, where it is root on a kernel that has nothing but control groups of version 2.
#[test]
#[ignore = "limits_by_control_groups_of_version_2_hold runs it in a guest"]
fn in_guest_limits_hold() {
    use fuse_host_agent::system::{
        Process,
        cgroup::{Cgroups, Limits},
    };
    let groups = Cgroups::of_host();
    assert_eq!(groups.as_str(), "v2");
    let limits = Limits { memory: 16 << 20, millicpus: 50, tasks: 3 };
    let read = |group: &str, file: &str| {
        std::fs::read_to_string(format!("/sys/fs/cgroup/fuse/{group}/{file}")).unwrap().trim().to_owned()
    };
    // A shell that waits to be placed, then does something; what its group says afterwards, and how it ended.
    let placed = |group: &str, script: &str, ask: &str| {
        let mut child = std::process::Command::new("sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let process = Process::of(child.id().try_into().unwrap()).unwrap();
        groups.make(group, limits).unwrap().take(&process).unwrap();
        assert_eq!(read(group, "memory.max"), "16777216");
        assert_eq!(read(group, "cpu.max"), "5000 100000");
        assert_eq!(read(group, "pids.max"), "3");
        assert!(groups.groups().contains(&group.to_owned()));
        drop(child.stdin.take());
        let status = child.wait().unwrap();
        let said = read(group, ask);
        groups.remove(group).unwrap();
        assert!(!Path::new("/sys/fs/cgroup/fuse").join(group).exists());
        (status, said)
    };
    let count = |text: &str, key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
        line.unwrap().parse::<u64>().unwrap()
    };

    let (status, said) = placed("eats", "exec dd if=/dev/zero of=/dev/null bs=48M count=1", "memory.events");
    assert!(!status.success() && count(&said, "oom_kill") > 0, "{status}: {said}");
    let (status, said) = placed("spins", "i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done", "cpu.stat");
    assert!(status.success() && count(&said, "nr_throttled") > 0, "{status}: {said}");
    let (status, said) = placed("breeds", "for i in 1 2 3 4 5 6; do sleep 1 & done; wait", "pids.events");
    assert!(count(&said, "max") > 0, "{status}: {said}");
    // Where nothing is asked for beyond its limits, nothing happens.
    let (status, said) = placed("modest", "true", "memory.events");
    assert!(status.success() && count(&said, "oom_kill") == 0, "{status}: {said}");
}
