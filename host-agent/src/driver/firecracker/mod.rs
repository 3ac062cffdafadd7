//! Firecracker: KVM, and nothing that a server does not need.
//!
//! The files of a VM: `api.sock`, `agent.sock` (vsock, from the host's side), `disk`, `console.log`, `vmm.log`. Paths that
//! Firecracker is told are relative to its root directory; saved states name the same paths, so clones never collide.

mod api;
mod jail;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use async_trait::async_trait;
use fuse_guest_protocol::client::connect_vsock;
use http::Method;
use serde_json::{Map, Value, json};
use tokio::{
    process::Child,
    time::{Instant, sleep, timeout},
};

use super::{
    Abilities, Activity, DiskFormat, Driver, GuestStream, Machine, Nic, Purpose, RateLimit, Save, Saved, Site,
};
use crate::{
    Error, ErrorKind, Result,
    system::{Console, Process, cgroup::Group, clone_file, connect_below, run},
};

pub use jail::Jailer;

/// The file of a snapshot that holds processors and devices.
pub(crate) const STATE: &str = "vmstate";
/// The file of a snapshot that holds memory.
pub(crate) const MEMORY: &str = "memory";
/// What it is told to write when it saves a machine.
const SAVED: (&str, &str) = ("save.vmstate", "save.memory");
/// How long a Firecracker may take until its API answers.
const API_UP: Duration = Duration::from_secs(10);
/// How long an ordinary request may take.
const ORDINARY: Duration = Duration::from_secs(20);
/// How long saving and loading may take.
const SNAPSHOT: Duration = Duration::from_secs(600);
/// How long the guest may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Drives Firecracker.
#[derive(Debug, Clone)]
pub struct FirecrackerDriver {
    program: PathBuf,
    jailer: Option<Jailer>,
    version: std::sync::OnceLock<(u32, u32)>,
}

impl FirecrackerDriver {
    /// Drives the Firecracker at `program`, in a jail. Without a jailer, and as root, a guest that breaks out of
    /// Firecracker is root on this host; so that is refused unless `unjailed_root` says that it is meant.
    ///
    /// # Errors
    /// Invalid.
    pub fn new(program: PathBuf, jailer: Option<Jailer>, unjailed_root: bool) -> Result<Self> {
        let is_root = rustix::process::geteuid().is_root();
        if jailer.is_none() && is_root && !unjailed_root {
            let why = "it would run as root without the jailer; configure the jailer, or set `unjailed_root = true` (the \
                       flag --unjailed-root) where that is meant";
            return Err(Error::invalid("use", program.display(), why));
        }
        if jailer.as_ref().is_some_and(|jailer| jailer.uid == 0 || jailer.gid == 0) {
            return Err(Error::invalid("use", "the jailer", "its user or group is 0, which is root"));
        }
        Ok(Self { program, jailer, version: std::sync::OnceLock::new() })
    }

    fn root(&self, site: &Site) -> PathBuf {
        jail::root(site, self.jailer.as_ref())
    }

    async fn ask(&self, site: &Site, call: (Method, &str, Option<Value>), limit: Duration) -> Result<Value> {
        api::ask(&self.root(site), "api.sock", &site.name, call, limit).await
    }

    async fn put(&self, site: &Site, path: &str, body: Value) -> Result<()> {
        self.ask(site, (Method::PUT, path, Some(body)), ORDINARY).await.map(drop)
    }

    async fn set_state(&self, site: &Site, state: &str) -> Result<()> {
        let body = Some(json!({ "state": state }));
        self.ask(site, (Method::PATCH, "/vm", body), ORDINARY).await.map(drop)
    }

    /// Puts what the machine needs where Firecracker finds it.
    fn furnish(&self, site: &Site, machine: &Machine) -> Result<()> {
        let root = match &self.jailer {
            Some(jailer) => jail::prepare(site, jailer)?,
            None => {
                for old in ["api.sock", "agent.sock"] {
                    let _ = fs::remove_file(site.file(old));
                }
                return Ok(());
            }
        };
        if !machine.kernel.as_os_str().is_empty() {
            jail::place(&machine.kernel, &root, "kernel")?;
        }
        if let Some(initrd) = &machine.initrd {
            jail::place(initrd, &root, "initrd")?;
        }
        if let (Some(disk), Some(jailer)) = (&machine.disk, &self.jailer) {
            jail::hand_over(&site.file(&disk.name), &root, &disk.name, jailer)?;
        }
        Ok(())
    }

