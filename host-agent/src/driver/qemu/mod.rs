//! QEMU, machine `microvm`: on KVM where the processor has it, else interpreted (TCG), so on any machine.
//!
//! The files of a VM: `qmp.sock` (its monitor), `agent.sock` (a virtio-serial port, the channel of the guest agent),
//! `disk` (qcow2), `console.log`, `vmm.log`. All paths on the command line are relative: clones never collide. When the
//! agent is root, QEMU is not: it has a directory of its own below the VM's, with other names of the files that it needs.

mod command;
mod place;
mod qmp;

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use fuse_orchestrator::model::VmName;
use serde_json::{Value, json};
use tokio::{
    net::UnixStream,
    time::{Instant, sleep},
};

use super::{Abilities, Activity, DiskFormat, Driver, GuestStream, Machine, Purpose, Save, Saved, Site};
use crate::{
    Error, ErrorKind, Result,
    system::{Console, Process, cgroup::Group, connect_below, run},
};
use qmp::Qmp;

pub use command::Accelerator;
pub use place::User;

use place::Place;

/// The file of a snapshot that holds memory, processors and devices.
pub(crate) const STATE: &str = "state";
/// How long a VMM may take until its monitor answers.
const MONITOR_UP: Duration = Duration::from_secs(20);
/// How long saving and loading may take.
const MIGRATION: Duration = Duration::from_secs(600);
/// The oldest QEMU with the `file:` transport of migration.
const OLDEST: (u32, u32) = (8, 2);

/// Drives QEMU.
#[derive(Debug, Clone)]
pub struct QemuDriver {
    program: PathBuf,
    accelerator: Accelerator,
    /// Who it runs as; none: as this process.
    user: Option<User>,
    /// The monitors of those that were started and were not told to run yet.
    started: Arc<Mutex<HashMap<VmName, Qmp>>>,
    /// Connections to guest agents that nobody asked for yet.
    dialled: Arc<Mutex<HashMap<VmName, UnixStream>>>,
}

impl QemuDriver {
    /// Drives the QEMU at `program`, such as `qemu-system-x86_64`. When this process is root, QEMU runs as `user`.
    #[must_use]
    pub fn new(program: PathBuf, accelerator: Accelerator, user: User) -> Self {
        let drops = rustix::process::geteuid().is_root() && user.uid != 0;
        Self {
            program,
            accelerator: accelerator.resolved(),
            user: drops.then_some(user),
            started: Arc::default(),
            dialled: Arc::default(),
        }
    }

    fn place<'a>(&'a self, site: &'a Site) -> Place<'a> {
        Place::new(site, self.user)
    }

    async fn qmp(&self, site: &Site) -> Result<Qmp> {
        Qmp::connect(&self.place(site).dir(), "qmp.sock", &site.name).await
    }

    /// Runs one command of the monitor.
    async fn ask(&self, site: &Site, command: &'static str, arguments: Value) -> Result<Value> {
        self.qmp(site).await?.run(command, arguments).await
    }

    /// The monitor of a VMM that has just been started, where that is still open.
    async fn first(&self, site: &Site) -> Result<Qmp> {
        let kept = self.kept().remove(&site.name);
        match kept {
            Some(qmp) => Ok(qmp),
            None => self.qmp(site).await,
        }
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<VmName, Qmp>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn dialled(&self) -> MutexGuard<'_, HashMap<VmName, UnixStream>> {
        self.dialled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Driver for QemuDriver {
    fn backend(&self) -> &'static str {
        "qemu"
    }

    fn abilities(&self) -> Abilities {
        Abilities { diff: false, user_network: true, many_streams: false, disk: DiskFormat::Qcow2 }
    }

    fn accelerator(&self) -> &'static str {
        self.accelerator.as_str()
    }

