//! Limits on what a VM takes of its host, by control groups of version 1 and 2.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
};

use super::Process;
use crate::{Error, Result};

/// What a VM's processes may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: u64,
    /// Processor time, in thousandths of a processor.
    pub millicpus: u64,
    /// Processes and threads.
    pub tasks: u64,
}

/// The controllers that limits need.
const CONTROLLERS: [&str; 3] = ["cpu", "memory", "pids"];
/// The period over which processor time is shared out, in microseconds.
const PERIOD_US: u64 = 100_000;

/// The control groups of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cgroups {
    /// One hierarchy.
    V2(PathBuf),
    /// A hierarchy for each controller.
    V1(PathBuf),
    /// None that we may use.
    None,
}

impl Cgroups {
    /// What this host has below `/sys/fs/cgroup`, as far as we may write there.
    #[must_use]
    pub fn of_host() -> Self {
        Self::at(Path::new("/sys/fs/cgroup"))
    }

    fn at(root: &Path) -> Self {
        let writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
        if root.join("cgroup.controllers").exists() && writable(root) {
            Self::V2(root.to_owned())
        } else if root.join("memory/tasks").exists() && writable(&root.join("memory")) {
            Self::V1(root.to_owned())
        } else {
            Self::None
        }
    }

    /// The version, for people.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::V2(_) => "v2",
            Self::V1(_) => "v1",
            Self::None => "none",
        }
    }

    /// The directories of the group `name`.
    fn dirs(&self, name: &str) -> Vec<PathBuf> {
        let group = Path::new("fuse").join(name);
        match self {
            Self::V2(root) => vec![root.join(group)],
            Self::V1(root) => {
                let of = |controller: &&str| root.join(controller).join(&group);
                let there = |dir: &PathBuf| dir.ancestors().nth(2).is_some_and(Path::exists);
                ["memory", "cpu", "pids"].iter().map(of).filter(there).collect()
            }
            Self::None => Vec::new(),
        }
    }

    /// Makes the group `name` with these limits. It has no processes yet. Blocks the thread.
    ///
    /// # Errors
    /// System.
    pub fn make(&self, name: &str, limits: Limits) -> Result<Group> {
        let dirs = self.dirs(name);
        for dir in &dirs {
            let made = self.furnish(dir, limits);
            made.map_err(|error| Error::system("limit with", dir.display(), error))?;
        }
        Ok(Group { dirs, of_threads: matches!(self, Self::V1(_)) })
    }

    fn furnish(&self, dir: &Path, limits: Limits) -> io::Result<()> {
        let put = |file: &str, value: String| fs::write(dir.join(file), value);
        let quota = (limits.millicpus * PERIOD_US / 1000).max(1000);
        fs::create_dir_all(dir)?;
        if let Self::V2(root) = self {
            let there = controllers(root)?;
            let enable: Vec<String> = there.iter().map(|name| format!("+{name}")).collect();
            for above in [root.clone(), root.join("fuse")] {
                if !enable.is_empty() {
                    fs::write(above.join("cgroup.subtree_control"), enable.join(" "))?;
                }
            }
            for name in there {
                match name {
                    "memory" => put("memory.max", limits.memory.to_string())?,
                    "cpu" => put("cpu.max", format!("{quota} {PERIOD_US}"))?,
                    _ => put("pids.max", limits.tasks.to_string())?,
                }
            }
        } else if dir.join("memory.limit_in_bytes").exists() {
            put("memory.limit_in_bytes", limits.memory.to_string())?;
        } else if dir.join("cpu.cfs_quota_us").exists() {
            put("cpu.cfs_period_us", PERIOD_US.to_string())?;
            put("cpu.cfs_quota_us", quota.to_string())?;
        } else if dir.join("pids.max").exists() {
            put("pids.max", limits.tasks.to_string())?;
        }
        Ok(())
    }

    /// Removes the group `name`; its processes have ended. Idempotent. Blocks the thread.
    ///
    /// # Errors
    /// System.
    pub fn remove(&self, name: &str) -> Result<()> {
        for dir in self.dirs(name) {
            // The last process leaves its group a moment after its end is seen; on a busy host, seconds after.
            for attempt in 0_u64.. {
                match fs::remove_dir(&dir) {
                    Ok(()) => break,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                    Err(_) if attempt < 100 => {
                        std::thread::sleep(std::time::Duration::from_millis(2 * (attempt + 1)))
                    }
                    Err(error) => return Err(Error::system("remove", dir.display(), error)),
                }
            }
        }
        Ok(())
    }

    /// The groups that there are.
    #[must_use]
    pub fn groups(&self) -> Vec<String> {
        let Some(dir) = self.dirs("x").first().and_then(|dir| dir.parent().map(Path::to_owned)) else {
            return Vec::new();
        };
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let dirs = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        dirs.filter_map(|entry| entry.file_name().into_string().ok()).collect()
    }
}