    fn command(&self, site: &Site, machine: &Machine) -> Vec<String> {
        let netns = match &machine.nic {
            Some(Nic::Tap { netns, .. }) => Some(netns),
            _ => None,
        };
        let program = self.program.to_string_lossy().into_owned();
        let mut line = Vec::new();
        let mut add = |words: &[&str]| line.extend(words.iter().map(|word| (*word).to_owned()));
        match &self.jailer {
            Some(jailer) => {
                let base = site.dir.to_string_lossy();
                add(&[
                    &jailer.program.to_string_lossy(),
                    "--id",
                    site.name.as_str(),
                    "--exec-file",
                    &program,
                ]);
                add(&["--uid", &jailer.uid.to_string(), "--gid", &jailer.gid.to_string()]);
                add(&["--chroot-base-dir", &base]);
                if let Some(netns) = netns {
                    add(&["--netns", &format!("/var/run/netns/{netns}")]);
                }
                if jailer.pid_namespace {
                    add(&["--new-pid-ns"]);
                }
                add(&["--", "--api-sock", "api.sock"]);
            }
            None => {
                if let Some(netns) = netns {
                    add(&["ip", "netns", "exec", netns]);
                }
                add(&[&program, "--id", site.name.as_str(), "--api-sock", "api.sock"]);
            }
        }
        line
    }

    /// The process that is Firecracker: the one we started, or the one that a jailer with a namespace of processes
    /// started and wrote down before any guest code ran.
    fn process(&self, site: &Site, spawned: Option<i32>) -> Option<Process> {
        match &self.jailer {
            Some(jailer) if jailer.pid_namespace => {
                let name = self.program.file_name()?.to_string_lossy().into_owned();
                let text = fs::read_to_string(self.root(site).join(format!("{name}.pid"))).ok()?;
                let pid = text.trim().parse().ok()?;
                let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
                let ours = command.split(|byte| *byte == 0).any(|word| word == site.name.as_str().as_bytes());
                if ours { Process::of(pid) } else { None }
            }
            _ => Process::of(spawned?),
        }
    }

    /// Whether the jailer starts Firecracker and ends, instead of becoming it.
    fn jailer_leaves(&self) -> bool {
        self.jailer.as_ref().is_some_and(|jailer| jailer.pid_namespace)
    }

    /// Waits until its API answers. `ended` says how it ended, when it has.
    async fn api_up(&self, site: &Site, mut ended: impl FnMut() -> Option<String> + Send) -> Result<()> {
        let fail = |why: String| {
            let why = format!("{why}: {}", self.epitaph(site).unwrap_or_default());
            Error::new(ErrorKind::Vmm, "start Firecracker for", &site.name, why)
        };
        let root = self.root(site);
        let began = Instant::now();
        while connect_below(&root, "api.sock").await.is_err() {
            if let Some(how) = ended() {
                return Err(fail(how));
            }
            if began.elapsed() > API_UP {
                return Err(fail(format!("no API after {} s", API_UP.as_secs())));
            }
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// What a jailer has started that does not become it: known only when it runs.
    async fn jailed(&self, site: &Site, jailer: &mut Child) -> Result<Option<Process>> {
        let ended = || match jailer.try_wait() {
            Ok(Some(status)) if !status.success() => Some(status.to_string()),
            _ => None,
        };
        if let Err(error) = self.api_up(site, ended).await {
            let _ = jailer.start_kill();
            if let Some(process) = self.process(site, None) {
                process.kill().await;
            }
            return Err(error);
        }
        // The API can be up before the jailer has written down whose it is, which it does before it ends.
        let began = Instant::now();
        loop {
            let left = !matches!(jailer.try_wait(), Ok(None));
            let process = self.process(site, None);
            if process.is_some() || left || began.elapsed() > API_UP {
                return Ok(process);
            }
            sleep(Duration::from_millis(1)).await;
        }
    }

    fn major_minor(&self) -> (u32, u32) {
        self.version.get().copied().unwrap_or((1, 12))
    }
}

/// Nobody wants what it has written.
fn discard(root: &Path) {
    for file in [SAVED.0, SAVED.1] {
        let _ = fs::remove_file(root.join(file));
    }
}

fn limiter(limit: RateLimit) -> Option<Value> {
    let bucket = |size: u64| (size > 0).then(|| json!({ "size": size, "refill_time": 1000 }));
    let mut limiter = Map::new();
    limiter.extend(bucket(limit.bytes_per_second).map(|bucket| ("bandwidth".to_owned(), bucket)));
    limiter.extend(bucket(limit.operations_per_second).map(|bucket| ("ops".to_owned(), bucket)));
    (!limiter.is_empty()).then_some(Value::Object(limiter))
}

#[async_trait]
impl Driver for FirecrackerDriver {
    fn backend(&self) -> &'static str {
        "firecracker"
    }

    fn abilities(&self) -> Abilities {
        Abilities { diff: true, user_network: false, many_streams: true, disk: DiskFormat::Raw }
    }

    fn accelerator(&self) -> &'static str {
        "kvm"
    }