    async fn version(&self) -> Result<String> {
        let program = self.program.to_string_lossy().into_owned();
        let output = run(&program, &["--version"], &[]).await?;
        let text = String::from_utf8_lossy(&output);
        let version = text.split("version ").nth(1).and_then(|rest| rest.split([' ', '\n', '(']).next());
        let version = version.unwrap_or_default().to_owned();
        let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        if found >= OLDEST {
            return Ok(version);
        }
        let why = format!(
            "{version:?} is not supported: QEMU {}.{} or newer is, for the file transport of migration (Debian 12 has \
             one in bookworm-backports)",
            OLDEST.0, OLDEST.1
        );
        Err(Error::new(ErrorKind::Unsupported, "use", program, why))
    }

    async fn make_disk(&self, base: &Path, format: DiskFormat, disk: &Path, size: u64) -> Result<()> {
        // Relative: the difference and its base move together.
        let backing = base.file_name().unwrap_or_default().to_string_lossy();
        let target = disk.to_string_lossy();
        let kind = match format {
            DiskFormat::Raw => "raw",
            DiskFormat::Qcow2 => "qcow2",
        };
        let least =
            std::fs::metadata(base).map_err(|error| Error::system("use", base.display(), error))?.len();
        let size = size.max(if format == DiskFormat::Raw { least } else { 0 }).to_string();
        let mut arguments = vec!["create", "-q", "-f", "qcow2", "-F", kind, "-b", &backing, &target];
        if size != "0" {
            arguments.push(&size);
        }
        run("qemu-img", &arguments, &[]).await.map(drop)
    }