/// A control group that a VM's processes are to be in.
///
/// To move a process from one group to another, the kernel waits until no thread of the host is within a fork or an exit:
/// 7 to 25 ms, in which nothing else forks. A thread that moves itself waits for nobody, and what it starts is born where
/// it is; but groups of version 2 take whole processes alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Group {
    dirs: Vec<PathBuf>,
    of_threads: bool,
}

impl Group {
    /// Starts a program: in the group from its first instruction on where groups take threads, else [`Group::take`] puts
    /// it there. When the future is dropped, a program that starts nevertheless is killed.
    ///
    /// # Errors
    /// Those of the group and of starting.
    pub async fn spawn(&self, mut command: Command) -> io::Result<Child> {
        if !self.of_threads || self.dirs.is_empty() {
            return command.spawn();
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        let (dirs, runtime) = (self.dirs.clone(), Handle::current());
        std::thread::Builder::new().name("fuse-spawn".to_owned()).spawn(move || {
            let mut start = || {
                for dir in &dirs {
                    let joined = fs::write(dir.join("tasks"), "0");
                    joined.map_err(|error| {
                        io::Error::new(error.kind(), format!("limit with {}: {error}", dir.display()))
                    })?;
                }
                let _runtime = runtime.enter();
                command.spawn()
            };
            if let Err(Ok(mut unwanted)) = tell.send(start()) {
                let _ = unwanted.start_kill();
            }
        })?;
        told.await.unwrap_or_else(|_| Err(io::Error::other("the thread that starts it broke off")))
    }

    /// Puts a process into the group that [`Group::spawn`] could not start there. Blocks the thread.
    ///
    /// # Errors
    /// System.
    pub fn take(&self, process: &Process) -> Result<()> {
        for dir in self.dirs.iter().filter(|_| !self.of_threads) {
            let taken = fs::write(dir.join("cgroup.procs"), process.pid.to_string());
            taken.map_err(|error| Error::system("limit with", dir.display(), error))?;
        }
        Ok(())
    }
}

/// Of the controllers that limits need, those that a hierarchy of version 2 has: a host that mixes versions has them
/// elsewhere, and a container may have been given fewer.
fn controllers(root: &Path) -> io::Result<Vec<&'static str>> {
    let text = fs::read_to_string(root.join("cgroup.controllers"))?;
    let has = |name: &&str| text.split_whitespace().any(|word| word == *name);
    Ok(CONTROLLERS.into_iter().filter(has).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { memory: 64 << 20, millicpus: 1500, tasks: 10 };

    /// The kernel's own hierarchy of version 2. Where version 1 has the controllers, as on a host that mixes both, they
    /// cannot be in it at the same time: limits are tried on a tree of plain files below instead, and here that a process
    /// is placed, found and let go.
    #[test]
    fn a_hierarchy_of_version_2_takes_a_process_and_lets_it_go() {
        let dir = tempfile::tempdir().unwrap();
        let mount = |words: &[&str]| std::process::Command::new("mount").args(words).arg(dir.path()).status();
        if !mount(&["-t", "cgroup2", "none"]).is_ok_and(|status| status.success()) {
            eprintln!("skipped: this user may not mount a hierarchy of version 2");
            return;
        }
        let tried = std::panic::catch_unwind(|| {
            let groups = Cgroups::at(dir.path());
            assert_eq!(groups.as_str(), "v2");
            let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
            let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
            let name = format!("test2-{}", process.pid);
            groups.make(&name, LIMITS).unwrap().take(&process).unwrap();
            let of = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap();
            assert!(of.lines().any(|line| line == format!("0::/fuse/{name}")), "{of}");
            assert!(groups.groups().contains(&name));
            let group = dir.path().join("fuse").join(&name);
            let held = controllers(dir.path()).unwrap();
            println!("controllers of version 2 on this host: {held:?}");
            for (controller, file, value) in [
                ("memory", "memory.max", "67108864"),
                ("cpu", "cpu.max", "150000 100000"),
                ("pids", "pids.max", "10"),
            ] {
                if held.contains(&controller) {
                    assert_eq!(fs::read_to_string(group.join(file)).unwrap().trim(), value);
                }
            }
            child.kill().unwrap();
            child.wait().unwrap();
            groups.remove(&name).unwrap();
            groups.remove(&name).unwrap();
            assert!(!group.exists());
            let _ = fs::remove_dir(dir.path().join("fuse"));
        });
        assert!(std::process::Command::new("umount").arg(dir.path()).status().unwrap().success());
        tried.unwrap();
    }

    /// The same files as the kernel has, without the kernel: what is written where.
    #[test]
    fn limits_of_version_2_are_written_as_the_kernel_reads_them() {
        let me = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        for (there, enabled) in
            [("cpuset cpu io memory pids", "+cpu +memory +pids"), ("cpu memory", "+cpu +memory")]
        {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("cgroup.controllers"), there).unwrap();
            let groups = Cgroups::at(dir.path());
            groups.make("vm", LIMITS).unwrap().take(&me).unwrap();
            let read = |file: &str| fs::read_to_string(dir.path().join(file));
            assert_eq!(read("cgroup.subtree_control").unwrap(), enabled);
            assert_eq!(read("fuse/cgroup.subtree_control").unwrap(), enabled);
            assert_eq!(read("fuse/vm/memory.max").unwrap(), "67108864");
            assert_eq!(read("fuse/vm/cpu.max").unwrap(), "150000 100000");
            assert_eq!(read("fuse/vm/pids.max").ok(), there.contains("pids").then(|| "10".to_owned()));
            assert_eq!(read("fuse/vm/cgroup.procs").unwrap(), me.pid.to_string());
            assert_eq!(groups.groups(), ["vm"]);
        }
    }