    async fn version(&self) -> Result<String> {
        let program = self.program.to_string_lossy().into_owned();
        let output = run(&program, &["--version"], &[]).await?;
        let text = String::from_utf8_lossy(&output);
        let version = text.lines().next().and_then(|line| line.strip_prefix("Firecracker v"));
        let version = version.unwrap_or_default().trim().to_owned();
        let mut numbers = version.split('.').map_while(|part| part.parse::<u32>().ok());
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if found.0 != 1 || found.1 < 12 {
            let why = format!("{version:?} is not supported: Firecracker 1.12 and later releases of 1 are");
            return Err(Error::new(ErrorKind::Unsupported, "use", program, why));
        }
        let _ = self.version.set(found);
        Ok(version)
    }

    async fn make_disk(&self, base: &Path, format: DiskFormat, disk: &Path, size: u64) -> Result<()> {
        if format != DiskFormat::Raw {
            let why = "Firecracker takes raw disks only; build the image as raw";
            return Err(Error::new(ErrorKind::Unsupported, "use", base.display(), why));
        }
        let (base, disk) = (base.to_owned(), disk.to_owned());
        crate::system::blocking("make a disk", move || {
            clone_file(&base, &disk, 0o600)?;
            let grow = || -> std::io::Result<()> {
                let file = fs::OpenOptions::new().write(true).open(&disk)?;
                if file.metadata()?.len() < size { file.set_len(size) } else { Ok(()) }
            };
            grow().map_err(|error| Error::system("grow", disk.display(), error))
        })
        .await
    }