    async fn spawn(
        &self,
        site: &Site,
        machine: &Machine,
        purpose: Purpose,
        group: &Group,
    ) -> Result<Process> {
        let fail = |why: String| Error::new(ErrorKind::Vmm, "start QEMU for", &site.name, why);
        // Of the VMM before this one.
        self.dialled().remove(&site.name);
        let place = self.place(site);
        let console = Console::new(site.console()).open()?;
        place.furnish(machine, &console)?;
        let log = std::fs::File::create(site.vmm_log()).map_err(|error| fail(error.to_string()))?;
        let line = command::line(&self.program, (self.accelerator, self.user), site, machine, purpose);
        let (program, arguments) = line.split_first().ok_or_else(|| fail("no program".to_owned()))?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .current_dir(place.dir())
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            // It opens this once more as the guest's console; the file is all of it that it can reach.
            .stdout(Stdio::from(console))
            .stderr(Stdio::from(log))
            // A signal for our process group, such as Ctrl-C, is not for our VMs.
            .process_group(0);
        let started = group.spawn(command).await;
        let mut child =
            started.map_err(|error| fail(format!("{error}; is {} installed?", self.program.display())))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Process::of);
        tokio::spawn(async move { child.wait().await });
        pid.ok_or_else(|| fail(format!("it ended at once: {}", site.vmm_complaint())))
    }

    async fn ready(&self, site: &Site, process: &Process) -> Result<()> {
        let fail = |why: String| {
            let why = format!("{why}: {}", site.vmm_complaint());
            Error::new(ErrorKind::Vmm, "start QEMU for", &site.name, why)
        };
        let began = Instant::now();
        // It listens before its devices are made, and greets afterwards.
        let qmp = loop {
            match self.qmp(site).await {
                Ok(qmp) => break qmp,
                Err(_) if !process.is_alive() => return Err(fail("it ended".to_owned())),
                Err(_) if began.elapsed() > MONITOR_UP => {
                    process.kill().await;
                    return Err(fail(format!("no monitor after {} s", MONITOR_UP.as_secs())));
                }
                Err(_) => sleep(Duration::from_millis(1)).await,
            }
        };
        self.kept().insert(site.name.clone(), qmp);
        Ok(())
    }

    async fn configure(&self, _: &Site, _: &Machine) -> Result<()> {
        // Its command line has said it all.
        Ok(())
    }

    async fn boot(&self, site: &Site, _: &Machine) -> Result<()> {
        self.first(site).await?.run("cont", json!({})).await.map(drop)
    }

    async fn load(&self, site: &Site, _: &Machine, from: &Saved) -> Result<()> {
        let mut qmp = self.first(site).await?;
        let place = self.place(site);
        let state = place.show(&from.dir.join(STATE))?;
        qmp.hear_of_migration().await?;
        qmp.run("migrate-incoming", json!({ "uri": format!("file:{state}") })).await?;
        qmp.migrated("load", MIGRATION).await?;
        // Before the guest runs, so that its kernel need not hear that one host has gone and another one has come.
        if let Ok(stream) = connect_below(&place.dir(), "agent.sock").await {
            self.dialled().insert(site.name.clone(), stream);
        }
        qmp.run("cont", json!({})).await?;
        place.hide();
        Ok(())
    }

    async fn pause(&self, site: &Site) -> Result<()> {
        self.ask(site, "stop", json!({})).await.map(drop)
    }

    async fn resume(&self, site: &Site) -> Result<()> {
        self.ask(site, "cont", json!({})).await.map(drop)
    }

    async fn save(&self, site: &Site, into: &Path, what: Save) -> Result<Vec<String>> {
        if what == Save::Diff {
            let why = "QEMU saves all of the memory; ask for a full snapshot";
            return Err(Error::new(ErrorKind::Unsupported, "save a difference of", &site.name, why));
        }
        let mut qmp = self.qmp(site).await?;
        // The machine stands still, so nothing but the disk of this host sets the pace.
        qmp.run("migrate-set-parameters", json!({ "max-bandwidth": 1_u64 << 40 })).await?;
        let place = self.place(site);
        qmp.hear_of_migration().await?;
        qmp.run("migrate", json!({ "uri": format!("file:{}", place.target()) })).await?;
        let saved = qmp.migrated("save", MIGRATION).await;
        let left = qmp.leave_migration().await;
        if let Err(error) = saved.and(left) {
            place.discard();
            return Err(error);
        }
        place.take(&into.join(STATE))?;
        Ok(vec![STATE.to_owned()])
    }

    async fn power_button(&self, site: &Site) -> Result<()> {
        self.ask(site, "system_powerdown", json!({})).await.map(drop)
    }

    async fn settle(&self, site: &Site) -> Result<Activity> {
        let mut qmp = self.qmp(site).await?;
        qmp.leave_migration().await?;
        self.place(site).discard();
        let answer = qmp.run("query-status", json!({})).await?;
        Ok(match answer.get("status").and_then(Value::as_str) {
            Some("running") => Activity::Running,
            Some("paused" | "postmigrate") => Activity::Paused,
            _ => Activity::Other,
        })
    }

    async fn forward(&self, site: &Site, host: u16, guest: u16) -> Result<()> {
        let line = format!("hostfwd_add n0 tcp:127.0.0.1:{host}-:{guest}");
        let answer = self.ask(site, "human-monitor-command", json!({ "command-line": line })).await?;
        match answer.as_str().map(str::trim) {
            None | Some("") => Ok(()),
            Some(why) => Err(Error::new(ErrorKind::Vmm, "publish a port of", &site.name, why)),
        }
    }

    async fn dial(&self, site: &Site) -> Result<Box<dyn GuestStream>> {
        let dialled = self.dialled().remove(&site.name);
        match dialled {
            Some(stream) => Ok(Box::new(stream)),
            None => Ok(Box::new(connect_below(&self.place(site).dir(), "agent.sock").await?)),
        }
    }

    async fn clean(&self, site: &Site) -> Result<()> {
        self.kept().remove(&site.name);
        self.dialled().remove(&site.name);
        Ok(())
    }

    fn epitaph(&self, site: &Site) -> Option<String> {
        Some(site.vmm_complaint()).filter(|text| !text.is_empty())
    }
}
