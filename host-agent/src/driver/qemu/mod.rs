//! QEMU, machine `microvm`: on KVM where the processor has it, else interpreted (TCG), so on any machine.
//!
//! The files of a VM: `qmp.sock` (its monitor), `agent.sock` (a virtio-serial port, the channel of the guest agent),
//! `disk` (qcow2), `console.log`, `vmm.log`, `vmm.pid`. All paths on the command line are relative: clones never
//! collide.

mod command;
mod qmp;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{Abilities, Activity, DiskFormat, Driver, GuestStream, Machine, Purpose, Save, Saved, Site};
use crate::{
    Error, ErrorKind, Result,
    system::{Console, Process, connect_below, run},
};
use qmp::Qmp;

pub use command::Accelerator;

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
}

impl QemuDriver {
    /// Drives the QEMU at `program`, such as `qemu-system-x86_64`.
    #[must_use]
    pub fn new(program: PathBuf, accelerator: Accelerator) -> Self {
        Self { program, accelerator: accelerator.resolved() }
    }

    async fn qmp(&self, site: &Site) -> Result<Qmp> {
        Qmp::connect(&site.dir, "qmp.sock", &site.name).await
    }

    /// Runs one command of the monitor.
    async fn ask(&self, site: &Site, command: &'static str, arguments: Value) -> Result<Value> {
        self.qmp(site).await?.run(command, arguments).await
    }

    /// Waits for the end of a migration, out or in.
    async fn migrated(&self, qmp: &mut Qmp, site: &Site, doing: &'static str) -> Result<()> {
        let began = Instant::now();
        let mut pause = Duration::from_millis(1);
        loop {
            let answer = qmp.run("query-migrate", json!({})).await?;
            match answer.get("status").and_then(Value::as_str) {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let why =
                        answer.get("error-desc").and_then(Value::as_str).unwrap_or("QEMU does not say why");
                    return Err(Error::new(ErrorKind::Vmm, doing, &site.name, why));
                }
                _ if began.elapsed() > MIGRATION => {
                    let why = format!("it took longer than {} s", MIGRATION.as_secs());
                    return Err(Error::new(ErrorKind::Vmm, doing, &site.name, why));
                }
                _ => {
                    sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_millis(20));
                }
            }
        }
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

    async fn spawn(&self, site: &Site, machine: &Machine, purpose: Purpose) -> Result<Process> {
        let fail = |why: String| Error::new(ErrorKind::Vmm, "start QEMU for", &site.name, why);
        for old in ["qmp.sock", "agent.sock"] {
            let _ = std::fs::remove_file(site.file(old));
        }
        drop(Console::new(site.console()).open()?);
        let log = std::fs::File::create(site.vmm_log()).map_err(|error| fail(error.to_string()))?;
        let errors = log.try_clone().map_err(|error| fail(error.to_string()))?;
        let line = command::line(&self.program, self.accelerator, site, machine, purpose);
        let (program, arguments) = line.split_first().ok_or_else(|| fail("no program".to_owned()))?;
        let mut child = tokio::process::Command::new(program)
            .args(arguments)
            .current_dir(&site.dir)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::from(log))
            .stderr(Stdio::from(errors))
            // A signal for our process group, such as Ctrl-C, is not for our VMs.
            .process_group(0)
            .spawn()
            .map_err(|error| fail(format!("{error}; is {} installed?", self.program.display())))?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Process::of);
        let process = pid.ok_or_else(|| fail("it ended at once".to_owned()))?;
        let began = Instant::now();
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(fail(format!("{status}: {}", site.vmm_complaint())));
            }
            // It listens before its devices are made, and greets afterwards.
            if self.qmp(site).await.is_ok() {
                break;
            }
            if began.elapsed() > MONITOR_UP {
                process.kill().await;
                return Err(fail(format!(
                    "no monitor after {} s: {}",
                    MONITOR_UP.as_secs(),
                    site.vmm_complaint()
                )));
            }
            sleep(Duration::from_millis(2)).await;
        }
        tokio::spawn(async move { child.wait().await });
        Ok(process)
    }

    async fn configure(&self, _: &Site, _: &Machine) -> Result<()> {
        // Its command line has said it all.
        Ok(())
    }

    async fn boot(&self, site: &Site, _: &Machine) -> Result<()> {
        self.ask(site, "cont", json!({})).await.map(drop)
    }

    async fn load(&self, site: &Site, _: &Machine, from: &Saved) -> Result<()> {
        let mut qmp = self.qmp(site).await?;
        let uri = format!("file:{}", from.dir.join(STATE).display());
        qmp.run("migrate-incoming", json!({ "uri": uri })).await?;
        self.migrated(&mut qmp, site, "load").await
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
        let uri = format!("file:{}", into.join(STATE).display());
        qmp.run("migrate", json!({ "uri": uri })).await?;
        self.migrated(&mut qmp, site, "save").await?;
        Ok(vec![STATE.to_owned()])
    }

    async fn power_button(&self, site: &Site) -> Result<()> {
        self.ask(site, "system_powerdown", json!({})).await.map(drop)
    }

    async fn activity(&self, site: &Site) -> Result<Activity> {
        let answer = self.ask(site, "query-status", json!({})).await?;
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
        Ok(Box::new(connect_below(&site.dir, "agent.sock").await?))
    }

    async fn clean(&self, _: &Site) -> Result<()> {
        Ok(())
    }

    fn epitaph(&self, site: &Site) -> Option<String> {
        Some(site.vmm_complaint()).filter(|text| !text.is_empty())
    }
}
