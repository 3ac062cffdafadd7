//! Standing still: every program that the agent has started is in one control group, with all that those have started, and
//! the kernel's freezer stops and lets go the whole group.
//!
//! A host has the programs stand still before it saves the machine's memory. In a clone none of them runs until the agent
//! has made the clone one of its own. The agent is not in the group.
#![allow(unsafe_code)]

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use fuse_guest_protocol::{
    ErrorCode, GuestError,
    verb::{Freeze, FreezeResult, ThawResult},
};
use tokio::{process::Command, sync::watch, task::AbortHandle, time::sleep};

use crate::agent::Agent;

/// The name of the group, below that of the agent itself.
const NAME: &str = "fuse-programs";
/// How long the kernel may take to stop all of them: one that waits for a disk stops only after that.
const STOP: Duration = Duration::from_secs(5);
/// The longest that they stand still, in milliseconds.
const MOST_MS: u64 = 4_000_000;

/// The control group of all programs.
#[derive(Debug)]
pub(crate) struct Freezer {
    group: Result<Group, String>,
    frozen: watch::Sender<bool>,
    /// Whether the kernel was told to stop them.
    stopped: AtomicBool,
    /// Lets the programs go on when the host does not.
    limit: Mutex<Option<AbortHandle>>,
}

#[derive(Debug)]
struct Group {
    dir: PathBuf,
    /// `cgroup.procs`, open: a program writes itself into it before it runs.
    members: Arc<File>,
}

impl Freezer {
    /// Makes the group, unless the machine is not the agent's. Programs go on that an agent before this one had stopped.
    pub(crate) fn open(machine: bool) -> Self {
        let group = if machine { Group::make() } else { Err("started without --machine".to_owned()) };
        if let Ok(group) = &group {
            let _ = group.set(false);
        }
        Self {
            group,
            frozen: watch::Sender::new(false),
            stopped: AtomicBool::new(false),
            limit: Mutex::default(),
        }
    }

    /// Has a program join the group before it runs.
    pub(crate) fn enlist(&self, command: &mut Command) {
        let Ok(group) = &self.group else { return };
        let members = Arc::clone(&group.members);
        // SAFETY: between fork and exec, the closure makes one system call through rustix on a descriptor that is open;
        // it neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || {
                // 0 is the writer itself.
                rustix::io::write(&*members, b"0")?;
                Ok(())
            });
        }
    }

    /// Waits while the programs stand still.
    pub(crate) async fn running(&self) {
        let mut frozen = self.frozen.subscribe();
        // The sender lives as long as this.
        let _ = frozen.wait_for(|frozen| !frozen).await;
    }

    /// Stops all programs.
    pub(crate) async fn freeze(
        &self,
        agent: &Arc<Agent>,
        request: Freeze,
    ) -> Result<FreezeResult, GuestError> {
        let group = self.group()?;
        let failed = |error: io::Error| GuestError::io(format!("freezing {}", group.dir.display()), &error);
        // What is asked to start from here on waits.
        self.frozen.send_replace(true);
        // A request that is given up half way must not leave them standing either.
        self.set_limit(agent, Duration::from_millis(request.limit_ms.min(MOST_MS)));
        let stopped = async {
            // From here on they come from one another alone. Where there is none, there is nothing to stop, and a clone has
            // less to do before it answers.
            if group.is_empty() {
                return Ok(FreezeResult { processes: 0 });
            }
            self.stopped.store(true, Ordering::Relaxed);
            group.set(true).map_err(failed)?;
            let began = Instant::now();
            while !group.is_frozen().map_err(failed)? {
                if began.elapsed() > STOP {
                    let text = format!("not all programs stood still within {} s", STOP.as_secs());
                    return Err(GuestError::new(ErrorCode::Failed, text));
                }
                sleep(Duration::from_millis(1)).await;
            }
            Ok(FreezeResult { processes: group.count() })
        };
        let stopped = stopped.await;
        if stopped.is_err() {
            let _ = self.thaw();
        }
        stopped
    }

    /// Lets all programs go on.
    pub(crate) fn thaw(&self) -> Result<ThawResult, GuestError> {
        // Where they cannot be stopped they go on.
        let Ok(group) = &self.group else { return Ok(ThawResult::default()) };
        if self.stopped.load(Ordering::Relaxed) {
            group
                .set(false)
                .map_err(|error| GuestError::io(format!("thawing {}", group.dir.display()), &error))?;
            self.stopped.store(false, Ordering::Relaxed);
        }
        if let Some(limit) = self.limit().take() {
            limit.abort();
        }
        Ok(ThawResult { was_frozen: self.frozen.send_replace(false) })
    }

    fn group(&self) -> Result<&Group, GuestError> {
        let unsupported = |why: &String| {
            let text = format!("programs of this guest cannot be made to stand still: {why}");
            GuestError::new(ErrorCode::Unsupported, text)
        };
        self.group.as_ref().map_err(unsupported)
    }

    fn limit(&self) -> std::sync::MutexGuard<'_, Option<AbortHandle>> {
        self.limit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_limit(&self, agent: &Arc<Agent>, limit: Duration) {
        let agent = Arc::clone(agent);
        let waiting = tokio::spawn(async move {
            sleep(limit).await;
            agent.logs.say("the host did not let the programs go on in its time; they go on by themselves");
            // Taken out first: thawing would end this task.
            agent.freezer.limit().take();
            if let Err(error) = agent.freezer.thaw() {
                agent.logs.say(&error.message);
            }
        });
        if let Some(before) = self.limit().replace(waiting.abort_handle()) {
            before.abort();
        }
    }
}