    #[tokio::test]
    async fn a_program_is_limited_from_its_start_and_its_group_goes() {
        let groups = Cgroups::of_host();
        if groups == Cgroups::None {
            eprintln!("skipped: this user may not make control groups");
            return;
        }
        let limits = Limits { memory: 64 << 20, millicpus: 500, tasks: 10 };
        let name = format!("test-{}", std::process::id());
        let group = groups.make(&name, limits).unwrap();
        let mut sleep = Command::new("sleep");
        sleep.arg("60").kill_on_drop(true);
        let mut child = group.spawn(sleep).await.unwrap();
        let process = Process::of(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        group.take(&process).unwrap();
        let of = fs::read_to_string(format!("/proc/{}/cgroup", process.pid)).unwrap();
        for dir in groups.dirs(&name) {
            let held = || fs::read_to_string(dir.join("cgroup.procs")).unwrap().trim().to_owned();
            // The thread that started it was there too, and ends a moment after it has said so.
            let began = std::time::Instant::now();
            while held() != process.pid.to_string() {
                assert!(began.elapsed().as_secs() < 20, "{} has {} of {of}", dir.display(), held());
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        assert!(groups.groups().contains(&name));
        let dirs = groups.dirs(&name);
        let limit = dirs.iter().find_map(|dir| {
            let of = |file| fs::read_to_string(dir.join(file)).ok();
            of("memory.max").or_else(|| of("memory.limit_in_bytes"))
        });
        assert_eq!(limit.unwrap().trim(), (64 << 20).to_string());
        // This process is where it was.
        let of_us = fs::read_to_string("/proc/thread-self/cgroup").unwrap();
        assert!(!of_us.contains(&name), "{of_us}");
        child.kill().await.unwrap();
        groups.remove(&name).unwrap();
        groups.remove(&name).unwrap();
        assert!(dirs.iter().all(|dir| !dir.exists()));
    }

    #[tokio::test]
    async fn a_program_that_cannot_be_limited_does_not_start() {
        let dir = tempfile::tempdir().unwrap();
        let group = Group { dirs: vec![dir.path().join("gone")], of_threads: true };
        let mut touch = Command::new("touch");
        touch.arg(dir.path().join("it ran"));
        group.spawn(touch).await.unwrap_err();
        assert!(!dir.path().join("it ran").exists());
    }
}
