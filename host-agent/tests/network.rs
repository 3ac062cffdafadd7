//! Networks in the kernel: real namespaces, real rules. Runs as root in a network of its own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

mod common;

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use common::{name, skip};
use fuse_host_agent::net::{AddressPool, Allowed, EgressPolicy, Networks, TapLease};

const INSIDE: &str = "FUSE_TEST_INSIDE";

/// Runs the test `test` again in namespaces of its own. True when this is that run.
fn alone(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        skip(test, "it needs root");
        return false;
    }
    for program in ["ip", "nft", "unshare", "python3", "bash"] {
        let there = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().unwrap();
        if !there.status.success() {
            skip(test, &format!("{program} is not installed; tests/setup.sh test installs it"));
            return false;
        }
    }
    let script = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && mount -t sysfs sysfs /sys && \
                  exec \"$0\" --exact \"$1\" --nocapture";
    let me = std::env::current_exe().unwrap();
    let mut line = Command::new("unshare");
    line.args(["--net", "--mount", "--fork", "--kill-child", "sh", "-c", script])
        .arg(me)
        .arg(test)
        .env(INSIDE, "1");
    let output = line.output().unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    false
}

fn sh(line: &str) {
    let output = Command::new("sh").args(["-ec", line]).output().unwrap();
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Whether a connection from the namespace `from` to `to` comes about.
fn reaches(from: &str, to: &str) -> bool {
    let (host, port) = to.rsplit_once(':').unwrap();
    let line = format!("exec 3<>/dev/tcp/{host}/{port}");
    let mut command = match from {
        "" => Command::new("timeout"),
        from => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", from, "timeout"]);
            command
        }
    };
    command.args(["3", "bash", "-c", &line]).stderr(Stdio::null()).status().unwrap().success()
}

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(netns: &str, port: u16) -> Server {
    let dir = std::env::temp_dir();
    let python = format!("python3 -m http.server {port} --bind 0.0.0.0");
    let line = if netns.is_empty() {
        format!("exec {python}")
    } else {
        format!("exec ip netns exec {netns} {python}")
    };
    let mut command = Command::new("sh");
    command.args(["-c", &line]);
    command.current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Server(command.spawn().unwrap());
    for _ in 0..200 {
        if reaches(netns, &format!("127.0.0.1:{port}")) {
            return server;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody listens on {port} in {netns:?}");
}

/// Puts something that answers behind the tap of a VM: a namespace in the place of a guest.
fn put_guest(lease: &TapLease, guest: &str) {
    let TapLease { netns, guest: address, gateway, .. } = lease;
    sh(&format!(
        "ip netns add {guest}
         ip -n {netns} link delete tap0
         ip -n {netns} link add tap0 type veth peer name eth0 netns {guest}
         ip -n {netns} addr add {gateway}/30 dev tap0
         ip -n {netns} link set tap0 up
         ip -n {guest} link set lo up
         ip -n {guest} addr add {address}/30 dev eth0
         ip -n {guest} link set eth0 up
         ip -n {guest} route add default via {gateway}"
    ));
}

/// A world beyond this host: 203.0.113.7 is the internet, 169.254.169.254 a cloud's metadata.
fn make_world() {
    sh("ip link set lo up
        ip netns add world
        ip link add uplink type veth peer name eth0 netns world
        ip addr add 198.51.100.1/24 dev uplink
        ip link set uplink up
        ip -n world link set lo up
        ip -n world addr add 198.51.100.2/24 dev eth0
        ip -n world link set eth0 up
        ip -n world addr add 203.0.113.7/32 dev eth0
        ip -n world addr add 203.0.113.8/32 dev eth0
        ip -n world addr add 169.254.169.254/32 dev eth0
        ip route add 203.0.113.0/24 via 198.51.100.2
        ip route add 169.254.169.254/32 via 198.51.100.2");
}

#[tokio::test]
async fn guests_reach_what_they_may_and_nothing_else() {
    if !alone("guests_reach_what_they_may_and_nothing_else") {
        return;
    }
    make_world();
    let pool = AddressPool::new("10.77.0.0/16".parse().unwrap(), "t").unwrap();
    let networks = Networks::new(pool, EgressPolicy::default()).unwrap();
    networks.start(&[]).await.unwrap();
    let one = networks.attach(&name("vm-1")).await.unwrap();
    let two = networks.attach(&name("vm-2")).await.unwrap();
    put_guest(&one, "guest1");
    put_guest(&two, "guest2");
    let _servers = [serve("world", 80), serve("", 8090), serve("guest1", 9550), serve("guest2", 9550)];

    assert!(reaches("guest1", "203.0.113.7:80"), "the internet, through NAT");
    assert!(!reaches("guest1", "169.254.169.254:80"), "metadata");
    assert!(!reaches("guest1", "198.51.100.2:80"), "the host's own network");
    assert!(!reaches("guest1", "198.51.100.1:8090"), "the host: its uplink");
    assert!(!reaches("guest1", &format!("{}:8090", one.outside)), "the host: its end of the pair");
    assert!(!reaches("guest1", &format!("{}:9550", two.guest)), "another guest");
    assert!(!reaches("world", &format!("{}:9550", one.guest)), "what is not published");

    networks.publish(&name("vm-1"), vec![(19_550, 9550)]).await.unwrap();
    assert!(reaches("world", "198.51.100.1:19550"), "what is published");
    assert!(reaches("", "127.0.0.1:19550"), "also from the host itself");
    assert!(!reaches("guest2", "198.51.100.1:19550"), "guests do not get around by published ports");

    // A guest that takes another's address.
    sh(&format!(
        "ip -n guest1 addr add {}/32 dev eth0; ip -n guest1 route replace default via {} src {}",
        two.guest, one.gateway, two.guest
    ));
    assert!(!reaches("guest1", "203.0.113.7:80"), "a forged address");
}

#[tokio::test]
async fn an_allow_list_is_all_there_is() {
    if !alone("an_allow_list_is_all_there_is") {
        return;
    }
    make_world();
    let pool = AddressPool::new("10.77.0.0/16".parse().unwrap(), "t").unwrap();
    let allowed = Allowed { cidr: "203.0.113.7/32".parse().unwrap(), ports: vec![80], protocol: None };
    let rest = fuse_host_agent::net::Verdict::Deny;
    let policy = EgressPolicy { allow: vec![allowed], rest, ..EgressPolicy::default() };
    let networks = Networks::new(pool, policy).unwrap();
    networks.start(&[]).await.unwrap();
    let lease = networks.attach(&name("vm-1")).await.unwrap();
    put_guest(&lease, "guest1");
    let _servers = [serve("world", 80), serve("world", 81)];
    assert!(reaches("guest1", "203.0.113.7:80"));
    assert!(!reaches("guest1", "203.0.113.7:81"));
    assert!(!reaches("guest1", "203.0.113.8:80"));
}

#[tokio::test]
async fn nothing_stays_of_a_network() {
    if !alone("nothing_stays_of_a_network") {
        return;
    }
    sh("ip link set lo up");
    let listed = |line: &str| {
        let output = Command::new("sh").args(["-c", line]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let new = || {
        let pool = AddressPool::new("10.77.0.0/16".parse().unwrap(), "t").unwrap();
        Networks::new(pool, EgressPolicy::default()).unwrap()
    };
    let networks = new();
    networks.start(&[]).await.unwrap();
    let before = listed("ip -o link; ip route; ip netns; nft list ruleset");
    let mut leases = Vec::new();
    for index in 0..5 {
        let vm = name(&format!("vm-{index}"));
        leases.push((vm.clone(), networks.attach(&vm).await.unwrap()));
    }
    networks.publish(&leases[0].0, vec![(19_550, 9550)]).await.unwrap();
    assert_eq!(listed("ip netns").lines().count(), 5);
    for (vm, lease) in &leases[1..] {
        networks.detach(vm, lease).await.unwrap();
        networks.detach(vm, lease).await.unwrap();
    }
    assert_eq!(listed("ip netns").lines().count(), 1);
    // The agent crashes, and the next one knows nothing of the VM that is left.
    drop(networks);
    sh("ip netns add not-ours");
    let networks = new();
    networks.start(&[]).await.unwrap();
    assert_eq!(listed("ip netns").trim(), "not-ours");
    sh("ip netns delete not-ours");
    for _ in 0..100 {
        if listed("ip -o link").lines().count() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(listed("ip -o link; ip route; ip netns; nft list ruleset"), before);
    networks.clear().await.unwrap();
    assert_eq!(listed("nft list ruleset"), "");
}

/// What a Firecracker says of its machine.
fn machine_of(dir: &std::path::Path) -> serde_json::Value {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(dir.join("api.sock")).unwrap();
    stream.write_all(b"GET /vm/config HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut text = String::new();
    // The connection stays open: the end is that of the object.
    loop {
        let mut buffer = [0; 4096];
        let count = stream.read(&mut buffer).unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if let Ok(value) = serde_json::from_str(body) {
            return value;
        }
        assert!(count > 0, "{text}");
    }
}

/// Whether a program holds the tap open: only then has it a carrier.
fn has_carrier(netns: &str, tap: &str) -> bool {
    let shown = Command::new("ip").args(["-n", netns, "-o", "link", "show", tap]).output().unwrap();
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    text.contains("LOWER_UP") && !text.contains("NO-CARRIER")
}

/// Whether the process is in the namespace.
fn is_in(pid: i32, netns: &str) -> bool {
    use std::os::unix::fs::MetadataExt;
    let inode = |path: String| std::fs::metadata(path).unwrap().ino();
    inode(format!("/proc/{pid}/ns/net")) == inode(format!("/run/netns/{netns}"))
}

/// The guest here has no driver for its network: what is tried is that Firecracker has the tap, in the right namespace.
#[tokio::test(flavor = "multi_thread")]
async fn each_firecracker_has_its_tap_and_so_has_its_clone() {
    use fuse_host_agent::{
        Config, DriverConfig, NetworkConfig,
        agent::{HostAgent, Memory, NewSnapshot, NewVm},
    };
    let (program, _) = match common::firecracker() {
        Ok(found) => found,
        Err(why) => return skip("Firecracker with taps", &why),
    };
    if !alone("each_firecracker_has_its_tap_and_so_has_its_clone") {
        return;
    }
    sh("ip link set lo up");
    let data = tempfile::tempdir().unwrap();
    let driver = DriverConfig::Firecracker { program, jailer: None, unjailed_root: true };
    let network = NetworkConfig::Tap {
        pool: "10.77.0.0/16".parse().unwrap(),
        tag: "t".to_owned(),
        egress: EgressPolicy::default(),
        limit: fuse_host_agent::driver::RateLimit { bytes_per_second: 1 << 20, operations_per_second: 0 },
    };
    let settings = Config { network, ..common::config(data.path(), driver) };
    let agent = HostAgent::open(settings).await.unwrap();
    common::import_kernel(&agent, common::bare_guest());
    let spaces = || {
        let listed = Command::new("ip").args(["netns", "list"]).output().unwrap();
        let text = String::from_utf8_lossy(&listed.stdout).into_owned();
        text.lines().filter_map(|line| line.split(' ').next().map(str::to_owned)).collect::<Vec<_>>()
    };
    let first = agent.create(common::small("vm-1")).await.unwrap();
    let one = spaces().pop().unwrap();
    assert!(is_in(first.pid.unwrap(), &one) && has_carrier(&one, TapLease::TAP));
    let machine = machine_of(&data.path().join("vms/vm-1"));
    let nic = &machine["network-interfaces"][0];
    assert_eq!(
        (nic["iface_id"].as_str(), nic["host_dev_name"].as_str()),
        (Some("eth0"), Some(TapLease::TAP)),
        "{machine}"
    );
    assert!(
        nic["guest_mac"].is_string() && nic["rx_rate_limiter"]["bandwidth"]["size"] == 1 << 20,
        "{machine}"
    );
    assert_eq!(common::sh(&agent, "vm-1", "count").await, "1");

    let new = NewSnapshot { comment: String::new(), memory: Memory::Full };
    let snapshot = agent.snapshot(&name("vm-1"), new).await.unwrap();
    let seed = Some(snapshot.id.clone());
    let second = agent.create(NewVm { seed, ..common::small("vm-2") }).await.unwrap();
    let two = spaces().into_iter().find(|space| *space != one).unwrap();
    assert_ne!(first.address, second.address);
    assert!(
        is_in(second.pid.unwrap(), &two) && has_carrier(&two, TapLease::TAP),
        "the clone has a tap of its own"
    );
    assert!(has_carrier(&one, TapLease::TAP), "and its origin keeps its own");
    assert_eq!(common::sh(&agent, "vm-2", "count").await, "2");
    agent.destroy(&name("vm-1")).await.unwrap();
    assert_eq!(spaces(), [two.as_str()]);
    agent.restore(&name("vm-2"), &snapshot.id).await.unwrap_err();
    assert!(has_carrier(&two, TapLease::TAP));
    agent.destroy(&name("vm-2")).await.unwrap();
    assert!(spaces().is_empty());
}

/// Saved memory names the tap that it was saved with; a load names another one.
#[tokio::test(flavor = "multi_thread")]
async fn a_loaded_firecracker_opens_the_tap_that_it_is_told() {
    use fuse_host_agent::{
        driver::{
            Activity, Driver, Machine, Nic, Purpose, RateLimit, Save, Saved, Site,
            firecracker::FirecrackerDriver,
        },
        system::cgroup::Group,
    };
    let (program, _) = match common::firecracker() {
        Ok(found) => found,
        Err(why) => return skip("Firecracker with another tap", &why),
    };
    if !alone("a_loaded_firecracker_opens_the_tap_that_it_is_told") {
        return;
    }
    for (netns, tap) in [("a", "tap0"), ("b", "tap7")] {
        sh(&format!(
            "ip netns add {netns}; ip -n {netns} tuntap add {tap} mode tap; ip -n {netns} link set {tap} up"
        ));
        assert!(!has_carrier(netns, tap));
    }
    let data = tempfile::tempdir().unwrap();
    let site = |text: &str| {
        let dir = data.path().join(text);
        std::fs::create_dir(&dir).unwrap();
        Site { name: name(text), dir }
    };
    let machine = |tap: &str, netns: &str| Machine {
        vcpus: 1,
        memory_mib: 64,
        kernel: common::bare_guest().to_owned(),
        nic: Some(Nic::Tap {
            tap: tap.to_owned(),
            netns: netns.to_owned(),
            mac: "06:00:ac:10:00:02".to_owned(),
            limit: RateLimit::default(),
        }),
        ..Machine::default()
    };
    let driver = FirecrackerDriver::new(program, None, true).unwrap();
    driver.version().await.unwrap();
    let (saved, origin) = (site("saved"), site("origin"));
    let of_origin = machine("tap0", "a");
    let first = driver.spawn(&origin, &of_origin, Purpose::Boot, &Group::default()).await.unwrap();
    driver.ready(&origin, &first).await.unwrap();
    driver.configure(&origin, &of_origin).await.unwrap();
    driver.boot(&origin, &of_origin).await.unwrap();
    assert!(has_carrier("a", "tap0"));
    driver.pause(&origin).await.unwrap();
    driver.save(&origin, &saved.dir, Save::Full).await.unwrap();
    driver.resume(&origin).await.unwrap();

    let (clone, of_clone) = (site("clone"), machine("tap7", "b"));
    let second = driver.spawn(&clone, &of_clone, Purpose::Load, &Group::default()).await.unwrap();
    driver.ready(&clone, &second).await.unwrap();
    driver.load(&clone, &of_clone, &Saved { dir: saved.dir.clone(), memory: None }).await.unwrap();
    assert_eq!(driver.settle(&clone).await.unwrap(), Activity::Running);
    let nic = machine_of(&clone.dir)["network-interfaces"][0].clone();
    assert_eq!(nic["host_dev_name"], "tap7", "{nic}");
    assert!(has_carrier("b", "tap7") && !has_carrier("b", "tap0"), "it opened this one and no other");
    assert!(has_carrier("a", "tap0"), "the origin keeps its own");
    for process in [first, second] {
        assert!(process.kill().await);
    }
    // The kernel tells it a moment later.
    common::until("both taps are let go", || !has_carrier("a", "tap0") && !has_carrier("b", "tap7")).await;
}