    async fn spawn(&self, site: &Site, machine: &Machine, _: Purpose, group: &Group) -> Result<Process> {
        let fail = |why: String| Error::new(ErrorKind::Vmm, "start Firecracker for", &site.name, why);
        self.furnish(site, machine)?;
        let console = Console::new(site.console()).open()?;
        let log = fs::File::create(site.vmm_log()).map_err(|error| fail(error.to_string()))?;
        let line = self.command(site, machine);
        let (program, arguments) = line.split_first().ok_or_else(|| fail("no program".to_owned()))?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(&site.dir)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::from(console))
            .stderr(Stdio::from(log))
            .process_group(0);
        let started = group.spawn(command).await;
        let mut child = started.map_err(|error| fail(format!("{error}; is {program} installed?")))?;
        let spawned = child.id().and_then(|pid| i32::try_from(pid).ok());
        let process = match self.jailer_leaves() {
            true => self.jailed(site, &mut child).await?,
            false => self.process(site, spawned),
        };
        tokio::spawn(async move { child.wait().await });
        process.ok_or_else(|| fail(format!("it ended at once: {}", self.epitaph(site).unwrap_or_default())))
    }

    async fn ready(&self, site: &Site, process: &Process) -> Result<()> {
        if self.jailer_leaves() {
            return Ok(());
        }
        let up = self.api_up(site, || (!process.is_alive()).then(|| "it ended".to_owned())).await;
        if up.is_err() {
            process.kill().await;
        }
        up
    }

    async fn configure(&self, site: &Site, machine: &Machine) -> Result<()> {
        let inside = |path: &Path, name: &str| match self.jailer {
            Some(_) => name.to_owned(),
            None => path.to_string_lossy().into_owned(),
        };
        let config = json!({
            "vcpu_count": machine.vcpus,
            "mem_size_mib": machine.memory_mib,
            "track_dirty_pages": machine.track_writes,
        });
        self.put(site, "/machine-config", config).await?;
        let arguments = format!("console=ttyS0 reboot=k panic=1 pci=off quiet {}", machine.arguments);
        let mut source = json!({
            "kernel_image_path": inside(&machine.kernel, "kernel"),
            "boot_args": arguments.trim_end(),
        });
        if let (Some(initrd), Some(source)) = (&machine.initrd, source.as_object_mut()) {
            source.insert("initrd_path".to_owned(), inside(initrd, "initrd").into());
        }
        self.put(site, "/boot-source", source).await?;
        if let Some(disk) = &machine.disk {
            let mut drive = json!({
                "drive_id": "root",
                "path_on_host": disk.name,
                "is_root_device": true,
                "is_read_only": false,
            });
            if let (Some(limiter), Some(drive)) = (limiter(disk.limit), drive.as_object_mut()) {
                drive.insert("rate_limiter".to_owned(), limiter);
            }
            self.put(site, "/drives/root", drive).await?;
        }
        if let Some(Nic::Tap { tap, mac, limit, .. }) = &machine.nic {
            let mut nic = json!({ "iface_id": "eth0", "guest_mac": mac, "host_dev_name": tap });
            if let (Some(limiter), Some(nic)) = (limiter(*limit), nic.as_object_mut()) {
                nic.insert("rx_rate_limiter".to_owned(), limiter.clone());
                nic.insert("tx_rate_limiter".to_owned(), limiter);
            }
            self.put(site, "/network-interfaces/eth0", nic).await?;
        }
        // The vsock of a guest leads to its own Firecracker alone, so all guests can have the same number.
        self.put(site, "/vsock", json!({ "guest_cid": 3, "uds_path": "agent.sock" })).await?;
        self.put(site, "/entropy", json!({})).await
    }

    async fn boot(&self, site: &Site, _: &Machine) -> Result<()> {
        self.put(site, "/actions", json!({ "action_type": "InstanceStart" })).await
    }

    async fn load(&self, site: &Site, machine: &Machine, from: &Saved) -> Result<()> {
        let state = from.dir.join(STATE);
        let memory = from.memory.clone().unwrap_or_else(|| from.dir.join(MEMORY));
        let (state, memory) = match &self.jailer {
            None => (state.to_string_lossy().into_owned(), memory.to_string_lossy().into_owned()),
            Some(_) => {
                let root = self.root(site);
                jail::place(&state, &root, "load.vmstate")?;
                jail::place(&memory, &root, "load.memory")?;
                ("load.vmstate".to_owned(), "load.memory".to_owned())
            }
        };
        let track = if self.major_minor() >= (1, 13) { "track_dirty_pages" } else { "enable_diff_snapshots" };
        let mut body = json!({
            "snapshot_path": state,
            "mem_backend": { "backend_type": "File", "backend_path": memory },
            "resume_vm": true,
        });
        if let Some(body) = body.as_object_mut() {
            body.insert(track.to_owned(), machine.track_writes.into());
            if let Some(Nic::Tap { tap, .. }) = &machine.nic {
                let nic = json!([{ "iface_id": "eth0", "host_dev_name": tap }]);
                body.insert("network_overrides".to_owned(), nic);
            }
        }
        let call = (Method::PUT, "/snapshot/load", Some(body));
        self.ask(site, call, SNAPSHOT).await.map(drop)
    }

    async fn pause(&self, site: &Site) -> Result<()> {
        self.set_state(site, "Paused").await
    }

    async fn resume(&self, site: &Site) -> Result<()> {
        self.set_state(site, "Resumed").await
    }

    async fn save(&self, site: &Site, into: &Path, what: Save) -> Result<Vec<String>> {
        let root = self.root(site);
        let (state, memory) = SAVED;
        discard(&root);
        let kind = match what {
            Save::Full => "Full",
            Save::Diff => "Diff",
        };
        let body = json!({ "snapshot_type": kind, "snapshot_path": state, "mem_file_path": memory });
        let saved = self.ask(site, (Method::PUT, "/snapshot/create", Some(body)), SNAPSHOT).await;
        saved.inspect_err(|_| discard(&root))?;
        for (from, to) in [(state, STATE), (memory, MEMORY)] {
            let (from, to) = (root.join(from), into.join(to));
            let take = || -> std::io::Result<()> {
                // In a jail the files are the jailed user's until here.
                if self.jailer.is_some() {
                    std::os::unix::fs::lchown(&from, Some(0), Some(0))?;
                }
                if !fs::symlink_metadata(&from)?.is_file() {
                    return Err(std::io::Error::other("it is not a regular file"));
                }
                fs::rename(&from, &to)
            };
            take().map_err(|error| Error::system("take out of the VM", from.display(), error))?;
        }
        Ok(vec![STATE.to_owned(), MEMORY.to_owned()])
    }

    async fn power_button(&self, site: &Site) -> Result<()> {
        self.put(site, "/actions", json!({ "action_type": "SendCtrlAltDel" })).await
    }

    async fn settle(&self, site: &Site) -> Result<Activity> {
        // It answers when what it is saving is saved.
        let answer = self.ask(site, (Method::GET, "/", None), SNAPSHOT).await?;
        discard(&self.root(site));
        Ok(match answer.get("state").and_then(Value::as_str) {
            Some("Running") => Activity::Running,
            Some("Paused") => Activity::Paused,
            _ => Activity::Other,
        })
    }

    async fn forward(&self, site: &Site, _: u16, _: u16) -> Result<()> {
        let why = "Firecracker has no network of its own; use taps";
        Err(Error::new(ErrorKind::Unsupported, "publish a port of", &site.name, why))
    }

    async fn dial(&self, site: &Site) -> Result<Box<dyn GuestStream>> {
        let mut stream = connect_below(&self.root(site), "agent.sock").await?;
        let port = fuse_guest_protocol::VSOCK_PORT;
        let fail = |why: String| {
            let why = format!("nobody listens on vsock port {port}: {why}");
            Error::new(ErrorKind::Guest, "reach the agent of", &site.name, why)
        };
        match timeout(CONNECT, connect_vsock(&mut stream, port)).await {
            Err(_) => Err(fail(format!("no answer within {} s", CONNECT.as_secs()))),
            Ok(Err(error)) => Err(fail(error.to_string())),
            Ok(Ok(())) => Ok(Box::new(stream)),
        }
    }

    async fn clean(&self, site: &Site) -> Result<()> {
        // A crash between the start of a jailed VMM and its record.
        if let Some(process) = self.jailer.as_ref().and_then(|_| self.process(site, None)) {
            process.kill().await;
        }
        Ok(())
    }

    fn epitaph(&self, site: &Site) -> Option<String> {
        // Firecracker logs to its standard output, which is the console's file.
        let console = crate::system::tail_of(&site.console(), 8192).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        let log = site.vmm_complaint();
        let marked =
            |line: &&str| line.contains(":ERROR]") || line.contains("ERROR") || line.contains("panicked");
        let errors: Vec<&str> = console.lines().filter(marked).collect();
        let said = errors.last().map_or(log, |last| (*last).to_owned());
        Some(said).filter(|text| !text.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use fuse_orchestrator::model::VmName;

    use super::*;

    fn jailer() -> Jailer {
        Jailer { program: "/usr/bin/jailer".into(), uid: 64_000, gid: 64_000, pid_namespace: true }
    }

    #[test]
    fn root_without_a_jailer_must_be_meant() {
        if rustix::process::geteuid().is_root() {
            let error = FirecrackerDriver::new("firecracker".into(), None, false).unwrap_err();
            assert!(error.to_string().contains("unjailed_root"), "{error}");
        }
        FirecrackerDriver::new("firecracker".into(), None, true).unwrap();
        let root = Jailer { uid: 0, ..jailer() };
        assert!(FirecrackerDriver::new("firecracker".into(), Some(root), false).is_err());
    }

    #[test]
    fn the_jail_is_below_the_vm_and_in_its_namespace() {
        let driver = FirecrackerDriver::new("/opt/firecracker".into(), Some(jailer()), false).unwrap();
        let site = Site { name: VmName::new("vm-1").unwrap(), dir: "/data/vms/vm-1".into() };
        let nic = Nic::Tap {
            tap: "tap0".to_owned(),
            netns: "fuse-7".to_owned(),
            mac: "06:00:00:00:00:07".to_owned(),
            limit: RateLimit::default(),
        };
        let machine = Machine { nic: Some(nic), ..Machine::default() };
        let line = driver.command(&site, &machine).join(" ");
        assert_eq!(
            line,
            "/usr/bin/jailer --id vm-1 --exec-file /opt/firecracker --uid 64000 --gid 64000 --chroot-base-dir \
             /data/vms/vm-1 --netns /var/run/netns/fuse-7 --new-pid-ns -- --api-sock api.sock"
        );
        assert_eq!(driver.root(&site), Path::new("/data/vms/vm-1/firecracker/vm-1/root"));
    }

    #[test]
    fn limits_become_buckets() {
        assert_eq!(limiter(RateLimit::default()), None);
        let limit = RateLimit { bytes_per_second: 5, operations_per_second: 0 };
        assert_eq!(limiter(limit), Some(json!({ "bandwidth": { "size": 5, "refill_time": 1000 } })));
    }
}
