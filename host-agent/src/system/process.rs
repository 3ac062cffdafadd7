//! Processes that outlive us: named by pid and start time, so that a pid that was used again is another process.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process, also one that is not our child.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// When it started, in clock ticks since the boot of this machine.
    pub started: u64,
    /// Which boot of this machine.
    pub boot: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}", self.pid)
    }
}

impl Process {
    /// The process that has this pid now; none when there is none, or when it has ended and waits to be reaped.
    #[must_use]
    pub fn of(pid: i32) -> Option<Self> {
        let started = started(pid)?;
        Some(Self { pid, started, boot: boot() })
    }

    /// Whether it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.boot == boot() && started(self.pid) == Some(self.started)
    }

    /// A descriptor of it, when it still runs.
    fn descriptor(&self) -> Option<std::os::fd::OwnedFd> {
        let pid = Pid::from_raw(self.pid)?;
        let descriptor = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Asked after the descriptor was opened: it cannot be another process from here on.
        self.is_alive().then_some(descriptor)
    }

    /// Sends it a signal. Does nothing when it has ended.
    pub fn signal(&self, signal: Signal) {
        if let Some(descriptor) = self.descriptor() {
            let _ = pidfd_send_signal(&descriptor, signal);
        }
    }

    /// Waits until it has ended. Sees it a ninth later than it is, and at most 50 ms.
    pub async fn ended(&self) {
        let began = Instant::now();
        while self.is_alive() {
            let pause = began.elapsed() / 8;
            tokio::time::sleep(pause.clamp(Duration::from_millis(1), Duration::from_millis(50))).await;
        }
    }

    /// Ends it for good and waits for that, at most 10 s. True when it is gone.
    pub async fn kill(&self) -> bool {
        self.signal(Signal::KILL);
        tokio::time::timeout(Duration::from_secs(10), self.ended()).await.is_ok()
    }

    /// The bytes of memory that it holds: resident, and the part of it that is its own.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        let Ok(text) = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid)) else { return (0, 0) };
        let of = |name: &str| -> u64 {
            let lines = text.lines().filter(|line| line.starts_with(name));
            let numbers = lines.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
            numbers.sum::<u64>() * 1024
        };
        (of("Rss:"), of("Private_Clean:") + of("Private_Dirty:"))
    }
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// When the process started; none when there is none or only its remains.
fn started(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program is in parentheses and may hold anything.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// The processes whose working directory is `dir` or below it, with that directory: what a crash left running there.
///
/// # Errors
/// That of reading `/proc`. Processes that end meanwhile, or that we may not look at, are left out.
pub fn processes_below(dir: &Path) -> io::Result<Vec<(Process, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let Ok(place) = fs::read_link(format!("/proc/{pid}/cwd")) else { continue };
        // The kernel marks a directory that was removed.
        let text = place.to_string_lossy();
        let place = PathBuf::from(text.strip_suffix(" (deleted)").unwrap_or(&text));
        if place.starts_with(dir) {
            found.extend(Process::of(pid).map(|process| (process, place)));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[tokio::test]
    async fn a_process_is_seen_killed_and_gone() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        let mut child = Command::new("sleep").arg("60").current_dir(&place).spawn().unwrap();
        let process = Process::of(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(process.is_alive());
        assert_eq!(processes_below(&place).unwrap(), vec![(process.clone(), place.clone())]);
        assert!(process.kill().await);
        assert!(!process.is_alive());
        child.wait().unwrap();
        assert!(processes_below(&place).unwrap().is_empty());
    }

    #[test]
    fn another_start_is_another_process() {
        let me = Process::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        let other = Process { started: me.started + 1, ..me.clone() };
        assert!(!other.is_alive());
        assert!(!Process { boot: "another".to_owned(), ..me }.is_alive());
    }
}