impl Group {
    fn make() -> Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let dir = place(&mounts, &own).ok_or("there is no control group of version 2")?;
        let failed = |error: io::Error| format!("{}: {error}", dir.display());
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
            _ => {}
        }
        if !dir.join("cgroup.freeze").exists() {
            return Err(format!("{} has no freezer; Linux 5.2 and later has", dir.display()));
        }
        let members = File::options().write(true).open(dir.join("cgroup.procs")).map_err(failed)?;
        Ok(Self { members: Arc::new(members), dir })
    }

    fn set(&self, frozen: bool) -> io::Result<()> {
        fs::write(self.dir.join("cgroup.freeze"), if frozen { "1" } else { "0" })
    }

    fn is_frozen(&self) -> io::Result<bool> {
        Ok(fs::read_to_string(self.dir.join("cgroup.events"))?.lines().any(|line| line == "frozen 1"))
    }

    /// Whether there is none, here or in groups that programs have made below. When it cannot be told, there is one.
    fn is_empty(&self) -> bool {
        let events = fs::read_to_string(self.dir.join("cgroup.events"));
        events.is_ok_and(|events| events.lines().any(|line| line == "populated 0"))
    }

    fn count(&self) -> u64 {
        fs::read_to_string(self.dir.join("cgroup.procs")).unwrap_or_default().lines().count() as u64
    }
}

/// Where the group goes: below the agent's own, in the hierarchy of version 2.
fn place(mounts: &str, own: &str) -> Option<PathBuf> {
    let mount = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (target, kind) = (words.next()?, words.next()?);
        (kind == "cgroup2").then_some(target)
    })?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    // An agent that was started by one of its own programs.
    let own = own.split('/').take_while(|part| *part != NAME).collect::<PathBuf>();
    Some(Path::new(mount).join(own).join(NAME))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_is_below_that_of_the_agent() {
        let mounts = "sysfs /sys sysfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n";
        let of = |own| place(mounts, own);
        assert_eq!(of("0::/\n"), Some("/sys/fs/cgroup/fuse-programs".into()));
        let service = Some("/sys/fs/cgroup/system.slice/fused.service/fuse-programs".into());
        assert_eq!(of("4:memory:/x\n0::/system.slice/fused.service\n"), service);
        assert_eq!(of("0::/system.slice/fused.service/fuse-programs\n"), service);
        assert_eq!(of("4:memory:/x\n"), None);
        assert_eq!(place("sysfs /sys sysfs rw 0 0\n", "0::/\n"), None);
    }
}
